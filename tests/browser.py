"""A headless browser for the tests of pages; where none can be had they are skipped, and say so."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # a moving test picture
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an ASGI application on a free port of this machine; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium; skips the test, naming the reason, if there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser tests")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    with playwright.sync_playwright() as tools:
        try:
            chromium = tools.chromium.launch(executable_path=path, args=["--no-sandbox", *CAMERA])
        except playwright.Error as error:
            pytest.skip(f"no Chromium: install one, or do `playwright install chromium` ({str(error).splitlines()[0]})")
        try:
            yield chromium
        finally:
            chromium.close()
