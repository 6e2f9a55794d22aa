"""Fixtures of a browser and of a running explorer."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import unavailable

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


class Served:
    """A process of ``umekomi explore``."""

    def __init__(self, source: Path, *, port: int = 0, cache: Path, **environment: str) -> None:
        command = [sys.executable, "-m", "umekomi", "explore", str(source), "--no-open", "--json", "--port", str(port)]
        variables = {**os.environ, "UMEKOMI_CACHE": str(cache), **environment}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)
        assert self._process.stdout is not None
        self.url: str = json.loads(self._process.stdout.readline())["url"]
        self.port = int(self.url.split(":")[2].split("/")[0])

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(120)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Chromium, driven by Playwright, if both are installed.

    It is closed after each module, because its event loop runs in this thread and would prevent other tests from starting one.
    """
    chromium = os.environ.get("UMEKOMI_TEST_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        unavailable("there is no Chromium here (Debian: apt-get install chromium)")
    try:
        playwright = importlib.import_module("playwright.sync_api")
    except ModuleNotFoundError:
        unavailable("Playwright is not installed: pip install playwright")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """Open a page in English. Errors, policy violations and requests to other hosts fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB", accept_downloads=True)
    context.set_default_timeout(120_000)  # milliseconds; a busy machine is not an error
    opened = context.new_page()
    errors: list[str] = []
    external_requests: list[str] = []

    def on_console(text: str) -> None:
        if "Content Security Policy" in text:
            errors.append(text)

    def on_request(url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "file:", "blob:", "data:")):
            external_requests.append(url)

    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: on_console(message.text))
    opened.on("request", lambda request: on_request(request.url))
    yield opened
    context.close()
    assert not errors
    assert not external_requests, "the page sent requests to another host"
