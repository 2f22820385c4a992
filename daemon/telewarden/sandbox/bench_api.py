"""The group `api`: polls, looks for what was seen, acknowledgements, and who is slow, beside a fixed body's route.

The daemon is a process, the route another, and this one the client. What is measured and its floor take turns, so that
what else the machine does hits both.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import anyio
import msgspec

from telewarden.sandbox import bench_api_feed, bench_api_processes
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.figures import Figure
from telewarden.sandbox.ports import free_port
from telewarden.sandbox.raw_http import Answer, RawClient, get, post, raw_connection
from telewarden.sandbox.slow_clients import slow_clients
from telewarden.sandbox.stack import Stack, start_stack
from telewarden.sandbox.timing import p95

LIMIT = 100
_TEXT = "BUY PETR4 31.20 target 32.00 stop 30.80 "
_READY_S = 60.0
_EVENT_BYTES = 900


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. round_s: of polls at several connections, in each of the rounds. settle_s: until slow
    clients are all there."""

    polls: int = 1_500
    connections: int = 16
    rounds: int = 5
    round_s: float = 1.5
    looks: int = 1_500
    acknowledged: int = 600
    processes: int = 2
    waiting: int = 500
    slow: int = 200
    slow_polls: int = 400
    slow_rounds: int = 3
    settle_s: float = 2.0


SIZES = Sizes()


async def measure() -> dict[str, Figure]:
    """All figures of the group."""
    with tempfile.TemporaryDirectory(prefix="telewarden-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        # All of them wait by one key.
        settings = {"http": {"long_polls_a_key": SIZES.waiting + 10}}
        async with start_stack(folder, channels=2, settings=settings) as stack, daemon_running(stack):
            bench = await _prepared(stack)
            sizes = [len((await bench.once(request)).body) for request in (bench.poll, bench.seen)]
            sizes.append(len((await bench.once(bench.acknowledgement(0))).body))
            sizes.append(_EVENT_BYTES)
            async with _fixed_routes(sizes) as floor:
                figures = await _polls(bench, floor)
                figures |= await bench_api_processes.measure(
                    stack, SIZES.processes, SIZES.rounds, lambda port: _rate(port, bench.poll)
                )
                figures |= await _looks(bench, floor)
                figures |= await _acknowledgements(bench, floor)
                figures |= await bench_api_feed.measure(
                    stack, bench.port, floor, waiting=SIZES.waiting, rounds=SIZES.rounds
                )
                figures |= await _beside_slow_clients(bench)
    return figures


@dataclass(frozen=True, slots=True)
class Bench:
    """What is asked of the daemon, as bytes.

    port: its own. acknowledgeable: ids that wait in another channel.
    """

    port: int
    api_key: str
    channel: int
    poll: bytes
    seen: bytes
    acknowledgeable: Sequence[int]

    async def once(self, request: bytes) -> Answer:
        """Ask over a connection of its own."""
        async with raw_connection(self.port) as connection:
            return await connection.ask(request)

    def acknowledgement(self, number: int) -> bytes:
        """The request that acknowledges the so-manieth message, as the old consumer sends it."""
        body = {"messageIds": [str(self.acknowledgeable[number])], "processedBy": "bench"}
        return post("/api/messages/mark-processed", msgspec.json.encode(body), self.api_key)


async def _prepared(stack: Stack) -> Bench:
    """Both channels hold what is asked for, and the cache answers."""
    channel, other = stack.channel_ids
    await stack.control.post_many(channel, [f"#{n} {_TEXT}" for n in range(LIMIT)])
    await stack.control.post_many(other, [f"#{n} {_TEXT}" for n in range(SIZES.acknowledged + 1)])
    port, key = int(stack.daemon.url.rpartition(":")[2]), stack.daemon.api_key
    poll = get(f"/api/messages/unprocessed?channel={channel}&status=received,queued&limit={LIMIT}", key)
    others = get(f"/api/messages/unprocessed?channel={other}&limit=1000", key)
    with anyio.fail_after(_READY_S):
        async with raw_connection(port) as connection:
            while not (_is_full(await connection.ask(poll), LIMIT) and _stored(await stack.daemon.health())):
                await anyio.sleep(0.05)
            while not _is_full(waiting := await connection.ask(others), SIZES.acknowledged + 1):
                await anyio.sleep(0.05)
    ids = [int(message["messageId"]) for message in msgspec.json.decode(waiting.body)["data"]]
    newest = msgspec.json.decode((await _once(port, poll)).body)["data"][-1]["messageId"]
    seen = get(f"/v1/messages/{channel}/{newest}/seen", key)
    return Bench(port, key, channel, poll, seen, ids)


async def _once(port: int, request: bytes) -> Answer:
    async with raw_connection(port) as connection:
        return await connection.ask(request)


def _is_full(answer: Answer, count: int) -> bool:
    return b"source: cache" in answer.head.lower() and answer.body.count(b'"messageId"') == count


def _stored(health: object) -> bool:
    assert isinstance(health, dict)
    return bool(health["journal"]["backlogEvents"] == 0)


@asynccontextmanager
async def _fixed_routes(sizes: Sequence[int]) -> AsyncIterator[int]:
    """The port of a process that answers `/N` with a body of so many bytes."""
    port = free_port()
    command = [sys.executable, "-m", "telewarden.sandbox.fixed_route", str(port), *map(str, sizes)]
    async with await anyio.open_process(command, stdin=subprocess.PIPE, stdout=None, stderr=None) as process:
        with anyio.fail_after(_READY_S):
            while True:
                try:
                    async with raw_connection(port):
                        break
                except OSError:
                    await anyio.sleep(0.05)
        yield port
        process.kill()


async def _polls(bench: Bench, floor: int) -> dict[str, Figure]:
    ours, theirs = await _in_turn(bench.port, [bench.poll] * SIZES.polls, floor, get("/0"))
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(SIZES.rounds):
        rates[0].append(await _rate(bench.port, bench.poll))
        rates[1].append(await _rate(floor, get("/0")))
    ratio = statistics.median(mine / its for mine, its in zip(*rates, strict=True))
    fixed = statistics.median(rates[1])
    return {
        "api_poll_100_p50": Figure(
            statistics.median(ours), "ms", statistics.median(theirs), "<=", 1.3, of="ratio"
        ),
        "api_poll_100_p95": Figure(p95(ours), "ms", p95(theirs), "<=", 1.3, of="ratio"),
        f"api_polls_at_{SIZES.connections}": Figure(ratio * fixed, "polls/s", fixed, ">=", 0.75, of="ratio"),
    }


async def _looks(bench: Bench, floor: int) -> dict[str, Figure]:
    ours, theirs = await _in_turn(bench.port, [bench.seen] * SIZES.looks, floor, get("/1"))
    return {"api_seen_p95_above_floor": Figure(p95(ours) - p95(theirs), "ms", p95(theirs), "<=", 2.0)}


async def _beside_slow_clients(bench: Bench) -> dict[str, Figure]:
    """p95 of polls beside as many slow readers as slow writers, and without them, in turn."""
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(SIZES.slow_rounds):
        alone.append(p95(await _times(bench, SIZES.slow_polls)))
        async with slow_clients(bench.port, readers=SIZES.slow, writers=SIZES.slow, request=bench.poll):
            await anyio.sleep(SIZES.settle_s)
            beside.append(p95(await _times(bench, SIZES.slow_polls)))
    return {
        f"api_poll_p95_beside_{2 * SIZES.slow}_slow": Figure(
            statistics.median(beside), "ms", statistics.median(alone), "<=", 2.0, of="ratio"
        )
    }


async def _times(bench: Bench, count: int) -> list[float]:
    with closing(RawClient(bench.port)) as client:
        return [await _timed(client, bench.poll) for _ in range(count)]


async def _acknowledgements(bench: Bench, floor: int) -> dict[str, Figure]:
    requests = [bench.acknowledgement(number) for number in range(1, SIZES.acknowledged + 1)]
    body = requests[0].partition(b"\r\n\r\n")[2]
    ours, theirs = await _in_turn(bench.port, requests, floor, post("/2", body))
    return {"api_ack_p95_above_floor": Figure(p95(ours) - p95(theirs), "ms", p95(theirs), "<=", 5.0)}


async def _in_turn(
    port: int, requests: Sequence[bytes], floor: int, request: bytes
) -> tuple[list[float], list[float]]:
    """Milliseconds of each, over one connection each."""
    times: tuple[list[float], list[float]] = ([], [])
    with closing(RawClient(port)) as ours, closing(RawClient(floor)) as theirs:
        for mine in requests:
            times[0].append(await _timed(ours, mine))
            times[1].append(await _timed(theirs, request))
    return times


async def _timed(client: RawClient, request: bytes) -> float:
    began = time.perf_counter()
    answer = await client.ask(request)
    taken = time.perf_counter() - began
    if answer.status != 200:
        raise RuntimeError(f"answered {answer.status}: {answer.body[:200]!r}")
    return taken * 1000


async def _rate(port: int, request: bytes) -> float:
    """Answers a second, over several connections."""
    count = 0

    async def ask(client: RawClient) -> None:
        nonlocal count
        while True:
            await _timed(client, request)
            count += 1

    with ExitStack() as stack:
        clients = [stack.enter_context(closing(RawClient(port))) for _ in range(SIZES.connections)]
        for client in clients:
            await client.ask(request)
        began = time.perf_counter()
        with anyio.move_on_after(SIZES.round_s):
            async with anyio.create_task_group() as tasks:
                for client in clients:
                    tasks.start_soon(ask, client)
        return count / (time.perf_counter() - began)
