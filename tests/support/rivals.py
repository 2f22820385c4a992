"""Instances of one consumer that compete, and a record of who had what when, by the database's own clock."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from telewarden.storage.consumers import DatabaseConsumers
from telewarden_http.v1.consumers_protocols import Delivery, Outcome
from telewarden_http.v1.receipts import Receipt
from telewarden_http.v1.token import Position

LEASE_S = 0.15

_AUDIT = """
create table if not exists public.audit (
    id bigint generated always as identity, epoch bigint, position bigint, deliveries integer,
    leased_at timestamptz, free_at timestamptz
);
truncate public.audit;
create or replace function public.audit() returns trigger language plpgsql as $$
begin
    if new.is_leased and (tg_op = 'INSERT' or new.deliveries > old.deliveries) then
        insert into public.audit (epoch, position, deliveries, leased_at, free_at) values (
            new.epoch, new.position, new.deliveries, new.due_at - make_interval(secs => %f),
            case when tg_op = 'INSERT' or not old.is_leased then '-infinity' else old.due_at end
        );
    end if;
    return null;
end $$;
create or replace trigger audit after insert or update on telegram_gateway.deliveries
    for each row execute function public.audit();
"""


async def audited(connection: Any) -> None:
    """From now on each lease is recorded: when it began, and when the one before was over."""
    await connection.execute(_AUDIT % LEASE_S)


async def overlapping(connection: Any) -> list[Any]:
    """Leases that began while another one of the same event lasted."""
    found: list[Any] = await connection.fetch("select * from public.audit where leased_at < free_at")
    return found


@dataclass
class Rivals:
    """What all instances of a consumer did. expected: how many events there are to acknowledge."""

    consumer: str
    expected: int
    received: Counter[Receipt] = field(default_factory=Counter)
    acknowledged: Counter[Position] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    done: anyio.Event = field(default_factory=anyio.Event)

    async def compete(self, store: DatabaseConsumers, chance: random.Random) -> None:
        """One instance, until every event is acknowledged: it does its work, or gives back, or dies over it."""
        held: list[Delivery] = []
        late: list[tuple[float, Delivery]] = []
        while not self.done.is_set():
            leased = await store.lease(self.consumer, None, limit=chance.randint(1, 8), lease_s=LEASE_S)
            self.received.update(each.receipt for each in leased.deliveries)
            over = [each for since_s, each in late if anyio.current_time() > since_s + 1.5 * LEASE_S]
            late = [each for each in late if each[1] not in over]
            await self._return(store, over[::2], 0)
            await self._acknowledge(store, over[1::2])
            if not leased.deliveries and not held:
                with anyio.move_on_after(min(leased.again_in_s or 0.05, 0.05)):
                    await self.done.wait()
            work = [*held, *leased.deliveries]
            held = []
            fates: dict[str, list[Delivery]] = {
                name: [] for name in ("ack", "nack", "delay", "extend", "late", "die")
            }
            for each in work:
                fates[chance.choices(list(fates), (58, 8, 6, 8, 10, 10))[0]].append(each)
            await self._acknowledge(store, fates["ack"] + chance.sample(fates["ack"], len(fates["ack"]) // 3))
            late += [(anyio.current_time(), each) for each in fates["late"]]
            await self._return(store, fates["nack"], 0)
            await self._return(store, fates["delay"], 0.03)
            if fates["extend"]:
                settled = await store.extend(self.consumer, receipts(fates["extend"]), LEASE_S)
                self.outcomes.update(("extend", each.outcome) for each in settled)
                held = fates["extend"]

    async def _acknowledge(self, store: DatabaseConsumers, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        settled = await store.acknowledge(self.consumer, receipts(deliveries))
        once: dict[Position, Outcome] = {}
        for each, outcome in zip(deliveries, settled, strict=True):
            # One that is named twice in a request is one.
            once[each.receipt.position] = outcome.outcome
        self.outcomes.update(("ack", outcome) for outcome in once.values())
        self.acknowledged.update(
            position for position, outcome in once.items() if outcome is Outcome.ACKNOWLEDGED
        )
        if len(self.acknowledged) >= self.expected:
            self.done.set()

    async def _return(self, store: DatabaseConsumers, deliveries: Sequence[Delivery], delay_s: float) -> None:
        if deliveries:
            settled = await store.return_(self.consumer, receipts(deliveries), delay_s)
            self.outcomes.update(("nack", each.outcome) for each in settled)


def receipts(deliveries: Sequence[Delivery]) -> list[Receipt]:
    """Of some deliveries."""
    return [each.receipt for each in deliveries]
