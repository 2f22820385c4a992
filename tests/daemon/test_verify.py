"""The comparison of Telegram with the database, without either."""

from hypothesis import given
from hypothesis import strategies as st

from telewarden.messages import Content
from telewarden.storage.acceptance import Seen
from telewarden.verify import Kind, Row, compare

NEWS = -1001


def kinds(there: dict[int, str], here: dict[int, tuple[str, bool]]) -> dict[int, Kind]:
    found = compare(
        NEWS,
        {i: Seen(NEWS, i, Content(text=text)) for i, text in there.items()},
        {i: Row(text, deleted) for i, (text, deleted) in here.items()},
    )
    return {difference.message_id: difference.kind for difference in found}


def test_each_way_in_which_a_message_can_differ() -> None:
    there = {1: "same", 2: "missing", 3: "edited", 4: "deleted here"}
    here = {
        1: ("same", False),
        3: ("before", False),
        4: ("deleted here", True),
        5: ("gone there", False),
        6: ("gone on both", True),
    }
    assert kinds(there, here) == {2: Kind.MISSING, 3: Kind.TEXT, 4: Kind.DELETED, 5: Kind.EXTRA}


def test_a_caption_is_compared_as_a_text_is() -> None:
    seen = Seen(NEWS, 1, Content(caption="a photo", media_type="photo"))
    assert compare(NEWS, {1: seen}, {1: Row("a photo", False)}) == []


texts = st.sampled_from(["BUY", "SELL", ""])


@given(
    st.dictionaries(st.integers(1, 20), texts),
    st.dictionaries(st.integers(1, 20), st.tuples(texts, st.booleans())),
)
def test_nothing_differs_exactly_when_both_show_the_same(
    there: dict[int, str], here: dict[int, tuple[str, bool]]
) -> None:
    shown_here = {i: text or None for i, (text, deleted) in here.items() if not deleted}
    shown_there = {i: text or None for i, text in there.items()}
    rows = {i: (text or None, deleted) for i, (text, deleted) in here.items()}
    found = compare(
        NEWS,
        {i: Seen(NEWS, i, Content(text=text)) for i, text in shown_there.items()},
        {i: Row(*row) for i, row in rows.items()},
    )
    assert (found == []) == (shown_here == shown_there)
    assert len({difference.message_id for difference in found}) == len(found)
