"""The old consumer, as the contract describes it: polls a channel, acknowledges each message in a call of its own."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import httpx
import msgspec

LIMIT = 100
_TIMEOUT_S = 5.0
_RETRY_S = 0.1
_ACKNOWLEDGERS = 8


@dataclass
class Received:
    """What a consumer got of one message: its text, the time (wall clock, ms) of its first poll, and the how-manieth
    acknowledgement that was answered 200 it was; None before. texts: each text that a poll changed it to, in order."""

    text: str | None
    polled_at_ms: float
    number: int | None = None
    texts: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.texts.append(self.text)

    @property
    def acknowledged(self) -> bool:
        """Its acknowledgement was answered 200."""
        return self.number is not None


@dataclass
class Consumption:
    """What a consumer got, by (channel, message id), and what it noticed.

    acknowledged: how many acknowledgements were answered 200. served_again: polls that served a message after its
    acknowledgement was answered. left_out: when (wall clock, ms) a poll last lacked a message that an earlier one had
    served, though nothing had been done to acknowledge it, and though there was room. sources: answered polls by
    source. answers: (when, wall clock in ms, and source) of each. errors: answers that were not 2xx, and requests
    without an answer, by kind.
    """

    received: dict[tuple[int, int], Received] = field(default_factory=dict)
    served_again: list[tuple[int, int]] = field(default_factory=list)
    left_out: dict[tuple[int, int], float] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    answers: list[tuple[float, str]] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    polls: int = 0
    poll_ms: list[float] = field(default_factory=list)

    def count_error(self, kind: str) -> None:
        """One more of a kind of error."""
        self.errors[kind] = self.errors.get(kind, 0) + 1


class _Message(msgspec.Struct, rename="camel"):
    message_id: str
    text: str | None
    caption: str | None


class _Answer(msgspec.Struct):
    success: bool
    data: list[_Message]


class Consumer:
    """Polls every channel, an interval after each answer, and acknowledges what it got.

    interval_s: in seconds. names_channel: send the channel with an acknowledgement, which the old consumer does not.
    hold_s: how long it keeps a message before it acknowledges it; polls must go on to serve it meanwhile.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        channel_ids: Sequence[int],
        *,
        interval_s: float,
        name: str,
        names_channel: bool = False,
        hold_s: float = 0.0,
    ) -> None:
        self._names_channel = names_channel
        self._hold_ms = hold_s * 1000
        self._open: dict[int, set[tuple[int, int]]] = {channel_id: set() for channel_id in channel_ids}
        self._channel_ids = channel_ids
        self._interval_s = interval_s
        self._name = name
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"X-API-Key": api_key, "Content-Type": "application/json"},
            timeout=_TIMEOUT_S,
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=32),
            trust_env=False,
        )
        self._decode = msgspec.json.Decoder(_Answer).decode
        self.got = Consumption()

    async def run(self) -> None:
        """Until cancelled."""
        send, receive = anyio.create_memory_object_stream[tuple[int, int]](max_buffer_size=100_000)
        async with self._client, anyio.create_task_group() as tasks, send, receive:
            for channel_id in self._channel_ids:
                tasks.start_soon(self._poll_for_ever, channel_id, send.clone())
            for _ in range(_ACKNOWLEDGERS):
                tasks.start_soon(self._acknowledge_for_ever, receive.clone())

    async def _poll_for_ever(
        self, channel_id: int, found: "anyio.abc.ObjectSendStream[tuple[int, int]]"
    ) -> None:
        parameters = {"channel": str(channel_id), "status": "received,queued", "limit": str(LIMIT)}
        async with found:
            while True:
                acknowledged = self.got.acknowledged
                began = time.perf_counter()
                try:
                    answer = await self._client.get("/api/messages/unprocessed", params=parameters)
                except httpx.HTTPError as error:
                    self.got.count_error(f"poll: {type(error).__name__}")
                    await anyio.sleep(_RETRY_S)
                    continue
                self.got.polls += 1
                if answer.status_code != 200:
                    self.got.count_error(f"poll: {answer.status_code}")
                    await anyio.sleep(_RETRY_S)
                    continue
                self.got.poll_ms.append((time.perf_counter() - began) * 1000)
                source = answer.headers.get("X-Telewarden-Source", "none")
                self.got.sources[source] = self.got.sources.get(source, 0) + 1
                self.got.answers.append((time.time() * 1000, source))
                for key in self._take(channel_id, answer.content, acknowledged):
                    await found.send(key)
                await anyio.sleep(self._interval_s)

    def _take(self, channel_id: int, body: bytes, acknowledged: int) -> list[tuple[int, int]]:
        """Note what an answer holds; returns what is new. acknowledged: how many were before the poll began."""
        now_ms = time.time() * 1000
        new = []
        messages = self._decode(body).data
        if len(messages) < LIMIT:
            served = {(channel_id, int(message.message_id)) for message in messages}
            self.got.left_out |= dict.fromkeys(self._open[channel_id] - served, now_ms)
        for message in messages:
            key = (channel_id, int(message.message_id))
            text = message.text if message.text is not None else message.caption
            before = self.got.received.get(key)
            if before is None:
                self.got.received[key] = Received(text, now_ms)
                self._open[channel_id].add(key)
                new.append(key)
            elif before.number is not None and before.number <= acknowledged:
                self.got.served_again.append(key)
            elif text != before.text:
                before.text = text
                before.texts.append(text)
        return new

    async def _acknowledge_for_ever(self, found: "anyio.abc.ObjectReceiveStream[tuple[int, int]]") -> None:
        async with found:
            async for channel_id, message_id in found:
                body: dict[str, object] = {"messageIds": [str(message_id)], "processedBy": self._name}
                if self._names_channel:
                    body["channel"] = str(channel_id)
                message = self.got.received[channel_id, message_id]
                if (early_ms := message.polled_at_ms + self._hold_ms - time.time() * 1000) > 0:
                    await anyio.sleep(early_ms / 1000)
                # A poll that is under way may or may not serve it from now on.
                self._open[channel_id].discard((channel_id, message_id))
                while not message.acknowledged:
                    try:
                        answer = await self._client.post("/api/messages/mark-processed", json=body)
                    except httpx.HTTPError as error:
                        self.got.count_error(f"acknowledge: {type(error).__name__}")
                        await anyio.sleep(_RETRY_S)
                        continue
                    if answer.status_code == 200:
                        self.got.acknowledged += 1
                        message.number = self.got.acknowledged
                    else:
                        self.got.count_error(f"acknowledge: {answer.status_code}")
                        await anyio.sleep(_RETRY_S)
