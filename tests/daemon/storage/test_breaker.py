"""The breaker, on times that the test gives it."""

from telewarden.storage.breaker import Breaker


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
