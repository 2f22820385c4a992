"""The whole stack under load while its parts are killed: nothing lost, doubled or stale, and every poll answered."""

import random
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from telewarden.sandbox.exercise import (
    Exercise,
    Fault,
    Result,
    daemon_killed,
    daemon_running,
    postgres_down,
    valkey_down,
)
from telewarden.sandbox.stack import Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.chaos, pytest.mark.timeout(300)]


async def exercise(
    folder: Path, *, seconds: float, rate: float, faults: list[Fault], seed: int = 1
) -> tuple[Result, Exercise]:
    """Run and check what must hold whatever happens."""
    async with start_stack(folder) as stack, daemon_running(stack):
        running = Exercise(stack, seconds, rate, faults, seed=seed)
        result = await running.run()
        log = stack.daemon.log_end(40)
    assert result.verdict.clean, "\n".join([f"seed {seed}", *result.verdict.lines(), log])
    assert result.stored + len(running.never_shown()) >= result.posted
    assert result.acknowledged == result.polled
    assert result.edited > 0
    assert result.deleted > 0
    return result, running


def sources_during(running: Exercise, name: str, settle_ms: float = 1500.0) -> set[str]:
    """Which sources answered while a fault was under way, after a moment to notice it."""
    (outage,) = [outage for outage in running.outages if outage.name == name]
    within = [
        s for at, s in running.consumer.got.answers if outage.began_ms + settle_ms < at < outage.ended_ms
    ]
    assert len(within) > 10, "polls went on"
    return set(within)


def polled_during(running: Exercise, name: str, margin_ms: float = 1500.0) -> bool:
    """Messages posted during an outage were served before it ended."""
    (outage,) = [outage for outage in running.outages if outage.name == name]
    got = running.consumer.got.received
    posted = [
        key
        for key, at in running.poster.done.posted_at_ms.items()
        if outage.began_ms + margin_ms < at < outage.ended_ms - margin_ms and key in got
    ]
    assert posted
    return all(got[key].polled_at_ms < outage.ended_ms for key in posted)


@pytest.fixture
def seconds(full: bool, whole: bool) -> float:
    """How long it is posted: a minute for `make chaos`; half of that has every outage in it, and time to recover."""
    return 60.0 if whole else 30.0 if full else 12.0


async def test_two_hundred_posts_a_second(tmp_path: Path, seconds: float) -> None:
    result, _ = await exercise(tmp_path, seconds=seconds, rate=200, faults=[])
    assert result.errors == {}
    assert result.restarts == 0


async def test_without_the_database_polls_go_on_from_the_cache(
    tmp_path: Path, seconds: float, full: bool
) -> None:
    outage_s = 10.0 if full else 5.0
    fault = Fault("database", 0.3, partial(postgres_down, seconds=outage_s))
    result, running = await exercise(tmp_path, seconds=seconds, rate=50, faults=[fault])
    assert result.errors == {}
    assert sources_during(running, "database") == {"cache"}
    assert polled_during(running, "database")


async def test_without_the_cache_polls_go_on_from_the_database(
    tmp_path: Path, seconds: float, full: bool
) -> None:
    outage_s = 10.0 if full else 5.0
    fault = Fault("cache", 0.3, partial(valkey_down, seconds=outage_s))
    result, running = await exercise(tmp_path, seconds=seconds, rate=50, faults=[fault])
    assert result.errors == {}
    assert sources_during(running, "cache") == {"database"}
    assert polled_during(running, "cache")


async def test_without_both_polls_go_on_from_the_journal(tmp_path: Path, seconds: float, full: bool) -> None:
    outage_s = 10.0 if full else 5.0
    faults = [
        Fault("database", 0.3, partial(postgres_down, seconds=outage_s)),
        Fault("cache", 0.3, partial(valkey_down, seconds=outage_s)),
    ]
    result, running = await exercise(tmp_path, seconds=seconds, rate=50, faults=faults)
    assert "journal" in sources_during(running, "database", settle_ms=2500)
    # Only an acknowledgement of which nobody can tell the channel may be refused meanwhile.
    assert set(result.errors) <= {"acknowledge: 503"}


async def test_killing_the_daemon_loses_and_doubles_nothing(tmp_path: Path, full: bool) -> None:
    seed = random.randrange(1_000_000)
    dice = random.Random(seed)
    seconds, kills = (50.0, 5) if full else (20.0, 2)
    moments = sorted(dice.uniform(0.05, 0.9) for _ in range(kills))
    kill: Callable[[Stack], Awaitable[None]] = daemon_killed
    # Two kills at once would be one: each waits for the daemon to be back.
    faults = [Fault(f"kill {n}", max(m, n * 0.15), kill, blind=True) for n, m in enumerate(moments)]
    result, _ = await exercise(tmp_path, seconds=seconds, rate=50, faults=faults, seed=seed)
    assert result.restarts >= kills


@pytest.mark.suite("telegram")
@pytest.mark.timeout(900)
async def test_many_kills_at_two_hundred_posts_a_second(tmp_path: Path, whole: bool) -> None:
    seed = random.randrange(1_000_000)
    dice = random.Random(seed)
    kills, apart_s = 50 if whole else 3, 4.0
    seconds = kills * apart_s
    kill: Callable[[Stack], Awaitable[None]] = daemon_killed
    faults = [
        Fault(f"kill {n}", (n * apart_s + dice.uniform(0.3, 2.0)) / seconds, kill, blind=True)
        for n in range(kills)
    ]
    result, running = await exercise(tmp_path, seconds=seconds, rate=200, faults=faults, seed=seed)
    print(
        f"seed {seed}: {kills} kills, {result.posted} posted, {result.edited} edited, {result.deleted} deleted"
    )
    assert running.stack.daemon.starts == kills + 1


@pytest.mark.parametrize("place", ["writer.before_commit:3", "writer.after_commit:3"])
async def test_a_kill_around_the_database_commit_stores_every_message_once(
    tmp_path: Path, place: str
) -> None:
    async with start_stack(tmp_path) as stack:
        stack.daemon.start("--set", f"testing.fail_point={place}")
        await stack.daemon.wait_ready()
        running = Exercise(
            stack, seconds=8, rate=20, faults=[Fault("restart", 0.0, _restart_after_its_death, blind=True)]
        )
        result = await running.run()
        await stack.daemon.stop()
    assert result.verdict.clean, "\n".join(result.verdict.lines())
    assert result.restarts == 1


async def _restart_after_its_death(stack: Stack) -> None:
    assert await stack.daemon.ended() == -9
    stack.daemon.start()
    await stack.daemon.wait_ready()
