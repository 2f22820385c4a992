"""Which of a channel's changes are accounted for, by Telegram's count of them (pts). Pure."""

from collections.abc import Iterable

from telewarden.telegram.feed import Push

_HELD = 10_000


class PushedAhead:
    """Pushes that were accepted although something before them is missing.

    Once what was missing has been read, they need not be read again: otherwise a busy channel would always be behind.
    """

    def __init__(self) -> None:
        self._ahead: dict[int, dict[int, int]] = {}

    def keep(self, push: Push) -> None:
        """A push was accepted, on disk, ahead of its turn."""
        ahead = self._ahead.setdefault(push.channel_id, {})
        if len(ahead) >= _HELD:
            # They will be read again, which changes nothing.
            ahead.clear()
        ahead[push.pts - push.pts_count] = push.pts

    def extend(self, channel_id: int, pts: int) -> int:
        """How far a channel is when everything up to pts is accounted for."""
        ahead = self._ahead.get(channel_id, {})
        for start in sorted(ahead):
            if start > pts:
                break
            pts = max(pts, ahead.pop(start))
        return pts


def follow(pushes: Iterable[Push], known: dict[int, int]) -> tuple[dict[int, int], list[Push]]:
    """What pushes do to the counts of their channels, in order.

    known: the count up to which each channel is accounted for, 0 where it is not known. Returns the new counts of
    those that moved, and the pushes that leave a gap before them.
    """
    counts = dict(known)
    moved: dict[int, int] = {}
    ahead = []
    for push in pushes:
        before = counts.get(push.channel_id, 0)
        if before and push.pts - push.pts_count <= before:
            if push.pts > before:
                counts[push.channel_id] = moved[push.channel_id] = push.pts
        else:
            ahead.append(push)
    return moved, ahead
