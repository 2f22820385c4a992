"""The live consumer over real HTTP while the process that takes in dies and is restarted: every post is consumed."""

from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import pytest

from support.old_consumer import OldConsumer
from support.serving import serving_process
from telewarden.sandbox.exercise import daemon_killed, daemon_running
from telewarden.sandbox.poster import Poster
from telewarden.sandbox.stack import CONSUMER, Stack, start_stack
from telewarden.sandbox.verdict import Id, Stored

pytestmark = [pytest.mark.anyio, pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(180)]

INTERVAL_S = 0.1
RATE = 30.0
POSTS_FOR_S = 150.0
"""At most; it ends with the last restart."""


async def stopped_and_started(stack: Stack) -> None:
    """As a service manager restarts it."""
    assert await stack.daemon.stop() == 0
    stack.daemon.start()
    await stack.daemon.wait_ready(caught_up=True)


async def killed_and_left_for_a_moment(stack: Stack) -> None:
    """Killed, and started only after posts were made that nobody took in."""
    stack.daemon.kill()
    posted = len(await stack.truth())
    with anyio.fail_after(20):
        while len(await stack.truth()) < posted + RATE:
            await anyio.sleep(0.02)
    stack.daemon.start()
    await stack.daemon.wait_ready(caught_up=True)


async def test_every_post_is_consumed_across_restarts(tmp_path: Path, full: bool) -> None:
    """One consumer at the process that takes in, one at a process that only serves."""
    restarts = (daemon_killed, stopped_and_started, killed_and_left_for_a_moment) * (3 if full else 1)
    async with (
        start_stack(tmp_path, channels=2) as stack,
        daemon_running(stack),
        serving_process(stack) as serving,
        anyio.create_task_group() as tasks,
    ):
        consumers = [
            OldConsumer(url, stack.daemon.api_key, channel, CONSUMER, INTERVAL_S)
            for channel, url in zip(stack.channel_ids, (stack.daemon.url, serving.url), strict=True)
        ]
        for consumer in consumers:
            tasks.start_soon(consumer.run)
        poster = Poster(stack.control, stack.channel_ids, rate=RATE, edits=0.0, deletes=0.0)
        async with anyio.create_task_group() as work:
            work.start_soon(poster.run, POSTS_FOR_S)
            for restart in restarts:
                before = count_consumed(consumers)
                await until(lambda before=before: count_consumed(consumers) > before + RATE / 2)  # type: ignore[misc]
                await restart(stack)
            poster.stop()
        posted = {key: versions[-1][1] for key, versions in poster.done.texts.items()}
        await until(lambda: count_consumed(consumers) >= len(posted))
        rows = await settled(stack)
        tasks.cancel_scope.cancel()
    print(f"{len(posted)} posts; failed requests: {[consumer.failures for consumer in consumers]}")
    consumed = {(c.channel, message_id): text for c in consumers for message_id, text in c.consumed.items()}
    assert consumed == posted
    assert [key for key, _ in rows] == sorted(posted), "a row for each post, and no other"
    assert {row.status for _, row in rows} == {"published"}
    for consumer in consumers:
        assert consumer.served_after_done == [], "an acknowledgement that was answered lasts"
        assert len(consumer.consumed) - len(consumer.done) <= len(restarts), (
            "but for those under way in a restart"
        )
    at_the_one_that_dies, _ = consumers
    assert at_the_one_that_dies.breaker.opened, "the consumer met the restarts"


def count_consumed(consumers: Sequence[OldConsumer]) -> int:
    """How many messages, also those whose acknowledgement had no answer: it may be on disk all the same."""
    return sum(len(consumer.consumed) for consumer in consumers)


async def settled(stack: Stack) -> list[tuple[Id, Stored]]:
    """Every row, once the last acknowledgement is in the database."""
    with anyio.move_on_after(20):
        while {row.status for _, row in await stack.rows()} != {"published"}:
            await anyio.sleep(0.05)
    return sorted(await stack.rows(), key=lambda found: found[0])


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.02)
