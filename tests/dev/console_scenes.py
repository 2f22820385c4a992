"""Made-up figures of a daemon, second by second, for work on the console's looks."""

import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from telewarden_http.v1.overview_protocols import (
    CacheView,
    ChannelView,
    ConsumerView,
    DatabaseView,
    DegradedPart,
    FloodWait,
    HealthView,
    JournalView,
    Latencies,
    Latency,
    MessageView,
    Overview,
    Rate,
    Rates,
    TelegramView,
    Transition,
    WorkerView,
)

SCENES: Final = ("calm", "trouble", "empty", "serving")

_CHANNELS: Final = (
    ("-1001649127710", "Gold & FX signals", "goldfx_signals"),
    ("-1001412873344", "Crypto Morning Desk", "cryptomorning"),
    ("-1001788120053", "Börse am Mittag", "boerse_mittag"),
    ("-1001500041127", "إشارات التداول", ""),
    ("-1001333008421", "Energy & Freight Wire", "energywire"),
    ("-1001277630955", "Options flow (paid)", ""),
)
_TEXTS: Final = (
    "BUY XAUUSD 2651.40 – SL 2646.00, TP 2662 / 2670. Half risk until the CPI print.",
    "BTC: funding flips negative on three venues; nothing to do yet.",
    "DAX hält die 19.400. Wer short ist, zieht den Stopp auf Einstand nach.",
    "شراء الذهب من 2651 والهدف 2662",
    "Brent prompt spread +0.42, widest since August. Suezmax rates unchanged week on week.",
    "SPX 5950/6000 call spread, 12k lots, opening. Expiry Friday.",
    "Close half of EURUSD here, let the rest run.",
    "Good morning. Three levels for today: 2638, 2651, 2670. The full note is pinned.",
)
_PARTS: Final = (
    ("cache", ("redis", "warmer")),
    ("", ("writer", "channels")),
    ("serving", ("api",)),
    ("intake", ("listener",)),
    ("", ("upkeep", "health", "loop-watch", "control")),
)
_STATUS: Final = {
    "redis": "proven complete; lease renewed",
    "warmer": "nothing to fill",
    "writer": "stored up to 18,344",
    "channels": "6 channels written down",
    "api": "listening on 127.0.0.1:4010",
    "listener": "6 channels, asked every 1.2 s",
    "upkeep": "next at 04:00",
    "health": "",
    "loop-watch": "",
    "control": "listening on telewarden.sock",
}


def iso(at: datetime) -> str:
    """As the API writes times."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class World:
    """A daemon that is not there. `look` gives what an operator sees; what actions change is kept."""

    scene: str
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    began: datetime = field(
        default_factory=lambda: datetime.now(UTC) - timedelta(days=3, hours=4, minutes=12)
    )
    paused: set[str] = field(default_factory=set)
    restarted: dict[str, datetime] = field(default_factory=dict)
    messages: list[MessageView] = field(default_factory=list)
    head: int = 18_344
    flushed: int = 18_344
    turn: int = 0

    def __post_init__(self) -> None:
        now = datetime.now(UTC)
        if self.scene != "empty":
            for number in range(14):
                self._post(now - timedelta(seconds=47 * (14 - number)))

    def _post(self, at: datetime) -> None:
        channel, label, _ = self.dice.choice(_CHANNELS)
        self.head += 1
        message = MessageView(
            channel=channel,
            label=label,
            message_id=str(self.head - 9_000),
            text=self.dice.choice(_TEXTS),
            is_cut=False,
            media_type="photo" if self.dice.random() < 0.15 else None,
            received_at=iso(at),
            telegram_date=iso(at - timedelta(seconds=self.dice.random())),
            edited=self.dice.random() < 0.12,
            deleted=self.dice.random() < 0.06,
        )
        self.messages = [message, *self.messages][:20]

    def look(self) -> Overview:
        """As it is now."""
        seen = self._look()
        if self.scene != "serving" or seen.cache is None:
            return seen
        return msgspec.structs.replace(
            seen,
            role="api",
            journal=None,
            telegram=None,
            rates=msgspec.structs.replace(seen.rates, received=None),
            latency=msgspec.structs.replace(seen.latency, post=None),
            cache=msgspec.structs.replace(seen.cache, lag_events=None, lag_s=None, warms=None),
            workers=[
                each
                for each in seen.workers
                if each.name in ("redis", "channels", "api", "health", "loop-watch")
            ],
            channels=[
                msgspec.structs.replace(
                    each, state="served here", source=None, checkpoint=None, behind=None, waiting=None
                )
                for each in seen.channels
            ],
        )

    def _look(self) -> Overview:
        now = datetime.now(UTC)
        self.turn += 1
        if self.scene != "empty" and self.dice.random() < 0.22 + 0.18 * math.sin(self.turn / 11):
            self._post(now)
        trouble, empty = self.scene == "trouble", self.scene == "empty"
        busy = 0.0 if empty else 0.22 + 0.16 * math.sin(self.turn / 11) + 0.07 * self.dice.random()
        backlog = self._backlog()
        return Overview(
            version="0.1.0",
            role="all",
            at=iso(now),
            started_at=iso(self.began),
            uptime_s=(now - self.began).total_seconds(),
            health=HealthView(live=True, ready=True, degraded=self._degraded(now)),
            rates=Rates(
                received=Rate(ten_seconds=busy, minute=0.0 if empty else 0.21, total=self.head),
                acknowledged=Rate(ten_seconds=busy, minute=0.0 if empty else 0.2, total=9_120),
                polls=Rate(
                    ten_seconds=0.0 if empty else 1.2 + 0.3 * self.dice.random(),
                    minute=0.0 if empty else 1.3,
                    total=120_114,
                ),
            ),
            latency=Latencies(
                poll=None if empty else Latency(p50_ms=1.9, p95_ms=4.2 + self.dice.random(), count=78),
                post=None if empty else Latency(p50_ms=412.0, p95_ms=1180.0, count=13),
            ),
            workers=self._workers(now),
            channels=[] if empty else self._channels(now),
            consumers=None if trouble else [] if empty else self._consumers(now),
            journal=JournalView(
                epoch="4",
                head=str(self.head),
                flushed=str(self.head - backlog),
                backlog_events=backlog,
                backlog_bytes=backlog * 731,
                room_bytes=268_435_456 - backlog * 731,
                is_full=False,
                oldest_waiting_s=94.0 + self.turn if trouble else 0.1 * backlog,
                poison=None if trouble else 0,
                salvage=[],
            ),
            cache=CacheView(
                server="valkey 9.1.0",
                trusted=not empty,
                reason="nothing has been proven yet" if empty else None,
                lag_events=0,
                lag_s=0.0,
                warms=2,
                warm=None,
                polls={"cache": 119_870, "database": 244, "journal": 0},
                reasons={"warming": 201, "lease ran out": 43},
                hit_rate=None if empty else 0.998,
            ),
            database=DatabaseView(
                up=not trouble, problem="connection refused by 10.0.0.12:5432" if trouble else None
            ),
            telegram=TelegramView(
                connected=True,
                session_loaded=True,
                problem=None,
                caught_up=True,
                reconnects=1,
                watched=0 if empty else 6,
                watch_interval_s=1.2,
                flood_waits=[FloodWait(method="channels.getFullChannel", channel=None, seconds=41.0)]
                if trouble
                else [],
            ),
            messages=self.messages,
        )

    def _backlog(self) -> int:
        """What is not in the database yet: all since it went down, or what the last second brought."""
        if self.scene == "trouble":
            return 412 + self.head - self.flushed
        if self.dice.random() < 0.8:
            self.flushed = self.head
        return self.head - self.flushed

    def _degraded(self, now: datetime) -> list[DegradedPart]:
        if self.scene != "trouble":
            return []
        since = iso(now - timedelta(seconds=94 + self.turn))
        return [
            DegradedPart(
                what="database",
                since=since,
                effect="polls are answered by the cache, new messages wait in the journal: "
                "connection refused by 10.0.0.12:5432",
            ),
            DegradedPart(
                what="worker upkeep",
                since=since,
                effect="polls that the database answers may grow slower; backing off: DatabaseUnavailable: "
                "connection refused by 10.0.0.12:5432",
            ),
        ]

    def _workers(self, now: datetime) -> list[WorkerView]:
        found = []
        for part, names in _PARTS:
            if part:
                found.append(self._worker(now, part, part, is_part=True))
            found += [self._worker(now, name, f"{part}/{name}".lstrip("/")) for name in names]
        return found

    def _worker(self, now: datetime, name: str, path: str, *, is_part: bool = False) -> WorkerView:
        failing = self.scene == "trouble" and name == "upkeep"
        by_hand = self.restarted.get(name)
        history = []
        restarts = 0
        if failing:
            for number in range(4):
                at = now - timedelta(seconds=9 + 22 * number)
                text = "DatabaseUnavailable: connection refused by 10.0.0.12:5432"
                history += [
                    Transition(at=iso(at), worker=name, path=path, kind="failed", text=text),
                    Transition(
                        at=iso(at - timedelta(seconds=1)), worker=name, path=path, kind="restarted", text=""
                    ),
                ]
            restarts = 4
        elif name == "listener" and self.scene != "empty":
            at = self.began + timedelta(hours=31)
            text = "TelegramUnavailable: the connection was reset"
            history = [
                Transition(
                    at=iso(at + timedelta(seconds=0.4)), worker=name, path=path, kind="ready", text=""
                ),
                Transition(
                    at=iso(at + timedelta(seconds=0.1)), worker=name, path=path, kind="restarted", text=""
                ),
                Transition(at=iso(at), worker=name, path=path, kind="failed", text=text),
            ]
            restarts = 1
        if by_hand is not None:
            restarts += 1
            history = [
                Transition(at=iso(by_hand), worker=name, path=path, kind="restarted", text="asked for"),
                *history,
            ]
        since = by_hand or self.began
        return WorkerView(
            name=name,
            path=path,
            is_part=is_part,
            state="backing off" if failing else "running",
            since=iso(since),
            uptime_s=None if failing else (now - since).total_seconds(),
            restarts=restarts,
            last_error="DatabaseUnavailable: connection refused by 10.0.0.12:5432" if failing else None,
            next_restart_in_s=8.0 - self.turn % 8 if failing else None,
            last_beat_age_s=0.4,
            status="" if is_part else _STATUS[name],
            history=history,
        )

    def _channels(self, now: datetime) -> list[ChannelView]:
        return [
            ChannelView(
                channel=channel,
                label=label,
                title=label,
                name=name,
                active=channel not in self.paused,
                state="paused" if channel in self.paused else "being read" if number == 4 else "taken in",
                source="settings",
                origin="100",
                checkpoint="9344",
                top="9356" if number == 4 else "9344",
                behind=12 if number == 4 else 0,
                waiting=(3, 0, 1, 0, 12, 0)[number],
                last_message_at=next(
                    (message.received_at for message in self.messages if message.channel == channel),
                    iso(now - timedelta(hours=5)),
                ),
                lag_ms=(390, 610, 420, 1800, 1180, 370)[number],
            )
            for number, (channel, label, name) in enumerate(_CHANNELS)
        ]

    def _consumers(self, now: datetime) -> list[ConsumerView]:
        return [
            ConsumerView(
                name="tp-capital",
                waiting=self.turn % 3,
                leased=4,
                delayed=0,
                dead=0,
                oldest_waiting_at=iso(now - timedelta(seconds=2)),
                is_exact=True,
            ),
            ConsumerView(
                name="archive",
                waiting=0,
                leased=0,
                delayed=0,
                dead=0,
                oldest_waiting_at=None,
                is_exact=True,
            ),
            ConsumerView(
                name="research-notebook",
                waiting=10_000,
                leased=0,
                delayed=12,
                dead=2,
                oldest_waiting_at=iso(now - timedelta(hours=7)),
                is_exact=False,
            ),
        ]
