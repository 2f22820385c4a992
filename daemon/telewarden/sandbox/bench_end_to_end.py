"""The group `end_to_end`: intake on one core beside a bare Telethon handler, and the time from post to poll."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import anyio

from telewarden.sandbox.exercise import Exercise, daemon_running, percentiles
from telewarden.sandbox.figures import Figure
from telewarden.sandbox.stack import Stack, start_stack

BURST, BATCH = 6_000, 20
STEADY_S, STEADY_RATE = 15.0, 50.0
_TEXT = "BUY PETR4 31.20 target 32.00 stop 30.80 " * 7
_LOOK_S = 0.02
_TIMEOUT_S = 120.0


async def measure() -> dict[str, Figure]:
    """All figures of the group. The daemon and the bare handler each have one core, the same; servers the other."""
    cores = sorted(os.sched_getaffinity(0))
    ours, theirs = cores[0], cores[-1]
    with tempfile.TemporaryDirectory(prefix="telewarden-bench-") as name:
        async with start_stack(Path(name), channels=3) as stack:
            os.sched_setaffinity(stack.telegram.pid, {theirs})
            async with daemon_running(stack):
                _pin(stack.daemon.pid, ours)
                latency = await _latency(stack)
                accepted, stored = await _burst(stack)
            floor_rate, floor_latency_ms = await _bare(stack, ours)
    return {
        "intake_accepted": Figure(accepted, "posts/s", floor_rate, ">=", 1000.0),
        "intake_stored": Figure(stored, "posts/s", floor_rate, ">=", 1000.0),
        "post_to_poll_p50": Figure(latency["p50"], "ms", floor_latency_ms["p50"], "<=", 100.0),
        "post_to_poll_p95": Figure(latency["p95"], "ms", floor_latency_ms["p95"], "<=", 100.0),
    }


def _pin(pid: int, core: int) -> None:
    """Give every thread of a process one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


async def _post_burst(stack: Stack) -> None:
    """As fast as the local Telegram goes, so many posts a packet."""
    for number in range(BURST // BATCH):
        channel_id = stack.channel_ids[number % len(stack.channel_ids)]
        await stack.control.post_many(channel_id, [f"#{number} {_TEXT}"] * BATCH)


async def _bare(stack: Stack, core: int) -> tuple[float, dict[str, float]]:
    """(posts a second, push → handler in ms) of a Telethon handler that does nothing."""
    session = stack.folder / "bare" / "bare.session"
    await stack.telegram.sign_in(session)
    steady = int(STEADY_RATE * STEADY_S / 3)
    command = [sys.executable, "-m", "telewarden.sandbox.bare_handler", "--session", str(session)]
    result = session.with_name("result.json")
    command += ["--output", str(result), "--address", f"127.0.0.1:{stack.telegram.port}", "--core", str(core)]
    command += ["--public-key", str(stack.telegram.public_key_file), "--expect", str(steady + BURST)]
    posted_ms: dict[str, float] = {}
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        output = b""
        async for chunk in process.stdout:
            output += chunk
            if b"\n" in output:
                break
        for number in range(steady):
            channel_id = stack.channel_ids[number % len(stack.channel_ids)]
            at_ms = time.time() * 1000
            done = await stack.control.post(channel_id, _TEXT)
            posted_ms[f"{-channel_id - 10**12}:{done.message_id}"] = at_ms
            await anyio.sleep(1 / STEADY_RATE)
        began = time.time()
        await _post_burst(stack)
        await process.wait()
    seen: dict[str, float] = json.loads(result.read_text(encoding="ascii"))["seen"]
    seconds = max(seen.values()) / 1000 - began
    return BURST / seconds, percentiles([seen[key] - at_ms for key, at_ms in posted_ms.items()])


async def _latency(stack: Stack) -> dict[str, float]:
    """Post → poll in ms at a steady rate, with the old consumer polling."""
    result = await Exercise(stack, STEADY_S, STEADY_RATE).run()
    if not result.verdict.clean:
        raise RuntimeError("the benchmark lost messages:\n" + "\n".join(result.verdict.lines()))
    return result.latency_ms


async def _burst(stack: Stack) -> tuple[float, float]:
    """(posts accepted in the journal, posts stored in the database) a second, of a burst without polls."""
    before = await _counts(stack)
    began = time.perf_counter()
    accepted_s = stored_s = 0.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_post_burst, stack)
        with anyio.fail_after(_TIMEOUT_S):
            while not stored_s:
                received, backlog = await _counts(stack)
                if not accepted_s and received - before[0] >= BURST:
                    accepted_s = time.perf_counter() - began
                if accepted_s and not backlog:
                    stored_s = time.perf_counter() - began
                await anyio.sleep(_LOOK_S)
    return BURST / accepted_s, BURST / stored_s


async def _counts(stack: Stack) -> tuple[int, int]:
    """(events received, events that the database has not got yet)."""
    health = await stack.daemon.health() or {}
    telegram, journal = health["telegram"], health["journal"]
    assert isinstance(telegram, dict)
    assert isinstance(journal, dict)
    return int(telegram["eventsReceived"]), int(journal["backlogEvents"])
