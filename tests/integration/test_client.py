"""The client and its commands with a running daemon; also one that is killed between."""

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from textwrap import dedent

import anyio
import anyio.to_thread
import pytest
from typer.testing import CliRunner

from telewarden.cli import app
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import Stack, start_stack
from telewarden_http.client import AsyncClient, Client, Event, Retry

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
PROGRAM = re.findall(r"^ *```python\n(.*?)^ *```", README, re.MULTILINE | re.DOTALL)
RETRY = Retry(first_s=0.05, most_s=0.5)
POSTS = 60


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One daemon for all tests of this module."""
    async with start_stack(tmp_path_factory.mktemp("client"), channels=2) as stack, daemon_running(stack):
        yield stack


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.02)


def client(stack: Stack) -> AsyncClient:
    return AsyncClient(stack.daemon.url, stack.daemon.api_key, retry=RETRY)


async def test_the_program_in_the_readme_does_what_it_says(stack: Stack, tmp_path: Path) -> None:
    (program,) = PROGRAM
    assert len(program.splitlines()) <= 10
    program = dedent(program).replace("http://127.0.0.1:4010", stack.daemon.url)
    program = program.replace("change-me-0123456789", stack.daemon.api_key)
    async with client(stack) as it:
        await it.configure_consumer()
        await stack.control.post(stack.channel_ids[0], "before")
        feed = it.feed()
        await anext(feed)  # it is in the feed
        await feed.aclose()
        command = [sys.executable, "-u", "-W", "error", "-c", program]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
        ) as process:
            assert process.stdout is not None
            stdout = process.stdout

            async def line() -> str:
                return await anyio.to_thread.run_sync(stdout.readline)

            try:
                with anyio.fail_after(60):
                    assert (await line(), await line()) == ("posted before\n", "caught up\n")
                    assert await line() == "before\n"
                    for text in ("one", "two"):
                        await stack.control.post(stack.channel_ids[0], text)
                        assert await line() == f"{text}\n"
            finally:
                process.send_signal(signal.SIGINT)
                await anyio.to_thread.run_sync(process.wait)
        # The last may have been in hand still at Ctrl-C; then it was given back, and is there for the next one at once.
        left = await it.lease()
        assert {each.message.text for each in left} <= {"two"}
        if left:
            await it.acknowledge([each.receipt for each in left])
        lag = (await it.consumer()).lag
        assert (lag.waiting, lag.leased, lag.delayed) == (0, 0, 0)
        assert (tmp_path / "place.txt").exists()


async def test_nothing_is_lost_when_the_daemon_is_killed_between(stack: Stack) -> None:
    """The feed gives each event once and in order; the consumer does each at least once and acknowledges all."""
    channels = [str(channel) for channel in stack.channel_ids]
    followed: list[Event] = []
    worked: list[str] = []
    texts = [f"post {number}" for number in range(POSTS)]

    def consume() -> None:
        with (
            Client(stack.daemon.url, stack.daemon.api_key, retry=RETRY) as it,
            it.consume(lease_s=5, batch=5) as deliveries,
        ):
            for delivery in deliveries:
                worked.append(delivery.message.text or "")
                if set(worked) >= set(texts):
                    deliveries.stop()

    async def follow(it: AsyncClient, after: str) -> None:
        async for event in it.feed(channels=channels, after=after, limit=7):
            followed.append(event)  # noqa: PERF401 -- others look at it meanwhile

    async with client(stack) as it, anyio.create_task_group() as tasks:
        await it.configure_consumer()
        tasks.start_soon(follow, it, await it.now())
        tasks.start_soon(anyio.to_thread.run_sync, consume)
        for number, text in enumerate(texts):
            await stack.control.post(stack.channel_ids[number % 2], text)
            if number in (POSTS // 3, 2 * POSTS // 3):
                # Killed at work: something has come since the last time.
                await until(lambda at=number: len(followed) > at // 2)  # type: ignore[misc]
                stack.daemon.kill()
                stack.daemon.start()
        await until(lambda: len(followed) >= POSTS)
        await until(lambda: set(worked) >= set(texts))
        await stack.daemon.wait_ready()
        with anyio.fail_after(30):
            while (lag := (await it.consumer()).lag).waiting + lag.leased + lag.delayed:
                await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    assert Counter(event.message.text for event in followed) == Counter(texts)
    for channel in channels:
        numbers = [int(event.message_id) for event in followed if event.channel == channel]
        assert numbers == sorted(numbers)


async def test_the_commands_ask_the_running_daemon(stack: Stack) -> None:
    channel = str(stack.channel_ids[0])
    settings = str(stack.folder / "telewarden.toml")

    async def telewarden(*arguments: str) -> list[str]:
        command = [*arguments, "--config", settings]
        done = await anyio.to_thread.run_sync(lambda: CliRunner().invoke(app, command))
        assert (done.exit_code, done.stderr) == (0, "")
        return done.stdout.splitlines()

    async with client(stack) as it:
        await it.configure_consumer()
    post = (await stack.control.post(stack.channel_ids[0], "by hand")).message_id
    with anyio.fail_after(60):
        while not (leased := await telewarden("poll", "--consume", "--wait", "5")):
            pass
    assert leased[0].endswith("by hand")
    receipt = leased[0].split()[0]
    assert await telewarden("ack", receipt) == [f"{receipt}  acknowledged"]
    assert any(line.endswith("by hand") for line in await telewarden("poll", channel))
    marked = await telewarden("ack", str(post), "--channel", channel)
    assert marked[0].startswith("1 of 1 marked as processed")
    assert not any(line.endswith("by hand") for line in await telewarden("poll", channel))
    tailed = await telewarden("tail", channel, "--after", "beginning", "--no-follow")
    assert tailed[-1].endswith(f"{channel}  posted   by hand")
    assert any("tp-capital" in line for line in await telewarden("lag"))
