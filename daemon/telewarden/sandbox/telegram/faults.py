"""Faults that the control socket injects. Each is counted down or cleared, so that a test knows what it got."""

from dataclasses import dataclass, field
from typing import Any


class UnknownFault(ValueError):
    """There is no such fault, or one of its values is missing."""


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
    reorder: the next two pushes change places. withheld: channels that are not pushed. refusing: connections end at
    once. deaf: bytes are taken and nothing is answered. too_long: channels whose next difference is too long.
    """

    failures: dict[str, RpcFailure] = field(default_factory=dict)
    swallow: int = 0
    duplicate: int = 0
    reorder: bool = False
    delay_s: float = 0.0
    withheld: set[int] = field(default_factory=set)
    too_long: set[int] = field(default_factory=set)
    refusing: bool = False
    deaf: bool = False

    def clear(self) -> None:
        """Everything works again."""
        self.__init__()  # type: ignore[misc]

    def inject(self, name: str, values: dict[str, Any]) -> None:
        """Start a fault that needs nothing but this object. Raises UnknownFault."""
        try:
            match name:
                case "rpc_error":
                    failure = RpcFailure(
                        int(values["code"]), str(values["message"]), int(values.get("times", 1))
                    )
                    self.failures[str(values["method"])] = failure
                case "flood_wait":
                    wait = f"FLOOD_WAIT_{int(values['seconds'])}"
                    self.failures[str(values["method"])] = RpcFailure(420, wait, int(values.get("times", 1)))
                case "swallow":
                    self.swallow = int(values["pushes"])
                case "duplicate":
                    self.duplicate = int(values["pushes"])
                case "reorder":
                    self.reorder = True
                case "delay":
                    self.delay_s = float(values["seconds"])
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
)
"""All of them; the last three act on connections and keys at once."""
