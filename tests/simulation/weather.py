"""How a schedule treats what is on its way: delays, requests and answers that are lost, requests that come late."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import trio

TIMEOUT_S = 0.25
"""After so long a client gives up on the cache."""


class Fate(Enum):
    """What becomes of a request."""

    ANSWERED = auto()
    LOST = auto()
    DONE_UNANSWERED = auto()


@dataclass
class Weather:
    """One schedule's; its faults change it. All chances come from rng.

    breaks: how likely a request is lost, and likewise its answer. slow: how likely one takes longer than its client
    waits, and is carried out all the same.
    """

    rng: random.Random
    breaks: float = 0.0
    slow: float = 0.0
    mean_s: float = 0.001
    calm: bool = False

    def delay_s(self) -> float:
        """How long one way takes."""
        return (
            self.rng.expovariate(1 / self.mean_s) if self.rng.random() < 0.95 else self.rng.uniform(0.01, 0.1)
        )

    async def trip(self) -> None:
        """One way of a request or an answer."""
        await trio.sleep(self.delay_s())

    def fate(self) -> Fate:
        """What becomes of one request."""
        chance = self.rng.random()
        if self.calm or chance >= 2 * self.breaks:
            return Fate.ANSWERED
        return Fate.LOST if chance < self.breaks else Fate.DONE_UNANSWERED

    def is_late(self) -> bool:
        """This request comes after its client has given up."""
        return not self.calm and self.rng.random() < self.slow


Spawn = Callable[..., object]
"""Starts a task that outlives the process that asked for it: (async function, *arguments)."""
