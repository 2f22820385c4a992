"""Posts, edits and deletes through the local Telegram at a rate, and remembers when."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from telewarden.sandbox.telegram.control import Control

_WORDS = ("BUY", "SELL", "PETR4", "VALE3", "ITUB4", "WIN", "stop", "target", "entry", "gain", "loss", "half")


@dataclass
class Posted:
    """What was done, by (channel id, message id). posted_at_ms, deleted_at_ms: wall clock.

    texts: every text that a message had, each with the moment from which on, in order.
    """

    posted_at_ms: dict[tuple[int, int], float] = field(default_factory=dict)
    deleted_at_ms: dict[tuple[int, int], float] = field(default_factory=dict)
    texts: dict[tuple[int, int], list[tuple[float, str]]] = field(default_factory=dict)
    edited: int = 0

    @property
    def deleted(self) -> int:
        """How many were deleted."""
        return len(self.deleted_at_ms)


class Poster:
    """Makes traffic.

    rate: posts a second over all channels; edits, deletes: their chance after each post; seed: replays the choices.
    """

    def __init__(
        self,
        control: Control,
        channel_ids: Sequence[int],
        *,
        rate: float,
        edits: float = 0.1,
        deletes: float = 0.03,
        seed: int = 1,
    ) -> None:
        self._control, self._channel_ids = control, channel_ids
        self._rate, self._edits, self._deletes = rate, edits, deletes
        self._dice = random.Random(seed)
        self._alive: list[tuple[int, int]] = []
        self._stopping = False
        self.done = Posted()

    async def run(self, seconds: float) -> None:
        """Post for so long, or until stopped; late posts are caught up with, so that the rate holds on average."""
        began = anyio.current_time()
        number = 0
        while (due := began + number / self._rate) < began + seconds and not self._stopping:
            await anyio.sleep_until(due)
            number += 1
            await self._post(number)
            if self._alive and self._dice.random() < self._edits:
                await self._edit(number)
            if self._alive and self._dice.random() < self._deletes:
                await self._delete()

    def stop(self) -> None:
        """Post no more."""
        self._stopping = True

    def _text(self, number: int) -> str:
        return f"#{number} " + " ".join(self._dice.choices(_WORDS, k=8))

    async def _post(self, number: int) -> None:
        channel_id = self._channel_ids[number % len(self._channel_ids)]
        at_ms, text = time.time() * 1000, self._text(number)
        reply = await self._control.post(channel_id, text)
        key = (channel_id, reply.message_id)
        self.done.posted_at_ms[key] = at_ms
        self.done.texts[key] = [(at_ms, text)]
        self._alive.append(key)

    async def _edit(self, number: int) -> None:
        channel_id, message_id = self._dice.choice(self._alive[-200:])
        at_ms, text = time.time() * 1000, f"edited {self._text(number)}"
        await self._control.edit(channel_id, message_id, text)
        self.done.texts[channel_id, message_id].append((at_ms, text))
        self.done.edited += 1

    async def _delete(self) -> None:
        channel_id, message_id = self._alive.pop(
            self._dice.randrange(max(0, len(self._alive) - 200), len(self._alive))
        )
        await self._control.delete(channel_id, [message_id])
        self.done.deleted_at_ms[channel_id, message_id] = time.time() * 1000
