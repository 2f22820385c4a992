"""The breaker, on times that the test gives it."""

from telewarden.storage.breaker import Breaker, Circuit


def test_it_is_closed_until_a_call_fails() -> None:
    breaker = Breaker(open_s=1)
    assert breaker.allows(0)
    assert not breaker.failed
    assert not breaker.works, "nothing is known yet"


def test_a_failure_keeps_callers_away_for_a_while_then_lets_one_try() -> None:
    breaker = Breaker(open_s=1)
    breaker.broke(10, "refused")
    assert breaker.failed
    assert breaker.last_error == "refused"
    assert not breaker.allows(10.9)
    assert breaker.allows(11)
    assert not breaker.allows(11.1), "one at a time"
    assert breaker.allows(12.1)


def test_a_success_closes_it() -> None:
    breaker = Breaker(open_s=1)
    breaker.broke(10, "refused")
    breaker.succeeded()
    assert breaker.allows(10.1)
    assert not breaker.failed
    assert breaker.works
    assert breaker.last_error is None


def test_it_is_half_open_while_one_caller_tries() -> None:
    breaker = Breaker(open_s=1)
    seen = [breaker.circuit]
    breaker.broke(10, "refused")
    seen.append(breaker.circuit)
    assert breaker.retry_in_s(10.25) == 0.75
    assert breaker.allows(11)
    seen.append(breaker.circuit)
    breaker.broke(11.25, "refused")
    seen.append(breaker.circuit)
    assert breaker.allows(12.25)
    breaker.succeeded()
    seen.append(breaker.circuit)
    assert breaker.retry_in_s(12.25) == 0
    assert seen == [Circuit.CLOSED, Circuit.OPEN, Circuit.HALF_OPEN, Circuit.OPEN, Circuit.CLOSED]


def test_a_store_that_fails_again_and_again_is_asked_less_often_up_to_a_limit() -> None:
    breaker = Breaker(open_s=1, longest_s=3, stable_s=10)
    waits = []
    now = 0.0
    for _ in range(4):
        breaker.broke(now, "refused")
        waits.append(breaker.retry_in_s(now))
        now += waits[-1]
        assert breaker.allows(now)
        breaker.succeeded()
    assert waits == [1, 2, 3, 3]
    breaker.broke(now + 13.5, "refused")
    assert breaker.retry_in_s(now + 13.5) == 1, "it had answered for a while"


def test_a_change_of_servers_is_tried_at_once() -> None:
    breaker = Breaker(open_s=1, longest_s=8)
    for now in (0, 1, 3):
        breaker.broke(now, "refused")
    breaker.try_now(3.5)
    assert breaker.allows(3.5)
    breaker.broke(4, "refused")
    assert breaker.retry_in_s(4) == 2
