"""Which channels' newest posts are compared in each round of the timer. Pure."""

from collections.abc import Collection, Mapping

ROUNDS = 15
"""Within so many rounds each channel's newest posts are compared, although nothing says that one changed."""


class CompareRounds:
    """Remembers how far each channel was, by Telegram's count of its changes, when it was compared last."""

    def __init__(self) -> None:
        self._compared: dict[int, int] = {}
        self._round = 0

    def compared(self, channel_id: int, pts: int) -> None:
        """A channel's newest posts were compared when its count was pts."""
        self._compared[channel_id] = pts

    def choose(self, counts: Mapping[int, int], most: int) -> Collection[int]:
        """The channels of the next round: those that changed, and in turn the others.

        counts: each channel's count now. most: how many the budget allows; what does not fit in comes later.
        """
        self._round = (self._round + 1) % ROUNDS
        chosen = [
            channel_id
            for n, channel_id in enumerate(sorted(counts))
            if n % ROUNDS == self._round or self._compared.get(channel_id, 0) != counts[channel_id]
        ]
        return chosen[: max(most, len(counts) // ROUNDS + 1)]
