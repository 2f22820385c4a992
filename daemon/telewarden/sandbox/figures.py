"""A measured figure beside its floor and its goal."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """value, floor: in `unit`, measured in the same run; the floor is what nothing could beat. goal: for the value, or
    for its ratio to the floor (`of`), to be at least (">=") or at most ("<=")."""

    value: float
    unit: str
    floor: float
    sense: Literal[">=", "<="]
    goal: float
    of: Literal["value", "ratio"] = "value"

    @property
    def ratio(self) -> float | None:
        """The value in floors; None without a floor."""
        return self.value / self.floor if self.floor else None

    @property
    def met(self) -> bool:
        """The goal is reached."""
        reached = self.value if self.of == "value" else self.ratio
        if reached is None:
            return False
        return reached >= self.goal if self.sense == ">=" else reached <= self.goal

    def as_json(self) -> dict[str, object]:
        """The keys that `--json` promises."""
        return {
            "value": round(self.value, 2),
            "unit": self.unit,
            "floor": round(self.floor, 2),
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "goal": f"{'ratio ' if self.of == 'ratio' else ''}{self.sense} {self.goal:g}",
            "met": self.met,
        }
