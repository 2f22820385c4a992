"""Faults that the control socket injects. Each is counted down or cleared, so that a test knows what it got."""

from dataclasses import dataclass, field
from typing import Any

MANY = 1_000_000
MAX_DELAY_S = 60.0


class UnknownFault(ValueError):
    """There is no such fault, or one of its values is missing or impossible."""


@dataclass
class RpcFailure:
    """A method answers an error so many more times."""

    code: int
    message: str
    times: int


@dataclass
class Faults:
    """What is wrong at the moment.

    failures: by method name. swallow, duplicate: pushes that are lost, or sent twice. delay_s: before each push.
    reorder: the next two pushes change places; held: the first of them. withheld: channels that are not pushed until
    their difference is asked for. refusing: connections end at once. deaf: bytes are taken and nothing is answered.
    too_long: channels whose next difference is too long.
    """

    failures: dict[str, RpcFailure] = field(default_factory=dict)
    swallow: int = 0
    duplicate: int = 0
    reorder: bool = False
    held: bytes | None = None
    delay_s: float = 0.0
    withheld: set[int] = field(default_factory=set)
    too_long: set[int] = field(default_factory=set)
    refusing: bool = False
    deaf: bool = False

    def clear(self) -> None:
        """Everything works again."""
        for name, value in vars(Faults()).items():
            setattr(self, name, value)

    def inject(self, name: str, values: dict[str, Any]) -> None:
        """Start a fault that needs nothing but this object. Raises UnknownFault."""
        try:
            match name:
                case "rpc_error":
                    failure = RpcFailure(
                        _within(values["code"], "code", -1000, 1000),
                        str(values["message"]),
                        _times(values),
                    )
                    self.failures[str(values["method"])] = failure
                case "flood_wait":
                    wait = f"FLOOD_WAIT_{_within(values['seconds'], 'seconds', 0, 1_000_000)}"
                    self.failures[str(values["method"])] = RpcFailure(420, wait, _times(values))
                case "swallow":
                    self.swallow = _within(values["pushes"], "pushes", 0, MANY)
                case "duplicate":
                    self.duplicate = _within(values["pushes"], "pushes", 0, MANY)
                case "reorder":
                    self.reorder = True
                case "delay":
                    self.delay_s = _seconds(values["seconds"])
                case "withhold":
                    self.withheld.add(int(values["channel"]))
                case "too_long":
                    self.too_long.add(int(values["channel"]))
                case "refuse":
                    self.refusing = True
                case "black_hole":
                    self.deaf = True
                case _:
                    raise UnknownFault(f"there is no fault {name!r}; there are: {', '.join(NAMES)}")
        except KeyError as error:
            raise UnknownFault(f"the fault {name!r} needs a value for {error}") from error

    def failure_of(self, method: str) -> RpcFailure | None:
        """The error that a method has to answer now, counted."""
        failure = self.failures.get(method)
        if failure is None:
            return None
        failure.times -= 1
        if failure.times <= 0:
            del self.failures[method]
        return failure


def _within(value: Any, name: str, least: int, most: int) -> int:
    if not isinstance(value, int) or not least <= value <= most:
        raise UnknownFault(f"{name} has to be a whole number from {least} to {most}, not {value!r}")
    return value


def _times(values: dict[str, Any]) -> int:
    return _within(values.get("times", 1), "times", 1, MANY)


def _seconds(value: Any) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= MAX_DELAY_S:
        raise UnknownFault(f"seconds have to be from 0 to {MAX_DELAY_S:.0f}, not {value!r}")
    return float(value)


NAMES = (
    "rpc_error",
    "flood_wait",
    "swallow",
    "duplicate",
    "reorder",
    "delay",
    "withhold",
    "too_long",
    "refuse",
    "black_hole",
    "drop",
    "deauthorise",
    "forget_key",
    "expire_code",
)
"""All of them; the last four act at once, on connections, keys and the code that was sent."""
