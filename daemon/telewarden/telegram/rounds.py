"""Which channels' newest posts are compared in each round of the timer. Pure."""

from collections.abc import Mapping

ROUNDS = 15
"""Within so many rounds each channel's newest posts are compared, although nothing says that one changed, as far as
the budget allows."""


class CompareRounds:
    """Remembers when each channel was compared last, and how far it was then by Telegram's count of its changes."""

    def __init__(self) -> None:
        self._compared: dict[int, tuple[int, int]] = {}
        self._round = 0

    def compared(self, channel_id: int, pts: int) -> None:
        """A channel's newest posts were compared when its count was pts."""
        self._compared[channel_id] = (self._round, pts)

    def choose(self, counts: Mapping[int, int], most: int) -> list[int]:
        """The channels of the next round: those that changed, then some of the others; who waits longest first.

        counts: each channel's count now. most: how many the budget allows; the others come in later rounds.
        """
        self._round += 1
        waiting = sorted(
            counts, key=lambda channel_id: (self._compared.get(channel_id, (0, 0))[0], channel_id)
        )
        changed = {c for c in waiting if self._compared.get(c, (0, -1))[1] != counts[c]}
        quiet = [c for c in waiting if c not in changed][: len(counts) // ROUNDS + 1]
        return [*(c for c in waiting if c in changed), *quiet][: max(1, most)]
