"""What is told of troubles that come and go, and which signs of life the workers give."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest
from structlog.testing import capture_logs

from telewarden.damping import Damping
from telewarden.serving import log_blocked_loop
from telewarden.storage.cache import CacheUnavailable
from telewarden.storage.cache_sync import CacheSync
from telewarden.storage.signal import Signal
from telewarden.telegram.feed import Connection, Flooded, SessionUnusable, TelegramUnavailable
from telewarden.telegram.intake import IntakeSettings, TelegramState
from telewarden.workers.listener import Listener
from telewarden.workers.redis import RedisWorker
from telewarden_supervisors import ChildSpec, LoopWatch, Supervisor, WorkerContext

Look = tuple[float, str, str]
"""When it looked, what was down, what was told: each a space-separated list of names."""


def told(damping: Damping, now_s: float, down: str) -> str:
    found = damping.look(dict.fromkeys(down.split(), "its effect"), now_s=now_s, now=f"{now_s:g}")
    return " ".join(degradation.what for degradation in found)


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param([(0, "", ""), (1, "", "")], id="nothing is down"),
        pytest.param([(0, "redis", "redis")], id="what is down at the start is told at once"),
        pytest.param([(0, "", ""), (5, "redis", ""), (5.2, "", ""), (9, "", "")], id="a blip is never told"),
        pytest.param(
            [(0, "", ""), (5, "redis", ""), (5.9, "redis", ""), (6, "redis", "redis")],
            id="an outage is told when it has held",
        ),
        pytest.param(
            [(0, "redis", "redis"), (5, "", "redis"), (5.9, "", "redis"), (6, "", "")],
            id="coming back is told when it has held",
        ),
        pytest.param(
            [
                (0, "redis", "redis"),
                (5, "", "redis"),
                (5.5, "redis", "redis"),
                (6.4, "", "redis"),
                (7.3, "", "redis"),
                (7.4, "", ""),
            ],
            id="a blip of health inside an outage is never told",
        ),
        pytest.param(
            [(0, "", "")] + [(1 + n * 0.4, "redis" if n % 2 else "", "") for n in range(50)],
            id="what flaps all the time is not told as down",
        ),
        pytest.param(
            [(0, "redis", "redis")] + [(1 + n * 0.4, "redis" if n % 2 else "", "redis") for n in range(50)],
            id="what flaps all the time is not told as well either",
        ),
        pytest.param(
            [
                (0, "", ""),
                (5, "redis", ""),
                (5.5, "redis database", ""),
                (6, "redis database", "redis"),
                (6.5, "redis database", "redis database"),
                (7, "database", "redis database"),
                (8, "database", "database"),
            ],
            id="each for itself",
        ),
    ],
)
def test_a_change_is_told_when_it_has_held_for_a_moment(looks: list[Look]) -> None:
    damping = Damping(hold_s=1.0)
    assert [(now_s, down, told(damping, now_s, down)) for now_s, down, _ in looks] == looks


def test_since_is_when_it_began_and_the_effect_the_latest() -> None:
    damping = Damping(hold_s=1.0)
    damping.look({}, now_s=0, now="12:00")
    damping.look({"redis": "first"}, now_s=60, now="12:01")
    (degradation,) = damping.look({"redis": "then"}, now_s=120, now="12:02")
    assert (degradation.since, degradation.effect) == ("12:01", "then")
    (again,) = damping.look({"redis": "later"}, now_s=180, now="12:03")
    assert (again.since, again.effect) == ("12:01", "later")


def test_a_new_outage_begins_anew() -> None:
    damping = Damping(hold_s=1.0)
    damping.look({"redis": "x"}, now_s=0, now="12:00")
    damping.look({}, now_s=60, now="12:01")
    assert damping.look({}, now_s=61, now="12:01:01") == []
    damping.look({"redis": "x"}, now_s=120, now="12:02")
    (degradation,) = damping.look({"redis": "x"}, now_s=121, now="12:02:01")
    assert degradation.since == "12:02"


class Beats:
    """A worker's context that counts."""

    name = "worker"

    def __init__(self) -> None:
        self.count = 0

    def ready(self) -> None:
        pass

    def beat(self) -> None:
        self.count += 1

    def status(self, text: str) -> None:
        pass


class DeafTelegram:
    """Every attempt to connect ends the same way; after the third, the test goes on."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.attempts = 0
        self.enough = anyio.Event()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        self.attempts += 1
        if self.attempts == 3:
            self.enough.set()
        await anyio.lowlevel.checkpoint()
        if self.attempts:
            raise self.error
        yield cast(Connection, None)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(TelegramUnavailable("it did not answer in time"), id="no answer"),
        pytest.param(Flooded(0.01), id="told to wait"),
    ],
)
async def test_the_listener_beats_while_telegram_is_known_to_be_down(error: Exception) -> None:
    telegram, ctx = DeafTelegram(error), Beats()
    await run_until(telegram.enough, listener(telegram), ctx)
    assert ctx.count > 0


@pytest.mark.anyio
async def test_the_listener_beats_while_it_waits_for_a_new_session() -> None:
    telegram, ctx = DeafTelegram(SessionUnusable("refused")), Beats()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener(telegram).run, ctx)
        with anyio.fail_after(5):
            while not ctx.count:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert telegram.attempts == 1


@pytest.mark.anyio
async def test_the_redis_worker_beats_while_redis_is_known_to_be_down() -> None:
    class Down:
        def __init__(self) -> None:
            self.asked = 0
            self.enough = anyio.Event()

        async def follow(self, moved: Callable[[], None]) -> None:
            pass

        async def connect(self) -> str:
            self.asked += 1
            if self.asked == 2:
                self.enough.set()
            await anyio.lowlevel.checkpoint()
            raise CacheUnavailable("down")

    cache, ctx = Down(), Beats()
    worker = RedisWorker(cast(Any, cache), CacheSync(Signal()), cast(Any, None), lease_s=3.0)
    await run_until(cache.enough, worker, ctx)
    assert ctx.count >= 1


def listener(telegram: DeafTelegram) -> Listener:
    return Listener(
        telegram,
        cast(Any, None),
        cast(Any, None),
        TelegramState(),
        cast(Any, None),
        IntakeSettings(),
    )


async def run_until(enough: anyio.Event, worker: Listener | RedisWorker, ctx: Beats) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run, ctx)
        with anyio.fail_after(10):
            await enough.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_who_blocks_the_event_loop_is_named_with_the_stack() -> None:
    logged: list[Any]

    async def greedy(ctx: WorkerContext) -> None:
        ctx.ready()
        await anyio.lowlevel.checkpoint()
        deadline = time.monotonic() + 10
        while not logged and time.monotonic() < deadline:
            # Blocking is what is under test; the deadline ends it where nobody notices.
            time.sleep(0.001)
        await anyio.sleep_forever()

    with capture_logs() as logged:
        watch = ChildSpec("loop-watch", LoopWatch(0.1, log_blocked_loop), heartbeat_timeout_s=None)
        supervisor = Supervisor("daemon", [watch, ChildSpec("greedy", greedy, heartbeat_timeout_s=None)])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervisor.run)
            with anyio.fail_after(15):
                while not logged:
                    await anyio.lowlevel.checkpoint()
            await supervisor.stop()
    assert logged[0]["event"] == "event_loop_blocked"
    assert logged[0]["worker"] == "daemon/greedy"
    assert "greedy" in logged[0]["stack"]
