"""Callers that ask the same thing at once share one look (as commits of a group do: Gray & Reuter, group commit)."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel

T = TypeVar("T")

_PATIENCE_S = 0.05


class _Look(Generic[T]):
    """One that is to come: its first caller makes it, the others wait for it."""

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.answer: T | None = None
        self.error: Exception | None = None
        self.made = False


class Joined(Generic[T]):
    """Whoever asks is answered by a look that began after that, so that nothing done before is missing in the answer.

    While one look is under way for a question, all who come share the next. Who finds none under way makes one in the
    next turn of the loop; one that takes long holds the next up for 50 ms at most.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, _Look[T]] = {}
        self._next: dict[Hashable, _Look[T]] = {}

    async def ask(self, question: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """The answer; make: gives it, and is called by one of those who share it. Raises what that raises."""
        while (look := self._next.get(question)) is not None:
            await look.over.wait()
            if look.error is not None:
                raise look.error
            if look.made:
                assert look.answer is not None
                return look.answer
            # Who was to make it was cancelled.
        look = self._next[question] = _Look()
        try:
            try:
                # Those who came in the same turn of the loop share it too.
                await anyio.lowlevel.checkpoint()
                if (before := self._under_way.get(question)) is not None:
                    with anyio.move_on_after(_PATIENCE_S):
                        await before.over.wait()
            finally:
                # It begins now, or never: who comes from here on wants another.
                del self._next[question]
            self._under_way[question] = look
            look.answer = await make()
            look.made = True
            return look.answer
        except Exception as error:
            look.error = error
            raise
        finally:
            if self._under_way.get(question) is look:
                del self._under_way[question]
            look.over.set()
