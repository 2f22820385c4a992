"""How often Telegram is asked, and which waits hold what back."""

from hypothesis import given
from hypothesis import strategies as st

from telewarden.telegram.pacing import Budget, FloodWaits

NEWS, SIGNALS, TIPS, CALLS = -1001, -1002, -1003, -1004


def test_a_burst_goes_at_once_and_then_the_rate_holds() -> None:
    budget = Budget(10.0, burst=3)
    assert [round(budget.reserve(0.0), 3) for _ in range(6)] == [0, 0, 0, 0.1, 0.2, 0.3]
    assert budget.reserve(100.0) == 0


@given(st.lists(st.floats(0, 5), max_size=200), st.floats(0.5, 50), st.integers(1, 20))
def test_in_no_stretch_of_time_are_there_more_than_the_rate_and_one_burst(
    pauses_s: list[float], rate_per_s: float, burst: int
) -> None:
    budget, now_s, made_at = Budget(rate_per_s, burst), 0.0, []
    for pause_s in pauses_s:
        now_s += pause_s
        made_at.append(now_s + budget.reserve(now_s))
    assert made_at == sorted(made_at)
    for first in range(len(made_at)):
        for last in range(first, len(made_at)):
            most = burst + (made_at[last] - made_at[first]) * rate_per_s
            assert last - first + 1 <= most + 1e-6


def test_a_wait_of_one_channel_holds_back_nothing_else() -> None:
    floods = FloodWaits()
    floods.asked("history", NEWS, 120, now_s=0)
    assert floods.wait_s("history", NEWS, 20) == 100
    assert floods.wait_s("history", SIGNALS, 20) == 0
    assert floods.wait_s("difference", NEWS, 20) == 0
    assert floods.wait_s("history", NEWS, 120) == 0


def test_a_wait_of_a_request_without_a_channel_holds_back_its_method() -> None:
    floods = FloodWaits()
    floods.asked("dialogs", None, 30, now_s=0)
    assert floods.wait_s("dialogs", None, 10) == 20
    assert floods.wait_s("history", NEWS, 10) == 0


def test_many_channels_that_wait_with_one_method_mean_the_method() -> None:
    floods = FloodWaits()
    floods.asked("history", NEWS, 30, now_s=0)
    floods.asked("history", SIGNALS, 60, now_s=1)
    assert floods.wait_s("history", CALLS, 2) == 0
    floods.asked("history", TIPS, 40, now_s=2)
    assert floods.wait_s("history", CALLS, 2) == 59
    assert floods.wait_s("difference", CALLS, 2) == 0


def test_waits_that_are_over_do_not_add_up() -> None:
    floods = FloodWaits()
    for n, channel_id in enumerate((NEWS, SIGNALS, TIPS)):
        floods.asked("history", channel_id, 5, now_s=n * 10)
    assert floods.wait_s("history", CALLS, 21) == 0
    assert floods.counts == {"history": 3}
    assert floods.waiting(21) == {("history", TIPS): 4}
