// Records clips with the browser's camera: a countdown, then some seconds, once or several times in a row. Each clip is sent when the page
// has confirmed the one before; no sound is recorded.
const BITS = 1500000;
export default function(component) {
  const { data, parentElement, setTriggerValue } = component;
  const $ = (name) => parentElement.querySelector(name);
  const me = (parentElement.recorder ??= { stream: null, busy: false, sent: 0 });
  me.data = data; me.send = setTriggerValue;
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const say = (text) => { $('.say').textContent = text; };
  const show = () => {
    const on = Boolean(me.stream);
    $('.open').hidden = on; $('.close').hidden = !on; $('.record').disabled = !on || me.busy;
    $('.retake').disabled = !on || me.busy || !me.data.clips; $('.stop').hidden = !me.busy; $('video').hidden = !on;
    $('.record').textContent = `Record for “${me.data.label}”`;
  };
  const open = async () => {
    try {
      me.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 480 }, height: { ideal: 360 } }, audio: false });
    } catch (error) {
      say(navigator.mediaDevices ? `The camera cannot be used: ${error.message}. Allow it for this page, or drop videos instead.`
        : 'Browsers allow the camera only for pages at localhost or with https.');
      return;
    }
    $('video').srcObject = me.stream; say('The camera is on. Nothing is recorded yet.'); show();
  };
  const close = () => { me.stop = true; me.stream?.getTracks().forEach((track) => track.stop()); me.stream = null; $('video').srcObject = null; say('The camera is off.'); show(); };
  const one = (seconds) => new Promise((done) => {
    const type = ['video/webm;codecs=vp8', 'video/webm', 'video/mp4'].find((name) => MediaRecorder.isTypeSupported(name));
    const recorder = new MediaRecorder(me.stream, { mimeType: type, videoBitsPerSecond: BITS }), parts = [];
    let begun = false;
    recorder.ondataavailable = (event) => {
      parts.push(event.data);
      if (begun || !event.data.size) return;
      begun = true; setTimeout(() => recorder.state === 'recording' && recorder.stop(), 1000 * seconds); // from the first picture on
    };
    recorder.onstop = () => done(new Blob(parts, { type }));
    recorder.start(50); setTimeout(() => recorder.state === 'recording' && recorder.stop(), 1000 * seconds + 5000);
  });
  const text = (blob) => new Promise((done) => {
    const reader = new FileReader(); reader.onload = () => done(reader.result); reader.readAsDataURL(blob);
  });
  const record = async (retake) => {
    const seconds = Number($('.seconds').value), times = retake ? 1 : Number($('.times').value), label = me.data.label, person = me.data.person;
    me.busy = true; me.stop = false; show();
    for (let time = 0; time < times && !me.stop; time++) {
      const which = times > 1 ? ` (clip ${time + 1} of ${times})` : '';
      for (let left = 3; left > 0 && !me.stop; left--) { $('.count').textContent = left; say(`Recording in ${left}${which}`); await wait(1000); }
      if (me.stop) break;
      $('.count').textContent = 'REC'; $('.count').classList.add('on'); say(`Recording “${label}”${which}`);
      const clip = await one(seconds);
      $('.count').textContent = ''; $('.count').classList.remove('on');
      if (me.stop) break;
      say(`Saving${which} …`);
      const number = me.data.received + 1;
      me.send('clip', { video: await text(clip), label, person, retake, number });
      for (let tries = 0; tries < 300 && me.data.received < number; tries++) await wait(100);
    }
    $('.count').textContent = ''; say(me.stop ? 'Stopped.' : 'Done.'); me.busy = false; show();
  };
  $('.open').onclick = open; $('.close').onclick = close; $('.record').onclick = () => record(false);
  $('.retake').onclick = () => record(true); $('.stop').onclick = () => { me.stop = true; };
  show();
  return () => { if (!parentElement.isConnected) close(); };
}
