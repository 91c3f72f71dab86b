"""Who is let in and how much is taken on: tokens, limits, a full queue, slow and vanishing clients, folders and addresses."""

from __future__ import annotations

import concurrent.futures
import http.server
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from served import HEAD, PART, Held, Live, check_problem, named_by, running, until
from videos import Recipe, write_numbered

from quickstep.apps.server import Limits, ServeConfig
from quickstep.apps.server.config import TOKEN
from quickstep.apps.server.error_responses import Problem
from quickstep.apps.server.url_download import Fetch, is_public
from quickstep.models.model import Model
from quickstep.types.errors import ConfigError

# -- tokens ------------------------------------------------------------------------------------------------------------------


def test_without_the_token_nothing_is_told(model: Model, videos: dict[str, Path]) -> None:
    with running(model, ServeConfig(token="sésame")) as live:
        for headers in ({}, {"Authorization": "Bearer sesame"}, {"Authorization": "sésame".encode()}, {"Authorization": "Basic c2VzYW1l"}):
            for method, route in (("GET", "/model"), ("POST", "/predict"), ("GET", "/metrics"), ("GET", "/docs"), ("GET", "/nothing")):
                with live.client(headers=headers) as client:
                    answer = client.request(method, route)
                check_problem(answer, 401)
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert live.get("/healthz").status_code == 200
        allowed = {"Authorization": "Bearer sésame".encode()}
        assert live.post("/predict", videos["red"], headers=allowed).json()["label"] == "red"
        described = live.get("/openapi.json", headers=allowed).json()
        assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_the_token_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ServeConfig().secret is None
    monkeypatch.setenv(TOKEN, "word")
    assert ServeConfig().secret == "word"
    assert ServeConfig(token="other").secret == "other"
    with pytest.raises(ConfigError, match="token"):
        ServeConfig(token=" ")


# -- how much ----------------------------------------------------------------------------------------------------------------


def test_too_large_is_said_before_a_byte_of_it_is_read(model: Model) -> None:
    with running(model, limits=Limits(max_mb=0.01)) as live, live.connection() as wire:
        wire.sendall(
            b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 99000000\r\n\r\n"
        )
        assert b" 413 " in wire.recv(4096)
        assert live.on_the_desk == []


def test_too_large_is_noticed_where_nobody_said_how_large(model: Model) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        for _ in range(64):
            yield bytes(4096)

    with running(model, limits=Limits(max_mb=0.1)) as live, live.client() as client:
        answer = client.post("/predict", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"})
        check_problem(answer, 413)
        assert live.on_the_desk == []


def test_too_long_too_wide_and_parts_that_are_not_there(model: Model, videos: dict[str, Path], tmp_path: Path) -> None:
    wide = write_numbered(tmp_path / "wide.mp4", Recipe("wide", ".mp4", "mpeg4", size=(640, 64)), count=5)
    with running(model, limits=Limits(max_seconds=2.5, max_edge=600)) as live:
        assert "4 s" in check_problem(live.post("/predict", videos["both"]), 413)["error"]
        assert live.post("/predict", videos["both"], params={"start": 1.0, "end": 3.0}).status_code == 200
        for route, part in (("/timeline", {}), ("/poses", {"start": 1.0, "end": 3.0})):  # these follow the video from end to end
            check_problem(live.post(route, videos["both"], params=part), 413)
        assert "640" in check_problem(live.post("/predict", wide), 413)["error"]
        for part in ({"start": 4.5}, {"end": 9.0}, {"start": 2, "end": 1}, {"start": -1}, {"start": "nan"}, {"end": "inf"}, {"end": 0}):
            check_problem(live.post("/predict", videos["both"], params=part), 422)


def test_a_full_queue_is_told_when_to_come_again_and_empties(videos: dict[str, Path]) -> None:
    backbone = Held()
    with running(named_by(backbone), limits=Limits(queue=3)) as live, concurrent.futures.ThreadPoolExecutor(8) as clients:
        inside = [clients.submit(live.post, "/predict", videos["red"]) for _ in range(3)]
        until(lambda: live.service.gate.taken_in == 3)
        for _ in range(3):
            refused = live.post("/predict", videos["blue"])
            check_problem(refused, 503)
        assert live.get("/healthz").status_code == 200
        assert live.metric("quickstep_requests_total", route="/predict", status="503") == 3
        backbone.may.set()
        assert [each.result().json()["label"] for each in inside] == ["red"] * 3
        assert live.post("/predict", videos["blue"]).json()["label"] == "blue"


def test_patience_ends(videos: dict[str, Path]) -> None:
    backbone = Held()
    with running(named_by(backbone), limits=Limits(timeout=0.3)) as live:
        check_problem(live.post("/predict", videos["red"]), 503)
        assert live.on_the_desk == []
        backbone.may.set()


# -- slow and vanishing clients ----------------------------------------------------------------------------------------------


def test_a_slow_upload_is_ended(model: Model) -> None:
    with running(model, limits=Limits(upload_seconds=3.0)) as live, live.connection() as stuck, live.connection() as dripping:
        stuck.sendall(HEAD + PART)
        dripping.sendall(HEAD + PART)
        began, said = time.monotonic(), b""
        dripping.settimeout(0.05)
        while not said and time.monotonic() - began < 10:  # a byte now and then: never a pause, never an end
            dripping.sendall(b"a")
            try:
                said = dripping.recv(4096)
            except TimeoutError:
                continue
        assert b" 408 " in said
        assert 2.5 < time.monotonic() - began < 6
        assert b" 408 " in stuck.recv(4096)
        assert live.on_the_desk == []


def test_who_says_nothing_is_not_waited_for(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quickstep.apps.server.uvicorn_protocol.HEAD", 0.3)
    with running(model) as live, live.connection() as silent, live.connection() as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHos")
        assert silent.recv(10) == b""
        assert slow.recv(10) == b""


def test_what_is_no_http_is_told_so(live: Live) -> None:
    with live.connection() as wire:
        wire.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        said = b"".join(iter(lambda: wire.recv(4096), b""))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2]).keys() == {"error", "what_to_do"}


def test_who_leaves_while_sending_leaves_nothing(live: Live) -> None:
    with live.connection() as wire:
        wire.sendall(HEAD + PART + bytes(2000))
        until(lambda: live.on_the_desk)
    until(lambda: not live.on_the_desk and not live.service.gate.taken_in)


def test_who_leaves_while_waiting_is_not_worked_for(videos: dict[str, Path]) -> None:
    backbone = Held()
    with running(named_by(backbone)) as live, concurrent.futures.ThreadPoolExecutor(2) as clients:
        first = clients.submit(live.post, "/predict", videos["red"])
        assert backbone.looking.wait(10)
        with live.client() as impatient, videos["both"].open("rb") as file, pytest.raises(httpx.ReadTimeout):
            impatient.post("/predict", files={"file": file}, timeout=0.5)
        until(lambda: live.service.gate.taken_in == 1)
        assert len(live.on_the_desk) == 1
        backbone.may.set()
        assert first.result().status_code == 200
        assert live.post("/predict", videos["red"]).status_code == 200
        assert live.metric("quickstep_failures_total", why="left") == 1
    assert backbone.shown == [1, 1]


# -- folders -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path: Path, videos: dict[str, Path]) -> Path:
    """A folder that clients may name videos in; beside it one they may not, and links and other traps."""
    folder = tmp_path / "open"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "red.mp4").write_bytes(videos["red"].read_bytes())
    (tmp_path / "secret.mp4").write_bytes(videos["blue"].read_bytes())
    (tmp_path / "open-too").mkdir()
    (tmp_path / "open-too" / "secret.mp4").write_bytes(videos["blue"].read_bytes())
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (folder / "round").symlink_to(folder / "round")
    (folder / "list.csv").write_text("path\n../secret.mp4\n")
    return folder


def test_a_path_inside_the_folder_is_answered(model: Model, shelf: Path) -> None:
    with running(model, ServeConfig(allow_paths=shelf)) as live, live.client() as client:
        for path in ("in/red.mp4", str(shelf / "in" / "red.mp4"), "in/../in/./red.mp4"):
            assert client.post("/predict", json={"path": path}).json()["label"] == "red"
        for path in ("../secret.mp4", "link.mp4", "../open-too/secret.mp4", "/etc/passwd", "/dev/zero", str(shelf.parent / "secret.mp4"),
                     "in/../../secret.mp4", "../nowhere.mp4"):  # fmt: skip
            said = check_problem(client.post("/predict", json={"path": path}), 403)
            assert said["error"] == "the path leads out of the folder that is open to clients"
        for path, status in {
            "nowhere.mp4": 404,
            "in": 404,
            "round": 422,
            "in/red.mp4\0": 422,
            "": 422,
            "a" * 9999: 422,
            "list.csv": 422,
        }.items():
            check_problem(client.post("/predict", json={"path": path}), status, 404)
        for body in ([], {}, {"path": 3}, {"path": "a", "url": "b"}, {"other": "a"}, "text"):
            check_problem(client.post("/predict", json=body), 422)
        for raw in (b"{", b"[" * 20_000, b"\xff\xfe"):
            check_problem(client.post("/predict", content=raw, headers={"Content-Type": "application/json"}), 400)
        check_problem(client.post("/predict", json={"path": "a" * 100_000}), 413)
    assert (shelf / "in" / "red.mp4").exists()


def test_paths_and_addresses_are_closed_unless_opened(live: Live, shelf: Path) -> None:
    with live.client() as client:
        assert "--allow-paths" in check_problem(client.post("/predict", json={"path": str(shelf / "in" / "red.mp4")}), 403)["what_to_do"]
        assert "--allow-urls" in check_problem(client.post("/predict", json={"url": f"{live.address}/docs"}), 403)["what_to_do"]


# -- addresses ---------------------------------------------------------------------------------------------------------------


PRIVATE = """
0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1 192.0.2.1 192.168.0.1 198.18.0.1 224.0.0.1 240.0.0.1
255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 fe80::1 fc00::1 fd12::1 ff02::1 64:ff9b::7f00:1 64:ff9b::a00:1 2002:7f00:1::
2002:a00:1:: 2001:db8::1 2001:0:7f00:1::
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_private_addresses(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_no_way_of_writing_a_private_address_is_fetched(model: Model, videos: dict[str, Path]) -> None:
    with running(model, ServeConfig(allow_urls=True)) as live, live.client() as client:
        port = live.address.rsplit(":", 1)[1]
        written = "127.0.0.1 localhost 127.1 2130706433 0x7f000001 0177.0.0.1 [::1] [::ffff:127.0.0.1] 0 0.0.0.0"
        for host in written.split():
            said = check_problem(client.post("/predict", json={"url": f"http://{host}:{port}/healthz"}), 403, 422)
            assert "ok" not in said["error"]
        for url in ("file:///etc/passwd", "ftp://1.1.1.1/a", "http://", "http://[", "http://a:b@1.1.1.1/", "http://1.1.1.1:99999/", "//x/y",
                    "gopher://1.1.1.1", "http://\u2028/", "http://1.1.1.1/?a\r\nHost: b"):  # fmt: skip
            check_problem(client.post("/predict", json={"url": url}), 422)


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Another site: videos, redirects, and answers that never end."""

    files: dict[str, bytes] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        what = self.path.strip("/")
        if what.startswith("to="):
            self.send_response(302)
            self.send_header("Location", what[3:])
            self.end_headers()
        elif what == "endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(bytes(2**16))
        elif what == "slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"a")
                time.sleep(0.1)
        elif what == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
        elif what in self.files:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.files[what])
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def elsewhere(videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A site on 127.0.0.1, which counts as public here; 127.0.0.2 and all else stays private."""
    Elsewhere.files = {"red.mp4": videos["red"].read_bytes()}
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    site.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is what is tested
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{site.server_port}"
    site.shutdown()
    thread.join()
    site.server_close()


def only_one(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return str(address) == "127.0.0.1"


def test_a_video_of_another_site(model: Model, elsewhere: str) -> None:
    with running(model, ServeConfig(allow_urls=True)) as live, live.client() as client:
        live.service.videos.fetch = Fetch(live.service.limits, only_one)
        for url in (f"{elsewhere}/red.mp4", f"{elsewhere}/to=/red.mp4", f"{elsewhere}/to={elsewhere}/to=/red.mp4"):
            answer = client.post("/predict", json={"url": url}).json()
            assert (answer["label"], answer["video"]) == ("red", url.rsplit("/", 1)[-1])
        port = elsewhere.rsplit(":", 1)[1]
        for target in (f"http://127.0.0.2:{port}/red.mp4", "http://169.254.169.254/latest/meta-data", f"http://[::1]:{port}/red.mp4"):
            check_problem(client.post("/predict", json={"url": f"{elsewhere}/to={target}"}), 403, 422)
        check_problem(client.post("/predict", json={"url": f"{elsewhere}/to=file:///etc/passwd"}), 422)
        check_problem(client.post("/predict", json={"url": f"{elsewhere}/" + "to=/" * 9 + "red.mp4"}), 422)
        check_problem(client.post("/predict", json={"url": f"{elsewhere}/nothing"}), 422)
        check_problem(client.post("/predict", json={"url": f"{elsewhere}/cut"}), 422)
        assert live.on_the_desk == []


def test_an_address_that_never_ends_is_left(elsewhere: str, tmp_path: Path) -> None:
    with pytest.raises(Problem) as large:
        Fetch(Limits(max_mb=1.0), only_one).to(f"{elsewhere}/endless", tmp_path / "a")
    assert large.value.status == 413
    assert (tmp_path / "a").stat().st_size < 1.2e6
    with pytest.raises(Problem) as slow:
        Fetch(Limits(upload_seconds=0.5), only_one).to(f"{elsewhere}/slow", tmp_path / "b")
    assert slow.value.status == 408


def test_a_name_is_resolved_once(elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means a public address when it is checked and a private one when it is connected to: only the first counts."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def turning(host: str, port: int, *args: object, **options: object) -> object:
        if host != "turning.example":
            return real(host, port, *args, **options)  # type: ignore[arg-type]
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "127.0.0.2", port, type=socket.SOCK_STREAM)

    monkeypatch.setattr(socket, "getaddrinfo", turning)
    port = elsewhere.rsplit(":", 1)[1]
    assert Fetch(Limits(), only_one).to(f"http://turning.example:{port}/red.mp4", tmp_path / "a") == len(Elsewhere.files["red.mp4"])
    assert asked == ["turning.example"]


def test_limits_are_checked() -> None:
    for wrong in ({"queue": 0}, {"max_mb": 0.0}, {"timeout": float("nan")}, {"decoders": -1}):
        with pytest.raises(ConfigError):
            Limits(**wrong)
    for more in ({"port": 70_000}, {"cors": ("example.org",)}, {"allow_paths": Path("/nowhere/at/all")}):
        with pytest.raises(ConfigError):
            ServeConfig(**more)  # type: ignore[arg-type]
