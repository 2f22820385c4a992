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

    failures: by method name, and the channel that they are limited to, if they are. slow: seconds before a method's
    answer. swallow, duplicate: pushes that are lost, or sent twice. delay_s: before each push.
    reorder: the next two pushes change places; held: the first of them. withheld: channels that are not pushed until
    their difference is asked for; never_pushed: not even then. announced: channels whose next push only says that it
    is too long. refusing: connections end at once. deaf: bytes are taken and nothing is answered.
    too_long: channels whose next difference is too long.
    """

    failures: dict[tuple[str, int | None], RpcFailure] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)
    swallow: int = 0
    duplicate: int = 0
    reorder: bool = False
    held: bytes | None = None
    delay_s: float = 0.0
    withheld: set[int] = field(default_factory=set)
    never_pushed: set[int] = field(default_factory=set)
    announced: set[int] = field(default_factory=set)
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
                    self.failures[_target(values)] = failure
                case "flood_wait":
                    wait = f"FLOOD_WAIT_{_within(values['seconds'], 'seconds', 0, 1_000_000)}"
                    self.failures[_target(values)] = RpcFailure(420, wait, _times(values))
                case "slow":
                    self.slow[str(values["method"])] = _seconds(values["seconds"])
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
                case "never_push":
                    self.never_pushed.add(int(values["channel"]))
                case "announce":
                    self.announced.add(int(values["channel"]))
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

    def failure_of(self, method: str, channel: int | None) -> RpcFailure | None:
        """The error that a method has to answer now, counted. channel: the bare id of the one that it is asked for."""
        for target in ((method, channel), (method, None)):
            failure = self.failures.get(target)
            if failure is not None:
                failure.times -= 1
                if failure.times <= 0:
                    del self.failures[target]
                return failure
        return None


def _target(values: dict[str, Any]) -> tuple[str, int | None]:
    return str(values["method"]), values.get("channel")


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
    "never_push",
    "announce",
    "slow",
    "too_long",
    "refuse",
    "black_hole",
    "drop",
    "deauthorise",
    "forget_key",
    "expire_code",
    "garbage",
)
"""All of them; the last five act at once, on connections, keys and the code that was sent."""

GARBAGE = ("bytes", "packet", "wrong_key", "truncated", "huge", "container", "bomb")
"""Kinds of what no server says: bytes that are no frame, a frame that is no packet, a packet that its key does not
decrypt, a frame that is cut off, a length that no memory holds, a container of more than it has, and a small packed
object that unpacks to half a gigabyte."""
