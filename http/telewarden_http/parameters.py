"""What a request asks for: query strings and bodies turned into plain values, or a 400 that names the problem."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, TypeGuard
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from telewarden_http.errors import BadRequest, MessageNotFound
from telewarden_http.gateway_protocols import ChannelChange, NewChannel
from telewarden_http.protocols import ListQuery, MarkProcessed, SeenQuery, SyncRequest, UnprocessedQuery

STATUSES: Final = frozenset(
    ("received", "retrying", "published", "queued", "failed", "reprocess_pending", "reprocessed", "deleted")
)
"""The statuses that the contract knows (§2)."""

LIMIT_MAX: Final = 10_000
CONCURRENCY_MAX: Final = 32
IDS_MAX: Final = 10_000
NAME_MAX: Final = 200
"""Characters in a consumer's name."""
REASON_MAX: Final = 1_000
"""Characters in the reason of a deletion."""
SEARCH_MAX: Final = 500
"""Characters in a piece of text that is searched for."""
OFFSET_MAX: Final = 1_000_000
DESCRIPTION_MAX: Final = 2_000
"""Characters in what is said of a channel."""
QUEUE_MAX: Final = 1_000
"""Messages in a preview of what waits."""

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_CHANNEL = re.compile(r"-?[1-9][0-9]{0,18}")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_DIGITS = re.compile(r"[0-9]{1,9}")
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_EXACT: Final = 2.0**53
_SHOWN = 60
_MARK: Final = -(10**12)
"""Ids of channels are below it; above it are private chats and small groups."""


@lru_cache(maxsize=256)
def parse_unprocessed(query_string: bytes) -> UnprocessedQuery:
    """The poll that a query string asks for. A blank parameter counts as absent, an unknown one is ignored.

    Consumers send the same few again and again, so the latest are remembered. Raises BadRequest.
    """
    given = _parse_query(query_string)
    channel = given.get("channel")
    if not channel:
        raise BadRequest('The parameter "channel" is required: the id of a Telegram channel')
    consumer = given.get("excludeProcessedBy") or None
    return UnprocessedQuery(
        channel=_channel(channel),
        statuses=_statuses(given.get("status", "")) or ("received",),
        exclude_processed_by=None if consumer is None else _name("excludeProcessedBy", consumer),
        limit=_number(given, "limit", 1000, 1, LIMIT_MAX),
    )


def parse_list(query_string: bytes) -> ListQuery:
    """The list that a query string asks for. A blank parameter counts as absent, an unknown one is ignored.

    Whoever asks for the status `deleted` wants deleted ones. Raises BadRequest.
    """
    given = _parse_query(query_string)
    statuses = _statuses(given.get("status", ""))
    message_id = given.get("messageId")
    search = given.get("search") or None
    if search is not None and len(search) > SEARCH_MAX:
        raise BadRequest(f'"search" has {len(search)} characters; at most {SEARCH_MAX} are allowed')
    return ListQuery(
        channels=tuple(_channel(word, "channelId") for word in _words(given.get("channelId", ""))),
        message_id=_message_id("messageId", message_id) if message_id else None,
        statuses=statuses,
        sources=tuple(_storable("source", word) for word in _words(given.get("source", ""))),
        received_from=_moment(given, "from"),
        received_to=_to_the_end(_moment(given, "to")),
        search=None if search is None else _storable("search", search),
        deleted=_one_of(given, "includeDeleted", _BOOLEANS, False) or "deleted" in statuses,
        newest_first=_one_of(given, "sort", {"asc": False, "desc": True}, True),
        limit=_number(given, "limit", 100, 1, LIMIT_MAX),
        offset=_number(given, "offset", 0, 0, OFFSET_MAX),
    )


def parse_mark_processed(body: bytes) -> MarkProcessed:
    """The acknowledgement that a JSON body asks for. Raises BadRequest."""
    given = _object(body)
    match given.get("messageIds"):
        case [_, *_] as ids if len(ids) <= IDS_MAX:
            pass
        case [_, *_] as ids:
            raise BadRequest(f'"messageIds" holds {len(ids)} ids; at most {IDS_MAX} fit into a request')
        case _:
            raise BadRequest('"messageIds" is required: a list with at least one Telegram message id')
    channel = given.get("channel")
    return MarkProcessed(
        message_ids=tuple([_message_id(f"messageIds[{n}]", value) for n, value in enumerate(ids)]),
        processed_by=_name("processedBy", given.get("processedBy")),
        channel=None if channel is None else _channel(channel),
    )


def parse_seen_one(channel: str, message: str) -> SeenQuery:
    """The question that a path asks. Raises BadRequest."""
    return SeenQuery(_channel(channel), (_message_id("message", message),))


def parse_seen_many(channel: str, body: bytes) -> SeenQuery:
    """The question that a path and a JSON body ask; each id once. Raises BadRequest."""
    match _parse_json(body):
        case {"messages": [_, *_] as ids} if len(ids) <= IDS_MAX:
            pass
        case _:
            raise BadRequest(f'"messages" is required: a list of 1 to {IDS_MAX} Telegram message ids')
    numbers = [_message_id(f"messages[{n}]", value) for n, value in enumerate(ids)]
    return SeenQuery(_channel(channel), tuple(dict.fromkeys(numbers)))


def parse_deletion(body: bytes) -> str | None:
    """The reason that a JSON body gives for a deletion; no body gives none. Raises BadRequest."""
    reason = _optional_object(body).get("reason")
    if reason is None:
        return None
    if not isinstance(reason, str):
        raise BadRequest(f'"reason" must be a string, not {_show(reason)}')
    if len(reason) > REASON_MAX:
        raise BadRequest(f'"reason" has {len(reason)} characters; at most {REASON_MAX} are allowed')
    return _storable("reason", reason)


def parse_reprocess(body: bytes) -> str:
    """Who wants a message processed once more: "dashboard" unless the JSON body names somebody. Raises BadRequest."""
    requested_by = _optional_object(body).get("requestedBy")
    return "dashboard" if requested_by is None else _name("requestedBy", requested_by)


def parse_sync(body: bytes) -> SyncRequest:
    """What a JSON body wants read again; no body wants the defaults. Raises BadRequest."""
    given = _optional_object(body)
    channels = given.get("channels")
    match channels:
        case None:
            pass
        case [_, *_] if len(channels) <= IDS_MAX:
            channels = tuple(
                dict.fromkeys(_channel(value, f"channels[{n}]") for n, value in enumerate(channels))
            )
        case _:
            raise BadRequest(f'"channels" must be a list of 1 to {IDS_MAX} channel ids; leave it out for all')
    return SyncRequest(
        channels=channels,
        limit=_whole_number(given, "limit", 500, LIMIT_MAX),
        concurrency=_whole_number(given, "concurrency", 4, CONCURRENCY_MAX),
    )


def parse_new_channel(body: bytes) -> NewChannel:
    """The channel that a JSON body describes. Raises BadRequest that names the member."""
    given = _object(body)
    if given.get("channelId") is None:
        raise BadRequest('"channelId" is required: the id of a Telegram channel, like "-1001649127710"')
    change = _channel_members(given)
    return NewChannel(
        int(_telegram_channel(given["channelId"])),
        label=change.label or None,
        description=change.description or None,
        is_active=change.is_active is not False,
    )


def parse_channel_change(body: bytes) -> ChannelChange:
    """What a JSON body changes of a channel; what it leaves out stays. Raises BadRequest that names the member."""
    return _channel_members(_object(body))


def _channel_members(given: dict[str, object]) -> ChannelChange:
    is_active = given.get("isActive", msgspec.UNSET)
    if not isinstance(is_active, bool | msgspec.UnsetType):
        raise BadRequest(f'"isActive" must be true or false, not {_show(is_active)}')
    return ChannelChange(
        channel_id=int(_telegram_channel(given["channelId"])) if "channelId" in given else msgspec.UNSET,
        label=_text_or_null(given, "label", NAME_MAX),
        description=_text_or_null(given, "description", DESCRIPTION_MAX),
        is_active=is_active,
    )


def _text_or_null(given: dict[str, object], name: str, most: int) -> str | msgspec.UnsetType | None:
    value = given.get(name, msgspec.UNSET)
    if value is None or isinstance(value, msgspec.UnsetType):
        return value
    if not isinstance(value, str):
        raise BadRequest(f'"{name}" must be a string or null, not {_show(value)}')
    if len(value) > most:
        raise BadRequest(f'"{name}" has {len(value)} characters; at most {most} are allowed')
    return _storable(name, value)


def _telegram_channel(value: object) -> str:
    """A channel that can be taken in: its id is marked, -100…"""
    text = _channel(value, "channelId")
    if int(text) >= _MARK:
        raise BadRequest(
            f'"channelId" must be the id of a Telegram channel, like "-1001649127710"; {text} is none'
        )
    return text


def parse_queue(query_string: bytes) -> int:
    """How many waiting messages a query string asks for. Raises BadRequest."""
    return _number(_parse_query(query_string), "limit", 50, 1, QUEUE_MAX)


def _whole_number(given: dict[str, object], name: str, default: int, most: int) -> int:
    value = given.get(name)
    if value is None:
        return default
    if _is_whole(value):
        value = int(value)
    if type(value) is int and 1 <= value <= most:
        return value
    raise BadRequest(f'"{name}" must be a whole number from 1 to {most}, not {_show(value)}')


def parse_message_id(text: str) -> UUID:
    """The UUID in a path. Raises MessageNotFound for anything else, since no message has such an id."""
    if _UUID.fullmatch(text) is None:
        raise MessageNotFound(f"There is no message with the id {_show(text)}: it is not a UUID")
    return UUID(text)


def _parse_query(query_string: bytes) -> dict[str, str]:
    if not query_string:
        return {}
    try:
        pairs = parse_qsl(query_string.decode(), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise BadRequest(
            "The query string cannot be read: percent-encoded UTF-8, at most 100 fields"
        ) from None
    given = dict(pairs)
    if len(given) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(f"The parameter {_show(twice)} is given more than once")
    return given


def _object(body: bytes) -> dict[str, object]:
    match _parse_json(body):
        case dict() as given:
            return given
        case _:
            raise BadRequest("The body must be a JSON object")


def _optional_object(body: bytes) -> dict[str, object]:
    match _parse_json(body) if body.strip() else {}:
        case dict() as given:
            return given
        case _:
            raise BadRequest("The body must be a JSON object, or nothing")


def _parse_json(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise BadRequest("The body is not usable JSON: it is nested too deeply") from None
    except UnicodeDecodeError:
        raise BadRequest(f"The body is not JSON: not UTF-8 at byte {_first_bad_byte(body)}") from None
    except ValueError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        if "truncated" in reason:
            reason = f"it ends too early (byte {len(body)})"
        raise BadRequest(f"The body is not JSON: {reason}") from None


def _first_bad_byte(body: bytes) -> int:
    # The decoder counts from the start of the string that it was in; the client needs the place in the body.
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(body)


def _channel(value: object, name: str = "channel") -> str:
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and _CHANNEL.fullmatch(text) and _INT64_MIN <= int(text) <= _INT64_MAX:
        return text
    raise BadRequest(
        f'"{name}" must be the id of a Telegram channel, like "-1001649127710", not {_show(value)}'
    )


def parse_channels(text: str, name: str) -> frozenset[int]:
    """The ids in a comma list; at least one. name: of the parameter. Raises BadRequest."""
    return frozenset(int(_channel(word, name)) for word in _words(text) or ("",))


def _words(text: str) -> tuple[str, ...]:
    """A comma list, each word once."""
    return tuple(dict.fromkeys(word for part in text.split(",") if (word := part.strip())))


def _statuses(text: str) -> tuple[str, ...]:
    asked = _words(text)
    for status in asked:
        if status not in STATUSES:
            raise BadRequest(f'"status" must be of {", ".join(sorted(STATUSES))}, not {_show(status)}')
    return asked


def _number(given: dict[str, str], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name)
    if not text:
        return default
    if _DIGITS.fullmatch(text) and least <= int(text) <= most:
        return int(text)
    raise BadRequest(f'"{name}" must be a whole number from {least} to {most}, not {_show(text)}')


def _one_of(given: dict[str, str], name: str, values: dict[str, bool], default: bool) -> bool:
    text = given.get(name)
    if not text:
        return default
    if text.lower() in values:
        return values[text.lower()]
    raise BadRequest(f'"{name}" must be of {", ".join(values)}, not {_show(text)}')


def _moment(given: dict[str, str], name: str) -> datetime | None:
    """A time or a day; UTC where it names no offset."""
    text = given.get(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(
            f'"{name}" must be a time like "2025-03-01T12:00:00Z" or a day, not {_show(text)}'
        ) from None


def _to_the_end(moment: datetime | None) -> datetime | None:
    """The last moment that consumers, who see milliseconds, read as this one."""
    return None if moment is None else moment + timedelta(microseconds=999 - moment.microsecond % 1000)


def _name(parameter: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadRequest(f'"{parameter}" is required: the name of the consumer, a string that is not blank')
    if len(value) > NAME_MAX:
        raise BadRequest(f'"{parameter}" has {len(value)} characters; at most {NAME_MAX} are allowed')
    return _storable(parameter, value)


def _storable(parameter: str, value: str) -> str:
    """What PostgreSQL takes in text and in jsonb."""
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadRequest(f'"{parameter}" must not hold NUL or lone surrogates')
    return value


def _is_whole(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT


def _message_id(name: str, value: object) -> int:
    # bool is an int to Python, but not to anyone who reads JSON.
    # To JSON 17.0 is the same number as 17; beyond 2**53 a float is no exact one.
    if type(value) is int:
        number = value
    elif _is_whole(value) or (isinstance(value, str) and _INTEGER.fullmatch(value)):
        number = int(value)
    else:
        raise BadRequest(f'"{name}" must be a decimal string or an integer, not {_show(value)}')
    if not _INT64_MIN <= number <= _INT64_MAX:
        raise BadRequest(f'"{name}" does not fit into 64 bits: {_show(value)}')
    return number


def _show(value: object) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except (ValueError, RecursionError):  # an int too long to print, a lone surrogate
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
