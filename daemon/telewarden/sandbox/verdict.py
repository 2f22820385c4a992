"""Compares, id by id, what Telegram has, what the database holds and what a consumer got. Pure."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from telewarden.sandbox.consumer import Consumption

Id = tuple[int, int]
"""(channel id, message id)"""


@dataclass(frozen=True, slots=True)
class Truth:
    """One message as Telegram has it."""

    text: str | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """One row as the database has it."""

    text: str | None
    status: str


@dataclass(slots=True)
class Verdict:
    """The differences, each with the messages that it concerns and why. omitted: by one poll, not by others."""

    lost: dict[Id, str] = field(default_factory=dict)
    omitted: dict[Id, str] = field(default_factory=dict)
    duplicated: dict[Id, str] = field(default_factory=dict)
    stale: dict[Id, str] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """No difference at all."""
        return not (self.lost or self.omitted or self.duplicated or self.stale)

    @property
    def settled(self) -> bool:
        """Some difference can no longer go away."""
        return bool(self.omitted or self.duplicated)

    def lines(self, at_most: int = 20) -> list[str]:
        """What to tell a person."""
        found = [
            f"{kind}: channel {channel}, message {message}: {why}"
            for kind, differences in (
                ("lost", self.lost),
                ("omitted", self.omitted),
                ("duplicated", self.duplicated),
                ("stale", self.stale),
            )
            for (channel, message), why in sorted(differences.items())
        ]
        return found[:at_most] + ([f"… and {len(found) - at_most} more"] if len(found) > at_most else [])


def judge(
    truth: Mapping[Id, Truth],
    rows: Iterable[tuple[Id, Stored]],
    got: Consumption,
    never_shown: Set[Id] = frozenset(),
    shown_texts: Mapping[Id, Set[str]] | None = None,
    texts: Mapping[Id, Sequence[str]] | None = None,
    omits_ms: float = 0.0,
) -> Verdict:
    """Compare.

    A message that was deleted on Telegram before a poll could serve it need not have been polled. never_shown: messages
    that were posted and deleted while no daemon ran: Telegram shows them to nobody, so they may be missing altogether.
    shown_texts: of messages that were deleted while no daemon ran, the texts that Telegram may have shown last; it
    shows no later one to anybody. texts: all that a message had, in order, by which polls that go back are found.
    omits_ms: how long after it was first served polls may still be without a message.
    """
    verdict = Verdict()
    stored: dict[Id, Stored] = {}
    for key, row in rows:
        if key in stored:
            verdict.duplicated[key] = "two rows in the database"
        stored[key] = row
    for key in stored.keys() - truth.keys():
        verdict.duplicated[key] = "a row that Telegram does not know"
    for key in got.served_again:
        verdict.duplicated[key] = "served again after its acknowledgement"
    for key, at_ms in got.left_out.items():
        # One that is deleted goes at that moment, which is not known to the consumer.
        late = at_ms - got.received[key].polled_at_ms >= omits_ms
        if late and key in truth and not truth[key].deleted:
            verdict.omitted[key] = "left out of a poll after an earlier one had served it"
    for key, written in (texts or {}).items():
        if key in got.received and _goes_back(got.received[key].texts, written):
            verdict.stale[key] = "polls gave an older text after a newer one"
    for key, message in truth.items():
        found = stored.get(key)
        if found is None and message.deleted and key in never_shown:
            continue
        if found is None:
            verdict.lost[key] = "not in the database"
            continue
        if key not in got.received and not message.deleted:
            verdict.lost[key] = "never served"
        if message.deleted and found.status != "deleted":
            verdict.stale[key] = f"deleted on Telegram, {found.status} in the database"
        elif found.text != message.text and not (
            message.deleted and found.text in (shown_texts or {}).get(key, frozenset())
        ):
            verdict.stale[key] = f"the database has {found.text!r}, Telegram {message.text!r}"
        elif not message.deleted and found.status == "deleted":
            verdict.stale[key] = "deleted in the database, not on Telegram"
    return verdict


def _goes_back(served: Sequence[str | None], written: Sequence[str]) -> bool:
    """The texts that polls gave are not in the order of those that were written."""
    order = [written.index(text) for text in served if text in written]
    return order != sorted(order)
