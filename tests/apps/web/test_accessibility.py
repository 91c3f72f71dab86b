"""Every page passes axe (WCAG 2 A and AA: contrast, names, roles), and works by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.apps.web.conftest import PATIENCE, Stage
from tests.apps.web.test_app_in_a_browser import wait_until_idle

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400 * PATIENCE // 60_000)]

PAGES = ["", "live", "library", "review", "teach", "report"]
AA = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}


def violations(tab: Any) -> list[str]:
    """Return what axe finds, a line for each element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(tab, options=AA).response["violations"]
    return [
        f"{rule['id']}: {node['target']} {node['html'][:160]} {node['failureSummary'][-160:]}" for rule in found for node in rule["nodes"]
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing(visit: Callable[..., Any], page: str, dark: bool) -> None:
    tab = visit(page, dark=dark)
    wait_until_idle(tab)
    assert violations(tab) == []


def test_a_video_is_predicted_with_the_keyboard_alone(visit: Callable[..., Any], stage: Stage) -> None:
    tab = visit()
    wait_until_idle(tab)
    seen = []
    for _ in range(40):
        tab.keyboard.press("Tab")
        seen.append(tab.evaluate("() => document.activeElement.tagName + ' ' + document.activeElement.innerText.slice(0, 40)"))
        if seen[-1].startswith("BUTTON") and "Predict" in seen[-1]:
            break
    else:
        pytest.fail(f"the button is not reached: {seen}")
    tab.keyboard.press("Enter")
    tab.locator(".qs-answer b").wait_for()
    wait_until_idle(tab)
    assert violations(tab) == []  # the answer, the bars and the parts that decided, too
