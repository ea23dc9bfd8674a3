"""The viewer's web server, asked as browsers, and things that are no browsers, ask it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from unittest.mock import patch

import numpy as np
import pytest

pytest.importorskip("aiohttp")

from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError
from aiohttp.test_utils import TestClient, TestServer
from densemtl_ros import viewer_server
from densemtl_ros.viewer_access import host_allowed, is_loopback, origin_allowed
from densemtl_ros.viewer_server import ViewerServer
from densemtl_ros.viewer_streams import SHOWN, StreamBoard
from viewer_messages import frame

NAMES = ("/front/perception", "/rear/perception")


class Browser:
    """A page's side of the WebSocket."""

    def __init__(self, stream):
        self.stream = stream

    async def pictures(self, count, drawn=True):
        """The next pictures as (head, JPEG); acknowledged if ``drawn``."""
        found = []
        while len(found) < count:
            message = await self.stream.receive(timeout=5)
            assert message.type in (WSMsgType.BINARY, WSMsgType.TEXT), message
            if message.type is WSMsgType.BINARY:
                (length,) = struct.unpack_from("<I", message.data)
                head = json.loads(message.data[4 : 4 + length])
                found.append((head, message.data[4 + length :]))
                if drawn:
                    await self.stream.send_json({"drawn": head["stream"]})
        return found

    async def pictures_so_far(self):
        """How many pictures were sent and not looked at yet."""
        count = 0
        await self.stream.send_json({"watch": "/nobody"})  # its answer comes after all that was sent before
        while (message := await self.stream.receive(timeout=5)).type is not WSMsgType.CLOSE:
            if message.type is WSMsgType.TEXT and json.loads(message.data)["type"] == "refused":
                return count
            count += message.type is WSMsgType.BINARY
        raise AssertionError("the server closed the connection")

    async def text(self, **wanted):
        """The next message that holds these values."""
        while True:
            message = await self.stream.receive(timeout=5)
            assert message.type in (WSMsgType.BINARY, WSMsgType.TEXT), message
            if message.type is WSMsgType.TEXT:
                content = json.loads(message.data)
                if wanted.items() <= content.items():
                    return content


def put(board, stamp, name=NAMES[0]):
    for stream, message in frame(stamp).items():
        board.camera(name).put(stream, message)


def served(test):
    """Run a coroutine with a client of a server that knows two cameras."""

    @patch.object(viewer_server, "_STATUS_SECONDS", 0.05)
    def run():
        async def main():
            board = StreamBoard()
            for name in NAMES:
                board.add(name)
            server = ViewerServer(board, rate=50.0)
            async with TestClient(TestServer(server.application())) as client:
                await asyncio.wait_for(test(client, board), 8)
            assert server._browsers == set()
            assert board.watched() == set()

        asyncio.run(main())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@served
async def test_the_page_is_one_file_that_loads_nothing_from_elsewhere(client, board):
    answer = await client.get("/")
    page = await answer.text()
    assert answer.status == 200
    assert answer.content_type == "text/html"
    assert re.findall(r"""\b(?:src|href|action|srcset|poster)\s*=\s*["']?([^"'\s>]*)""", page.split("<script>")[0]) == [
        "data:,"
    ]
    assert not re.search(r"https?://|@import|url\(|import\(|fetch\(", page)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert page.count("<script") == policy.count("sha256-") == 1
    assert "http:" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


@served
async def test_a_camera_has_an_address_and_an_unknown_one_is_404(client, board):
    assert (await client.get("/view/front/perception")).status == 200
    for path in ("/view/side/perception", "/view/", "/view", "/view/%3Cscript%3E"):
        answer = await client.get(path)
        assert answer.status == 404, path
        assert answer.content_type == "text/plain"
    assert "cameras found: /front/perception, /rear/perception" in await (await client.get("/view/x")).text()


@pytest.mark.parametrize(
    "path", ["/web/", "/web/viewer.html", "/static", "/../setup.py", "/view/../../etc/passwd", "/.git/config"]
)
def test_no_file_or_folder_is_served(path):
    @served
    async def ask(client, board):
        answer = await client.get(path)
        assert answer.status == 404
        assert "densemtl" not in (await answer.text())

    ask()


@served
async def test_other_methods_are_refused(client, board):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert (await client.request(method, "/")).status == 405


@served
async def test_requests_under_another_name_are_refused(client, board):
    for host in ("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "[", ""):
        for path in ("/", "/stream", "/view/front/perception"):
            assert (await client.get(path, headers={"Host": host})).status == 403, host
    for host in ("localhost", "localhost:8080", "127.0.0.1:1", "[::1]:9000", "LOCALHOST."):
        assert (await client.get("/", headers={"Host": host})).status == 200, host


@served
async def test_pages_of_other_sites_may_not_connect(client, board):
    for origin in ("http://evil.example", "null", "http://localhost:1", "file://", "http://127.0.0.1.evil.example"):
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.ws_connect("/stream", headers={"Origin": origin})
        assert refused.value.status == 403
    async with client.ws_connect("/stream", headers={"Origin": f"http://127.0.0.1:{client.port}"}) as stream:
        await Browser(stream).text(type="hello")


@served
async def test_a_browser_gets_every_stream_and_the_status(client, board):
    board.camera(NAMES[0]).legend.rename({0: "road", 1: "car"})
    board.camera(NAMES[0]).health.add(1, "slow", {"total_ms_p50": "20.5", "dropped": "3"}, 0.0)
    async with client.ws_connect("/stream") as stream:
        browser = Browser(stream)
        hello = await browser.text(type="hello")
        assert hello["depth"]["near"] == 1.0
        assert len(hello["depth"]["colours"]) == 24
        assert (await browser.text(type="status"))["cameras"] == list(NAMES)
        await stream.send_json({"watch": NAMES[0]})
        await browser.text(type="status", camera=NAMES[0])
        assert board.watched() == {NAMES[0]}
        put(board, 1)
        pictures = {head["stream"]: (head, jpeg) for head, jpeg in await browser.pictures(len(SHOWN))}
        assert set(pictures) == set(SHOWN)
        for head, jpeg in pictures.values():
            assert jpeg[:3] == b"\xff\xd8\xff"
            assert (head["camera"], head["width"], head["height"]) == (NAMES[0], 32, 24)
        assert pictures["depth"][0]["near"] == 2.0
        assert pictures["depth"][0]["far"] == 20.0
        status = await browser.text(type="status")
        assert [(row["name"], row["colour"], row["share"]) for row in status["legend"]] == [
            ("road", [128, 64, 128], 0.5), ("car", [0, 0, 142], 0.5)
        ]  # fmt: skip
        assert status["health"]["message"] == "slow"
        assert status["streams"]["depth"]["age"] < 5


@served
async def test_plot_points_are_sent_once(client, board):
    health = board.camera(NAMES[0]).health
    for second in range(3):
        health.add(0, "", {"total_ms_p50": str(second)}, second)
    async with client.ws_connect("/stream") as stream:
        browser = Browser(stream)
        await stream.send_json({"watch": NAMES[0]})
        first = await browser.text(type="status", camera=NAMES[0])
        assert [point["total_ms_p50"] for point in first["points"]] == [0, 1, 2]
        health.add(0, "", {"total_ms_p50": "3"}, 3)
        assert [point["total_ms_p50"] for point in (await browser.text(type="status"))["points"]] == [3]


@served
async def test_without_acknowledgement_nothing_more_is_sent_and_then_only_the_newest(client, board):
    async with client.ws_connect("/stream") as stream:
        browser = Browser(stream)
        await stream.send_json({"watch": NAMES[0]})
        await browser.text(type="status", camera=NAMES[0])
        put(board, 1)
        first = await browser.pictures(len(SHOWN), drawn=False)
        assert {head["stamp"] for head, _ in first} == {1.5}
        for stamp in range(2, 60):
            put(board, stamp)
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)  # ten turns of the painter, in which nothing must come
        assert await browser.pictures_so_far() == 0
        await stream.send_json({"drawn": "depth"})
        ((head, _),) = await browser.pictures(1)
        assert (head["stream"], head["stamp"]) == ("depth", 59.5)


@served
async def test_a_browser_that_is_slow_does_not_slow_another(client, board):
    async with client.ws_connect("/stream") as lazy, client.ws_connect("/stream") as quick:
        for stream in (lazy, quick):
            await stream.send_json({"watch": NAMES[0]})
            await Browser(stream).text(type="status", camera=NAMES[0])
        for stamp in range(1, 6):
            put(board, stamp)
            heads = [head for head, _ in await Browser(quick).pictures(len(SHOWN))]
            assert {head["stamp"] for head in heads} == {stamp + 0.5}
        assert {head["stamp"] for head, _ in await Browser(lazy).pictures(len(SHOWN), drawn=False)} == {1.5}
        assert await Browser(lazy).pictures_so_far() == 0


@served
async def test_a_second_browser_sees_the_last_picture_of_a_camera_that_died(client, board):
    async with client.ws_connect("/stream") as first, client.ws_connect("/stream") as second:
        await first.send_json({"watch": NAMES[0]})
        await Browser(first).text(type="status", camera=NAMES[0])
        put(board, 7)
        await Browser(first).pictures(len(SHOWN))
        await second.send_json({"watch": NAMES[0]})
        assert {head["stamp"] for head, _ in await Browser(second).pictures(len(SHOWN))} == {7.5}


@served
async def test_another_camera_and_none(client, board):
    async with client.ws_connect("/stream") as stream:
        browser = Browser(stream)
        for name in (NAMES[0], NAMES[1], None, NAMES[0]):
            await stream.send_json({"watch": name})
            status = await browser.text(type="status", camera=name)
            assert board.watched() == ({name} if name else set())
            assert ("streams" in status) == bool(name)
        put(board, 3, NAMES[1])  # a camera that nobody looks at
        put(board, 4, NAMES[0])
        assert {head["camera"] for head, _ in await browser.pictures(len(SHOWN))} == {NAMES[0]}


@served
async def test_the_pointer_reads_class_and_metres(client, board):
    board.camera(NAMES[0]).legend.rename({0: "road", 1: "car"})
    async with client.ws_connect("/stream") as stream:
        browser = Browser(stream)
        await stream.send_json({"point": [0.5, 0.5]})
        assert (await browser.text(type="refused"))["reason"] == "no camera is watched"
        await stream.send_json({"watch": NAMES[0]})
        await browser.text(type="status", camera=NAMES[0])
        await stream.send_json({"point": [0.5, 0.5]})
        assert (await browser.text(type="point")).items() >= {"depth": None, "class": None}.items()
        messages = frame()
        values = np.frombuffer(messages["depth"].data, np.float32).reshape(24, 32)
        values[0, 0], values[0, 31] = np.nan, np.inf
        for name, message in messages.items():
            board.camera(NAMES[0]).put(name, message)
        await browser.pictures(len(SHOWN))
        for point, depth, kind in (
            ([0, 0], None, "road"),
            ([1, 0], "beyond range", "car"),
            ([0.49, 0.49], 2.0, "road"),
            ([1.0, 1.0], 20.0, "car"),
        ):
            await stream.send_json({"point": point})
            assert await browser.text(type="point") == {"type": "point", "point": point, "depth": depth, "class": kind}


GARBAGE = [
    "", "{", "[]", "7", "null", '{"watch": 7}', '{"watch": "/nobody"}', '{"watch": ["/front/perception"]}', "{}",
    '{"point": 1}', '{"point": [0.5]}', '{"point": [0, 2]}', '{"point": [NaN, 0]}', '{"point": [true, "0"]}',
    '{"drawn": "x"}', '{"drawn": {}}', '{"drawn": ["depth"]}', '{"watch": {"a": 1}}', "[" * 4000, "\0\ufffd\U0001f600",
    "NaN",
]  # fmt: skip


@served
async def test_garbage_is_refused_and_harms_nothing(client, board):
    async with client.ws_connect("/stream") as stream:
        browser = Browser(stream)
        for text in GARBAGE:
            await stream.send_str(text)
            assert (await browser.text(type="refused"))["reason"], text
        await stream.send_bytes(b"\x00\xff" * 100)
        await browser.text(type="refused")
        await stream.send_json({"watch": NAMES[0]})
        await browser.text(type="status", camera=NAMES[0])
        put(board, 1)
        assert len(await browser.pictures(len(SHOWN))) == len(SHOWN)


@served
async def test_a_message_that_is_too_long_ends_that_connection_only(client, board):
    async with client.ws_connect("/stream") as stream, client.ws_connect("/stream") as other:
        await stream.send_str("x" * 100_000)
        while not stream.closed:
            await stream.receive(timeout=5)
        assert stream.close_code == 1009
        await Browser(other).text(type="hello")


@served
async def test_bytes_that_are_no_http_harm_nothing(client, board):
    for raw in (
        b"\x00" * 200,
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(raw)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert (await client.get("/")).status == 200


@served
async def test_browsers_are_limited(client, board):
    streams = [await client.ws_connect("/stream") for _ in range(viewer_server.MOST_BROWSERS)]
    with pytest.raises(WSServerHandshakeError) as refused:
        await client.ws_connect("/stream")
    assert refused.value.status == 503
    await streams.pop().close()
    async with client.ws_connect("/stream") as stream:
        await Browser(stream).text(type="hello")
    for stream in streams:
        await stream.close()


@served
async def test_a_browser_that_vanishes_is_forgotten(client, board):
    stream = await client.ws_connect("/stream")
    await stream.send_json({"watch": NAMES[0]})
    await Browser(stream).text(type="status", camera=NAMES[0])
    stream._conn.transport.abort()  # no goodbye
    while board.watched():
        await asyncio.sleep(0.01)
    put(board, 1)


def test_in_a_thread_of_its_own_it_listens_on_this_computer_and_ends_with_browsers_connected():
    board = StreamBoard()
    server = ViewerServer(board)
    port = server.start()
    try:
        with pytest.raises(OSError, match=r"in use|in Benutzung"):
            ViewerServer(board, port=port).start()
        with socket.create_connection(("127.0.0.1", port), 5) as idle:
            idle.sendall(
                b"GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            assert idle.recv(200).startswith(b"HTTP/1.1 101")
            server.stop()
            assert not server._thread.is_alive()
    finally:
        server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


def test_a_painter_that_fails_ends_the_server_and_is_told():
    board = StreamBoard()
    camera = board.add(NAMES[0])

    def fail(stream):
        raise ArithmeticError(stream)

    camera.paint = fail

    async def look(port):
        async with ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{port}/stream") as stream:
            await stream.send_json({"watch": NAMES[0]})
            while not stream.closed:
                await stream.receive(timeout=5)
            return stream.close_code

    server = ViewerServer(board)
    try:
        assert asyncio.run(look(server.start())) == 1001
        server._thread.join(5)
        assert not server._thread.is_alive()
    finally:
        server.stop()
    assert isinstance(server.failure, ArithmeticError)


@pytest.mark.parametrize(
    ("header", "bound", "local", "allowed"),
    [
        ("localhost:80", "127.0.0.1", "127.0.0.1", True),
        ("192.168.1.5:80", "0.0.0.0", "192.168.1.5", True),
        ("192.168.1.6:80", "0.0.0.0", "192.168.1.5", False),
        ("robot.local:80", "robot.local", "192.168.1.5", True),
        ("robot.local:80", "0.0.0.0", "192.168.1.5", False),
        ("[fe80::1]:80", "::", "fe80::1%eth0", True),
        ("192.168.1.5", "::", "::ffff:192.168.1.5", True),
        (None, "127.0.0.1", "127.0.0.1", False),
        ("[::1", "127.0.0.1", None, False),
    ],
)
def test_names_of_this_server(header, bound, local, allowed):
    assert host_allowed(header, bound, local) is allowed


def test_origins():
    assert origin_allowed(None, "localhost:1")
    assert origin_allowed("http://LOCALHOST:1", "localhost:1")
    assert not origin_allowed("ftp://localhost:1", "localhost:1")
    assert not origin_allowed("", "")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.5", False), ("robot.local", False), ("", False)],
)  # fmt: skip
def test_hosts_that_only_this_computer_hears(host, loopback):
    assert is_loopback(host) is loopback
