"""What more processes that serve bring: polls a second of `--role api --workers 2`, beside those of one process."""

import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from telewarden.sandbox.daemon import DaemonProcess, write_settings
from telewarden.sandbox.figures import Figure
from telewarden.sandbox.ports import free_port
from telewarden.sandbox.stack import CONSUMER, Stack

_GOAL = 1.2


async def measure(
    stack: Stack, processes: int, rounds: int, rate: Callable[[int], Awaitable[float]]
) -> dict[str, Figure]:
    """rate: answers a second from a port. Both run all the time, and are asked in turn."""
    one: list[float] = []
    many: list[float] = []
    async with _serving(stack, 1) as alone, _serving(stack, processes) as together:
        for _ in range(rounds):
            one.append(await rate(alone))
            many.append(await rate(together))
    by_one = statistics.median(one)
    ratio = statistics.median(more / less for more, less in zip(many, one, strict=True))
    return {
        f"api_polls_by_{processes}_processes": Figure(
            ratio * by_one, "polls/s", by_one, ">=", _GOAL, of="ratio"
        )
    }


@asynccontextmanager
async def _serving(stack: Stack, processes: int) -> AsyncIterator[int]:
    """The port of so many processes that serve."""
    port, name = free_port(), f"serving-{processes}"
    settings_file = stack.folder / f"{name}.toml"
    write_settings(
        settings_file,
        {
            "database": {"dsn": stack.postgres.dsn},
            "cache": {"url": stack.valkey.url},
            "http": {"port": port, "workers": processes, "api_keys": {CONSUMER: stack.daemon.api_key}},
            "log": {"format": "console"},
        },
    )
    daemon = DaemonProcess(
        settings_file,
        stack.folder / f"{name}.log",
        state_dir=stack.folder / name,
        url=f"http://127.0.0.1:{port}",
        api_key=stack.daemon.api_key,
    )
    daemon.start("--role", "api")
    try:
        await daemon.wait_ready(connected=False)
        yield port
    finally:
        daemon.kill()
