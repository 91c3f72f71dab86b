export default function(component) {
  const { data, parentElement } = component;
  const $ = (name) => parentElement.querySelector(name);
  const at = (seconds) => 100 * Math.min(1, Math.max(0, seconds / data.duration));
  const player = () => document.querySelector(`.st-key-${data.player} video`);
  const say = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')}`;
  const app = document.querySelector('.stApp');
  const rows = $('.rows'), axis = $('.axis'), legend = $('.legend'), heads = [];
  rows.replaceChildren(); axis.replaceChildren(); legend.replaceChildren();
  rows.className = app && getComputedStyle(app).colorScheme === 'dark' ? 'rows dark' : 'rows';
  const jump = (seconds) => {
    const video = player();
    if (!video) return;
    video.currentTime = Math.max(0, seconds) + 0.001;
    video.play().catch(() => {});
    if (video.getBoundingClientRect().top < 0) video.scrollIntoView({ behavior: 'smooth', block: 'center' });
  };
  for (const row of data.rows) {
    const line = document.createElement('div');
    line.className = row.low ? 'row low' : 'row';
    for (const one of row.stretches) {
      const button = document.createElement('button');
      button.type = 'button';
      button.style.left = at(one.start) + '%';
      button.style.width = at(one.end) - at(one.start) + '%';
      button.style.background = `color-mix(in srgb, ${one.colour} ${Math.round(100 * one.strength)}%, transparent)`;
      button.title = one.tip;
      button.setAttribute('aria-label', one.tip);
      button.textContent = row.low ? '' : one.text;
      button.onclick = () => jump(one.start);
      line.appendChild(button);
    }
    const head = document.createElement('div');
    head.className = 'head';
    head.style.left = '0%';
    line.appendChild(head);
    heads.push(head);
    rows.appendChild(line);
  }
  const pieces = data.duration > 40 ? 6 : 4;
  for (let i = 0; i <= pieces; i++) {
    const tick = document.createElement('span'), seconds = (data.duration * i) / pieces;
    tick.textContent = data.duration < 20 ? seconds.toFixed(1) + ' s' : say(seconds);
    tick.style.left = (100 * i) / pieces + '%';
    axis.appendChild(tick);
  }
  for (const [name, colour] of data.legend) {
    const item = document.createElement('span'), swatch = document.createElement('i');
    swatch.style.background = colour;
    item.append(swatch, name);
    legend.appendChild(item);
  }
  let frame = 0;
  const follow = () => {
    const video = player();
    if (video) for (const head of heads) head.style.left = `calc(${at(video.currentTime)}% - 1px)`;
    frame = requestAnimationFrame(follow);
  };
  follow();
  return () => cancelAnimationFrame(frame);
}
