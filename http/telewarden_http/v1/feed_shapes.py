"""The feed's queries and answers, as the OpenAPI document describes them."""

from typing import Annotated

import msgspec

from telewarden_http.v1.feed_protocols import KINDS
from telewarden_http.wire import Message

MOST_EVENTS = 1_000
LONGEST_WAIT_S = 60.0

Channel = Annotated[
    str,
    msgspec.Meta(pattern=r"^-?[1-9][0-9]{0,17}$", description="A channel's id.", examples=["-1001649127710"]),
]
Token = Annotated[
    str, msgspec.Meta(description="A place in the feed; opaque.", examples=["AAAAAQAAAAAAAAAqzXc"])
]


class FeedParameters(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Of a read of one channel's feed."""

    after: Annotated[
        str,
        msgspec.Meta(
            description='Events after this token, as an answer gave it; "now", or "beginning": the oldest that is '
            "kept.",
            extra_json_schema={"anyOf": [{"enum": ["now", "beginning"]}, {"format": "feed-token"}]},
        ),
    ] = "beginning"
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_EVENTS, description="At most so many events.")] = 100
    wait: Annotated[
        float,
        msgspec.Meta(ge=0, le=LONGEST_WAIT_S, description="Seconds to wait for an event, if there is none."),
    ] = 0
    kinds: Annotated[
        str,
        msgspec.Meta(
            description="Which kinds, divided by commas.",
            examples=["posted,edited"],
            extra_json_schema={"pattern": "^(posted|edited|deleted)(,(posted|edited|deleted))*$"},
        ),
    ] = ",".join(KINDS)


class AllFeedParameters(FeedParameters):
    """Of a read of several channels' feed."""

    channels: (
        Annotated[
            str,
            msgspec.Meta(
                extra_json_schema={"pattern": "^-?[1-9][0-9]{0,17}(,-?[1-9][0-9]{0,17})*$"},
                description="Ids of channels, divided by commas; all that the key may read without.",
                examples=["-1001649127710"],
            ),
        ]
        | None
    ) = None


class ChannelPath(msgspec.Struct):
    """Which channel."""

    channel: Channel


class Event(msgspec.Struct, rename="camel"):
    """One change of a message. id: a token, as `after` takes it. message: as it was known when this was read."""

    id: Token
    kind: Annotated[str, msgspec.Meta(examples=list(KINDS))]
    channel: Channel
    message_id: str
    at: Annotated[
        str, msgspec.Meta(description="When it was accepted.", examples=["2026-11-25T12:00:00.123Z"])
    ]
    message: Message


class Events(msgspec.Struct):
    """Events in the order in which they were accepted. next: what to send as `after` to go on. more: there are others
    already."""

    events: list[Event]
    next: Token
    more: bool


class ChannelShape(msgspec.Struct):
    """A channel. label: its name, if that is known. active: it is taken in, and not paused."""

    channel: Channel
    label: str
    active: bool


class Channels(msgspec.Struct):
    """Those that the key may read."""

    channels: list[ChannelShape]


class Problem(msgspec.Struct):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


class Expired(Problem):
    """The same; oldest: a token to go on from."""

    oldest: Token
