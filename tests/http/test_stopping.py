"""Who waits learns that the server ends."""

import anyio
import anyio.lowlevel
import pytest

from telewarden_http.stopping import Stopping

pytestmark = pytest.mark.anyio


async def test_a_wait_ends_when_the_server_does() -> None:
    stopping = Stopping()
    waits: list[bool] = []

    async def wait() -> None:
        with stopping.waiting(60.0) as scope:
            await anyio.sleep_forever()
        waits.append(scope.cancelled_caught)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            stopping.begin()

    assert waits == [True, True]
    assert stopping.begun


async def test_no_wait_begins_after_that_until_it_is_taken_back() -> None:
    stopping = Stopping()
    stopping.begin()

    with anyio.fail_after(5), stopping.waiting(60.0) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught

    stopping.take_back()
    with stopping.waiting(60.0) as scope:
        await anyio.lowlevel.checkpoint()
    assert not scope.cancelled_caught


async def test_a_wait_has_its_own_end() -> None:
    with anyio.fail_after(5), Stopping().waiting(0.01) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
