"""Intake without anything behind it: the listener and the journal, on one core. A process of its own for the
benchmarks.

Prints "ready", and writes a file of JSON: when each post was accepted, or what an idle time cost.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import anyio

from telewarden.channels import ChannelSet
from telewarden.messages import Posted
from telewarden.sandbox.alone import AloneContext
from telewarden.storage.database import Database
from telewarden.storage.journal import Journal, open_journal
from telewarden.telegram.client import ClientSettings
from telewarden.telegram.intake import IntakeSettings, TelegramState
from telewarden.telegram.telethon_feed import TelethonFeed
from telewarden.workers.listener import Listener

_TIMEOUT_S = 300.0


class _Nothing:
    """A database that has no message yet."""

    async def channel_tops(self, channel_ids: Sequence[int]) -> Mapping[int, int]:
        return dict.fromkeys(channel_ids, 0)


async def take_in(
    settings: ClientSettings, channel_ids: Sequence[int], expected: int, idle_s: float, first_read: str
) -> dict[str, Any]:
    """Take in so many posts, or nothing for a while.

    Gives seen: when each was accepted, wall clock in ms, by "channel:message"; caught_up_s: seconds from the start
    until every channel was read; cpu_s: processor time of the idle while; rss_mb: the peak of memory.
    """
    state = TelegramState()
    feed = TelethonFeed(settings, request_timeout_s=30.0)
    async with open_journal(settings.session_file.with_suffix(".journal")) as journal:
        channels = ChannelSet(journal, channel_ids, first_read)
        nothing = cast(Database, _Nothing())
        listener = Listener(feed, journal, nothing, state, channels, IntakeSettings())
        began_s = time.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.run, AloneContext())
            with anyio.fail_after(_TIMEOUT_S):
                while not state.caught_up:
                    await anyio.sleep(0.01)
            found: dict[str, Any] = {"caught_up_s": time.monotonic() - began_s}
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            if idle_s:
                before_s = _cpu_s()
                await anyio.sleep(idle_s)
                found |= {"cpu_s": _cpu_s() - before_s}
            else:
                found |= {"seen": await _count(journal, expected)}
            found |= {"rss_mb": _peak_mb()}
            tasks.cancel_scope.cancel()
    return found


async def _count(journal: Journal, expected: int) -> dict[str, float]:
    seen: dict[str, float] = {}
    position = journal.head
    with anyio.fail_after(_TIMEOUT_S):
        while len(seen) < expected:
            await journal.changed.wait()
            at_ms = time.time() * 1000
            for record in journal.tail.after(position):
                position = record.position
                event = record.event
                if isinstance(event, Posted):
                    seen[f"{-event.channel_id - 10**12}:{event.message_id}"] = at_ms
    return seen


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Read the options, take in, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--session", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--public-key", type=Path, required=True)
    parser.add_argument("--channels", required=True)
    parser.add_argument("--expect", type=int, default=0)
    parser.add_argument("--idle", type=float, default=0.0)
    parser.add_argument("--first-read", choices=["now", "all"], default="now")
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    settings = ClientSettings(
        options.session, 1, "0" * 32, dc_address=options.address, dc_public_key_file=options.public_key
    )
    channel_ids = [int(text) for text in options.channels.split(",")]
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(take_in(settings, channel_ids, options.expect, options.idle, options.first_read))
    options.output.write_text(json.dumps(found), encoding="ascii")


if __name__ == "__main__":
    main()
