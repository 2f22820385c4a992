"""A measured figure beside its floor and its goal."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """value, floor: in `unit`, measured in the same run; the floor is what nothing could beat. goal: for the value, to
    be at least (">=") or at most ("<=")."""

    value: float
    unit: str
    floor: float
    sense: Literal[">=", "<="]
    goal: float

    @property
    def met(self) -> bool:
        """The goal is reached."""
        return self.value >= self.goal if self.sense == ">=" else self.value <= self.goal

    def as_json(self) -> dict[str, object]:
        """The keys that `--json` promises."""
        return {
            "value": round(self.value, 2),
            "unit": self.unit,
            "floor": round(self.floor, 2),
            "ratio": round(self.value / self.floor, 3) if self.floor else None,
            "goal": f"{self.sense} {self.goal:g}",
            "met": self.met,
        }
