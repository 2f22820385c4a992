"""Random event histories for property tests."""

from hypothesis import strategies as st

from telewarden.messages import (
    Acknowledged,
    Content,
    Deleted,
    Edited,
    Event,
    Posted,
    ReprocessRequested,
)

CHANNEL = -1001649127710

contents = st.builds(
    Content,
    text=st.sampled_from(["BUY PETR4", "SELL VALE3", "stop 31,20", None]),
    caption=st.sampled_from([None, "chart"]),
    telegram_date_us=st.sampled_from([None, 1_730_649_600_000_000]),
)
times = st.integers(min_value=1, max_value=20)
consumers = st.sampled_from(["tp-capital", "archive"])


def events(message_ids: st.SearchStrategy[int]) -> st.SearchStrategy[Event]:
    """One event about one of some messages of CHANNEL."""
    channel = st.just(CHANNEL)
    return st.one_of(
        st.builds(Posted, channel, message_ids, contents, st.integers(0, 3), times, st.booleans()),
        st.builds(Edited, channel, message_ids, contents, st.integers(0, 5), times),
        st.builds(Deleted, channel, message_ids, times, st.sampled_from([None, "spam"])),
        st.builds(Acknowledged, channel, message_ids, consumers, times),
        st.builds(ReprocessRequested, channel, message_ids, consumers, times),
    )
