"""The floor of intake: a Telethon client whose handler only counts. A process of its own.

Prints "ready", and writes a file of JSON.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from telethon import events
from telethon.tl import types

from telewarden.telegram.client import ClientSettings, make_client


async def count(settings: ClientSettings, expected: int, timeout_s: float) -> dict[str, Any]:
    """Receive so many posts. Gives when each came, wall clock in ms, by "channel:message"."""
    client = make_client(settings)
    seen: dict[str, float] = {}
    complete = asyncio.Event()

    async def handle(update: Any) -> None:
        message = update.message
        seen[f"{message.peer_id.channel_id}:{message.id}"] = time.time() * 1000
        if len(seen) == expected:
            complete.set()

    client.add_event_handler(handle, events.Raw(types.UpdateNewChannelMessage))
    await client.connect()
    try:
        await client.get_dialogs()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        async with asyncio.timeout(timeout_s):
            await complete.wait()
    finally:
        await client.disconnect()
    return {"seen": seen}


def main() -> None:
    """Read the options, count, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--session", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--public-key", type=Path, required=True)
    parser.add_argument("--expect", type=int, required=True)
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    settings = ClientSettings(
        options.session, 1, "0" * 32, dc_address=options.address, dc_public_key_file=options.public_key
    )
    import uvloop

    found = uvloop.run(count(settings, options.expect, 120.0))
    options.output.write_text(json.dumps(found), encoding="ascii")


if __name__ == "__main__":
    main()
