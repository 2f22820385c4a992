"""The ledger of a consumer, by its rules and by random histories."""

import math
import random
from datetime import UTC, datetime

import msgspec
import pytest

from support.fake_api import CHANNEL, message
from telewarden_http.client.answers import Delivery, Kind, Message, Outcome
from telewarden_http.client.errors import ServerUnavailable
from telewarden_http.client.ledger import ACKS_MOST, UNCONFIRMED_MOST, Chore, Duty, Ledger
from telewarden_http.client.retry import Backoff, Retry

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SOME = msgspec.convert(message(CHANNEL, "1", "text"), Message)


def ledger(lease_s: int = 30, ack_within_s: float = 1.0) -> Ledger:
    return Ledger(lease_s=lease_s, ack_within_s=ack_within_s, backoff=Backoff(Retry(first_s=1, most_s=8)))


def delivery(number: int, deliveries: int = 1) -> Delivery:
    return Delivery(
        id=f"event {number}",
        kind=Kind.POSTED,
        channel=CHANNEL,
        message_id=str(number),
        at=NOW,
        message=SOME,
        receipt=f"{number}.{deliveries}",
        leased_until=NOW,
        deliveries=deliveries,
    )


def chore(found: Chore | float) -> Chore:
    assert isinstance(found, Chore)
    return found


def taken(book: Ledger, now_s: float = 0.0) -> Delivery:
    found = book.take(now_s)
    assert found is not None
    return found


def test_what_is_done_waits_a_moment_for_others_while_there_is_more_to_do() -> None:
    book = ledger()
    book.received([delivery(1), delivery(2)], 0)
    book.done(taken(book), 5)
    assert book.due(5) == 1.0
    assert chore(book.due(6)).receipts == ("1.1",)


def test_the_last_one_is_told_at_once() -> None:
    book = ledger()
    book.received([delivery(1)], 0)
    book.done(taken(book), 5)
    due = chore(book.due(5))
    assert (due.duty, due.receipts) == (Duty.ACKNOWLEDGE, ("1.1",))


def test_many_are_told_at_once() -> None:
    book = ledger()
    book.received([delivery(number) for number in range(ACKS_MOST + 1)], 0)
    for _ in range(ACKS_MOST):
        assert isinstance(book.due(0), float)
        book.done(taken(book), 0)
    assert len(chore(book.due(0)).receipts) == ACKS_MOST


def test_with_too_much_unconfirmed_it_is_full() -> None:
    book = ledger()
    book.received([delivery(number) for number in range(UNCONFIRMED_MOST)], 0)
    for _ in range(UNCONFIRMED_MOST):
        assert not book.is_full
        book.done(taken(book), 0)
    assert book.is_full


def test_leases_are_renewed_a_third_of_their_length_after_they_began() -> None:
    book = ledger(lease_s=30)
    book.received([delivery(1), delivery(2)], 100)
    assert book.due(100) == 10
    due = chore(book.due(110))
    assert (due.duty, due.receipts) == (Duty.RENEW, ("1.1", "2.1"))
    assert book.settled(due, [Outcome(receipt=each, result="extended") for each in due.receipts], 111) == []
    assert book.due(110) == 10


def test_what_was_not_begun_when_its_lease_ended_is_left_to_others() -> None:
    book = ledger(lease_s=30)
    book.received([delivery(1)], 0)
    assert book.take(30) is None
    assert book.due(30) == math.inf


def test_a_lease_that_could_not_be_renewed_in_time_is_known_to_have_ended() -> None:
    book = ledger(lease_s=30)
    book.received([delivery(1)], 0)
    mine = taken(book)
    book.failed(ServerUnavailable("down"), 29.9)
    assert mine.leased
    book.due(31.9)
    assert not mine.leased


def test_renewals_wait_no_longer_than_a_part_of_a_lease_unless_the_server_asks_for_it() -> None:
    book = ledger(lease_s=3)
    for _ in range(10):
        book.failed(ServerUnavailable("down"), 0)
    assert book.due(0) == pytest.approx(0.5)
    book.failed(ServerUnavailable("busy", 503, retry_after_s=20), 0)
    due = book.due(0)
    assert isinstance(due, float)
    assert due >= 20


def test_what_is_served_again_after_it_was_done_is_acknowledged_and_not_done_again() -> None:
    book = ledger()
    book.received([delivery(1)], 0)
    book.done(taken(book), 1)
    book.received([delivery(1, deliveries=2)], 40)
    assert book.take(40) is None
    assert set(chore(book.due(40)).receipts) == {"1.1", "1.2"}


def test_what_is_served_again_while_it_is_worked_on_goes_on_under_the_new_lease() -> None:
    book = ledger(lease_s=30)
    book.received([delivery(1)], 0)
    mine = taken(book)
    mine.leased = False
    book.received([delivery(1, deliveries=2)], 40)
    assert book.take(40) is None
    assert mine.leased
    book.done(mine, 41)
    assert chore(book.due(41)).receipts == ("1.2",)


def test_closing_gives_back_what_is_held_after_it_has_told_what_is_done() -> None:
    book = ledger()
    book.received([delivery(1), delivery(2), delivery(3)], 0)
    book.done(taken(book), 0)
    taken(book)
    book.close()
    first = chore(book.due(0))
    assert (first.duty, first.receipts) == (Duty.ACKNOWLEDGE, ("1.1",))
    book.settled(first, [Outcome(receipt="1.1", result="acknowledged")], 0)
    second = chore(book.due(0))
    assert (second.duty, second.receipts) == (Duty.GIVE_BACK, ("2.1", "3.1"))
    assert not book.is_settled
    book.settled(second, [Outcome(receipt=each, result="returned") for each in second.receipts], 0)
    assert book.is_settled


@pytest.mark.parametrize("seed", range(50))
def test_whatever_happens_each_event_is_done_or_served_again(seed: int) -> None:
    """A server with leases that runs, loses answers and hands out again; in the end everything was worked on, nothing
    was acknowledged before, and everything is acknowledged."""
    chance = random.Random(seed)
    book, now = ledger(lease_s=6), 0.0
    events = dict.fromkeys(range(20), (0, -1.0, False))  # deliveries, leased until, done
    worked: set[str] = set()
    in_hand: list[Delivery] = []
    for step in range(4000):
        now += chance.choice((0.0, 0.1, 0.5, 3.0)) if step < 2000 else 0.5
        faulty = step < 2000
        match chance.randrange(4):
            case 0:
                found = [n for n, (_, until, done) in events.items() if not done and until <= now][:5]
                for n in found:
                    events[n] = (events[n][0] + 1, now + 6, False)
                if not (faulty and chance.random() < 0.3):
                    book.received([delivery(n, events[n][0]) for n in found], now)
            case 1:
                if not book.is_full and (mine := book.take(now)) is not None:
                    in_hand.append(mine)
            case 2:
                if in_hand:
                    mine = in_hand.pop(chance.randrange(len(in_hand)))
                    if faulty and chance.random() < 0.2:
                        book.back(mine, 0)
                    else:
                        worked.add(mine.id)
                        book.done(mine, now)
            case 3:
                due = book.due(now)
                if not isinstance(due, Chore):
                    continue
                if faulty and chance.random() < 0.2:
                    book.failed(ServerUnavailable("down"), now)
                    continue
                outcomes = []
                for receipt in due.receipts:
                    n, deliveries = map(int, receipt.split("."))
                    count, until, done = events[n]
                    is_mine = deliveries == count and until > now and not done
                    match due.duty:
                        case Duty.ACKNOWLEDGE:
                            assert f"event {n}" in worked
                            events[n], result = (count, until, True), "acknowledged"
                        case Duty.GIVE_BACK if is_mine:
                            events[n], result = (count, now, False), "returned"
                        case Duty.RENEW if is_mine:
                            events[n], result = (count, now + 6, False), "extended"
                        case _:
                            result = "expired"
                    outcomes.append(Outcome(receipt=receipt, result=result))
                if faulty and chance.random() < 0.2:
                    book.failed(ServerUnavailable("lost"), now)
                else:
                    book.settled(due, outcomes, now)
    assert worked == {f"event {n}" for n in events}
    assert [n for n, (_, _, done) in events.items() if not done] == []
    assert book.unconfirmed == ()
