"""The old contract's parameters, bodies and answers, as the OpenAPI document describes them.

They describe alone: what a request of the contract may say is read in `parameters`, which is more lenient.
"""

from typing import Annotated, Literal

import msgspec

from telewarden_http.parameters import (
    CONCURRENCY_MAX,
    DESCRIPTION_MAX,
    IDS_MAX,
    LIMIT_MAX,
    NAME_MAX,
    OFFSET_MAX,
    QUEUE_MAX,
    REASON_MAX,
    SEARCH_MAX,
)
from telewarden_http.wire import Message

_TEXT = r"^[^\x00]*$"
_WORDS = r"[^\x00]*[^\x00\s][^\x00]*"

ChannelId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^-?[1-9][0-9]{0,17}$",
        description="The id of a Telegram channel.",
        examples=["-1001649127710"],
    ),
]
TelegramChannel = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^-100[1-9][0-9]{9,11}$",
        description="The id of a Telegram channel.",
        examples=["-1001649127710"],
    ),
]
MessageId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^-?[0-9]{1,18}$",
        description="Telegram's id of a message, unique within its channel.",
        examples=["17"],
    ),
]
Uuid = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]
RowId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}$", description="The row's own number.")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX, pattern=_WORDS)]
Moment = Annotated[
    str, msgspec.Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-25T19:26:12.103Z"])
]
Bound = Annotated[
    str,
    msgspec.Meta(
        description="A time or a day; of receivedAt, and included.",
        extra_json_schema={"anyOf": [{"format": "date-time"}, {"format": "date"}]},
    ),
]
Status = Literal[
    "received", "retrying", "published", "queued", "failed", "reprocess_pending", "reprocessed", "deleted"
]
_STATUS = "(received|retrying|published|queued|failed|reprocess_pending|reprocessed|deleted)"
Statuses = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^{_STATUS}(,{_STATUS})*$",
        description="Statuses, divided by commas.",
        examples=["received,queued"],
    ),
]


class Failure(msgspec.Struct):
    """What went wrong."""

    success: Literal[False]
    message: str


class UnprocessedParameters(msgspec.Struct, rename="camel"):
    """Of a poll."""

    channel: ChannelId
    status: Statuses = "received"
    exclude_processed_by: (
        Annotated[
            str,
            msgspec.Meta(
                description="Leave out what this consumer has processed.",
                max_length=NAME_MAX,
                min_length=1,
                pattern=_WORDS,
            ),
        ]
        | None
    ) = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="At most so many messages.")] = 1000


class ListParameters(msgspec.Struct, rename="camel"):
    """Of a list."""

    channel_id: (
        Annotated[
            str,
            msgspec.Meta(
                pattern=r"^-?[1-9][0-9]{0,17}(,-?[1-9][0-9]{0,17})*$",
                description="Ids of channels, divided by commas.",
                examples=["-1001649127710"],
            ),
        ]
        | None
    ) = None
    message_id: MessageId | None = None
    status: (
        Annotated[
            str,
            msgspec.Meta(pattern=rf"^{_STATUS}(,{_STATUS})*$", description="Statuses, divided by commas."),
        ]
        | None
    ) = None
    source: (
        Annotated[
            str,
            msgspec.Meta(pattern=_TEXT, description="Sources, divided by commas.", examples=["mtproto"]),
        ]
        | None
    ) = None
    from_: Bound | None = msgspec.field(name="from", default=None)
    to: Bound | None = None
    search: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=SEARCH_MAX, pattern=_TEXT, description="A piece of text or caption, in any case."
            ),
        ]
        | None
    ) = None
    include_deleted: Literal["true", "false", "1", "0"] = "false"
    sort: Literal["asc", "desc"] = "desc"
    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="At most so many messages.")] = 100
    offset: Annotated[int, msgspec.Meta(ge=0, le=OFFSET_MAX, description="Skip so many.")] = 0


class QueueParameters(msgspec.Struct):
    """Of a preview of what waits."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=QUEUE_MAX, description="At most so many messages.")] = 50


class MessagePath(msgspec.Struct):
    """Which message."""

    id: Uuid


class SeenPath(msgspec.Struct):
    """Which message of which channel."""

    channel: ChannelId
    message: MessageId


class SeenChannelPath(msgspec.Struct):
    """Which channel."""

    channel: ChannelId


class ChannelRowPath(msgspec.Struct):
    """Which channel."""

    id: RowId


class MarkProcessedBody(msgspec.Struct, rename="camel"):
    """What is done. channel: the ids belong to it; wise, since ids are unique only within a channel."""

    message_ids: Annotated[
        list[MessageId | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]],
        msgspec.Meta(min_length=1, max_length=IDS_MAX),
    ]
    processed_by: Name
    channel: ChannelId | None = None


class SeenBody(msgspec.Struct):
    """Which messages."""

    messages: Annotated[
        list[MessageId | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]],
        msgspec.Meta(min_length=1, max_length=IDS_MAX),
    ]


class DeletionBody(msgspec.Struct):
    """Why."""

    reason: Annotated[str, msgspec.Meta(max_length=REASON_MAX, pattern=_TEXT)] | None = None


class ReprocessBody(msgspec.Struct, rename="camel"):
    """Who wants it."""

    requested_by: Name | None = "dashboard"


class NewChannelBody(msgspec.Struct, rename="camel"):
    """The channel. isActive: it is taken in; else it is only known."""

    channel_id: TelegramChannel
    label: Annotated[str, msgspec.Meta(max_length=NAME_MAX, pattern=_TEXT)] | None = None
    description: Annotated[str, msgspec.Meta(max_length=DESCRIPTION_MAX, pattern=_TEXT)] | None = None
    is_active: bool = True


class ChannelChangeBody(msgspec.Struct, rename="camel"):
    """What is to be changed; what is left out stays. channelId cannot be changed, only named again."""

    channel_id: TelegramChannel | msgspec.UnsetType = msgspec.UNSET
    label: Annotated[str, msgspec.Meta(max_length=NAME_MAX, pattern=_TEXT)] | msgspec.UnsetType | None = (
        msgspec.UNSET
    )
    description: (
        Annotated[str, msgspec.Meta(max_length=DESCRIPTION_MAX, pattern=_TEXT)] | msgspec.UnsetType | None
    ) = msgspec.UNSET
    is_active: bool | msgspec.UnsetType = msgspec.UNSET


class SyncBody(msgspec.Struct):
    """What to read again. channels: all if left out."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX)] | None = 500
    channels: Annotated[list[ChannelId], msgspec.Meta(min_length=1, max_length=IDS_MAX)] | None = None
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=CONCURRENCY_MAX)] | None = 4


class Filters(msgspec.Struct, rename="camel"):
    """What was asked for."""

    channel_id: str
    statuses: list[Status]
    exclude_processed_by: str | None


class Unprocessed(msgspec.Struct):
    """What waits, the oldest first."""

    success: Literal[True]
    data: list[Message]
    count: int
    filters: Filters


class MarkedCounts(msgspec.Struct, rename="camel"):
    """updated: without those that were published before."""

    requested: int
    updated: int
    processed_by: str


class MarkProcessedAnswer(msgspec.Struct):
    """It is on disk."""

    success: Literal[True]
    message: str
    data: MarkedCounts


class Pagination(msgspec.Struct, rename="camel"):
    """total: of all pages; a lower bound where totalIsExact is false."""

    total: int
    limit: int
    offset: int
    has_more: bool
    total_is_exact: bool = True


class MessageList(msgspec.Struct):
    """A page of a list."""

    success: Literal[True]
    data: list[Message]
    pagination: Pagination


class OneMessage(msgspec.Struct):
    """A message."""

    success: Literal[True]
    data: Message


class ChannelRow(msgspec.Struct, rename="camel"):
    """A channel. id: the row's own number."""

    id: int
    channel_id: str
    label: str | None
    description: str | None
    is_active: bool
    created_at: Moment
    updated_at: Moment


class ChannelAnswer(msgspec.Struct):
    """A channel."""

    success: Literal[True]
    data: ChannelRow


class ChannelList(msgspec.Struct):
    """The channels that the key may read."""

    success: Literal[True]
    data: list[ChannelRow]


class SyncedCounts(msgspec.Struct, rename="camel"):
    """What was read of a channel."""

    channel_id: str
    label: str
    messages_synced: int


class SyncTotals(msgspec.Struct, rename="camel"):
    """totalMessagesSaved: how many were news."""

    total_messages_synced: int
    total_messages_saved: int
    channels_synced: list[SyncedCounts]
    timestamp: Moment


class SyncAnswer(msgspec.Struct):
    """What reading again brought."""

    success: Literal[True]
    message: str
    data: SyncTotals


class Seen(msgspec.Struct):
    """Whether a message was taken in, ever."""

    channel: str
    message: str
    seen: bool


class SeenMany(msgspec.Struct, rename="camel"):
    """Which messages were taken in, ever."""

    channel: str
    seen: list[str]
    not_seen: list[str]


class DegradedFact(msgspec.Struct):
    """Something that is down but covered: what, since when, and what that means."""

    what: str
    since: str
    effect: str


class Health(msgspec.Struct):
    """How the daemon is. Further members are facts, which may change from version to version."""

    status: Literal["healthy", "unhealthy"]
    service: str
    timestamp: Moment
    live: bool
    ready: bool
    degraded: list[DegradedFact]


class HealthAnswer(msgspec.Struct):
    """Yes (200) or no (503)."""

    status: Literal["healthy", "unhealthy"]
    service: str
    timestamp: Moment


class GatewayConnection(msgspec.Struct):
    """To Telegram. problem: why nothing comes in."""

    connected: bool
    authorised: bool
    since: Moment
    problem: str | None


class AuthStatus(msgspec.Struct):
    """Whether the account is signed in."""

    success: Literal[True]
    data: GatewayConnection


class Counters(msgspec.Struct, rename="camel"):
    """Since the start. connectionStatus: 1 while connected."""

    connection_status: int
    messages_received_total: int
    messages_published_total: int
    publish_failures_total: int
    retry_attempts_total: int
    failure_queue_size: int


class CountersAnswer(msgspec.Struct):
    """What /metrics says of intake."""

    success: Literal[True]
    data: Counters


class SessionData(msgspec.Struct, rename="camel"):
    """hash: 16 hexadecimal digits that tell one session from another."""

    exists: bool
    size_bytes: int | None
    updated_at: Moment | None
    hash: str | None
    problem: str | None


class SessionAnswer(msgspec.Struct):
    """What may be told of the session; never its content."""

    success: Literal[True]
    data: SessionData


class TotalsData(msgspec.Struct, rename="camel"):
    """How many messages are stored. totalIsExact: counted; else estimated."""

    total: int
    by_status: dict[str, int]
    total_is_exact: bool


class SummaryData(TotalsData, rename="camel"):
    """recent: the newest messages, the newest first."""

    recent: list[Message]


class SummaryAnswer(msgspec.Struct):
    """What is stored."""

    success: Literal[True]
    data: SummaryData


class OverviewHealth(msgspec.Struct):
    """As /health has it."""

    status: Literal["healthy", "unhealthy"]
    live: bool
    ready: bool
    degraded: list[DegradedFact]


class ChannelCounts(msgspec.Struct):
    """How many channels there are, and how many are taken in."""

    total: int
    active: int


class OverviewData(msgspec.Struct):
    """What is down is null, and `missing` says why."""

    timestamp: Moment
    health: OverviewHealth
    connection: GatewayConnection | None
    channels: ChannelCounts | None
    metrics: Counters | None
    messages: TotalsData | None
    missing: dict[str, str]


class OverviewAnswer(msgspec.Struct):
    """The gateway at a glance."""

    success: Literal[True]
    data: OverviewData
