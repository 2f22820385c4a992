"""What an observation of Telegram means, given what this journal already accepted. Pure: no I/O, no clock.

The listener reports what it saw, from a push or from history; both are trusted equally little. Here it
becomes events, or nothing when it says nothing new, so that reading a window again costs nothing.
"""

import hashlib

import msgspec

from telewarden.messages import Content, Deleted, Edited, Event, Posted

VERSIONS_A_SECOND = 1 << 20
"""How many contents with the same edit date (whole seconds) can be told apart."""


class Seen(msgspec.Struct, frozen=True):
    """Telegram showed a message.

    edit_date_s: seconds since the epoch, 0 if it was never edited. asked_at_us: when the request that brought it was
    sent, so what was accepted since then may be newer; None for a push.
    """

    channel_id: int
    message_id: int
    content: Content
    edit_date_s: int = 0
    asked_at_us: int | None = None


class Gone(msgspec.Struct, frozen=True):
    """Telegram says, or was found, to have deleted a message."""

    channel_id: int
    message_id: int
    reason: str = "deleted on Telegram"


Observation = Seen | Gone


class Known(msgspec.Struct, frozen=True):
    """What the journal keeps of a message that it accepted: enough to tell a repetition from news.

    version: -1 for one that was not seen yet, but deleted or acknowledged already. at_us: when this content was
    accepted.
    """

    version: int
    digest: bytes
    at_us: int
    deleted: bool = False

    @property
    def accounted(self) -> bool:
        """Nothing of it is missing: it was seen, or is gone."""
        return self.version >= 0 or self.deleted


def acknowledged_unseen(at_us: int) -> Known:
    """Of a message whose acknowledgement came first: it is not certainly new when it comes."""
    return Known(-1, b"", at_us)


class Channel(msgspec.Struct, frozen=True):
    """A channel's place in the journal. All are message ids.

    checkpoint: everything up to it is accounted for; history is read from here.
    top: the highest id ever accepted.
    floor: an id above it that is not known is certainly new; at or below it only the database can say.
    origin: ids at or below it are from before this gateway and are not taken in.
    pts: Telegram's count of the channel's changes up to which all are accounted for; 0 where that is not known.
    """

    channel_id: int
    checkpoint: int = 0
    top: int = 0
    floor: int = 0
    origin: int = 0
    pts: int = 0


def digest_of(content: Content) -> bytes:
    """What makes two contents of a message the same. Counters that change by themselves do not count."""
    metadata = msgspec.json.decode(content.metadata)
    for volatile in ("views", "forwards"):
        metadata.pop(volatile, None)
    parts = (
        content.text,
        content.caption,
        content.media_type,
        content.media_refs,
        content.message_type,
        content.thread_id,
        msgspec.json.encode(metadata, order="sorted"),
    )
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=16).digest()


def accept(
    observation: Observation, known: Known | None, channel: Channel, now_us: int
) -> tuple[tuple[Event, ...], Known | None, Channel]:
    """The events that an observation makes, what is known of its message then, and the channel's new place.

    now_us: the time of acceptance, microseconds since the epoch; every event carries it.
    """
    if observation.message_id <= channel.origin:
        return (), known, channel
    if isinstance(observation, Gone):
        return _accept_gone(observation, known, channel, now_us)
    return _accept_seen(observation, known, channel, now_us)


def _accept_gone(
    gone: Gone, known: Known | None, channel: Channel, now_us: int
) -> tuple[tuple[Event, ...], Known | None, Channel]:
    if known is not None and known.deleted:
        return (), known, channel
    event = Deleted(gone.channel_id, gone.message_id, now_us, gone.reason)
    # Kept also for a message that was never seen: a history page read earlier may still bring it.
    after = msgspec.structs.replace(known or Known(-1, b"", now_us), deleted=True)
    return (event,), after, channel


def _accept_seen(
    seen: Seen, known: Known | None, channel: Channel, now_us: int
) -> tuple[tuple[Event, ...], Known | None, Channel]:
    digest = digest_of(seen.content)
    version = seen.edit_date_s * VERSIONS_A_SECOND
    if known is None or not known.accounted:
        certain = known is None and seen.message_id > channel.floor
        posted = Posted(seen.channel_id, seen.message_id, seen.content, version, now_us, certain)
        return (posted,), Known(version, digest, now_us), _advance(channel, seen.message_id)
    if known.version < 0:
        # Its deletion came first. It is stored all the same, so that what it said stays readable.
        posted = Posted(seen.channel_id, seen.message_id, seen.content, version, now_us, False)
        deleted = Deleted(seen.channel_id, seen.message_id, now_us, "deleted on Telegram")
        return (
            (posted, deleted),
            Known(version, digest, now_us, deleted=True),
            _advance(channel, seen.message_id),
        )
    if known.deleted or digest == known.digest or version + VERSIONS_A_SECOND <= known.version:
        return (), known, channel
    if version <= known.version:
        # Telegram's edit dates are whole seconds: of two contents within one, the one seen later is newer. An answer
        # to a request sent before the known one was accepted may show what was before; it is read again later.
        if seen.asked_at_us is not None and seen.asked_at_us <= known.at_us:
            return (), known, channel
        version = known.version + 1
    event = Edited(seen.channel_id, seen.message_id, seen.content, version, now_us)
    return (event,), Known(version, digest, now_us), channel


def _advance(channel: Channel, message_id: int) -> Channel:
    return msgspec.structs.replace(channel, top=max(channel.top, message_id))
