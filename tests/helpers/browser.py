"""Headless Chromium over the DevTools protocol: just what the viewer's tests need."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image
from websockets.sync.client import connect

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    "--window-size=1200,800",
)

KEYS = {
    "Escape": 27,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Home": 36,
    "End": 35,
    "Tab": 9,
    "Enter": 13,
}


class BrowserError(RuntimeError):
    """The browser does not answer, or a script in it failed."""


class Browser:
    """One page in one browser. Use it as a context manager.

    Attributes:
        requests: Addresses of every request since `clear`.
        hosts: Hosts and ports of all requests, `clear` or not.
        problems: Console errors and warnings, exceptions and violations of the content policy since `clear`.
    """

    def __init__(
        self, binary: str, profile: Path, *, width: int = 1200, height: int = 800, flags: Sequence[str] = ()
    ) -> None:
        self.requests: list[str] = []
        self.hosts: set[str] = set()
        self.problems: list[str] = []
        self._id = 0
        self._answers: dict[int, dict[str, Any]] = {}
        # A group of its own, so that the helpers Chromium starts end with it.
        self._process = subprocess.Popen(
            [binary, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop)
            port, path = self._port(profile / "DevToolsActivePort")
            # A connected socket, because a proxy of the environment must not get between.
            connection = socket.create_connection(("127.0.0.1", port))
            self._socket = stack.enter_context(
                connect(f"ws://127.0.0.1:{port}{path}", sock=connection, max_size=None, compression=None)
            )
            self._attach(width, height)
            self._open = stack.pop_all()

    def _port(self, file: Path) -> tuple[int, str]:
        """Port and path of the DevTools, which the browser writes into its profile."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BrowserError(f"the browser ended with status {self._process.returncode}")
            lines = file.read_text().splitlines() if file.exists() else []
            if len(lines) >= 2:
                return int(lines[0]), lines[1]
            time.sleep(0.05)
        raise BrowserError("the browser opened no DevTools port within 20 s")

    def _attach(self, width: int, height: int) -> None:
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        # Without fades and zoom animations a picture is final as soon as its tiles are there.
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _stop(self) -> None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            try:
                self._process.wait(timeout=5)
                return
            except subprocess.TimeoutExpired:
                continue

    def _receive(self, timeout: float) -> None:
        message = json.loads(self._socket.recv(timeout=timeout))
        if "id" in message:
            self._answers[message["id"]] = message
            return
        what, data = message.get("method"), message.get("params", {})
        if what == "Network.requestWillBeSent":
            self._note(data["request"]["url"])
        elif what == "Network.webSocketCreated":
            self._note(data["url"])
        elif what == "Runtime.exceptionThrown":
            details = data["exceptionDetails"]
            self.problems.append(str(details.get("exception", {}).get("description", details["text"])))
        elif what == "Runtime.consoleAPICalled" and data["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(a.get("value", a.get("description"))) for a in data["args"]))
        elif what == "Log.entryAdded" and data["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{data['entry']['text']} {data['entry'].get('url', '')}")

    def _note(self, url: str) -> None:
        self.requests.append(url)
        if host := urlsplit(url).netloc:  # data: and blob: addresses have none
            self.hosts.add(host)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer."""
        self._id += 1
        message = {"id": self._id, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while self._id not in self._answers:
            self._receive(30)
        answer = self._answers.pop(self._id)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def clear(self) -> None:
        """Forget the requests and problems so far."""
        self.requests.clear()
        self.problems.clear()

    def resize(self, width: int, height: int, *, scale: float = 1, mobile: bool = False) -> None:
        """Set the size of the page in CSS pixels; a mobile one has a touch screen."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)

    def open(self, url: str) -> None:
        """Go to an address; a change of the hash alone is a full load too."""
        self.call("Page.navigate", url="about:blank")
        answer = self.call("Page.navigate", url=url)
        if "errorText" in answer:
            raise BrowserError(f"{url}: {answer['errorText']}")
        self.wait("document.readyState === 'complete'")

    def reload(self) -> None:
        """Load the page again."""
        self.evaluate("window.leaving = true")
        self.call("Page.reload")
        self.wait("!window.leaving && document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, condition: str, timeout: float = 60) -> None:
        """Wait until an expression is true in the page."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                if self.evaluate(f"Boolean({condition})"):
                    return
            except BrowserError as error:
                if "context" not in str(error):  # between two pages there is no context to evaluate in
                    raise
            time.sleep(0.03)
        raise BrowserError(f"not true within {timeout} s: {condition}; problems: {self.problems}")

    def screenshot(self) -> Image.Image:
        """What the page shows, as RGB."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def click(self, selector: str) -> None:
        """Click into the middle of an element, wherever it is."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{place}.scrollIntoView({{block: 'nearest'}})")
        box = self.evaluate(f"{place}.getBoundingClientRect().toJSON()")
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for event in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=event, x=x, y=y, button="left", clickCount=1)

    def fill(self, selector: str, text: str) -> None:
        """Replace the text of a field as if typed."""
        self.evaluate(f"(e => {{ e.focus(); e.select() }})(document.querySelector({json.dumps(selector)}))")
        self.call("Input.insertText", text=text)

    def press(self, key: str, *, on: str | None = None) -> None:
        """Press and release a key, on an element or where the focus is."""
        if on:
            self.evaluate(f"document.querySelector({json.dumps(on)}).focus()")
        code: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        # Enter submits a form by the character it types.
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **({"text": "\r"} if key == "Enter" else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag with the mouse."""
        button: dict[str, Any] = {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=start[0], y=start[1])
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], **button)
        for k in (1, 2, 3):
            x, y = (a + (b - a) * k / 3 for a, b in zip(start, end, strict=True))
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], **button)

    def touch_drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag with a finger."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": start[0], "y": start[1]}])
        for k in (1, 2, 3):
            x, y = (a + (b - a) * k / 3 for a, b in zip(start, end, strict=True))
            self.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
