"""A browser that is looked at: Chromium, spoken to over a pipe by its own DevTools protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).parents[2]
#: Where `make viewer` puts it.
AXE = ROOT / "consumer" / "viewer" / "node_modules" / "axe-core" / "axe.min.js"
_KEYS = {"Tab": 9, "Enter": 13, " ": 32}


def program() -> str | None:
    """Chromium; None where it is not."""
    return shutil.which("chromium")


def axe_source() -> str | None:
    """axe-core, which finds what keeps people from using a page; None where it is not."""
    return AXE.read_text("utf-8") if AXE.is_file() else None


@dataclass
class Tab:
    """One page of a browser."""

    reader: BinaryIO
    writer: BinaryIO
    session: str = ""
    number: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and what came of it."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.writer.write(json.dumps(message).encode() + b"\0")
        self.writer.flush()
        while (answer := self._next()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        octets = bytearray()
        while (octet := self.reader.read(1)) != b"\0":
            assert octet, "the browser ended"
            octets += octet
        message: dict[str, Any] = json.loads(octets)
        return message

    def evaluate(self, expression: str) -> Any:
        """The value of an expression on the page, awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression: str, seconds: float = 60.0) -> None:
        """Return as soon as an expression is true."""
        for _ in range(int(seconds / 0.05)):
            if self.evaluate(f"(() => {{ try {{ return !!({expression}) }} catch {{ return null }} }})()"):
                return
            time.sleep(0.05)
        raise AssertionError(f"{expression} does not hold: {self.evaluate('document.body.innerText')}")

    def open(self, url: str) -> None:
        """Open an address."""
        self.call("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def press(self, key: str) -> None:
        """Press a key, as a person without a mouse."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        pressed = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": _KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **pressed, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def type(self, text: str) -> None:
        """Write text where the focus is."""
        self.call("Input.insertText", text=text)

    def tab_to(self, selector: str, most: int = 60) -> None:
        """Press Tab until the focus is at an element; AssertionError when it never comes there."""
        for _ in range(most):
            if self.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
                return
            self.press("Tab")
        raise AssertionError(f"the keyboard does not reach {selector}")

    def look(self, *, width: int, dark: bool) -> None:
        """Look at the page in another width, or by night."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """Keep how the page looks, whole."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(b64decode(shot["data"]))

    def violations(self, axe: str) -> list[str]:
        """What axe finds on the page."""
        self.evaluate(f"{axe}\n;0")
        found: list[str] = self.evaluate(
            "axe.run().then(result => result.violations.flatMap(one =>"
            " one.nodes.map(node => `${one.id}: ${node.html.slice(0, 200)} ${node.failureSummary}`)))"
        )
        return found

    @property
    def refusals(self) -> list[str]:
        """What the page was refused by its own policy, and what its script threw."""
        self.evaluate("0")
        return [
            json.dumps(one["params"])[:300]
            for one in self.events
            if one.get("method") == "Runtime.exceptionThrown"
            or (one.get("method") == "Log.entryAdded" and one["params"]["entry"]["source"] == "security")
        ]


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    """A tab of a browser of its own, until the end of the context."""
    to_browser, from_us = os.pipe()
    to_us, from_browser = os.pipe()
    name = program()
    assert name is not None

    def placed() -> None:
        os.dup2(to_browser, 13)
        os.dup2(from_browser, 14)
        os.dup2(13, 3)
        os.dup2(14, 4)

    process = subprocess.Popen(
        (
            *(name, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--remote-debugging-pipe", "--no-proxy-server", f"--user-data-dir={folder}", "about:blank"),
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=placed,  # the pipes have these numbers
        close_fds=False,
    )
    os.close(to_browser)
    os.close(from_browser)
    with os.fdopen(to_us, "rb") as reader, os.fdopen(from_us, "wb", buffering=0) as writer:
        tab = Tab(reader, writer)
        try:
            targets = tab.call("Target.getTargets")["targetInfos"]
            page = next(one["targetId"] for one in targets if one["type"] == "page")
            tab.session = tab.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                tab.call(f"{domain}.enable")
            yield tab
        finally:
            process.kill()
            process.wait()
