"""One transaction of the journal: what is accepted in it, and the places that it moves.

Runs in the committing thread.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from telewarden.messages import Acknowledged, Edited, Event, Posted, key_of
from telewarden.storage.acceptance import Channel, Known, Observation, Seen, accept, acknowledged_unseen
from telewarden.storage.journal_file import JournalFile, encode
from telewarden.storage.tail import Record

KNOWN_A_CHANNEL = 10_000
"""Messages a channel whose version is kept for comparison; older ones are the database's to judge."""
_PRUNE_EVERY = 1_000


@dataclass
class Commit:
    """One transaction's working state, in the committing thread."""

    file: JournalFile
    channels: dict[int, Channel]
    next_position: int
    last_us: int
    clock_us: Callable[[], int]
    accepted: list[Record] = field(default_factory=list)
    rows: list[tuple[int, int, bytes]] = field(default_factory=list)
    known_now: dict[tuple[int, int], Known] = field(default_factory=dict)

    def now_us(self) -> int:
        """The time of the next event: strictly increasing, also when the clock is set back."""
        self.last_us = max(self.clock_us(), self.last_us + 1)
        return self.last_us

    def add(self, events: Sequence[Event], at_us: int) -> list[Record]:
        """Give events their positions and write them."""
        records = []
        for event in events:
            body = encode(event)
            self.rows.append((self.next_position, at_us, body))
            records.append(Record(self.next_position, event, at_us, len(body)))
            self.next_position += 1
        self.accepted.extend(records)
        return records

    def known(self, channel_id: int, message_id: int) -> Known | None:
        """What is known of a message at this point of the transaction."""
        return self.known_now.get((channel_id, message_id)) or self.file.known(channel_id, message_id)

    def write(self) -> None:
        """Hand over what was kept back, so that it is written in few statements."""
        self.file.append(self.rows)
        self.file.put_known(self.known_now)
        self.rows, self.known_now = [], {}


def accept_all(
    commit: Commit,
    observations: Sequence[Observation],
    checkpoint: tuple[int, int] | None,
    pts: Mapping[int, int],
) -> list[Record]:
    """Turn observations into events, and move the places. See `Journal.accept`."""
    records: list[Record] = []
    touched: set[int] = set(pts)
    for observation in observations:
        channel = commit.channels[observation.channel_id]
        known = commit.known(observation.channel_id, observation.message_id)
        at_us = commit.now_us()
        events, after, place = accept(observation, known, channel, at_us)
        if events:
            records += commit.add(events, at_us)
        if after is not None and after is not known:
            commit.known_now[observation.channel_id, observation.message_id] = after
        if place is not channel:
            commit.channels[channel.channel_id] = place
        touched.add(channel.channel_id)
    if checkpoint is not None:
        touched.add(checkpoint[0])
    for channel_id in touched:
        before = commit.channels[channel_id]
        place = _moved(commit, before, checkpoint)
        place = msgspec.structs.replace(place, pts=max(place.pts, pts.get(channel_id, 0)))
        commit.channels[channel_id] = place
        commit.file.put_channel(place)
    return records


def _moved(commit: Commit, channel: Channel, checkpoint: tuple[int, int] | None) -> Channel:
    """The channel's place after its checkpoint moved: as told, then over what is known without a gap."""
    reached = channel.checkpoint
    if checkpoint is not None and checkpoint[0] == channel.channel_id:
        reached = max(reached, checkpoint[1])
    while (
        reached < channel.top
        and (known := commit.known(channel.channel_id, reached + 1)) is not None
        and known.accounted
    ):
        reached += 1
    floor = channel.floor
    if channel.top - floor >= KNOWN_A_CHANNEL + _PRUNE_EVERY:
        floor = channel.top - KNOWN_A_CHANNEL
        commit.write()
        commit.file.forget_known(channel.channel_id, floor)
    return msgspec.structs.replace(channel, checkpoint=reached, floor=floor)


def backfill(
    commit: Commit, channel_id: int, posts: Sequence[Seen], origin: int, acknowledged_by: str | None
) -> list[Record]:
    """Accept what is older than the channel's origin. See `Journal.backfill`."""
    before = commit.channels[channel_id]
    if origin < before.origin:
        commit.channels[channel_id] = msgspec.structs.replace(before, origin=origin)
    records = accept_all(commit, posts, None, {channel_id: 0})
    if acknowledged_by is not None:
        keys = {key_of(record.event) for record in records if isinstance(record.event, Posted)}
        at_us = commit.now_us()
        # In the same transaction: none of them is ever served.
        commit.add([Acknowledged(*key, acknowledged_by, at_us) for key in sorted(keys)], at_us)
    # What is kept for comparison stays bounded, however much is brought.
    commit.write()
    commit.file.forget_known(channel_id, commit.channels[channel_id].floor)
    return records


def append(commit: Commit, events: Sequence[Event], at_us: int) -> list[Record]:
    """Accept events that are certain by themselves. See `Journal.append`."""
    for event in events:
        if isinstance(event, Acknowledged) and commit.known(*key_of(event)) is None:
            commit.known_now[key_of(event)] = acknowledged_unseen(at_us)
    return commit.add(events, at_us)


def vouch(
    commit: Commit, events: Sequence[Posted | Edited], later: Sequence[Event], seen: int
) -> list[Record]:
    """Accept the database's word, then once more what came after it: `later`, and what was accepted after position
    `seen`, also in this very transaction. See `Journal.vouch`."""
    keys = {key_of(event) for event in events}
    commit.write()
    last = [event for _, _, event, _ in commit.file.events(seen) if key_of(event) in keys]
    repeated = [event for event in (*later, *last) if not isinstance(event, Posted)]
    return commit.add([*events, *repeated], commit.now_us())
