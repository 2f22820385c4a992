"""Debian's Chromium, driven over its own driver by the W3C WebDriver protocol."""

import base64
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import httpx

from support.debian import needed
from telewarden.sandbox.ports import free_port

CHROMIUM: Final = Path("/usr/bin/chromium")
DRIVER: Final = Path("/usr/bin/chromedriver")
LOOK_S: Final = 0.03
PATIENCE_S: Final = 30.0

_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
_OPTIONS: Final = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1440,1000",
)


class BrowserFailed(Exception):
    """The driver refused a command; the message is its own."""


class Browser:
    """One window of one browser. Scripts are bodies of functions; what they return is given as JSON has it."""

    def __init__(self, client: httpx.AsyncClient, session: str) -> None:
        self._client, self._session = client, session

    async def command(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A command of the session. Raises BrowserFailed."""
        return await _send(self._client, method, f"/session/{self._session}{path}", body)

    async def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        await self.command("POST", "/url", {"url": url})

    async def run(self, script: str, *arguments: object) -> Any:
        """What a script returns; a promise is waited for."""
        return await self.command("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    async def until(self, script: str, *arguments: object, within_s: float = PATIENCE_S) -> Any:
        """What a script returns, once that is truthy. Raises TimeoutError that tells what it returned last."""
        found: Any = None
        try:
            with anyio.fail_after(within_s):
                while not (found := await self.run(script, *arguments)):
                    await anyio.sleep(LOOK_S)
        except TimeoutError as error:
            page = await self.run("return document.body.innerText.slice(0, 3000)")
            raise TimeoutError(
                f"not within {within_s:g} s: {script}\nlast: {found!r}\npage:\n{page}"
            ) from error
        return found

    async def element(self, selector: str) -> str:
        """The first element that a CSS selector finds. Raises BrowserFailed if there is none."""
        body = {"using": "css selector", "value": selector}
        return str((await self.command("POST", "/element", body))[_ELEMENT])

    async def click(self, selector: str) -> None:
        """As a mouse does: it has to be visible, and nothing may cover it."""
        await self.command("POST", f"/element/{await self.element(selector)}/click", {})

    async def type(self, selector: str, text: str) -> None:
        """Into a field, in place of what is in it."""
        element = await self.element(selector)
        await self.command("POST", f"/element/{element}/clear", {})
        await self.command("POST", f"/element/{element}/value", {"text": text})

    async def press(self, *keys: str) -> None:
        """Keys one after the other, to whatever has the focus; in WebDriver's code points where they write nothing."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        await self.command(
            "POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]}
        )

    async def text(self, selector: str) -> str:
        """What is to be read in the first element found."""
        return str(await self.run("return document.querySelector(arguments[0]).innerText", selector))

    async def screenshot(self, path: Path) -> None:
        """A picture of what is to be seen, as PNG."""
        path.write_bytes(base64.b64decode(await self.command("GET", "/screenshot")))

    async def devtools(self, command: str, **parameters: object) -> Any:
        """A command of Chromium's own protocol, such as Emulation.setEmulatedMedia."""
        return await self.command("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    async def show(self, width: int, height: int, *, dark: bool = False, still: bool = True) -> None:
        """Let the window have this size in CSS pixels; the system wants dark colours, or light; and no motion."""
        await self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ]
        await self.devtools("Emulation.setEmulatedMedia", features=features)

    async def console(self) -> list[dict[str, Any]]:
        """What was written to the console since the last call: errors, warnings, violations of the policy."""
        entries: list[dict[str, Any]] = await self.command("POST", "/se/log", {"type": "browser"})
        return entries


@asynccontextmanager
async def start_browser(folder: Path) -> AsyncIterator[Browser]:
    """A browser with a fresh profile below `folder`; ended with the context. Skips the test where there is none."""
    needed(CHROMIUM, "chromium")
    needed(DRIVER, "chromium-driver")
    port = free_port()
    log = folder / "chromedriver.log"
    with log.open("wb") as output:
        driver = subprocess.Popen(
            [str(DRIVER), f"--port={port}", "--allowed-ips=127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False
        ) as client:
            await _listening(client, driver, log)
            session = await _new_session(client, folder / "profile")
            try:
                yield Browser(client, session)
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(20):
                    await _send(client, "DELETE", f"/session/{session}")
    finally:
        # It, and the browser, should the session not have ended: both are of the group that began with it.
        os.killpg(driver.pid, signal.SIGTERM)
        driver.wait(timeout=20)


async def _listening(client: httpx.AsyncClient, driver: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            await client.get("/status")
        except httpx.TransportError:
            if driver.poll() is not None or time.monotonic() > give_up:
                raise BrowserFailed(f"the driver does not listen:\n{log.read_text()}") from None
            await anyio.sleep(LOOK_S)
        else:
            return


async def _new_session(client: httpx.AsyncClient, profile: Path) -> str:
    options = {"binary": str(CHROMIUM), "args": [*_OPTIONS, f"--user-data-dir={profile}"]}
    wanted = {
        "browserName": "chrome",
        "unhandledPromptBehavior": "ignore",  # an alert stays, and every further command fails by it
        "timeouts": {"script": 30_000, "pageLoad": 30_000, "implicit": 0},
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"browser": "ALL"},
    }
    answer = await _send(client, "POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
    return str(answer["sessionId"])


async def _send(client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    answer = await client.request(method, path, json=body)
    value = answer.json()["value"]
    if answer.status_code != 200:
        raise BrowserFailed(f"{path}: {value['error']}: {value['message']}")
    return value
