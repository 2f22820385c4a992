"""One look at the process for all who look."""

from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import anyio.lowlevel
import msgspec
import pytest

from telewarden.history import History
from telewarden.lately import Lately
from telewarden.overview import Overviews
from telewarden.storage.database import DatabaseUnavailable
from telewarden.storage.signal import Signal
from telewarden_http.v1.overview_protocols import Overview
from telewarden_supervisors import ChildStarted

pytestmark = pytest.mark.anyio


@dataclass
class World:
    """Looks are counted; the time is the test's."""

    each_s: float = 1000.0
    now_s: float = 0.0
    made: int = 0
    history: History = field(default_factory=History)
    news: Signal = field(default_factory=Signal)

    def __post_init__(self) -> None:
        self.overviews = Overviews(
            self.look, self.history, news=self.news, each_s=self.each_s, clock_s=lambda: self.now_s
        )

    async def look(self) -> Overview:
        await anyio.lowlevel.checkpoint()
        self.made += 1
        return cast(Overview, {"made": self.made})

    def worker_changes(self) -> None:
        self.history.note(ChildStarted(supervisor="telewarden", at=0.0, child="writer", instance=1))


def made(body: bytes) -> int:
    return int(msgspec.json.decode(body)["made"])


async def test_all_who_look_at_a_time_share_a_look() -> None:
    world = World()
    seen: list[int] = []

    async def ask() -> None:
        with world.overviews.looking() as looks:
            seen.append(made(await looks.next()))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    assert seen == [1] * 5
    assert made(await world.overviews.overview()) == 1


async def test_who_comes_later_gets_no_old_look() -> None:
    world = World()
    assert made(await world.overviews.overview()) == 1
    world.now_s = world.each_s
    with world.overviews.looking() as looks:
        assert made(await looks.next()) == 2


async def test_a_change_of_a_worker_is_seen_at_once_by_all() -> None:
    world = World()
    seen: list[int] = []

    async def follow() -> None:
        with world.overviews.looking() as looks:
            seen.append(made(await looks.next()))
            seen.append(made(await looks.next()))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            tasks.start_soon(follow)
            while len(seen) < 2:
                await anyio.lowlevel.checkpoint()
            world.worker_changes()
    assert seen == [1, 1, 2, 2]


async def test_without_a_change_the_next_look_is_there_when_it_is_due() -> None:
    world = World(each_s=0.01)
    with world.overviews.looking() as looks:
        with anyio.fail_after(5):
            assert [made(await looks.next()) for _ in range(3)] == [1, 2, 3]


async def test_who_goes_away_in_the_middle_of_a_look_leaves_it_to_the_others() -> None:
    world = World()
    with world.overviews.looking() as looks, anyio.CancelScope() as scope:
        scope.cancel()
        await looks.next()
    assert world.made == 0
    assert made(await world.overviews.overview()) == 1


async def test_what_a_store_says_is_remembered_for_a_while_and_not_for_long() -> None:
    now_s, answers = 0.0, iter([1, 2, DatabaseUnavailable("down"), 3])

    async def ask() -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    lately = Lately(ask, each_s=3.0, clock_s=lambda: now_s)
    seen = []
    for now_s in (0.0, 2.0, 3.0, 6.0, 9.0, 18.1):
        if now_s < 18:
            await lately.look()
        seen.append(lately.value)
    assert seen == [1, 1, 2, None, 3, None]


async def test_new_messages_call_for_a_look_soon() -> None:
    world = World()
    seen: list[int] = []
    with world.overviews.looking() as looks:
        assert made(await looks.next()) == 1

        async def look() -> None:
            seen.append(made(await looks.next()))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(look)
                await anyio.wait_all_tasks_blocked()
                assert seen == []
                world.news.fire()
    assert seen == [2]
