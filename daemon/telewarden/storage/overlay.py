"""Laying the events that a source has not got yet over what it gave. Pure."""

from collections.abc import Mapping, Sequence, Set

from telewarden.messages import Acknowledged, Deleted, Key, Posted, ReprocessRequested, State, key_of, merge
from telewarden.storage.tail import Record


def sure_posts(records: Sequence[Record]) -> list[Key]:
    """The messages that the events bring and that are certainly new, in order, each once."""
    return list(
        dict.fromkeys(key_of(r.event) for r in records if isinstance(r.event, Posted) and r.event.new)
    )


def removals(records: Sequence[Record]) -> set[Key]:
    """The messages that the events take out of an answer; a source must be asked for as many more."""
    return {
        key_of(r.event) for r in records if isinstance(r.event, Acknowledged | Deleted | ReprocessRequested)
    }


def overlay(base: Mapping[Key, State], records: Sequence[Record], done: Set[Key]) -> dict[Key, State]:
    """The base's states with the events merged onto them, and the messages that only the events bring.

    A post that is not certainly new, of a message that the base does not hold, is left to the database's word;
    one that the source calls done is not served again. Other events change only messages that are there, or that a
    later event brings: the database's word for a message may come after its acknowledgement.
    """
    states = dict(base)
    unseen: dict[Key, State] = {}
    for record in records:
        event = record.event
        key = key_of(event)
        before = states.get(key)
        if before is not None:
            states[key] = merge(before, event)
        elif isinstance(event, Posted) and event.new and key not in done:
            states[key] = merge(unseen.pop(key, None), event)
        else:
            unseen[key] = merge(unseen.get(key), event)
    return states
