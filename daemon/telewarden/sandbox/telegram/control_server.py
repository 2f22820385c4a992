"""The control socket's server side: one JSON object a line in, one a line out."""

import json
import time
from typing import Any

import anyio
import structlog
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from telewarden.sandbox.telegram.faults import GARBAGE, NAMES, UnknownFault
from telewarden.sandbox.telegram.kept import CHANGES, change_world, channel_of
from telewarden.sandbox.telegram.server import Telegram
from telewarden.sandbox.telegram.world import Change, Channel, WorldError

log = structlog.get_logger(__name__)

_MAX_LINE_BYTES = 4 * 1024 * 1024


async def serve_control(telegram: Telegram, stream: ByteStream) -> None:
    """Obey one caller until it leaves. A request that cannot be carried out is answered with what is wrong."""
    lines = BufferedByteReceiveStream(stream)
    async with stream:
        try:
            while True:
                line = await lines.receive_until(b"\n", _MAX_LINE_BYTES)
                reply = await _reply(telegram, line)
                await stream.send(json.dumps(reply).encode() + b"\n")
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound):
            return
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return


async def _reply(telegram: Telegram, line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        if not isinstance(request, dict) or not isinstance(request.get("op"), str):
            raise TypeError('each line is one JSON object with an "op"')
        return {"ok": True, **await _do(telegram, request)}
    except KeyError as error:
        return {"ok": False, "error": f"the request needs a value for {error}"}
    except (WorldError, UnknownFault, ValueError, TypeError, OverflowError, RecursionError) as error:
        return {"ok": False, "error": str(error)}
    except Exception as error:
        # A test that asks for nonsense must not end the server under the others.
        log.exception("control_request_failed")
        return {"ok": False, "error": f"the local Telegram failed: {type(error).__name__}: {error}"}


async def _do(telegram: Telegram, request: dict[str, Any]) -> dict[str, Any]:
    world = telegram.world
    match request["op"]:
        case op if op in CHANGES:
            channel, changes, forwarded = change_world(world, request)
            telegram.kept.changed(request)
            if not changes:
                return _channel(channel)
            done = await _push(telegram, channel, changes, hidden=bool(request.get("hidden", False)))
            if forwarded and channel.linked is not None:
                await telegram.push(channel.linked, forwarded)
            return done
        case "channels":
            return {"channels": [_channel(channel) for channel in world.channels.values()]}
        case "dump":
            return {"messages": _dump(channel_of(world, request))}
        case "scan_qr":
            return await telegram.scan_qr(request)
        case "stats":
            return telegram.stats()
        case "fault":
            return await _fault(telegram, request)
        case "clear":
            telegram.faults.clear()
            return {}
        case op:
            raise ValueError(
                f"there is no op {op!r}; there are: {', '.join(CHANGES)}, "
                f"channels, dump, stats, fault ({', '.join(NAMES)}), clear"
            )


async def _push(
    telegram: Telegram, channel: Channel, changes: list[Change], *, hidden: bool
) -> dict[str, Any]:
    at_ms = time.time() * 1000
    if not hidden:
        await telegram.push(channel, changes)
    ids = [message_id for change in changes for message_id in change.ids]
    return {"message_ids": ids, "pts": channel.pts, "at_ms": at_ms}


def _channel(channel: Channel) -> dict[str, Any]:
    return {
        "channel_id": channel.marked_id,
        "bare_id": channel.bare_id,
        "title": channel.title,
        "top": channel.top,
        "pts": channel.pts,
    }


def _dump(channel: Channel) -> list[dict[str, Any]]:
    both = [(m, False) for m in channel.posts.values()] + [(m, True) for m in channel.deleted.values()]
    return [
        {
            "message_id": message.id,
            "text": getattr(message, "message", None) or None,
            "edit_date": None
            if (edited := getattr(message, "edit_date", None)) is None
            else edited.timestamp(),
            "deleted": deleted,
        }
        for message, deleted in sorted(both, key=lambda pair: int(pair[0].id))
    ]


async def _fault(telegram: Telegram, request: dict[str, Any]) -> dict[str, Any]:
    values = dict(request)
    if "channel" in values:
        values["channel"] = channel_of(telegram.world, values).bare_id
    match request.get("name"):
        case "drop":
            return {"dropped": telegram.drop(reset=bool(request.get("reset")))}
        case "garbage":
            kind = request["kind"]
            if kind not in GARBAGE:
                raise UnknownFault(f"there is no garbage {kind!r}; there are: {', '.join(GARBAGE)}")
            return {"connections": await telegram.send_garbage(kind)}
        case "deauthorise":
            telegram.methods.signed_in.clear()
            telegram.keep_keys()
        case "expire_code":
            telegram.account.expire_code()
        case "forget_key":
            telegram.methods.signed_in.clear()
            telegram.keys.clear()
            telegram.keep_keys()
            telegram.drop()
        case name:
            telegram.faults.inject(str(name), values)
    return {}
