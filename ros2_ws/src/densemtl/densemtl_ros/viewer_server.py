"""The web server of the viewer: one page, one WebSocket a browser. Knows nothing of ROS.

A browser says which camera it shows and acknowledges every picture once it is drawn; the next one of that stream is
sent only then, and is the newest there is. So at most one picture a stream is on its way, also through a slow tunnel.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from densemtl_core import render
from densemtl_ros.viewer_access import host_allowed, origin_allowed
from densemtl_ros.viewer_streams import SHOWN, StreamBoard

__all__ = ["MOST_BROWSERS", "ViewerServer"]

MOST_BROWSERS = 16
_LONGEST_REQUEST = 4096
"""Bytes of one message from a browser; the longest real one names a camera."""
_STATUS_SECONDS = 1.0
_LEAVE_SECONDS = 2.0


class _Browser:
    """One connected page.

    Attributes:
        camera: which one it shows; None = none, as while its tab is hidden.
        sent: stream to the number of the newest picture sent.
        on_the_way: streams whose picture is not acknowledged yet.
        points: number of the newest plot point sent.
        status_due: whether it is time to tell how the camera is.
    """

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.camera: str | None = None
        self.sent: dict[str, int] = {}
        self.on_the_way: set[str] = set()
        self.points = 0
        self.status_due = False
        self.wake = asyncio.Event()

    def show(self, camera: str | None) -> None:
        """Turn to another camera. What is on its way still is: its acknowledgement will come."""
        self.camera = camera
        self.sent.clear()
        self.points = 0
        self.status_due = True
        self.wake.set()


class ViewerServer:
    """Serves the page.

    Args:
        board: cameras and their newest frames.
        host: where to listen, a name or an address.
        port: 0 = any free one.
        rate: most pictures a second of each stream.

    Attributes:
        failure: what ended the server although nobody stopped it; None while it is well.
    """

    def __init__(self, board: StreamBoard, host: str = "127.0.0.1", port: int = 0, rate: float = 10.0) -> None:
        self.failure: BaseException | None = None
        self._board = board
        self._host, self._port = host, port
        self._interval = 1.0 / rate
        self._browsers: set[_Browser] = set()
        self._page = files("densemtl_ros").joinpath("web", "viewer.html").read_bytes()
        self._headers = _safe_headers(self._page.decode())
        # One thread: painting never takes more than one processor from the robot.
        self._painter = ThreadPoolExecutor(1, "viewer_painter")
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    # Life in a thread of its own -------------------------------------------------------------------------------------

    def start(self) -> int:
        """Listen, in a thread of its own.

        Returns:
            The port.

        Raises:
            OSError: it cannot listen there.
        """
        started: list[int | BaseException] = []
        ready = threading.Event()

        def run() -> None:
            try:
                asyncio.run(self._serve(lambda port: (started.append(port), ready.set())))
            except BaseException as error:
                started.append(error)
                ready.set()

        self._thread = threading.Thread(target=run, name="viewer_server", daemon=True)
        self._thread.start()
        ready.wait()
        if isinstance(started[0], BaseException):
            raise started[0]
        return started[0]

    def stop(self) -> None:
        """Say goodbye to every browser and end the thread."""
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(4 * _LEAVE_SECONDS)
        self._painter.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, started: Any) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=_LEAVE_SECONDS)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
            started(runner.addresses[0][1])
            await self._stop.wait()
        finally:
            await runner.cleanup()

    # Requests --------------------------------------------------------------------------------------------------------

    def application(self) -> web.Application:
        """The application: ``/``, ``/view/NAME`` and the WebSocket ``/stream``."""
        application = web.Application(middlewares=[self._guard], client_max_size=_LONGEST_REQUEST)
        application.router.add_get("/", self._send_page)
        application.router.add_get("/view{camera:/.+}", self._send_page)
        application.router.add_get("/stream", self._stream)
        application.cleanup_ctx.append(self._background)
        application.on_shutdown.append(self._say_goodbye)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        local = request.transport.get_extra_info("sockname") if request.transport else None
        host = request.headers.get("Host")
        if not host_allowed(host, self._host, local[0] if local else None):
            return self._refuse(403, "this server is not known under that name; use localhost or its address")
        if not origin_allowed(request.headers.get("Origin"), host):
            return self._refuse(403, "pages of other sites may not look through this camera")
        try:
            response = await handler(request)
        except web.HTTPException as error:
            return self._refuse(error.status, error.reason)
        if not response.prepared:
            response.headers.update(self._headers)
        return response

    def _refuse(self, status: int, reason: str) -> web.Response:
        return web.Response(status=status, text=f"{status}: {reason}\n", headers=self._headers)

    async def _send_page(self, request: web.Request) -> web.Response:
        name = request.match_info.get("camera")
        if name is not None and self._board.camera(name) is None:
            known = ", ".join(self._board.names()) or "none yet"
            return self._refuse(404, f"no camera {name[:200]!r}; cameras found: {known}")
        return web.Response(body=self._page, content_type="text/html", charset="utf-8")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if len(self._browsers) >= MOST_BROWSERS:
            return self._refuse(503, f"{MOST_BROWSERS} browsers are connected already")
        # Compressing JPEG again would cost time and win nothing. The heartbeat finds browsers that vanished.
        socket = web.WebSocketResponse(
            heartbeat=10.0, max_msg_size=_LONGEST_REQUEST, compress=False, timeout=_LEAVE_SECONDS
        )
        await socket.prepare(request)
        browser = _Browser(socket)
        self._browsers.add(browser)
        sender = asyncio.create_task(self._send(browser))
        try:
            await socket.send_str(_json({"type": "hello", **self._hello()}))
            async for message in socket:
                answer = self._listen(browser, message)
                if answer:
                    await socket.send_str(_json(answer))
        except ConnectionError:
            pass  # the browser is gone
        finally:
            self._browsers.discard(browser)
            if browser.camera is not None:
                self._board.unwatch(browser.camera)
            sender.cancel()
        return socket

    def _hello(self) -> dict[str, Any]:
        look = self._board.look
        near, far = look.depth_near, look.depth_far
        ramp = np.geomspace(near, far, 24, dtype=np.float32)[None]
        colours = render.depth(ramp, near=near, far=far)[0].tolist()
        return {"depth": {"near": near, "far": far, "colours": colours}}

    def _listen(self, browser: _Browser, message: Any) -> dict[str, Any] | None:
        """Obey one message of a browser.

        Returns:
            The answer: what is at a point; or why not, when the message makes no sense.
        """
        try:
            content = json.loads(message.data) if message.type is WSMsgType.TEXT else None
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            return _refused("not a JSON object")
        if "drawn" in content:
            stream = content["drawn"]
            if stream not in SHOWN:
                return _refused("no such stream")
            browser.on_the_way.discard(stream)
            browser.wake.set()
            return None
        if "point" in content:
            return self._read(browser, content["point"])
        if "watch" not in content:
            return _refused("none of watch, drawn and point")
        name = content["watch"]
        if name is not None and (not isinstance(name, str) or self._board.camera(name) is None):
            return _refused("no such camera")
        if name != browser.camera:
            before = browser.camera
            browser.show(name)
            if name is not None:
                self._board.watch(name)
            if before is not None:
                self._board.unwatch(before)
        return None

    def _read(self, browser: _Browser, point: Any) -> dict[str, Any]:
        """What the browser's camera shows at a point, given as shares of width and height."""
        numbers = isinstance(point, list) and len(point) == 2 and all(type(v) in (int, float) for v in point)
        if not numbers or not all(0 <= v <= 1 for v in point):  # NaN fails the comparison
            return _refused("a point is two numbers from 0 to 1")
        camera = self._board.camera(browser.camera) if browser.camera else None
        if camera is None:
            return _refused("no camera is watched")
        return {"type": "point", "point": point, **camera.read(*point)}

    # Pictures --------------------------------------------------------------------------------------------------------

    async def _background(self, application: web.Application) -> Any:
        tasks = [asyncio.create_task(self._paint()), asyncio.create_task(self._ask_for_status())]
        for task in tasks:
            task.add_done_callback(self._background_ended)
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        """End the server when one of its tasks failed: a page that stands still without a word would be worse."""
        if not task.cancelled():
            self.failure = task.exception()
            if self._stop is not None:
                self._stop.set()

    async def _say_goodbye(self, application: web.Application) -> None:
        closing = [browser.socket.close(code=1001, message=b"the viewer ends") for browser in self._browsers]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), _LEAVE_SECONDS)

    async def _paint(self) -> None:
        """At the rate of the viewer, paint what some browser can take now."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            for name in self._board.watched():
                camera = self._board.camera(name)
                audience = [browser for browser in self._browsers if browser.camera == name]
                for stream in SHOWN:
                    free = [browser for browser in audience if stream not in browser.on_the_way]
                    if camera and free and await loop.run_in_executor(self._painter, camera.paint, stream):
                        for browser in free:
                            browser.wake.set()
            await asyncio.sleep(max(0.01, began + self._interval - loop.time()))

    async def _ask_for_status(self) -> None:
        while True:
            for browser in self._browsers:
                browser.status_due = True
                browser.wake.set()
            await asyncio.sleep(_STATUS_SECONDS)

    async def _send(self, browser: _Browser) -> None:
        """Send one browser what is due. While it takes nothing this waits, and nothing piles up."""
        with contextlib.suppress(ConnectionError):
            while True:
                await browser.wake.wait()
                browser.wake.clear()
                if browser.status_due:
                    browser.status_due = False
                    await browser.socket.send_str(_json(self._status(browser)))
                for stream in SHOWN:
                    await self._send_picture(browser, stream)

    async def _send_picture(self, browser: _Browser, stream: str) -> None:
        """Send a stream's newest picture if the last one was drawn."""
        camera = self._board.camera(browser.camera) if browser.camera else None
        found = camera.picture(stream) if camera else None
        if camera is None or found is None or stream in browser.on_the_way or browser.sent.get(stream) == found[0]:
            return
        browser.sent[stream] = found[0]
        browser.on_the_way.add(stream)
        head = _json({"stream": stream, "camera": camera.name, **found[1].facts}).encode()
        await browser.socket.send_bytes(struct.pack("<I", len(head)) + head + found[1].jpeg)

    def _status(self, browser: _Browser) -> dict[str, Any]:
        status: dict[str, Any] = {"type": "status", "cameras": self._board.names(), "camera": browser.camera}
        camera = self._board.camera(browser.camera) if browser.camera else None
        if camera is not None:
            points = camera.health.points_after(browser.points)
            browser.points = points[-1]["n"] if points else browser.points
            status |= {**camera.status(), "points": points}
        return status


def _refused(reason: str) -> dict[str, Any]:
    return {"type": "refused", "reason": reason}


def _json(content: Any) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def _safe_headers(page: str) -> dict[str, str]:
    """Headers with which a browser runs the page's own script and loads nothing from anywhere else."""
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
        "Server": "densemtl viewer",
    }
