"""The pages of the service: / says what it is, and on /docs a person tries a request; nothing is loaded from another machine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from served import RunningService, running

from quickstep.apps.server import ServeConfig
from quickstep.models.model import Model


class Forms(HTMLParser):
    """The fields of each form of a page, and every address that the page loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, set[str]] = {}
        self.loaded: list[str] = []
        self._form = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "form":
            self._form = f"{given.get('data-method')} {given.get('data-path')}"
        if tag in ("input", "select") and "name" in given:
            self.fields.setdefault(self._form, set()).add(given["name"])
        self.loaded += [given[name] for name in ("src", "href", "srcset", "action") if name in given and tag != "a"]


def test_the_page_has_a_form_for_each_request_and_a_field_for_each_parameter(live: RunningService) -> None:
    described, forms = live.get("/openapi.json").json(), Forms(live.get("/docs").text)
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            expected = {parameter["name"] for parameter in route.get("parameters", [])} | ({"file"} if "requestBody" in route else set())
            assert forms.fields.get(f"{method.upper()} {path}", set()) == expected


@pytest.mark.parametrize("route", ["/", "/docs"])
def test_a_page_may_load_nothing_from_elsewhere(live: RunningService, route: str) -> None:
    answer = live.get(route, headers={"Accept": "text/html"})
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    nonces = set(re.findall(r'nonce="([^"]+)"', answer.text))
    assert len(nonces) == 1
    assert policy["style-src"] == policy["script-src"] == f"'nonce-{nonces.pop()}'"
    assert Forms(answer.text).loaded == []
    again = live.get(route, headers={"Accept": "text/html"})
    assert again.headers["content-security-policy"] != answer.headers["content-security-policy"]


def test_the_root_says_what_this_is_in_text_and_in_html(live: RunningService) -> None:
    text, page = live.get("/"), live.get("/", headers={"Accept": "text/html,*/*"})
    assert text.headers["content-type"].startswith("text/plain")
    assert page.headers["content-type"].startswith("text/html")
    for answer in (text, page):
        assert answer.status_code == 200
        assert "recognizes moves in video" in answer.text
        assert f"{live.address}/predict" in answer.text
    assert live.get("/docs").status_code == 200


@pytest.fixture
def page() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    with pytest.importorskip("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()


@pytest.mark.browser
def test_a_person_sends_a_video_from_the_page_and_reads_the_answer(page: Any, model: Model, videos: dict[str, Path]) -> None:
    complaints, addresses = list[str](), set[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda problem: complaints.append(str(problem)))
    page.on("request", lambda request: addresses.add(urlsplit(request.url).netloc))
    with running(model, ServeConfig(token="word")) as live:
        page.goto(f"{live.address}/")
        page.get_by_role("link").click()
        predict = page.locator("details").filter(has=page.locator('form[data-path="/predict"]')).first
        predict.locator("input[type=file]").set_input_files(str(videos["green"]))
        predict.locator("[name=top]").fill("2")
        predict.get_by_role("button", name="Send").click()
        predict.locator(".answer").get_by_text("the token is missing or wrong").wait_for()
        assert complaints == ["Failed to load resource: the server responded with a status of 401 (Unauthorized)"]
        page.get_by_label("token").fill("word")
        predict.get_by_role("button", name="Send").click()
        predict.locator(".answer").get_by_text('"label": "green"').wait_for()
        assert predict.locator(".status").inner_text().startswith("200")
        command = predict.locator(".command").inner_text()
        assert command.endswith(f"-F 'file=@green.mp4' '{live.address}/predict?top=2'")
        assert "word" not in command
        assert len(complaints) == 1
        assert addresses == {urlsplit(live.address).netloc}
