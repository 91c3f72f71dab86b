"""Who may use the service: the Host and Origin of requests, tokens with limits, TLS, and the access log."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import stat
import subprocess
from pathlib import Path

import httpx
import pytest
from command_line import call
from jsonschema import Draft202012Validator
from places import ROOT
from served import HEAD, PART, RunningService, check_error, running, wait_until

from quickstep.apps.option_names import translate
from quickstep.apps.request_guard import RequestGuard
from quickstep.apps.server import Limits, ServeConfig, Served, tokens
from quickstep.apps.server.config import TokenLimits
from quickstep.apps.server.service import Service
from quickstep.apps.server.tokens import Allowance, add_token, read_tokens
from quickstep.models.model import Model
from quickstep.types.errors import ConfigError

# -- host and origin --------------------------------------------------------------------------------------------------------


def ask(live: RunningService, method: str = "GET", route: str = "/model", **headers: str) -> httpx.Response:
    with live.client() as client:
        return client.request(method, route, headers={name.replace("_", "-"): value for name, value in headers.items()})


GOOD_HOSTS = "localhost LOCALHOST:80 127.0.0.1:8000 10.1.2.3 [::1]:8000 [fe80::1] a.localhost moves.example.org Moves.Example.org."


@pytest.mark.parametrize("host", GOOD_HOSTS.split())
def test_localhost_addresses_and_named_hosts_are_answered(model: Model, host: str) -> None:
    with running(model, ServeConfig(allowed_hosts=("moves.example.org",))) as live:
        assert ask(live, Host=host).status_code == 200


BAD_HOSTS = """evil.example evil.example:8000 localhost.evil.example 127.0.0.1.evil.example 2130706433 0x7f.1 127.1 user@localhost
localhost/.. evil.example#localhost localhost:port [::1 ."""


@pytest.mark.parametrize("host", [*BAD_HOSTS.split(), "", "localhost, evil.example", "localhost evil.example"])
def test_other_hosts_are_refused_on_every_route(live: RunningService, host: str) -> None:
    for method, route in (("GET", "/model"), ("GET", "/healthz"), ("GET", "/metrics"), ("POST", "/predict"), ("GET", "/nothing")):
        check_error(ask(live, method, route, Host=host), 421)


def test_two_hosts_or_none_are_refused(live: RunningService) -> None:
    for lines in (b"Host: localhost\r\nHost: evil.example\r\n", b""):
        with live.connection() as wire:
            wire.sendall(b"GET /healthz HTTP/1.0\r\n" + lines + b"\r\n")
            assert wire.recv(4096).split()[1] in (b"400", b"421")


FOREIGN = ("https://example.org", "null", "file://", "http://localhost.evil.example", "http://127.0.0.1:1", "https://", "http://[", "x://a")


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_page_of_another_origin_cannot_post(live: RunningService, videos: dict[str, Path], origin: str) -> None:
    check_error(live.post("/predict", videos["red"], headers={"Origin": origin}), 403)
    assert live.uploads == []


def test_the_services_own_pages_and_named_ones_can_post(model: Model, videos: dict[str, Path]) -> None:
    config = ServeConfig(cors=("https://example.org",), allowed_hosts=("moves.example.org",))
    with running(model, config) as live:
        same = {"Host": "moves.example.org", "Origin": "https://moves.example.org"}  # behind a proxy that ends TLS
        for headers in ({"Origin": live.address}, {"Origin": "https://example.org"}, same, {}):
            assert live.post("/predict", videos["red"], headers=headers).status_code == 200, headers
        check_error(live.post("/predict", videos["red"], headers={"Origin": "http://example.org"}), 403)


def test_two_statements_of_the_length_are_refused(live: RunningService) -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    with live.connection() as wire:
        wire.sendall(head + b"0\r\n\r\nGET /model HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: wire.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1  # what follows is not taken for a second request


def test_a_websocket_of_another_host_or_origin_is_closed() -> None:
    sent: list[str] = []

    async def app(_scope: object, _receive: object, _send: object) -> None:
        sent.append("accepted")

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    def connect(host: bytes, origin: bytes) -> str:
        asyncio.run(RequestGuard(app)({"type": "websocket", "headers": [(b"host", host), (b"origin", origin)]}, receive, send))
        return sent[-1]

    for host, origin in (
        (b"evil.example", b"http://evil.example"),
        (b"localhost:8501", b"http://evil.example"),
        (b"localhost:8501", b"null"),
    ):
        assert connect(host, origin) == "websocket.close"
    assert connect(b"localhost:8501", b"http://localhost:8501") == "accepted"


# -- tokens -----------------------------------------------------------------------------------------------------------------


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_each_named_token_and_the_single_one_are_accepted(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    made = [add_token(file, name, TokenLimits()) for name in ("studio", "school")]
    with running(model, ServeConfig(token="single", tokens=file)) as live:
        for token in (*made, "single"):
            assert live.get("/model", headers=bearer(token)).status_code == 200
        for wrong in (made[0][:-1], made[0] + "x", "studio", hashlib.sha256(made[0].encode()).hexdigest(), "x"):
            check_error(live.get("/model", headers=bearer(wrong)), 401)


def test_the_file_holds_no_token_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    token = add_token(file, "studio", TokenLimits(requests_per_minute=7, mb_per_minute=0.5))
    assert token not in file.read_text()
    assert len(token) >= 43  # 256 bits
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_tokens(file) == {"studio": (hashlib.sha256(token.encode()).hexdigest(), TokenLimits(7, 0.5))}
    assert add_token(file, "school", TokenLimits()) != token
    assert list(read_tokens(file)) == ["studio", "school"]
    for name in ("studio", "", "a b", "x" * 65, "[a]", "a.b", "ü"):
        with pytest.raises(ConfigError, match="name"):
            add_token(file, name, TokenLimits())


SHA256 = "0" * 64


@pytest.mark.parametrize(
    "content", ["", "[a", "a = 3", "[a]", '[a]\nsha256 = "abc"', "[a]\nsha256 = 3", f'[a]\nsha256 = "{SHA256}"\nmore = 1',
                f'[a]\nsha256 = "{SHA256}"\nmb_per_minute = 0', f'[a]\nsha256 = "{SHA256}"\nmb_per_minute = "many"',
                f'[a]\nsha256 = "{SHA256}"\nrequests_per_minute = nan', f'[a]\nsha256 = "{SHA256}"\nrequests_per_minute = true',
                f'["a b"]\nsha256 = "{SHA256}"', f'[a]\nsha256 = "{SHA256.replace("0", "A")}"']
)  # fmt: skip
def test_a_file_that_is_not_right_ends_the_start(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokens.toml").write_text(content)
    with pytest.raises(ConfigError, match="tokens"):
        tokens.open_tokens(None, tmp_path / "tokens.toml")


def test_a_token_has_its_own_number_of_requests(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    few, many = add_token(file, "few", TokenLimits(requests_per_minute=3)), add_token(file, "many", TokenLimits())
    with running(model, ServeConfig(tokens=file)) as live:
        assert [live.get("/model", headers=bearer(few)).status_code for _ in range(3)] == [200] * 3
        refused = live.get("/model", headers=bearer(few))
        check_error(refused, 429)
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert live.get("/model", headers=bearer(many)).status_code == 200


def test_a_token_has_its_own_number_of_bytes_stated_or_not(model: Model, videos: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    size = videos["red"].stat().st_size
    token = add_token(file, "small", TokenLimits(mb_per_minute=1.5 * size / 1e6))
    with running(model, ServeConfig(tokens=file)) as live:
        assert live.post("/predict", videos["red"], headers=bearer(token)).status_code == 200
        check_error(live.post("/predict", videos["red"], headers=bearer(token)), 429)
        with live.client() as client:
            form = {"Content-Type": "multipart/form-data; boundary=x", **bearer(token)}
            answer = client.post("/predict", content=iter([PART, videos["red"].read_bytes(), b"\r\n--x--\r\n"]), headers=form)
        check_error(answer, 429)
        assert live.uploads == []


def test_an_allowance_grows_back_and_never_beyond_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(tokens.time, "monotonic", lambda: now)
    allowance = Allowance(60.0)
    assert [allowance.use(30), allowance.use(30)] == [0, 0]
    assert allowance.use(6) == pytest.approx(6)
    now += 6
    assert allowance.use(6) == 0
    now += 3600
    assert [allowance.use(60), allowance.use(1) > 0] == [0, True]


def test_the_command_prints_a_token_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.toml"
    status, out, _ = call(capsys, "token", "studio", "--tokens", file, "--mb-per-minute", "5")
    token = out.strip()
    assert status == 0
    name, (sha256, limits) = read_tokens(file).popitem()
    assert (name, sha256, limits.mb_per_minute) == ("studio", hashlib.sha256(token.encode()).hexdigest(), 5)
    assert token not in file.read_text()


# -- TLS --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that signs itself."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=here -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-out", cert, "-keyout", key], check=True, capture_output=True)
    return cert, key


def test_https(model: Model, videos: dict[str, Path], certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    with running(model, ServeConfig(tls_cert=cert, tls_key=key)) as live:
        assert live.address.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(cert))
        with httpx.Client(base_url=live.address, verify=context, trust_env=False) as client, videos["red"].open("rb") as file:
            assert client.post("/predict", files={"file": file}).json()["label"] == "red"
        with httpx.Client(base_url=live.address.replace("https", "http"), trust_env=False) as plain, pytest.raises(httpx.HTTPError):
            plain.get("/healthz")


def test_a_certificate_that_cannot_be_used_ends_the_start(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = certificate
    (tmp_path / "broken.pem").write_text("no certificate")
    for wrong in ((cert, None), (None, key), (cert, tmp_path / "nowhere"), (tmp_path / "broken.pem", key), (key, key)):
        with pytest.raises(ConfigError, match="tls"):
            ServeConfig(tls_cert=wrong[0], tls_key=wrong[1])


# -- access log -------------------------------------------------------------------------------------------------------------


def test_the_access_log_has_each_request_and_nothing_of_its_content(model: Model, videos: dict[str, Path], tmp_path: Path) -> None:
    log, file = tmp_path / "access.jsonl", tmp_path / "tokens.toml"
    token = add_token(file, "studio", TokenLimits())
    with running(model, ServeConfig(tokens=file, access_log=log)) as live:
        answers = [
            live.post("/predict", videos["red"], name="secret name.mp4", headers=bearer(token)),
            live.get("/search?words=secret", headers=bearer(token)),
            live.get("/secret/path?secret", headers=bearer(token)),
            live.get("/model", headers=bearer("secret")),
            ask(live, Host="secret.example"),
            live.get("/healthz"),
        ]
        wait_until(lambda: len(log.read_text().splitlines()) == len(answers))  # a line is written after its answer
        log.rename(tmp_path / "rotated.jsonl")
        live.get("/healthz")
    schema = json.loads((ROOT / "docs" / "schemas" / "access-log-line.json").read_text())
    records = [json.loads(line) for line in (tmp_path / "rotated.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == [answer.headers["x-request-id"] for answer in answers]
    assert len({record["id"] for record in records}) == len(answers)
    assert [record["status"] for record in records] == [200, 404, 404, 401, 421, 200]
    assert [record["token"] for record in records] == ["studio"] * 3 + [None] * 3
    assert [record["route"] for record in records][:4] == ["/predict", "/search", "none", "none"]
    assert records[0]["received_bytes"] > videos["red"].stat().st_size
    text = (tmp_path / "rotated.jsonl").read_text()
    for word in ("secret", token, hashlib.sha256(token.encode()).hexdigest(), '"red"'):
        assert word not in text
    assert len(log.read_text().splitlines()) == 1
    for record in records:
        Draft202012Validator(schema).validate(record)


def test_the_log_may_go_to_stderr() -> None:
    tokens, notes = translate(["serve", "model", "--access-log", "-", "--port", "0"])
    assert tokens == ["serve", "model", "--access-log=-", "--port", "0"]
    assert notes == []


def test_a_log_that_cannot_be_written_ends_the_start_but_no_request(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="access_log"):
        Service(Served({"colours": model}), ServeConfig(access_log=tmp_path), Limits())
    (tmp_path / "logs").mkdir()
    with running(model, ServeConfig(access_log=tmp_path / "logs" / "a.jsonl")) as live:
        (tmp_path / "logs" / "a.jsonl").unlink()
        (tmp_path / "logs").rmdir()
        assert live.get("/healthz").status_code == 200
