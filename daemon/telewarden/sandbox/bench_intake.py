"""The group `intake`: listener and journal on one core beside a bare Telethon handler on the same core, in the same
run."""

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio

from telewarden.sandbox.exercise import percentiles
from telewarden.sandbox.figures import Figure
from telewarden.sandbox.telegram.control import Control
from telewarden.sandbox.telegram.process import LocalTelegram

BURST, STEADY_S, STEADY_RATE = 6_000, 10.0, 50.0
MANY_CHANNELS, IDLE_S = 300, 60.0
BUSY_CHANNELS, BUSY_RATE, BUSY_S, HISTORY = 10, 20.0, 15.0, 20
_TEXT = "BUY PETR4 31.20 target 32.00 stop 30.80 " * 7


async def measure() -> dict[str, Figure]:
    """All figures of the group."""
    with tempfile.TemporaryDirectory(prefix="telewarden-bench-") as name:
        folder = Path(name)
        return {
            **await _rates(folder / "few"),
            **await _watched(folder / "watched", 20, 20.0, goal_ms=1500.0),
            **await _watched(folder / "watched-many", MANY_CHANNELS, 60.0, goal_ms=15_000.0),
            **await _idle(folder / "many"),
            **await _busy(folder / "busy"),
        }


async def _rates(folder: Path) -> dict[str, Figure]:
    async with _Telegram(folder, channels=3) as telegram:
        figures = {}
        for batch, suffix in ((1, ""), (20, "_batched")):
            ours = await telegram.run("telewarden.sandbox.intake_alone", f"ours{batch}", batch)
            bare = await telegram.run("telewarden.sandbox.bare_handler", f"bare{batch}", batch)
            figures[f"intake_rate{suffix}"] = Figure(
                ours["rate"], "posts/s", bare["rate"], ">=", 0.6, of="ratio"
            )
            if batch == 1:
                for percentile in ("p50", "p95"):
                    figures[f"push_to_accepted_{percentile}"] = Figure(
                        ours["latency_ms"][percentile], "ms", bare["latency_ms"][percentile], "<=", 100.0
                    )
        return figures


async def _watched(folder: Path, channels: int, seconds: float, *, goal_ms: float) -> dict[str, Figure]:
    """Post → accepted when Telegram pushes nothing at all. The floor is half of the interval of the questions."""
    async with _Telegram(folder, channels=channels) as telegram:
        latency_ms = await telegram.withheld(seconds)
    interval_ms = max(1000.0, channels / 20 * 1000)
    return {f"watched_{channels}_p95": Figure(latency_ms["p95"], "ms", interval_ms / 2, "<=", goal_ms)}


async def _idle(folder: Path) -> dict[str, Figure]:
    """What it costs to watch and compare channels in which nothing happens."""
    async with _Telegram(folder, channels=MANY_CHANNELS) as telegram:
        calls = [0]

        async def count() -> None:
            calls.append(await telegram.calls())

        found = await telegram.start(
            "telewarden.sandbox.intake_alone", "idle", ["--idle", str(IDLE_S)], count
        )
        requests = await telegram.calls() - calls[-1]
    minutes = IDLE_S / 60
    return {
        "idle_300_caught_up": Figure(found["caught_up_s"], "s", 0.0, "<=", 60.0),
        "idle_300_cpu": Figure(found["cpu_s"] / minutes, "s/min", 0.0, "<=", 6.0),
        "idle_300_requests": Figure(requests / minutes, "1/min", 0.0, "<=", 25.0 * 60),
        "idle_300_memory": Figure(found["rss_mb"], "MB", 0.0, "<=", 200.0),
    }


async def _busy(folder: Path) -> dict[str, Figure]:
    """300 channels with a history, ten of them busy; then one of the ten is told to wait for two minutes."""
    async with _Telegram(folder, channels=MANY_CHANNELS) as telegram:
        calm, flooded, found, requests = await telegram.busy(BUSY_S)
    minutes = 2 * BUSY_S / 60
    # The account's budget: 25 a second, and 25 at once after a quiet time.
    budget = 25.0 * 60 + 25.0 / minutes
    return {
        "busy_300_caught_up": Figure(found["caught_up_s"], "s", 0.0, "<=", 120.0),
        "busy_300_requests": Figure(requests / minutes, "1/min", 0.0, "<=", budget),
        "busy_300_memory": Figure(found["rss_mb"], "MB", 0.0, "<=", 300.0),
        "busy_300_p95": Figure(calm["p95"], "ms", 0.0, "<=", 100.0),
        # Of the other nine, against themselves before it.
        "busy_300_p95_beside_a_flood_wait": Figure(flooded["p95"], "ms", calm["p95"], "<=", 2.0, of="ratio"),
    }


class _Telegram:
    """A local Telegram on one core, whose clients run on the other."""

    def __init__(self, folder: Path, *, channels: int) -> None:
        self._folder, self._channels = folder, channels
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "_Telegram":
        cores = sorted(os.sched_getaffinity(0))
        self._core = cores[0]
        self._server = await self._stack.enter_async_context(
            LocalTelegram.start(self._folder, channels=self._channels)
        )
        os.sched_setaffinity(self._server.pid, {cores[-1]})
        self._control = await self._stack.enter_async_context(Control.connect(self._server.control_path))
        self._channel_ids = [channel.channel_id for channel in await self._control.channels()]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def calls(self) -> int:
        """Requests answered since it started."""
        return sum((await self._control.stats())["calls"].values())

    async def run(self, module: str, name: str, batch: int) -> dict[str, Any]:
        """rate: posts a second of a burst, so many a packet; latency_ms: of a steady stream before it."""
        steady = int(STEADY_RATE * STEADY_S)
        posted_ms: dict[str, float] = {}
        began_s = 0.0

        async def post() -> None:
            nonlocal began_s
            for number in range(steady):
                channel_id = self._channel_ids[number % len(self._channel_ids)]
                key, posted_ms[key] = await self._post(channel_id)
                await anyio.sleep(1 / STEADY_RATE)
            began_s = time.time()
            for number in range(BURST // batch):
                channel_id = self._channel_ids[number % len(self._channel_ids)]
                await self._control.post_many(channel_id, [f"#{number} {_TEXT}"] * batch)

        found = await self.start(module, name, ["--expect", str(steady + BURST)], post)
        seen: dict[str, float] = found["seen"]
        return {
            "rate": BURST / (max(seen.values()) / 1000 - began_s),
            "latency_ms": percentiles([seen[key] - at_ms for key, at_ms in posted_ms.items()]),
        }

    async def withheld(self, seconds: float) -> dict[str, float]:
        """Post → accepted in ms, of posts all over the channels, without a single push."""
        posted_ms: dict[str, float] = {}
        count = int(seconds * STEADY_RATE)
        dice = random.Random(1)

        async def post() -> None:
            await self._control.fault("swallow", pushes=1_000_000)
            for _ in range(count):
                channel_id = dice.choice(self._channel_ids)
                key, posted_ms[key] = await self._post(channel_id)
                await anyio.sleep(1 / STEADY_RATE)

        found = await self.start(
            "telewarden.sandbox.intake_alone", "withheld", ["--expect", str(count)], post
        )
        return percentiles([found["seen"][key] - at_ms for key, at_ms in posted_ms.items()])

    async def busy(self, seconds: float) -> tuple[dict[str, float], dict[str, float], dict[str, Any], int]:
        """Post → accepted in ms of the busy channels but one, before and while that one has to wait; what the client
        found; how many requests it made meanwhile."""
        for channel_id in self._channel_ids:
            await self._control.post_many(channel_id, [_TEXT] * HISTORY)
        busy = self._channel_ids[:BUSY_CHANNELS]
        posted: list[tuple[str, float, bool]] = []
        count = int(seconds * BUSY_RATE * BUSY_CHANNELS)
        requests = 0

        async def post() -> None:
            nonlocal requests
            before = await self.calls()
            began_s = time.monotonic()
            for number in range(2 * count):
                if number == count:
                    for method in ("updates.getChannelDifference", "messages.getHistory"):
                        await self._control.fault(
                            "flood_wait", method=method, seconds=120, channel=busy[0], times=1
                        )
                channel_id = busy[number % BUSY_CHANNELS]
                key, at_ms = await self._post(channel_id)
                if channel_id != busy[0]:
                    posted.append((key, at_ms, number >= count))
                due_s = began_s + (number + 1) / (BUSY_RATE * BUSY_CHANNELS)
                await anyio.sleep(max(0.0, due_s - time.monotonic()))
            requests = await self.calls() - before

        options = ["--expect", str(2 * count), "--first-read", "all"]
        found = await self.start("telewarden.sandbox.intake_alone", "busy", options, post)
        calm, flooded = (
            percentiles([found["seen"][key] - at_ms for key, at_ms, late in posted if late is wanted])
            for wanted in (False, True)
        )
        return calm, flooded, found, requests

    async def _post(self, channel_id: int) -> tuple[str, float]:
        """Post; the message as clients name it, and when that was, wall clock in ms."""
        at_ms = time.time() * 1000
        done = await self._control.post(channel_id, _TEXT)
        return f"{-channel_id - 10**12}:{done.message_id}", at_ms

    async def start(
        self, module: str, name: str, options: Sequence[str], when_ready: Callable[[], Awaitable[object]]
    ) -> dict[str, Any]:
        """Run a client with an account of its own; what it prints in the end."""
        session = self._folder / name / "client.session"
        await self._server.sign_in(session)
        command = [sys.executable, "-m", module, "--session", str(session), "--core", str(self._core)]
        result = session.with_name("result.json")
        command += ["--output", str(result), "--address", f"127.0.0.1:{self._server.port}"]
        command += ["--public-key", str(self._server.public_key_file), *options]
        if module.endswith("intake_alone"):
            command.append(f"--channels={','.join(map(str, self._channel_ids))}")
        output = b""
        async with await anyio.open_process(command, stderr=None) as process:
            assert process.stdout is not None
            async for chunk in process.stdout:
                output += chunk
                if b"ready\n" in output:
                    break
            await when_ready()
            if await process.wait() != 0:
                raise RuntimeError(f"{module} failed with status {process.returncode}")
        found: dict[str, Any] = json.loads(result.read_text(encoding="ascii"))
        return found
