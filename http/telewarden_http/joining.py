"""Callers that ask the same thing at once share one look (as commits of a group do: Gray & Reuter, group commit)."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import anyio

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

    While one look is under way for a question, all who come share the next. Who finds none under way makes one at once,
    and one that takes long holds the next up for 50 ms at most.
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
        look = _Look()
        try:
            if (before := self._under_way.get(question)) is not None:
                self._next[question] = look
                try:
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
