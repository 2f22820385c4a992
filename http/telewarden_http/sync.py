"""The route that has Telegram's newest messages read again."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from quart import Response, request

from telewarden_http.parameters import parse_sync
from telewarden_http.protocols import Synchroniser, Unavailable, UnknownChannel
from telewarden_http.responses import json_response, success
from telewarden_http.routing import principal

_TIMEOUT_S = 120.0
"""Telegram is asked at a limited rate, so this may take long; what was read until then stays."""


class SyncRoute:
    """The handler."""

    def __init__(self, synchroniser: Synchroniser) -> None:
        self._synchroniser = synchroniser

    async def sync_messages(self) -> Response:
        """`POST /sync-messages`, `POST /api/telegram-gateway/sync-messages`"""
        wanted = parse_sync(await request.get_data(cache=False, as_text=False, parse_form_data=False))
        if (readable := principal().channels) is not None:
            for channel in wanted.channels or ():
                if channel not in readable:
                    raise UnknownChannel.named(channel)
            wanted = replace(wanted, channels=wanted.channels or tuple(sorted(readable)))
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                channels = await self._synchroniser.sync(wanted)
        except TimeoutError:
            raise Unavailable(
                f"Telegram was not read to the end within {_TIMEOUT_S:g} s; try fewer channels, or a lower limit"
            ) from None
        read, saved = sum(c.read for c in channels), sum(c.saved for c in channels)
        return json_response(
            success(
                message=f"Synchronised {read} messages of {len(channels)} channels, {saved} of them new",
                data={
                    "totalMessagesSynced": read,
                    "totalMessagesSaved": saved,
                    "channelsSynced": [
                        {"channelId": c.channel, "label": c.label, "messagesSynced": c.read} for c in channels
                    ],
                    "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                },
            )
        )
