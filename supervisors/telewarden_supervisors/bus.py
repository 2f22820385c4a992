"""Events from supervisors to whoever wants to know; a subscriber cannot hold a supervisor up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import anyio

from telewarden_supervisors.events import Event


class EventStream:
    """A bounded stream of events for one task to read.

    `with supervisor.subscribe() as stream: async for event in stream: …`

    When it is full the oldest event goes, and `dropped` counts it. It ends when the supervisor has ended
    and everything in it was read, or when it is closed.
    """

    def __init__(self, bus: Bus, buffered: int) -> None:
        self.dropped = 0
        self._bus = bus
        self._events: deque[Event] = deque(maxlen=buffered)
        self._ended = False
        self._arrived: anyio.Event | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._events.popleft()

    def close(self) -> None:
        """Takes it off the supervisor; what is in it can still be read."""
        self._bus.remove(self)
        self._end()

    def _put(self, event: Event) -> None:
        if len(self._events) == self._events.maxlen:
            self.dropped += 1
        self._events.append(event)
        self._wake()

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None


class Bus:
    """Hands each event to the callbacks, then to the streams, without ever waiting.

    A callback that raises is counted in `callback_errors`; the supervisor goes on.
    """

    def __init__(self, callbacks: Iterable[Callable[[Event], None]] = ()) -> None:
        self.callback_errors = 0
        self._callbacks = tuple(callbacks)
        self._streams: list[EventStream] = []
        self._ended = False

    def publish(self, event: Event) -> None:
        """Delivers one event."""
        for callback in self._callbacks:
            try:
                callback(event)
            except Exception:  # noqa: BLE001 - whatever a subscriber raises, workers must not feel it
                self.callback_errors += 1
        for stream in self._streams:
            stream._put(event)

    def subscribe(self, buffered: int) -> EventStream:
        """A new stream; it has ended already if the bus has. Raises ValueError unless `buffered` is positive."""
        if buffered < 1:
            raise ValueError(f"a stream must hold at least one event, got {buffered}")
        stream = EventStream(self, buffered)
        if self._ended:
            stream._end()
        else:
            self._streams.append(stream)
        return stream

    def remove(self, stream: EventStream) -> None:
        """Stops delivering to a stream; no effect if it has been removed."""
        if stream in self._streams:
            self._streams.remove(stream)

    def end(self) -> None:
        """Ends every stream: no event follows."""
        self._ended = True
        streams, self._streams = self._streams, []
        for stream in streams:
            stream._end()
