"""Long polls of the feed: what one that waits costs in memory, and when the last of many is answered after a post."""

import os
import statistics
import time
from contextlib import ExitStack, closing
from pathlib import Path

import anyio
import msgspec

from telewarden.sandbox.figures import Figure
from telewarden.sandbox.raw_http import Answer, RawClient, get
from telewarden.sandbox.stack import Stack

_WAIT_S = 60
_ALL_S = 30.0
_SETTLE_S = 0.5
_KIB = 1024


async def measure(stack: Stack, port: int, fixed: int, *, waiting: int, rounds: int) -> dict[str, Figure]:
    """waiting: how many wait at once. fixed: the port whose route `/3` returns a body of about the answer's size."""
    channel = stack.channel_ids[0]
    with ExitStack() as opened:
        clients = [opened.enter_context(closing(RawClient(port))) for _ in range(waiting)]
        before = _resident_bytes(stack.daemon.pid)
        token = ""
        for client in clients:
            token = _next(await client.ask(_request(stack, "now", 0)))
        idle = _resident_bytes(stack.daemon.pid)
        peak = idle
        last_ms: list[float] = []
        for number in range(rounds):
            answers: list[Answer] = []
            async with anyio.create_task_group() as tasks:
                for client in clients:
                    tasks.start_soon(_ask, client, _request(stack, token, _WAIT_S), answers)
                await anyio.sleep(_SETTLE_S)
                peak = max(peak, _resident_bytes(stack.daemon.pid))
                with anyio.fail_after(_ALL_S):
                    began = time.perf_counter()
                    await stack.control.post(channel, f"#{number} for all who wait")
                    while len(answers) < waiting:
                        await anyio.sleep(0.001)
                last_ms.append((time.perf_counter() - began) * 1000)
            token = _next(answers[-1])
            assert all(_next(answer) == token for answer in answers)
    floor_ms = await _at_once(fixed, waiting, rounds)
    return {
        f"api_memory_of_one_of_{waiting}_waiting": Figure(
            (peak - before) / waiting / _KIB, "KiB", (idle - before) / waiting / _KIB, "<=", 100.0
        ),
        f"api_post_to_the_last_of_{waiting}": Figure(
            statistics.median(last_ms), "ms", floor_ms, "<=", 1000.0
        ),
    }


async def _at_once(port: int, count: int, rounds: int) -> float:
    """Milliseconds until so many requests that are sent at once are all answered with a fixed body."""
    times_ms = []
    with ExitStack() as opened:
        clients = [opened.enter_context(closing(RawClient(port))) for _ in range(count)]
        for client in clients:
            await client.ask(get("/3"))
        for _ in range(rounds):
            answers: list[Answer] = []
            began = time.perf_counter()
            async with anyio.create_task_group() as tasks:
                for client in clients:
                    tasks.start_soon(_ask, client, get("/3"), answers)
            times_ms.append((time.perf_counter() - began) * 1000)
    return statistics.median(times_ms)


async def _ask(client: RawClient, request: bytes, answers: list[Answer]) -> None:
    answer = await client.ask(request)
    if answer.status != 200:
        raise RuntimeError(f"answered {answer.status}: {answer.body[:200]!r}")
    answers.append(answer)


def _request(stack: Stack, after: str, wait_s: int) -> bytes:
    return get(f"/v1/feed?after={after}&wait={wait_s}", stack.daemon.api_key)


def _next(answer: Answer) -> str:
    return str(msgspec.json.decode(answer.body)["next"])


def _resident_bytes(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
