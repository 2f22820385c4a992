"""Looks at the process come at once when there is something new to see, and not before."""

from collections.abc import Callable

import anyio
import msgspec
import pytest

from dev.console_scenes import World
from telewarden.history import History
from telewarden.overview import Overviews
from telewarden.storage.signal import Signal
from telewarden_http.v1.overview_protocols import Overview
from telewarden_supervisors import ChildReady

pytestmark = pytest.mark.anyio

LONG_S = 3600.0
"""How old a look may grow here: nothing comes by time."""


def something_happened(history: History) -> None:
    history.note(ChildReady(supervisor="telewarden", at=0.0, child="writer", instance=1, after_s=0.1))


@pytest.mark.parametrize("what", ["news", "worker"])
async def test_a_new_message_and_a_changed_worker_call_for_a_look(what: str) -> None:
    world, history, news = World("calm"), History(), Signal()

    async def make() -> Overview:
        return world.look()

    overviews = Overviews(make, history, news=news, each_s=LONG_S)
    call: Callable[[], object] = news.fire if what == "news" else lambda: something_happened(history)
    with overviews.looking() as looks:
        first = await looks.next()
        seen: list[bytes] = []

        async def look() -> None:
            seen.append(await looks.next())

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(look)
                await anyio.wait_all_tasks_blocked()
                assert seen == []
                call()
    assert msgspec.json.decode(seen[0], type=Overview).at > msgspec.json.decode(first, type=Overview).at
