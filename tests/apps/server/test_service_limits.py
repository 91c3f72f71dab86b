"""Access and limits: tokens, sizes, a full queue, slow and disconnected clients, folders and URLs."""

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
from served import HEAD, PART, PausedBackbone, RunningService, check_error, colour_model, running, wait_until
from videos import Recipe, write_numbered

from quickstep.apps.server import Limits, ServeConfig
from quickstep.apps.server.config import TOKEN
from quickstep.apps.server.error_responses import Problem
from quickstep.apps.server.url_download import Downloader, is_public
from quickstep.models.model import Model
from quickstep.types.errors import ConfigError

# -- tokens ------------------------------------------------------------------------------------------------------------------


def test_without_the_token_every_route_is_a_401(model: Model, videos: dict[str, Path]) -> None:
    with running(model, ServeConfig(token="sésame")) as live:
        for headers in ({}, {"Authorization": "Bearer sesame"}, {"Authorization": "sésame".encode()}, {"Authorization": "Basic c2VzYW1l"}):
            closed = (("GET", "/model"), ("POST", "/predict"), ("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/nothing"))
            for method, route in closed:
                with live.client(headers=headers) as client:
                    answer = client.request(method, route)
                check_error(answer, 401)
                assert answer.headers["www-authenticate"].startswith("Bearer")
        for page in ("/healthz", "/", "/docs"):  # the same for every service
            assert live.get(page).status_code == 200
        allowed = {"Authorization": "Bearer sésame".encode()}
        assert live.post("/predict", videos["red"], headers=allowed).json()["label"] == "red"
        described = live.get("/openapi.json", headers=allowed).json()
        assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_only_the_whole_token_is_accepted(model: Model) -> None:
    token = "a-long-token"
    wrong = [token[:length] for length in range(1, len(token))] + [token + "x", "x" + token, token.upper(), token + " " + token]
    with running(model, ServeConfig(token=token)) as live:
        for text in wrong:
            check_error(live.get("/model", headers={"Authorization": f"Bearer {text}"}), 401)
        assert live.get("/model", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_the_token_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ServeConfig().secret is None
    monkeypatch.setenv(TOKEN, "word")
    assert ServeConfig().secret == "word"
    assert ServeConfig(token="other").secret == "other"
    with pytest.raises(ConfigError, match="token"):
        ServeConfig(token=" ")


# -- limits -----------------------------------------------------------------------------------------------------------------


def test_a_stated_size_over_the_limit_is_refused_before_the_body_is_read(model: Model) -> None:
    with running(model, limits=Limits(max_mb=0.01)) as live, live.connection() as wire:
        wire.sendall(HEAD.replace(b"5000", b"99000000"))
        assert b" 413 " in wire.recv(4096)
        assert live.uploads == []


def test_an_unstated_size_over_the_limit_is_refused(model: Model) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        for _ in range(64):
            yield bytes(4096)

    with running(model, limits=Limits(max_mb=0.1)) as live, live.client() as client:
        answer = client.post("/predict", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"})
        check_error(answer, 413)
        assert live.uploads == []


def test_long_or_wide_videos_and_parts_outside_are_refused(model: Model, videos: dict[str, Path], tmp_path: Path) -> None:
    wide = write_numbered(tmp_path / "wide.mp4", Recipe("wide", ".mp4", "mpeg4", size=(640, 64)), count=5)
    with running(model, limits=Limits(max_seconds=2.5, max_edge=600)) as live:
        assert "4 s" in check_error(live.post("/predict", videos["both"]), 413)["error"]
        assert live.post("/predict", videos["both"], params={"start": 1.0, "end": 3.0}).status_code == 200
        for route, part in (("/timeline", {}), ("/poses", {"start": 1.0, "end": 3.0})):  # these read the whole video
            check_error(live.post(route, videos["both"], params=part), 413)
        assert "640" in check_error(live.post("/predict", wide), 413)["error"]
        for part in ({"start": 4.5}, {"end": 9.0}, {"start": 2, "end": 1}, {"start": -1}, {"start": "nan"}, {"end": "inf"}, {"end": 0}):
            check_error(live.post("/predict", videos["both"], params=part), 422)


def test_a_full_queue_refuses_requests_until_it_has_room(videos: dict[str, Path]) -> None:
    backbone = PausedBackbone()
    with running(colour_model(backbone), limits=Limits(queue=3)) as live, concurrent.futures.ThreadPoolExecutor(8) as clients:
        accepted = [clients.submit(live.post, "/predict", videos["red"]) for _ in range(3)]
        wait_until(lambda: live.service.admission.in_progress == 3)
        for _ in range(3):
            refused = live.post("/predict", videos["blue"])
            check_error(refused, 503)
        assert live.get("/healthz").status_code == 200
        assert live.metric("quickstep_requests_total", route="/predict", status="503") == 3
        backbone.resume.set()
        assert [future.result().json()["label"] for future in accepted] == ["red"] * 3
        assert live.post("/predict", videos["blue"]).json()["label"] == "blue"


def test_a_request_without_an_answer_in_time_is_a_503(videos: dict[str, Path]) -> None:
    backbone = PausedBackbone()
    with running(colour_model(backbone), limits=Limits(timeout=0.3)) as live:
        check_error(live.post("/predict", videos["red"]), 503)
        assert live.uploads == []
        backbone.resume.set()


# -- slow and disconnected clients -------------------------------------------------------------------------------------------


def test_a_slow_upload_is_ended(model: Model) -> None:
    with running(model, limits=Limits(upload_seconds=3.0)) as live, live.connection() as stuck, live.connection() as dripping:
        stuck.sendall(HEAD + PART)
        dripping.sendall(HEAD + PART)
        began, response = time.monotonic(), b""
        dripping.settimeout(0.05)
        while not response and time.monotonic() - began < 10:  # a byte now and then, without a pause and without an end
            dripping.sendall(b"a")
            try:
                response = dripping.recv(4096)
            except TimeoutError:
                continue
        assert b" 408 " in response
        assert 2.5 < time.monotonic() - began < 6
        assert b" 408 " in stuck.recv(4096)
        assert live.uploads == []


def test_a_connection_without_a_request_is_closed(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quickstep.apps.server.uvicorn_server.REQUEST_HEAD_SECONDS", 0.3)
    with running(model) as live, live.connection() as silent, live.connection() as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHos")
        assert silent.recv(10) == b""
        assert slow.recv(10) == b""


def test_a_request_that_is_not_http_is_a_400(live: RunningService) -> None:
    with live.connection() as wire:
        wire.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        response = b"".join(iter(lambda: wire.recv(4096), b""))
    assert response.startswith(b"HTTP/1.1 400 ")
    assert json.loads(response.partition(b"\r\n\r\n")[2]).keys() == {"error", "what_to_do"}


def test_a_client_that_disconnects_while_sending_leaves_no_file(live: RunningService) -> None:
    with live.connection() as wire:
        wire.sendall(HEAD + PART + bytes(2000))
        wait_until(lambda: live.uploads)
    wait_until(lambda: not live.uploads and not live.service.admission.in_progress)


def test_the_job_of_a_disconnected_client_is_not_run(videos: dict[str, Path]) -> None:
    backbone = PausedBackbone()
    with running(colour_model(backbone)) as live, concurrent.futures.ThreadPoolExecutor(2) as clients:
        first = clients.submit(live.post, "/predict", videos["red"])
        assert backbone.started.wait(10)
        with live.client() as impatient, videos["both"].open("rb") as file, pytest.raises(httpx.ReadTimeout):
            impatient.post("/predict", files={"file": file}, timeout=1.0)
        wait_until(lambda: live.service.admission.in_progress == 1)
        assert len(live.uploads) == 1
        backbone.resume.set()
        assert first.result().status_code == 200
        assert live.post("/predict", videos["red"]).status_code == 200
        assert live.metric("quickstep_failures_total", why="left") == 1
    assert backbone.batches == [1, 1]


# -- folders -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def open_folder(tmp_path: Path, videos: dict[str, Path]) -> Path:
    """Make a folder that is open to clients; beside it one that is not, and links that lead there."""
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


def test_paths_inside_the_folder_are_answered_and_others_refused(model: Model, open_folder: Path) -> None:
    refusals: set[str] = set()
    with running(model, ServeConfig(allow_paths=open_folder)) as live, live.client() as client:
        for path in ("in/red.mp4", str(open_folder / "in" / "red.mp4"), "in/../in/./red.mp4"):
            assert client.post("/predict", json={"path": path}).json()["label"] == "red"
        secret = str(open_folder.parent / "secret.mp4")
        for path in ("../secret.mp4", "link.mp4", "../open-too/secret.mp4", "/etc/passwd", "/dev/zero", secret,
                     "in/../../secret.mp4", "../nowhere.mp4"):  # fmt: skip
            refusals.add(check_error(client.post("/predict", json={"path": path}), 403)["error"])
        for path, status in {
            "nowhere.mp4": 404,
            "in": 404,
            "round": 422,
            "in/red.mp4\0": 422,
            "": 422,
            "a" * 9999: 422,
            "list.csv": 422,
        }.items():
            check_error(client.post("/predict", json={"path": path}), status, 404)
        for body in ([], {}, {"path": 3}, {"path": "a", "url": "b"}, {"other": "a"}, "text"):
            check_error(client.post("/predict", json=body), 422)
        for raw in (b"{", b"[" * 20_000, b"\xff\xfe"):
            check_error(client.post("/predict", content=raw, headers={"Content-Type": "application/json"}), 400)
        check_error(client.post("/predict", json={"path": "a" * 100_000}), 413)
    assert len(refusals) == 1  # a client cannot tell which files exist outside the folder
    assert (open_folder / "in" / "red.mp4").exists()


def test_paths_and_urls_need_an_option(live: RunningService, open_folder: Path) -> None:
    with live.client() as client:
        assert (
            "--allow-paths" in check_error(client.post("/predict", json={"path": str(open_folder / "in" / "red.mp4")}), 403)["what_to_do"]
        )
        assert "--allow-urls" in check_error(client.post("/predict", json={"url": f"{live.address}/docs"}), 403)["what_to_do"]


# -- URLs --------------------------------------------------------------------------------------------------------------------


PRIVATE = """
0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1 192.0.2.1 192.168.0.1 198.18.0.1 224.0.0.1 240.0.0.1
255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 fe80::1 fc00::1 fd12::1 ff02::1 64:ff9b::7f00:1 64:ff9b::a00:1 2002:7f00:1::
2002:a00:1:: 2001:db8::1 2001:0:7f00:1::
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_no_spelling_of_a_private_address_is_downloaded(model: Model, videos: dict[str, Path]) -> None:
    with running(model, ServeConfig(allow_urls=True)) as live, live.client() as client:
        port = live.address.rsplit(":", 1)[1]
        spellings = "127.0.0.1 localhost 127.1 2130706433 0x7f000001 0177.0.0.1 [::1] [::ffff:127.0.0.1] 0 0.0.0.0"
        for host in spellings.split():
            error = check_error(client.post("/predict", json={"url": f"http://{host}:{port}/healthz"}), 403, 422)
            assert "ok" not in error["error"]
        for url in ("file:///etc/passwd", "ftp://1.1.1.1/a", "http://", "http://[", "http://a:b@1.1.1.1/", "http://1.1.1.1:99999/", "//x/y",
                    "gopher://1.1.1.1", "http://\u2028/", "http://1.1.1.1/?a\r\nHost: b"):  # fmt: skip
            check_error(client.post("/predict", json={"url": url}), 422)


class OtherSite(http.server.BaseHTTPRequestHandler):
    """A web site with videos, redirects, and responses that never end."""

    files: dict[str, bytes] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        name = self.path.strip("/")
        if name.startswith("to="):
            self.send_response(302)
            self.send_header("Location", name[3:])
            self.end_headers()
        elif name == "endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(bytes(2**16))
        elif name == "slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"a")
                time.sleep(0.1)
        elif name == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
        elif name in self.files:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.files[name])
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def other_site(videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve a site on 127.0.0.1, which these tests allow; 127.0.0.2 and all others stay private."""
    OtherSite.files = {"red.mp4": videos["red"].read_bytes()}
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OtherSite)
    site.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is what is tested
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{site.server_port}"
    site.shutdown()
    thread.join()
    site.server_close()


def is_first_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return str(address) == "127.0.0.1"


def test_a_video_of_another_site_is_downloaded(model: Model, other_site: str) -> None:
    with running(model, ServeConfig(allow_urls=True)) as live, live.client() as client:
        live.service.video_input.downloader = Downloader(live.service.limits, is_first_loopback)
        for url in (f"{other_site}/red.mp4", f"{other_site}/to=/red.mp4", f"{other_site}/to={other_site}/to=/red.mp4"):
            answer = client.post("/predict", json={"url": url}).json()
            assert (answer["label"], answer["video"]) == ("red", url.rsplit("/", 1)[-1])
        port = other_site.rsplit(":", 1)[1]
        for target in (f"http://127.0.0.2:{port}/red.mp4", "http://169.254.169.254/latest/meta-data", f"http://[::1]:{port}/red.mp4"):
            check_error(client.post("/predict", json={"url": f"{other_site}/to={target}"}), 403, 422)
        check_error(client.post("/predict", json={"url": f"{other_site}/to=file:///etc/passwd"}), 422)
        check_error(client.post("/predict", json={"url": f"{other_site}/" + "to=/" * 9 + "red.mp4"}), 422)
        check_error(client.post("/predict", json={"url": f"{other_site}/nothing"}), 422)
        check_error(client.post("/predict", json={"url": f"{other_site}/cut"}), 422)
        assert live.uploads == []


def test_an_endless_or_slow_download_is_ended(other_site: str, tmp_path: Path) -> None:
    with pytest.raises(Problem) as large:
        Downloader(Limits(max_mb=1.0), is_first_loopback).download(f"{other_site}/endless", tmp_path / "a")
    assert large.value.status == 413
    assert (tmp_path / "a").stat().st_size < 1.2e6
    with pytest.raises(Problem) as slow:
        Downloader(Limits(upload_seconds=0.5), is_first_loopback).download(f"{other_site}/slow", tmp_path / "b")
    assert slow.value.status == 408


def test_a_host_name_is_resolved_once(other_site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may have a public address when it is checked and a private one at the next look-up: only the first is used."""
    look_ups: list[str] = []
    real = socket.getaddrinfo

    def changing_look_up(host: str, port: int, *args: object, **options: object) -> object:
        if host != "turning.example":
            return real(host, port, *args, **options)  # type: ignore[arg-type]
        look_ups.append(host)
        return real("127.0.0.1" if len(look_ups) == 1 else "127.0.0.2", port, type=socket.SOCK_STREAM)

    monkeypatch.setattr(socket, "getaddrinfo", changing_look_up)
    port = other_site.rsplit(":", 1)[1]
    assert Downloader(Limits(), is_first_loopback).download(f"http://turning.example:{port}/red.mp4", tmp_path / "a") == len(
        OtherSite.files["red.mp4"]
    )
    assert look_ups == ["turning.example"]


@pytest.mark.parametrize("addresses", [("1.1.1.1", "10.0.0.1"), ("10.0.0.1", "1.1.1.1"), ("2606:4700::1111", "::1")])
def test_a_host_is_refused_if_any_of_its_addresses_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: entries)
    connections: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda *args: connections.append(args))
    with pytest.raises(Problem) as refused:
        Downloader(Limits()).download("http://two-addresses.example/a.mp4", tmp_path / "a.mp4")
    assert refused.value.status == 403
    assert connections == []


def test_limits_are_checked() -> None:
    for wrong in ({"queue": 0}, {"max_mb": 0.0}, {"timeout": float("nan")}, {"decoders": -1}):
        with pytest.raises(ConfigError):
            Limits(**wrong)
    for more in ({"port": 70_000}, {"cors": ("example.org",)}, {"allow_paths": Path("/nowhere/at/all")}):
        with pytest.raises(ConfigError):
            ServeConfig(**more)  # type: ignore[arg-type]
