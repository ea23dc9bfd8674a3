"""The page's side of the viewer's WebSocket, in a thread, so that a test can spin ROS meanwhile."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections import defaultdict
from typing import Any

import aiohttp


class Browser:
    """Connects, watches a camera, and acknowledges every picture.

    Args:
        port: of the viewer on this computer.
        camera: name of the perception node to look at.

    Attributes:
        pictures: stream to (head, JPEG) of all its pictures.
        statuses: every status, oldest first.
        closed: whether the server has said goodbye.
    """

    def __init__(self, port: int, camera: str | None) -> None:
        self.pictures: dict[str, list[tuple[dict[str, Any], bytes]]] = defaultdict(list)
        self.statuses: list[dict[str, Any]] = []
        self.closed = threading.Event()
        self._url = f"http://127.0.0.1:{port}/stream"
        self._camera = camera
        self._loop = asyncio.new_event_loop()
        self._leave = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Disconnect."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(10)
        self._loop.close()

    @property
    def status(self) -> dict[str, Any]:
        """The newest status of the camera; empty before the first."""
        return next((status for status in reversed(self.statuses) if "streams" in status), {})

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(self._url) as stream:
            leave = asyncio.create_task(self._leave.wait())
            listen = asyncio.create_task(self._listen(stream))
            await asyncio.wait((leave, listen), return_when=asyncio.FIRST_COMPLETED)
            for task in (leave, listen):
                task.cancel()

    async def _listen(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        watching = None
        async for message in stream:
            if message.type is aiohttp.WSMsgType.BINARY:
                (length,) = struct.unpack_from("<I", message.data)
                head = json.loads(message.data[4 : 4 + length])
                self.pictures[head["stream"]].append((head, message.data[4 + length :]))
                await stream.send_json({"drawn": head["stream"]})
                continue
            content = json.loads(message.data)
            if content["type"] != "status":
                continue
            self.statuses.append(content)
            if self._camera in content["cameras"] and watching is None:
                watching = self._camera
                await stream.send_json({"watch": watching})
        self.closed.set()
