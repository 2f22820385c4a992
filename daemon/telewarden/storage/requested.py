"""What the channels and ids of a request mean, in both roles. Pure."""

from collections.abc import Collection, Iterable

from telewarden.messages import Key
from telewarden_http.protocols import AmbiguousMessage, UnknownChannel


def served_channel(channel: str, channel_ids: Collection[int]) -> int:
    """The id of a channel that is served. Raises UnknownChannel."""
    channel_id = int(channel)
    if channel_id not in channel_ids:
        raise UnknownChannel.named(channel)
    return channel_id


def channels_meant(
    channel: str | None, channel_ids: Collection[int], readable: Collection[str] | None = None
) -> tuple[int, ...]:
    """The one channel that is named, or all that are served and that the caller may read. Raises UnknownChannel."""
    if channel is not None:
        if readable is not None and channel not in readable:
            raise UnknownChannel.named(channel)
        return (served_channel(channel, channel_ids),)
    return tuple(each for each in channel_ids if readable is None or str(each) in readable)


def unambiguous(waiting: Iterable[Key]) -> list[Key]:
    """The keys in order. Raises AmbiguousMessage for an id in two channels."""
    by_id: dict[int, list[Key]] = {}
    for key in sorted(waiting):
        by_id.setdefault(key.message_id, []).append(key)
    for message_id, keys in by_id.items():
        if len(keys) > 1:
            raise AmbiguousMessage(message_id, [str(key.channel_id) for key in keys])
    return [keys[0] for keys in by_id.values()]
