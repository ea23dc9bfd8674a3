"""A real browser without a screen, driven over its debugging protocol, so that conditions are awaited, not guessed."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = Path("/usr/bin/chromium")
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)  # fmt: skip


class Chromium:
    """One page in a browser of its own; use it as ``async with``.

    Args:
        profile: a new folder for the browser's files.
        url: what to open.
        size: of the window in pixels.
    """

    def __init__(self, profile: Path, url: str, size: tuple[int, int] = (1440, 900)) -> None:
        window = f"--window-size={size[0]},{size[1]}"
        self.console: list[str] = []
        self._url = url
        self._command = [str(PROGRAM), *_OPTIONS, window, f"--user-data-dir={profile}", "about:blank"]
        self._port_file = profile / "DevToolsActivePort"
        self._last = 0

    async def __aenter__(self) -> Chromium:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not (self._port_file.is_file() and self._port_file.read_text().count("\n")):
            assert self._process.poll() is None, "the browser ended early"
            assert time.monotonic() < deadline, "the browser did not start in 30 s"
            await asyncio.sleep(0.05)
        port = self._port_file.read_text().split()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json") as answer:
            (page,) = [target for target in await answer.json() if target["type"] == "page"]
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=2**26)
        await self.call("Runtime.enable")
        await self.call("Log.enable")
        await self.call("Page.navigate", url=self._url)
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self._socket.close()
        await self._session.close()
        self._process.terminate()
        self._process.wait(20)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call the debugger; what the page writes to its console meanwhile is kept in `console`."""
        self._last += 1
        await self._socket.send_json({"id": self._last, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=30)
            if message.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
                self.console.append(json.dumps(message["params"])[:600])
            if message.get("id") == self._last:
                assert "error" not in message, message
                return message["result"]

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    async def until(self, expression: str, timeout: float = 20.0) -> Any:
        """Wait until an expression is true; its value."""
        deadline = time.monotonic() + timeout
        while not (value := await self.evaluate(expression)):
            assert time.monotonic() < deadline, f"waited {timeout} s for: {expression}; console: {self.console}"
            await asyncio.sleep(0.1)
        return value

    async def screenshot(self, path: Path) -> None:
        """Write the window as a PNG file."""
        result = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(result["data"]))
