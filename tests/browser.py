"""A Chromium that is there, or is fetched where this machine allows it, driven by Playwright."""

import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from typing import Final

from playwright.async_api import Browser, async_playwright

from fetching import alone

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_INSTALL: Final = (("apt-get", "update", "-q"), ("apt-get", "install", "-y", "-q", "chromium"))
_FETCH_S: Final = 400


@cache
def chromium() -> str:
    """The path of a Chromium.

    Raises:
        RuntimeError: there is none, and it cannot be installed; the message says what to do.
    """
    with alone():
        found = next(filter(None, map(shutil.which, _NAMES)), None)
        if found is None and os.name == "posix" and os.geteuid() == 0 and shutil.which("apt-get"):
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for command in _INSTALL:
                subprocess.run(command, env=env, timeout=_FETCH_S, check=False, capture_output=True)
            found = shutil.which("chromium")
    if found is None:
        names = ", ".join(_NAMES)
        raise RuntimeError(f"no browser ({names}): install one, as with apt-get install chromium")
    return found


@asynccontextmanager
async def browser() -> AsyncGenerator[Browser]:
    """A headless browser, until the end of the block."""
    async with async_playwright() as playwright:
        # Its sandbox needs rights that a container does not have; it shows our own pages only.
        started = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield started
        finally:
            await started.close()
