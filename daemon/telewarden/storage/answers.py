"""How polls and seen checks were answered: by which source, and why not by the cache. Counts; no I/O."""

from collections import Counter

from telewarden_http.protocols import Source

REASONS = frozenset(
    {
        "no cache",
        "not connected yet",
        "down",
        "not warmed yet",
        "being warmed",
        "it has not heard of all acknowledgements yet",
        "unavailable",
        "not a master",
        "no mark",
        "other mark",
        "other history",
        "behind the journal",
        "incomplete",
        "wrong type",
        "overflow",
        "too large",
        "a body has expired",
        "other statuses",
        "not only plain messages wait",
    }
)
"""Why the cache does not answer a poll. See docs/operations.md for what each means."""
OTHER = "other"


class Answers:
    """Counts since the process began. Each answered poll counts once by its source and, if that is not the cache, once
    by the reason."""

    def __init__(self) -> None:
        self.polls: Counter[Source] = Counter()
        self.reasons: Counter[str] = Counter()
        self.seen: Counter[Source] = Counter()
        """Messages that were asked about, whether they were seen, by the source that settled it."""

    @property
    def total(self) -> int:
        """Answered polls."""
        return self.polls.total()

    @property
    def hit_rate(self) -> float | None:
        """Polls answered by the cache, of all that were answered; None before the first."""
        return self.polls[Source.CACHE] / self.total if self.total else None

    def answered(self, source: Source, reason: str | None) -> None:
        """A poll was answered. reason: why not by the cache; None if it was."""
        self.polls[source] += 1
        if reason is not None:
            self.reasons[reason if reason in REASONS else OTHER] += 1

    def settled(self, source: Source, count: int) -> None:
        """A source said of so many messages whether they were seen."""
        self.seen[source] += count
