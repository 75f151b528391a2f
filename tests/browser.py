"""A real browser: the system's Chromium, driven by Playwright. Where it is missing, tests say so and are skipped.

HUB_REQUIRE_BROWSER=1 makes them fail instead. No other browser is downloaded.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).resolve().parents[1] / ".tools" / "portal" / "node_modules" / "axe-core" / "axe.min.js"
STATIC = Path(__file__).resolve().parents[1] / "hub" / "web" / "static" / "built"
PHONE, DESKTOP = (390, 844), (1280, 900)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def needs_browser() -> None:
    """Skip, or fail where HUB_REQUIRE_BROWSER is set, when the browser or what the pages are dressed in is missing."""
    missing = [
        said
        for path, said in (
            (CHROMIUM, "Chromium is not here: apt-get install chromium fonts-noto-core fonts-noto-cjk"),
            (AXE, "axe-core is not here: make assets"),
            (STATIC, "the style sheets are not built: make assets"),
        )
        if not path.exists()
    ]
    if missing and os.environ.get("HUB_REQUIRE_BROWSER") == "1":
        pytest.fail("; ".join(missing))
    if missing:
        pytest.skip("; ".join(missing))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser, without a window."""
    with sync_playwright() as playwright:
        # Its own sandbox needs rights that a container's root does not have; it opens pages of ours on loopback only.
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def faults(page: Page) -> list[str]:
    """Return what axe finds on the page as it is shown: rule, and where."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']})", RULES
    )
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
