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
    one that the source calls done is not served again. Other events change only messages that are there.
    """
    states = dict(base)
    for record in records:
        event = record.event
        key = key_of(event)
        before = states.get(key)
        if before is None and (not isinstance(event, Posted) or not event.new or key in done):
            continue
        states[key] = merge(before, event)
    return states
