"""The viewer against real perception nodes over real DDS; once in a real browser."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import threading

import cv2
import numpy as np
import pytest

pytest.importorskip("aiohttp")

from browser import Browser
from camera_rig import RELIABLE, picture, read_until
from densemtl_ros.viewer import ViewerNode
from densemtl_ros.viewer_pictures import TOPICS
from densemtl_ros.viewer_server import ViewerServer
from densemtl_ros.viewer_streams import SHOWN
from fake_predictor import CLASS_NAMES, PALETTE
from headless_chromium import PROGRAM, Chromium
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from test_cameras import Cameras

CAMERA = "/robot/perception"


class Viewer:
    """The viewer in this process, with a thread for its executor, as in a process of its own."""

    def __init__(self, context, **parameters):
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = ViewerNode(context=context, parameter_overrides=overrides)
        self.server = ViewerServer(self.node.board, rate=30.0)
        self.port = self.server.start()
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self.browsers = []

    def _spin(self):
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def browse(self, camera=CAMERA):
        self.browsers.append(Browser(self.port, camera))
        return self.browsers[-1]

    def close(self):
        for browser in self.browsers:
            browser.close()
        self.server.stop()
        self._stop.set()
        self._thread.join(10)
        self._executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()


@pytest.fixture
def start_viewer():
    viewers = []

    def start(*args, **parameters):
        viewers.append(Viewer(*args, **parameters))
        return viewers[-1]

    yield start
    for viewer in viewers:
        viewer.close()


@pytest.fixture
def watched(start_rig, start_viewer):
    """An active node, a camera at 20 Hz, a viewer and a browser that looks at it."""
    rig = start_rig()
    viewer = start_viewer(rig.context)
    rig.activate()
    browser = viewer.browse()
    rig.until(lambda: rig.tester.count_subscribers(f"{CAMERA}/depth/image"), "the viewer subscribes")
    film(rig)
    yield rig, viewer, browser
    for it in viewer.browsers:
        it.close()  # before the nodes, so that nobody subscribes while they go


def film(rig):
    """Publish a frame of a moving picture 20 times a second while the rig waits for something."""
    state = {"seed": 0}

    def shoot():
        state["seed"] += 1
        rig.camera.publish(rig.message(picture(seed=state["seed"] % 8)))

    return rig.tester.create_timer(0.05, shoot)


def all_shown(browser):
    def f():
        import time

        if time.monotonic() - t0 > 10:
            print(
                {s: len(browser.pictures[s]) for s in SHOWN},
                browser.status.get("streams"),
                browser.statuses[-1].get("health"),
            )
        return all(browser.pictures[stream] for stream in SHOWN)

    import time

    t0 = time.monotonic()
    return f


def listeners(rig):
    topics = [f"{CAMERA}/{topic}" for topic in TOPICS.values()]
    return [rig.tester.count_subscribers(topic) for topic in topics]


def test_a_browser_sees_what_the_node_sees_and_says(watched):
    rig, _, browser = watched
    rig.until(all_shown(browser), "a picture of every stream")
    for stream in SHOWN:
        head, jpeg = browser.pictures[stream][-1]
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (48, 64, 3), stream
        assert (head["camera"], head["width"], head["height"]) == (CAMERA, 64, 48)
        assert stream == "normals" or np.ptp(image) > 100, stream  # the fake's normals are all one colour
    head, _ = browser.pictures["depth"][-1]
    assert 1.0 < head["near"] < head["median"] < head["far"] <= 26.5
    wanted = len(CLASS_NAMES)
    rig.until(lambda: len([r for r in browser.status["legend"] if r["colour"]]) == wanted, "all colours were seen")
    rows = browser.status["legend"]
    assert [row["name"] for row in rows] == list(CLASS_NAMES)
    assert [tuple(row["colour"]) for row in rows] == list(PALETTE)
    assert browser.status["streams"]["camera"]["topic"] == "/robot/image"
    rig.until(lambda: browser.status["health"]["values"].get("total_ms_p50"), "diagnostics reach the page")
    assert browser.status["health"]["level"] == 0


def test_images_are_subscribed_to_only_while_a_browser_looks(start_rig, start_viewer):
    rig = start_rig()
    viewer = start_viewer(rig.context)
    rig.activate()
    rig.until(lambda: viewer.node.board.names() == [CAMERA], "the viewer finds the node")
    timer = film(rig)
    rig.until(lambda: rig.count("unwanted") > 3, "frames are not computed for an unwatched viewer")
    assert rig.predictor.asked == []
    assert listeners(rig) == [0] * len(TOPICS)
    assert rig.tester.count_subscribers("/robot/image") == 1, "only the perception node"
    first, second = viewer.browse(), viewer.browse()
    rig.until(lambda: all_shown(first)() and all_shown(second)(), "both see it")
    assert listeners(rig) == [1] * len(TOPICS), "one subscription serves both"
    first.close()
    before = len(second.pictures["depth"])
    rig.until(lambda: len(second.pictures["depth"]) > before + 2, "the other one goes on")
    second.close()
    rig.until(lambda: listeners(rig) == [0] * len(TOPICS), "nobody looks")
    rig.until(lambda: rig.tester.count_subscribers("/robot/image") == 1, "the camera's image is given up too")
    timer.cancel()


def test_the_page_learns_that_the_camera_died_and_came_back(watched):
    rig, _, browser = watched
    rig.until(all_shown(browser), "a picture of every stream")
    timers = list(rig.tester.timers)
    for timer in timers:
        timer.cancel()
    rig.until(lambda: all((browser.status["streams"][s]["age"] or 0) > 1.5 for s in SHOWN), "the ages grow")
    shown = {stream: len(browser.pictures[stream]) for stream in SHOWN}
    for timer in timers:
        timer.reset()
    rig.until(lambda: all(len(browser.pictures[s]) > shown[s] for s in SHOWN), "it goes on by itself")


def test_a_node_that_is_started_again_is_seen_again(watched):
    rig, _, browser = watched
    rig.until(all_shown(browser), "a picture of every stream")
    for label in ("deactivate", "cleanup"):
        assert rig.transition(label)
    rig.until(lambda: browser.status["streams"]["depth"]["publishers"] == 0, "the page learns that it is gone")
    for label in ("configure", "activate"):
        assert rig.transition(label)
    shown = {stream: len(browser.pictures[stream]) for stream in SHOWN}
    rig.until(lambda: all(len(browser.pictures[s]) > shown[s] for s in SHOWN), "pictures come again")


@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_cameras_of_either_reliability_are_seen(start_rig, start_viewer, reliability):
    rig = start_rig(camera_qos=QoSProfile(depth=1, reliability=reliability))
    viewer = start_viewer(rig.context)
    rig.activate()
    browser = viewer.browse()
    film(rig)
    rig.until(all_shown(browser), "a picture of every stream")
    offered = rig.tester.get_subscriptions_info_by_topic("/robot/image")
    (mine,) = [info for info in offered if info.node_name == "viewer"]
    assert mine.qos_profile.reliability == reliability
    outputs = rig.tester.get_subscriptions_info_by_topic(f"{CAMERA}/depth/image")
    assert [info.qos_profile.reliability for info in outputs] == [ReliabilityPolicy.RELIABLE]
    browser.close()


def test_malformed_outputs_are_told_once_and_two_cameras_are_told_apart(start_camera, start_viewer, capfd):
    rig = start_camera(CAMERA)
    viewer = start_viewer(rig.context)
    nodes, publishers = [], {}
    for namespace in ("front", "rear"):
        nodes.append(rig.tester.__class__("perception", context=rig.context, namespace=f"/{namespace}"))
        publishers[namespace] = nodes[-1].create_publisher(Image, "~/depth/image", RELIABLE)
    try:
        front, rear = viewer.browse("/front/perception"), viewer.browse("/rear/perception")
        rig.until(lambda: all(p.get_subscription_count() for p in publishers.values()), "both are watched")
        good = rig.message(np.full((8, 8), 5.0, np.float32), "32FC1")
        bad = rig.message(np.full((8, 8), 5.0, np.float32), "32FC1")
        bad.height = 9

        def publish():
            publishers["front"].publish(bad)
            publishers["rear"].publish(good)

        timer = rig.tester.create_timer(0.05, publish)
        rig.until(lambda: len(rear.pictures["depth"]) > 3, "the other camera is seen")
        rig.until(
            lambda: front.status and "data_short" in front.status["streams"]["depth"]["problem"],
            "the page says what is wrong",
        )
        timer.cancel()
        assert not front.pictures["depth"]
        assert {head["camera"] for head, _ in rear.pictures["depth"]} == {"/rear/perception"}
        assert sorted(rear.status["cameras"]) == ["/front/perception", "/rear/perception"]
        for browser in (front, rear):
            browser.close()
    finally:
        for node in nodes:
            node.destroy_node()
    told = [line for line in capfd.readouterr().err.splitlines() if "data_short" in line]
    assert len(told) == 1
    assert "/front/perception: depth: data_short: 256 bytes of data, 288 needed" in told[0]


# As a process --------------------------------------------------------------------------------------------------------


def start_process(start_node, *parameters):
    options = [part for parameter in parameters for part in ("-p", parameter)]
    process = start_node("-m", "densemtl_ros.viewer", "--ros-args", *options)
    return process, int(re.search(r"http://[^/]*:(\d+)/", read_until(process, "open http://"))[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_cleanly_with_a_browser_connected(start_node, number):
    process, port = start_process(start_node)
    browser = Browser(port, None)
    try:
        while not browser.statuses:
            assert not browser.closed.wait(0.02)
        process.send_signal(number)
        process.send_signal(number)  # an impatient second one
        output, _ = process.communicate(timeout=20)
        assert browser.closed.wait(5), "the browser is told"
    finally:
        browser.close()
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert "ERROR" not in output


def test_only_this_computer_is_served_unless_told_otherwise(start_node):
    process, port = start_process(start_node)
    with socket.socket() as probe:
        # Another address of this computer: refused, because nothing listens there.
        assert probe.connect_ex(("127.0.0.2", port)) != 0
    process.send_signal(signal.SIGINT)
    assert "can see the camera" not in process.communicate(timeout=20)[0]

    process, port = start_process(start_node, "host:='0.0.0.0'")
    line = read_until(process, "listening on 0.0.0.0")
    assert "everyone who reaches this port can see the camera" in line
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", port)) == 0
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output


@pytest.mark.parametrize(
    ("parameter", "line"),
    [
        ("port:=70000", "error: parameter port: 70000 is not allowed, must be 0 to 65535"),
        ("rate:=0", "error: parameter rate: 0.0 is not allowed, must be 0.1 to 60.0"),
        ("depth_far:=0.5", "error: parameter depth_near: 1 m is not less than depth_far, 0.5 m"),
        ("cameras:=front", "error: parameter cameras: 'front'; at most 32 full names as /front/perception"),
        ("host:=192.0.2.1", "error: cannot listen on 192.0.2.1 port 0: "),
    ],
)
def test_what_cannot_be_used_ends_with_one_line_and_exit_code_two(start_node, parameter, line):
    process = start_node("-m", "densemtl_ros.viewer", "--ros-args", "-p", parameter)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    assert output.startswith(line), output
    assert output.count("\n") == 1


def test_without_aiohttp_one_line_says_what_to_install(start_node):
    process = start_node(
        "-c", "import sys; sys.modules['aiohttp'] = None\nfrom densemtl_ros.viewer import main\nsys.exit(main())"
    )
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    assert output == "error: aiohttp is not installed; apt install python3-aiohttp, or pip install aiohttp\n"


def test_a_topic_that_has_a_nodes_name_is_no_camera(start_camera, start_viewer):
    rig = start_camera(CAMERA)
    rig.tester.create_publisher(Image, "/robot/tester", RELIABLE)
    rig.tester.create_publisher(Image, "/robot/depth/image", RELIABLE)
    viewer = start_viewer(rig.context)
    rig.tester.create_publisher(Image, "~/depth/image", RELIABLE)
    rig.until(viewer.node.board.names, "the one real output is found")
    assert viewer.node.board.names() == ["/robot/tester"]
    assert viewer.node._perception_nodes() == {"/robot/tester"}


def test_each_camera_of_a_node_is_found_with_its_own_pictures_and_health(start_rig, start_viewer):
    names = [f"{CAMERA}/front", f"{CAMERA}/rear"]
    rig = start_rig(cameras=["front", "rear"])
    viewer = start_viewer(rig.context)
    cameras = Cameras(rig, ["front", "rear"])
    rig.until(lambda: viewer.node.board.names() == names, "both are found, and no third")
    browsers = {name: viewer.browse(f"{CAMERA}/{name}") for name in cameras.names}
    shades = {"front": np.full((48, 64, 3), 40, np.uint8), "rear": np.full((48, 64, 3), 200, np.uint8)}
    rig.tester.create_timer(0.05, lambda: [cameras.send(name, image) for name, image in shades.items()])
    for name, browser in browsers.items():
        rig.until(lambda b=browser: b.pictures["camera"] and b.pictures["depth"], f"pictures of {name}")
        shown = cv2.imdecode(np.frombuffer(browser.pictures["camera"][-1][1], np.uint8), cv2.IMREAD_COLOR)
        assert abs(float(shown.mean()) - float(shades[name].mean())) < 3
        values = rig.until(lambda b=browser: b.status.get("health", {}).get("values"), f"health of {name}")
        assert values["input_topic"] == f"/robot/{name}/image"
    for browser in browsers.values():
        browser.close()


# In a real browser ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not PROGRAM.is_file(), reason=f"{PROGRAM} is not installed")
def test_the_page_shows_pictures_legend_and_plots_in_chromium(watched, tmp_path):
    rig, viewer, _ = watched
    rig.until(lambda: viewer.node.board.names(), "the viewer finds the node")
    seen = {}

    async def unwatched():
        while viewer.node.board._watchers[CAMERA] != 1:  # that of the fixture's browser
            await asyncio.sleep(0.02)

    async def look():
        async with Chromium(tmp_path / "profile", f"http://127.0.0.1:{viewer.port}/") as page:
            drawn = "[...document.images].filter(i => i.dataset.frames > 2 && i.naturalWidth === 64).length"
            await page.until(f"{drawn} === {len(SHOWN)}")
            await page.until("document.querySelectorAll('#legend li').length === 4")
            await page.until("document.getElementById('latency-key').textContent.includes('ms')")
            seen["names"] = await page.evaluate(
                "[...document.querySelectorAll('#legend span')].map(e => e.textContent)"
            )
            seen["colours"] = await page.evaluate(
                "[...document.querySelectorAll('#legend i')].map(e => e.style.background)"
            )
            seen["text"] = await page.evaluate("document.body.innerText")
            seen["painted"] = await page.evaluate(PAINTED)
            # Awaited: a picture may be between two frames at this moment. The fake's normals are all one colour.
            await page.until(f"({COLOURS}).filter(colours => colours > 1).length === 4")
            seen["requests"] = await page.evaluate(
                "performance.getEntriesByType('resource').map(e => e.name.slice(0, 5))"
            )
            box = await page.evaluate(
                "(r => [r.x + r.width / 3, r.y + r.height / 3])(document.images[0].getBoundingClientRect())"
            )
            await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
            await page.until("/^(\\d+\\.\\d+ m|beyond range|unknown)$/.test(panels.depth.reading.textContent)")
            seen["pointed"] = await page.until("panels.semantic.reading.textContent")
            seen["console"] = page.console
            assert await page.evaluate(HIDE)
            await asyncio.wait_for(unwatched(), 10)

    failures = []
    browsing = threading.Thread(target=lambda: failures.extend(filter(None, [run(look)])))
    browsing.start()
    rig.until(lambda: not browsing.is_alive(), "the browser has looked", timeout=60)
    assert not failures, failures
    assert seen["console"] == []
    assert set(CLASS_NAMES) <= set(seen["names"])
    assert {f"rgb({red}, {green}, {blue})" for red, green, blue in PALETTE} == set(seen["colours"])
    assert seen["pointed"] in CLASS_NAMES
    assert "in view, median" in seen["text"]
    assert "64 × 48" in seen["text"]
    assert seen["painted"] == [True, True], "both plots have lines"
    assert set(seen["requests"]) <= {"blob:"}, "nothing is loaded from elsewhere"


def run(coroutine):
    """Run it; the failure instead of raising it."""
    try:
        asyncio.run(coroutine())
    except BaseException as error:
        return error


HIDE = """(() => {
  Object.defineProperty(document, 'hidden', {get: () => true});
  document.dispatchEvent(new Event('visibilitychange'));
  return true;
})()"""
"""What the page is told when its tab is hidden: it must stop watching."""

PAINTED = """['latency', 'frames'].map(id => {
  const canvas = document.getElementById(id);
  return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(value => value);
})"""
"""Whether each plot holds a pixel."""

COLOURS = """[...document.images].map(image => {
  const canvas = document.createElement('canvas');
  canvas.width = 64; canvas.height = 48;
  const c = canvas.getContext('2d');
  c.drawImage(image, 0, 0);
  return new Set(new Uint32Array(c.getImageData(0, 0, 64, 48).data.buffer)).size;
})"""
"""How many colours each picture has."""
