"""What was accepted, and what follows from it for the answer to a poll."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from telewarden.messages import Edited, Event, Key, Posted, State, join, key_of, lift
from telewarden_http.protocols import Page, Source

_lift, _join = lift, join


def _true_merge(state: State | None, event: Event) -> State:
    """The product's, whatever a test has put in the place of its parts."""
    lifted = _lift(event)
    return lifted if state is None else _join(state, lifted)


class Violation(Exception):
    """An answer that the protocol must not give."""


@dataclass(frozen=True)
class Expected:
    """What holds when a poll begins. waits: versions of the messages that must be served; over: messages that must not
    be."""

    waits: Mapping[Key, int]
    over: frozenset[Key]


@dataclass
class Truth:
    """The states that follow from the events that were accepted, merged by the real `join`."""

    states: dict[Key, State] = field(default_factory=dict)
    sure: set[Key] = field(default_factory=set)
    versions: dict[str, int] = field(default_factory=dict)
    known_to: int = 0

    def seed(self, state: State) -> None:
        """A message that the database held before this journal began."""
        self.states[state.key] = state
        self.sure.add(state.key)
        if state.content is not None:
            self.versions[state.content.text or ""] = state.version

    def advance(self, ever: Sequence[Event], head: int) -> None:
        """Everything up to a position is accepted."""
        for event in ever[self.known_to : head]:
            self.states[key_of(event)] = self._after(self.states, event)
            if isinstance(event, Posted) and event.new:
                self.sure.add(key_of(event))
        self.known_to = max(self.known_to, head)

    def waiting_after(self, ever: Sequence[Event]) -> dict[Key, State]:
        """The states that anybody may know of by now: also of events that are committed and not answered yet."""
        later = dict(self.states)
        for event in ever[self.known_to :]:
            later[key_of(event)] = self._after(later, event)
        return later

    def expected(self, channel_id: int) -> Expected:
        """For a poll that begins now."""
        own = {key: state for key, state in self.states.items() if key.channel_id == channel_id}
        return Expected(
            {key: state.version for key, state in own.items() if state.pending and key in self.sure},
            frozenset(
                key for key, state in own.items() if state.effective_status not in ("received", "queued")
            ),
        )

    def check(
        self, expected: Expected, page: Page, limit: int, ever: Sequence[Event], tail: Sequence[Event]
    ) -> None:
        """Compare an answer with what had to be. tail: what the journal still holds. Raises Violation."""
        later = self.waiting_after(ever)
        served = self.served(page)
        must = {key for key in expected.waits if later[key].pending}
        # What was taken out while the page was made leaves room on it.
        limit -= len(expected.waits) - len(must)
        if page.source is Source.JOURNAL:
            must &= {key_of(event) for event in tail if isinstance(event, Posted) and event.new}
        if page.count < limit and (omitted := must - served.keys()):
            raise Violation(f"{_ids(omitted)} omitted by {page.source}")
        for key in must & served.keys():
            if served[key] < expected.waits[key]:
                raise Violation(f"old text of {_ids([key])} by {page.source}")
        if again := expected.over & served.keys():
            raise Violation(f"{_ids(again)} served by {page.source} after the end of its waiting")

    def served(self, page: Page) -> dict[Key, int]:
        """The versions of the messages on a page. Raises Violation for one that is there twice or has no known text."""
        bodies = msgspec.json.decode(b"[" + b",".join(page.bodies) + b"]")
        served = {
            Key(int(body["channelId"]), int(body["messageId"])): self.versions.get(body["text"], -1)
            for body in bodies
        }
        if not len(bodies) == len(served) == page.count:
            raise Violation(
                f"a page of {page.count} by {page.source} has {len(bodies)} bodies of {len(served)}"
            )
        if unknown := [key for key, version in served.items() if version < 0]:
            raise Violation(f"nobody wrote the text of {_ids(unknown)}")
        return served

    def _after(self, states: Mapping[Key, State], event: Event) -> State:
        if isinstance(event, Posted | Edited) and event.content.text is not None:
            self.versions[event.content.text] = event.version
        return _true_merge(states.get(key_of(event)), event)


def name_of(key: Key) -> str:
    """A message in words."""
    return f"message {key.message_id} of {key.channel_id}"


def _ids(keys: Iterable[Key]) -> str:
    return ", ".join(map(name_of, sorted(keys)))
