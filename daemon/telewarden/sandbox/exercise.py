"""The main job under load: post, poll, acknowledge; faults on the way; at the end a comparison id by id."""

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from telewarden.sandbox.consumer import Consumer
from telewarden.sandbox.poster import Poster
from telewarden.sandbox.stack import CONSUMER, Stack
from telewarden.sandbox.verdict import Id, Stored, Verdict, judge

POLL_INTERVAL_S = 0.02
"""Between a poll's answer and the next poll of that channel; the live consumer takes 5 s."""
_SETTLE_S = 60.0
_IN_FLIGHT_MS = 200.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is done to the stack.

    at: when, as a share of the posting time. run: does and undoes it.
    blind: the daemon is down meanwhile, so it cannot see what Telegram shows.
    """

    name: str
    at: float
    run: Callable[[Stack], Awaitable[None]]
    blind: bool = False


@dataclass(slots=True)
class Outage:
    """When a fault was under way, wall clock in ms."""

    name: str
    began_ms: float
    ended_ms: float = float("inf")
    blind: bool = False


@dataclass(slots=True)
class Result:
    """What an exercise showed. latency_ms: post → poll, of the messages posted outside outages."""

    posted: int
    edited: int
    deleted: int
    stored: int
    polled: int
    acknowledged: int
    verdict: Verdict
    latency_ms: dict[str, float]
    restarts: int
    seconds: float
    sources: dict[str, int]
    errors: dict[str, int]

    def as_json(self) -> dict[str, object]:
        """The keys that `--json` promises."""
        return {
            "posted": self.posted,
            "edited": self.edited,
            "deleted": self.deleted,
            "stored": self.stored,
            "polled": self.polled,
            "acknowledged": self.acknowledged,
            "lost": len(self.verdict.lost),
            "omitted": len(self.verdict.omitted),
            "duplicated": len(self.verdict.duplicated),
            "stale": len(self.verdict.stale),
            "latency_ms": self.latency_ms,
            "restarts": self.restarts,
            "seconds": round(self.seconds, 1),
            "sources": self.sources,
            "errors": self.errors,
        }


@dataclass
class Exercise:
    """One run, and what can be watched of it while it goes on.

    hold_s: how long the consumer keeps a message before it acknowledges it. before: messages of earlier exercises on
    the same stack, all acknowledged: not judged again, and not to be served again. omits_s: see judge. behind_s: how
    far the daemon may be behind Telegram while it is up: on a busy machine it need not see what a deletion follows so
    soon.
    """

    stack: Stack
    seconds: float
    rate: float
    faults: Sequence[Fault] = ()
    seed: int = 1
    poll_interval_s: float = POLL_INTERVAL_S
    hold_s: float = 0.0
    before: Set[Id] = frozenset()
    omits_s: float = 0.0
    behind_s: float = 0.0
    outages: list[Outage] = field(default_factory=list)
    phase: str = "starting"

    def __post_init__(self) -> None:
        stack = self.stack
        self.poster = Poster(stack.control, stack.channel_ids, rate=self.rate, seed=self.seed)
        self.consumer = Consumer(
            stack.daemon.url,
            stack.daemon.api_key,
            stack.channel_ids,
            interval_s=self.poll_interval_s,
            name=CONSUMER,
            hold_s=self.hold_s,
        )
        self.began_s = time.monotonic()

    async def run(self) -> Result:
        """Do it all; the daemon must be ready."""
        self.began_s = time.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.consumer.run)
            self.phase = "posting"
            async with anyio.create_task_group() as work:
                work.start_soon(self.poster.run, self.seconds)
                for fault in self.faults:
                    work.start_soon(self._inject, fault)
            self.phase = "settling"
            verdict = await self._settle()
            tasks.cancel_scope.cancel()
        self.phase = "done"
        return await self._result(verdict)

    async def _inject(self, fault: Fault) -> None:
        await anyio.sleep(self.seconds * fault.at)
        outage = Outage(fault.name, time.time() * 1000, blind=fault.blind)
        self.outages.append(outage)
        await fault.run(self.stack)
        outage.ended_ms = time.time() * 1000

    async def _settle(self) -> Verdict:
        """Until nothing differs any more and everything is acknowledged; then, or when time is up, the verdict."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            verdict = await self._verdict()
            all_acknowledged = all(r.acknowledged for r in self.consumer.got.received.values())
            if (verdict.clean and all_acknowledged) or time.monotonic() > deadline or verdict.settled:
                return verdict
            await anyio.sleep(0.2)

    async def _verdict(self) -> Verdict:
        truth, rows = await self.stack.truth(), await self._rows()
        own = {key: message for key, message in truth.items() if key not in self.before}
        got, written = self.consumer.got, self.poster.done.texts
        texts = {key: [text for _, text in versions] for key, versions in written.items()}
        verdict = judge(
            own,
            rows,
            got,
            self.never_shown(),
            self.shown_texts(),
            texts,
            omits_ms=self.omits_s * 1000,
        )
        for key in got.received.keys() & self.before:
            verdict.duplicated[key] = "served again, acknowledged long before"
        return verdict

    async def _rows(self) -> list[tuple[Id, Stored]]:
        return [(key, row) for key, row in await self.stack.rows() if key not in self.before]

    def never_shown(self) -> set[Id]:
        """Messages that were posted and deleted while the daemon was down (or had them in flight when it died), or one
        soon after the other."""
        done = self.poster.done
        return {
            key
            for key, deleted_ms in done.deleted_at_ms.items()
            if deleted_ms - done.posted_at_ms[key] < self.behind_s * 1000
            or any(
                o.blind and o.began_ms - _IN_FLIGHT_MS <= done.posted_at_ms[key] and deleted_ms <= o.ended_ms
                for o in self.outages
            )
        }

    def shown_texts(self) -> dict[Id, set[str]]:
        """Of messages that were deleted while the daemon was down, or soon after an edit: the texts that it may have
        seen last."""
        done = self.poster.done
        shown: dict[Id, set[str]] = {}
        for key, deleted_ms in done.deleted_at_ms.items():
            texts = done.texts[key]
            recent = [n for n, (at_ms, _) in enumerate(texts) if at_ms > deleted_ms - self.behind_s * 1000]
            if recent:
                shown[key] = {text for _, text in texts[max(recent[0] - 1, 0) :]}
            for outage in self.outages:
                began_ms = outage.began_ms - _IN_FLIGHT_MS
                if outage.blind and began_ms <= deleted_ms <= outage.ended_ms:
                    last = max((n for n, (at_ms, _) in enumerate(texts) if at_ms < began_ms), default=0)
                    seen = [text for at_ms, text in texts[last:] if at_ms <= outage.began_ms + _IN_FLIGHT_MS]
                    shown.setdefault(key, set()).update(seen)
        return shown

    def latencies_ms(self, grace_ms: float = 2000.0) -> list[float]:
        """Post → first poll, of the messages posted outside outages (with some time to recover after each)."""
        got = self.consumer.got.received
        return [
            got[key].polled_at_ms - at_ms
            for key, at_ms in self.poster.done.posted_at_ms.items()
            if key in got
            and not any(o.began_ms - 200 <= at_ms <= o.ended_ms + grace_ms for o in self.outages)
        ]

    async def _result(self, verdict: Verdict) -> Result:
        health = await self.stack.daemon.health() or {}
        workers = health.get("workers")
        restarts = sum(int(w["restarts"]) for w in workers.values()) if isinstance(workers, dict) else 0
        return Result(
            posted=len(self.poster.done.posted_at_ms),
            edited=self.poster.done.edited,
            deleted=self.poster.done.deleted,
            stored=len(await self._rows()),
            polled=len(self.consumer.got.received),
            acknowledged=self.consumer.got.acknowledged,
            verdict=verdict,
            latency_ms=percentiles(self.latencies_ms()),
            restarts=restarts + self.stack.daemon.starts - 1,
            seconds=time.monotonic() - self.began_s,
            sources=self.consumer.got.sources,
            errors=self.consumer.got.errors,
        )


def percentiles(values_ms: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 of some times, rounded to a tenth; 0 where there are none."""
    if len(values_ms) < 2:
        only = round(values_ms[0], 1) if values_ms else 0.0
        return {"p50": only, "p95": only, "p99": only}
    cuts = statistics.quantiles(values_ms, n=100, method="inclusive")
    return {"p50": round(cuts[49], 1), "p95": round(cuts[94], 1), "p99": round(cuts[98], 1)}


async def postgres_down(stack: Stack, seconds: float = 3.0) -> None:
    """Kill PostgreSQL as a crash does, and start it again after so long."""
    await stack.postgres.kill()
    await anyio.sleep(seconds)
    await stack.postgres.restart()


async def valkey_down(stack: Stack, seconds: float = 3.0) -> None:
    """Kill Valkey, and start it again, empty, after so long."""
    await stack.valkey.kill()
    await anyio.sleep(seconds)
    await stack.valkey.restart()


async def daemon_killed(stack: Stack) -> None:
    """Kill the daemon as `kill -9` does, and start it again at once; over when it has read all that it missed."""
    stack.daemon.kill()
    stack.daemon.start()
    await stack.daemon.wait_ready(caught_up=True)


@asynccontextmanager
async def daemon_running(stack: Stack) -> AsyncIterator[None]:
    """The daemon, ready; stopped in order at the end."""
    stack.daemon.start()
    await stack.daemon.wait_ready()
    yield
    await stack.daemon.stop()
