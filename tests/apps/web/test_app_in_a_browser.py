"""The web app in a real browser: try, jump, search, review, train, live."""

from __future__ import annotations

import contextlib
import csv
import http.client
import io
import json
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
import pytest

from quickstep.datasets.manifest import read_manifest
from quickstep.inference.timelines import timeline
from quickstep.models.model import Model
from quickstep.signals.video import VideoReader, probe, read_frames
from quickstep.storage.cache import Cache
from tests.apps.web.conftest import FLAGS, MOVES, PATIENCE, Running, Stage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400 * PATIENCE // 60_000)]

Visit = Callable[..., Any]
Screenshot = Callable[[Any, str], None]


def wait_until_idle(tab: Any) -> None:
    """Wait until nothing is computed any more."""
    tab.wait_for_timeout(400)
    tab.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget], [data-stale=true]')")


def upload(tab: Any, *files: Path) -> None:
    tab.set_input_files("input[type=file]", [str(file) for file in files])
    wait_until_idle(tab)


def predict(tab: Any, *files: Path) -> None:
    upload(tab, *files)
    tab.get_by_role("button", name="Predict").click()
    wait_until_idle(tab)


def as_avi(video: Path, out: Path) -> Path:
    """Write the same frames in a format that no browser plays."""
    with VideoReader(video) as reader, av.open(str(out), "w") as container:
        stream = container.add_stream("mpeg4", rate=15)
        stream.width, stream.height, stream.bit_rate = reader.info.width, reader.info.height, 2_000_000
        for picture in reader.frames(np.arange(round(reader.info.duration * 15)) / 15).pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return out


def test_an_uploaded_video_plays_beside_its_prediction(visit: Visit, stage: Stage, tmp_path: Path, screenshot: Screenshot) -> None:
    video = as_avi(sorted((stage.folder / "dancers" / "windmill").glob("*.mp4"))[0], tmp_path / "my <b>dance.avi")
    prediction = Model.load(stage.model).predict([video], cache=Cache(tmp_path / "cache")).predictions[0]
    tab = visit()
    predict(tab, video)
    tab.wait_for_function("label => document.querySelector('.qs-answer b')?.textContent === label", arg=prediction.label)
    assert tab.locator(".qs-bars .n.first").first.inner_text().replace("> 99", "100").startswith(f"{100 * prediction.score:.0f}")
    tab.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
    assert tab.locator(".qs-reading").inner_text() in ("fairly sure", "likely")
    tab.locator("[aria-label*='windmill']").first.wait_for()  # which parts decided
    screenshot(tab, "try-upload")
    with tab.expect_download() as got:
        tab.get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(got.value.path()).read_text())))
    assert [(row["path"], row["label"]) for row in rows] == [(video.name, prediction.label)]
    assert float(rows[0]["score"]) == pytest.approx(prediction.score, abs=1e-6)  # seen 9e-9 apart once; the cause is not known
    with tab.expect_download() as got:
        tab.get_by_role("button", name="JSON").click()
    scores = json.loads(Path(got.value.path()).read_text())["predictions"][0]["scores"]
    assert scores[prediction.label] == pytest.approx(prediction.score, abs=1e-6)
    with tab.expect_download() as got:
        tab.get_by_role("button", name="SRT").click()
    assert "00:00:00,000 --> " in Path(got.value.path()).read_text()


def test_a_click_on_the_timeline_jumps_there(visit: Visit, stage: Stage, tmp_path: Path, screenshot: Screenshot) -> None:
    expected = timeline(Model.load(stage.model), stage.long, cache=Cache(tmp_path / "cache"))
    spans = [span for span in expected.spans if span.label]
    assert len(spans) >= 2
    tab = visit()
    predict(tab, stage.long)
    last = spans[-1]
    button = tab.locator(f"button[aria-label^='{last.label} (']").last
    button.wait_for()
    tab.wait_for_function("() => document.querySelector('video')?.readyState >= 1")
    screenshot(tab, "try-timeline")
    button.click()
    tab.wait_for_function("start => Math.abs(document.querySelector('video').currentTime - start) < 1.5", arg=last.start)
    with tab.expect_download() as got:
        tab.get_by_role("button", name="SRT").click()
    assert Path(got.value.path()).read_text().count(" --> ") == len(expected.spans)


def test_a_broken_video_is_an_error_message_beside_the_others(visit: Visit, stage: Stage, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video" * 100)
    tab = visit()
    predict(tab, broken, sorted((stage.folder / "dancers" / "toprock").glob("*.mp4"))[0])
    table = tab.locator(".qs-table")
    table.wait_for()
    assert "broken.mp4" in table.inner_text()
    assert "toprock" in table.inner_text() or "%" in table.inner_text()
    assert str(stage.folder) not in tab.locator("body").inner_text()
    assert "quickstep-app-" not in tab.locator("body").inner_text()  # no path of the server is shown
    assert tab.locator("[data-testid=stException]").count() == 0


def test_no_letters_of_a_name_become_a_picture(visit: Visit, tmp_path: Path, screenshot: Screenshot) -> None:
    name = "a :heart: :material_delete: :red[b] :+1: c.mp4"  # Streamlit draws pictures for these
    (tmp_path / name).write_bytes(b"not a video")
    tab = visit()
    predict(tab, tmp_path / name)
    shown = tab.locator("[data-testid=stAlert]").filter(has_text="c.mp4")
    shown.wait_for()
    screenshot(tab, "try-broken-name")
    text = shown.inner_text().replace("\u2060", "")
    assert name in text
    assert shown.locator("p [role=img], p img, p span").count() == 0


def test_uploads_belong_to_one_session_and_are_removed_with_it(visit: Visit, app: Running, stage: Stage) -> None:
    first, second = visit(), visit()
    upload(first, stage.long)
    first.locator("text=long.mp4").first.wait_for()
    wait_until_idle(second)
    assert second.locator("text=long.mp4").count() == 0
    held = list(app.temporary.glob("quickstep-app-*/session-*/uploads/*"))
    assert len(held) >= 1
    address = first.locator("video").first.evaluate("video => video.src").partition("#")[0]
    assert len(address.rpartition("/")[2]) >= 43  # 256 random bits
    part = first.request.get(address, headers={"Range": "bytes=0-99"})
    assert (part.status, len(part.body())) == (206, 100)
    assert part.headers["content-security-policy"] == "sandbox"
    assert second.request.get(address).status == 404  # another browser cannot fetch it, although it knows the address
    assert second.request.get(address[:-1]).status == 404
    first.context.close()
    until = time.monotonic() + PATIENCE / 1000
    while any(path.exists() for path in held) and time.monotonic() < until:
        time.sleep(0.5)
    assert not [path for path in held if path.exists()]
    assert second.request.get(address).status == 404


def status_of(url: str, method: str = "GET", **headers: str) -> int:
    """Return the status of a request that no browser of ours would send."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    with contextlib.closing(connection):
        connection.putrequest(method, parts.path or "/", skip_host=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status


def test_pages_of_other_names_and_origins_reach_nothing(app: Running) -> None:
    port = app.url.rpartition(":")[2]
    for path in ("/", "/try", "/_stcore/health", "/_stcore/host-config", "/media/a", "/static/index.html", "/video/a"):
        assert status_of(app.url + path, Host=f"evil.example:{port}") == 421, path
        assert status_of(app.url + path, Host=f"127.0.0.1:{port}") in (200, 404), path
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    for host, origin, status in (
        ("evil.example", "http://evil.example", 403),
        (f"localhost:{port}", "http://evil.example", 403),
        (f"localhost:{port}", "null", 403),
        (f"localhost:{port}", f"http://localhost:{port}", 101),
    ):
        assert status_of(f"{app.url}/_stcore/stream", Host=host, Origin=origin, **upgrade) == status, origin
    for method in ("PUT", "DELETE", "POST"):
        headers = {"Host": f"localhost:{port}", "Origin": "http://evil.example", "Content-Length": "0"}
        assert status_of(f"{app.url}/_stcore/upload_file/a/b", method, **headers) == 403


def test_the_library_is_searched_by_text_and_reports_no_good_match(visit: Visit, screenshot: Screenshot) -> None:
    tab = visit("library")
    text = tab.get_by_label("Search for")
    text.fill("red")
    text.press("Enter")
    tab.locator("text=red2.mp4").first.wait_for()
    tab.get_by_role("button", name="0:00.0").first.click()
    tab.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
    screenshot(tab, "library-found")
    text.fill("an elephant")
    text.press("Enter")
    tab.locator("text=No good match for “an elephant”").wait_for()
    tab.locator("video").wait_for(state="detached")  # the page removes the player of the last search


def test_the_library_finds_similar_and_duplicate_videos(visit: Visit, stage: Stage) -> None:
    tab = visit("library")
    tab.get_by_role("radio", name="an example").or_(tab.get_by_role("button", name="an example")).first.click()
    example = tab.locator(".st-key-like input[type=file]")  # beside the one for new videos
    example.wait_for(state="attached")
    example.set_input_files(str(stage.folder / "colours" / "green1.mp4"))
    wait_until_idle(tab)
    tab.locator("text=green1.mp4").nth(1).wait_for()
    tab.get_by_role("tab", name="Duplicates").click()
    tab.get_by_role("button", name="Find duplicates").click()
    tab.locator("text=copy.mp4").first.wait_for()
    tab.locator("text=same bytes").first.wait_for()


def test_labels_are_reviewed_with_one_key_and_the_model_is_retrained(visit: Visit, stage: Stage, screenshot: Screenshot) -> None:
    original = stage.listed.read_bytes()
    before = {segment.path: segment.label for segment in read_manifest(stage.listed).segments}
    tab = visit("review")
    tab.get_by_label("Your name").fill("ana")
    tab.get_by_label("Your name").press("Enter")
    wait_until_idle(tab)
    history = stage.listed.with_suffix(".history.jsonl")

    def decided(count: int, over: int) -> dict[str, Any]:
        """Return the decision of that number, when the page shows it."""
        tab.locator(f"text={over} of 18 segments reviewed").wait_for()
        wait_until_idle(tab)
        last: dict[str, Any] = json.loads(history.read_text().splitlines()[count - 1])
        return last

    tab.locator("text=0 of 18 segments reviewed").wait_for()
    screenshot(tab, "review")
    tab.locator("h1").click()
    tab.keyboard.press("y")
    first = decided(1, 1)
    assert (first["action"], first["by"]) == ("confirm", "ana")
    label = tab.locator(".qs-answer b").inner_text()
    other = next(place for place, name in enumerate(("moonwalk", "toprock", "windmill"), start=1) if name != label)
    tab.keyboard.press(str(other))
    second = decided(2, 2)
    assert (second["action"], second["before"]) == ("correct", label)
    tab.keyboard.press("x")
    third = decided(3, 3)
    assert third["action"] == "reject"
    now = read_manifest(stage.listed)
    changed = {path.name for path, name in before.items() if path in now.paths and {e.path: e.label for e in now.segments}[path] != name}
    assert changed == {Path(second["path"]).name}
    assert len(now) == len(before) - 1
    assert stage.listed.with_suffix(".original.csv").read_bytes() == original
    tab.keyboard.press("z")
    assert decided(4, 2)["action"] == "restore"
    tab.get_by_role("button", name="Retrain on the corrected labels").click()
    tab.locator("text=Corrected labels: 1").first.wait_for()
    assert tab.locator(".qs-interval").count() == 2
    screenshot(tab, "review-retrained")
    tab.get_by_role("button", name="Save and use").click()
    tab.locator("text=it is used now").first.wait_for()
    assert Model.load(stage.folder / "models" / "dancers-model-reviewed").facts.notes[-1].startswith("fitted again to a reviewed list")


def pick(tab: Any, label: str, name: str) -> None:
    """Choose an entry of a list by its name, with the keyboard."""
    box = tab.get_by_label(label).first
    box.click()
    box.fill(name)
    tab.get_by_role("option", name=name, exact=True).click()
    wait_until_idle(tab)


def test_a_dataset_is_browsed_checked_and_trained_on_and_its_report_is_shown(visit: Visit, stage: Stage, screenshot: Screenshot) -> None:
    tab = visit("teach")
    tab.get_by_role("radio", name="A folder of videos").or_(tab.get_by_role("button", name="A folder of videos")).first.click()
    wait_until_idle(tab)
    assert tab.get_by_role("button", name="Up", exact=True).is_disabled()  # nothing above the data folder
    pick(tab, "Folders and lists", "dancers/")
    tab.locator("strong", has_text=str(stage.folder / "dancers")).wait_for()
    pick(tab, "Folders and lists", "dancers.csv")
    tab.locator("text=18 segments of 3 classes").wait_for()
    screenshot(tab, "train-audit")
    tab.get_by_label("Name of the model").fill("mine")
    tab.get_by_role("button", name="Train", exact=True).click()
    tab.locator("text=Training mine").wait_for()
    tab.locator("text=mine (fast) is trained").wait_for(timeout=4 * PATIENCE)
    assert_whole(tab)
    screenshot(tab, "train-report")
    tab.get_by_role("button", name="Try it").click()
    tab.locator("text=What is this move?").wait_for()
    assert tab.get_by_label("Model").first.input_value() == "mine" or tab.locator("text=mine").count() >= 1


def test_a_model_is_taught_with_the_camera_and_dropped_clips(
    playwright: Any, chromium: str, app: Running, stage: Stage, shared_data: Path, tmp_path: Path, screenshot: Screenshot
) -> None:
    kept = stage.folder / "app-videos" / "clips"
    fake = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, *fake])
    try:
        context = browser.new_context(viewport={"width": 1280, "height": 1000}, permissions=["camera"], accept_downloads=True)
        context.set_default_timeout(PATIENCE)
        tab = context.new_page()
        tab.goto(f"{app.url}/teach")
        tab.wait_for_selector("h1")
        tab.get_by_label("New class").fill("Pac Man")
        tab.get_by_role("button", name="Add class").click()
        assert str(kept) in tab.locator(".stMain").inner_text()  # the page names the folder
        tab.get_by_role("button", name="Turn the camera on").click()
        tab.locator("text=The camera is on").wait_for()
        tab.get_by_label("Length").select_option("1.5")
        tab.get_by_label("In a row").select_option("3")
        tab.get_by_role("button", name="Record for “Pac Man”").click()
        for left in "321":
            tab.locator(f"text=Recording in {left} (clip 1 of 3)").wait_for()
        tab.locator("text=3 clips, 1 person").wait_for()
        tab.locator("text=Done.").wait_for()
        clips = sorted((kept / "Pac Man" / "me").glob("*"))
        assert len(clips) == 3
        assert min(probe(clip).duration for clip in clips) > 0.3  # a busy machine encodes the end of a clip late
        tab.get_by_role("button", name="Retake the last clip").click()
        tab.wait_for_function("() => !document.body.innerText.includes('4 clips')")
        until = time.monotonic() + PATIENCE / 1000
        while clips[-1].exists() and time.monotonic() < until:
            time.sleep(0.2)
        assert not clips[-1].exists()
        assert len(list((kept / "Pac Man" / "me").glob("*"))) == 3
        tab.locator("text=Done.").wait_for()
        packed = tmp_path / "clips.zip"
        with zipfile.ZipFile(packed, "w") as file:
            for video in sorted((stage.folder / "dancers" / "windmill").glob("*.mp4"))[:4]:
                file.write(video, f"windmill/{video.name}")
        tab.get_by_role("tab", name="Files").click()
        tab.locator("input[type=file]").first.set_input_files(str(packed))
        tab.locator("text=4 clips, 1 person").wait_for()
        images = tab.locator("img.qs-picture")
        tab.wait_for_function("() => document.querySelectorAll('img.qs-picture').length === 7")
        assert all(images.nth(place).evaluate("image => image.naturalWidth > 50") for place in range(7))
        tab.get_by_role("button", name="Train", exact=True).click()
        tab.locator("text=is trained on 7 clips").wait_for()
        assert "of 7 clips of the same people were recognized" in tab.locator(".qs-verdict").inner_text()
        start_watching(tab, ["Pac Man"])
        screenshot(tab, "teach-live")
        with tab.expect_download() as got:
            tab.get_by_role("button", name="Download the model").click()
        with zipfile.ZipFile(got.value.path()) as file:
            assert any(name.endswith("/model.json") for name in file.namelist())
            assert not any(str(kept).encode() in file.read(name) for name in file.namelist())  # no list of the clips
        tab.get_by_role("button", name="Delete class").first.click()
        tab.locator("text=3 clips, 1 person").wait_for(state="detached")
        assert not (kept / "Pac Man").exists()
    finally:
        browser.close()


def assert_whole(tab: Any) -> None:
    """Assert that the report is shown in its full length, to its last section, and is not cut off by a frame."""
    report = tab.locator(".report main")
    report.locator("h1").wait_for()
    last = report.locator("details summary")
    last.scroll_into_view_if_needed()
    assert last.is_visible()
    box, end = report.bounding_box(), last.bounding_box()
    assert box["height"] > 1500
    assert box["y"] < end["y"] < box["y"] + box["height"]
    assert 0 <= end["y"] < tab.viewport_size["height"]  # one page, scrolled as a whole
    assert tab.locator("iframe").count() == 0


def test_the_report_and_the_card_are_shown(visit: Visit, stage: Stage, screenshot: Screenshot) -> None:
    tab = visit("report")
    assert_whole(tab)
    assert "test videos" in tab.locator(".report h1").inner_text()
    for title in ("Compared with baselines", "Confusions", "Mistakes", "Confidence", "Is the test set clean?"):
        heading = tab.locator(".report h2", has_text=title)
        heading.scroll_into_view_if_needed()
        assert heading.bounding_box()["height"] > 10
    screenshot(tab, "report")
    tab.get_by_role("tab", name="Card").click()
    tab.locator("text=Training data").wait_for()


def test_a_page_in_a_strangers_model_folder_does_not_run(visit: Visit, stage: Stage) -> None:
    page = stage.model / "report.html"
    before = page.read_bytes()
    page.write_text("<h1>mine</h1><script>window.top.document.title = 'taken over'</script><img src=x onerror='parent.taken = 1'>")
    try:
        tab = visit("report")
        assert_whole(tab)
        assert tab.title() != "taken over"
        assert tab.get_by_text("mine", exact=True).count() == 0
    finally:
        page.write_bytes(before)


def test_no_button_of_streamlit_is_shown(visit: Visit) -> None:
    tab = visit()
    wait_until_idle(tab)
    assert tab.get_by_text("Deploy").count() == 0
    assert tab.get_by_text("Made with Streamlit").count() == 0


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)], ids=["laptop-light", "phone-dark"])
@pytest.mark.parametrize("page", ["try", "live", "library", "review", "teach", "report"])
def test_no_page_is_wider_than_its_window(visit: Visit, screenshot: Screenshot, page: str, width: int, dark: bool) -> None:
    tab = visit("" if page == "try" else page, width=width, dark=dark)
    wait_until_idle(tab)
    assert tab.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    paper = tab.evaluate("() => getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert paper == ("rgb(22, 23, 21)" if dark else "rgb(251, 250, 246)")
    screenshot(tab, f"{page}-{'dark' if dark else 'light'}-{width}")


def test_the_live_page_keeps_up_with_the_camera(
    playwright: Any, chromium: str, app: Running, shared_data: Path, tmp_path: Path, screenshot: Screenshot
) -> None:
    clip = shared_data / "kinetics_smoke" / "skateboarding.mp4"
    if not clip.is_file():
        pytest.skip("the real clip of the fake camera is not here")
    camera = tmp_path / "camera.y4m"
    write_y4m(camera, clip)
    fake = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera}")
    browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, *fake])
    try:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"])
        context.set_default_timeout(PATIENCE)
        tab = context.new_page()
        tab.goto(f"{app.url}/live")
        frame = start_watching(tab, list(MOVES))
        tab.locator(".qs-bars .n").nth(1).wait_for()
        assert " ms" not in tab.locator(".stMain").inner_text()  # a person sees the label, no measurements of the machine
        shown = frame.locator("video").evaluate("video => video.getVideoPlaybackQuality().totalVideoFrames")
        tab.wait_for_timeout(3000)
        later = frame.locator("video").evaluate("video => video.getVideoPlaybackQuality().totalVideoFrames")
        assert later - shown >= 6, (shown, later)
        stop = frame.get_by_role("button", name="Stop").bounding_box()
        assert stop["y"] + stop["height"] <= tab.viewport_size["height"]  # in reach, without scrolling
        assert tab.locator(".qs-answer").bounding_box()["y"] < tab.viewport_size["height"] / 2
        screenshot(tab, "live-camera")
        playing = frame.locator("video").evaluate("video => video.videoWidth > 0 && !video.paused")
        assert playing
    finally:
        browser.close()


def start_watching(tab: Any, labels: Sequence[str]) -> Any:
    """Press Start below the camera and wait until one of the labels is shown; say what the page shows if none comes."""
    from playwright.sync_api import TimeoutError as WaitedTooLong

    frame = tab.frame_locator("iframe[title*='webrtc']")
    frame.get_by_role("button", name="Start").click()
    try:
        frame.locator("video").wait_for()
        tab.wait_for_function(
            "names => names.some(name => document.querySelector('.qs-answer')?.innerText.includes(name))",
            arg=list(labels),
            timeout=2 * PATIENCE,
        )
    except WaitedTooLong as error:
        buttons = frame.get_by_role("button").all_inner_texts()
        raise AssertionError(f"{labels} not in {tab.locator('.qs-answer').all_inner_texts()}; below the camera: {buttons}") from error
    return frame


def write_y4m(out: Path, clip: Path) -> None:
    """Write a real clip as the raw frames that Chromium's fake camera shows, 320 x 240."""
    pictures = read_frames(clip, np.arange(60) / 20).pixels
    with out.open("wb") as file:
        file.write(b"YUV4MPEG2 W320 H240 F20:1 Ip A1:1 C420jpeg\n")
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(320, 240, "yuv420p")
            file.write(b"FRAME\n" + frame.to_ndarray().tobytes())
