"""What comes and goes is told once it has held for a while. Pure: the time comes in."""

from collections.abc import Mapping
from dataclasses import dataclass

from telewarden_http.protocols import Degradation


@dataclass(slots=True)
class _Trouble:
    since: str
    effect: str
    is_down: bool
    turned_s: float
    told: bool


class Damping:
    """Keeps what comes and goes from flapping: a change is told when it has held for `hold_s` seconds.

    What is down when it looks for the first time is told at once: nothing is known that it could flap from.
    """

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._troubles: dict[str, _Trouble] = {}
        self._has_looked = False

    def look(self, down: Mapping[str, str], *, now_s: float, now: str) -> list[Degradation]:
        """What to tell. down: what is down at this moment, with its effect; now_s, now: this moment, as seconds and
        as text. An effect is the latest, and `since` the first moment of the trouble.
        """
        for what, effect in down.items():
            trouble = self._troubles.get(what)
            if trouble is None:
                self._troubles[what] = _Trouble(now, effect, True, now_s, told=not self._has_looked)
                continue
            trouble.effect = effect
            if not trouble.is_down:
                trouble.is_down, trouble.turned_s = True, now_s
        self._has_looked = True
        for what, trouble in list(self._troubles.items()):
            if what not in down and trouble.is_down:
                trouble.is_down, trouble.turned_s = False, now_s
            has_held = now_s - trouble.turned_s >= self._hold_s
            if trouble.is_down:
                trouble.told = trouble.told or has_held
            elif has_held or not trouble.told:
                del self._troubles[what]
        return [Degradation(what, t.since, t.effect) for what, t in self._troubles.items() if t.told]
