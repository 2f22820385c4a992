"""How one message can differ between the cache and the database."""

from telewarden.messages import Acknowledged, Content, Posted, State, merge, message_uuid
from telewarden.storage.cache import member_of
from telewarden.storage.cache_verify import CacheDifference, compare
from telewarden.storage.render import render


def stored(text: str = "BUY PETR4") -> State:
    state = merge(None, Posted(-100, 7, Content(text=text), 0, 1_000, True))
    return State(
        **{name: getattr(state, name) for name in state.__struct_fields__} | {"id": message_uuid(-100, 7)}
    )


def differences(
    state: State | None,
    members: list[tuple[str, int]] | None = None,
    body: bytes | None = None,
    *,
    done: bool = False,
    tombstone: bool = False,
) -> set[CacheDifference]:
    right = [] if state is None else [(member_of(state), state.received_at_us or 0)]
    return set(compare(state, right if members is None else members, body, done=done, tombstone=tombstone))


def test_what_waits_and_is_there_with_its_bytes_is_equal_also_without_its_body() -> None:
    assert differences(stored(), body=render(stored())) == set()
    assert differences(stored(), body=None) == set()


def test_what_is_done_and_not_there_is_equal() -> None:
    done = merge(stored(), Acknowledged(-100, 7, "tp-capital", 9))
    assert differences(done, [], render(done), tombstone=True) == set()
    assert differences(done, [], None) == set()
    assert differences(None, []) == set()


def test_what_waits_and_is_not_in_the_set_is_missing() -> None:
    assert differences(stored(), []) == {CacheDifference.MISSING}
    assert differences(stored(), [], tombstone=True) == {
        CacheDifference.MISSING,
        CacheDifference.TOMBSTONE,
    }


def test_what_is_done_and_waits_in_the_cache_is_served_again() -> None:
    done = merge(stored(), Acknowledged(-100, 7, "tp-capital", 9))
    assert differences(done, tombstone=True) == {CacheDifference.DONE}
    assert differences(done) == {CacheDifference.DONE, CacheDifference.NO_TOMBSTONE}
    # Acknowledged before its row is there.
    assert differences(None, [("x:7", 1)], done=True, tombstone=True) == {CacheDifference.DONE}
    assert differences(None, [("x:7", 1)]) == {CacheDifference.UNKNOWN}


def test_another_member_or_score_or_two_of_them_is_told() -> None:
    member, score = member_of(stored()), 1_000
    for members in ([(member, score + 1)], [("x:7", score)], [(member, score), ("x:7", score)]):
        assert differences(stored(), members) == {CacheDifference.MEMBER}


def test_an_older_text_is_told_from_the_same_content_in_other_bytes() -> None:
    assert differences(stored("SELL"), body=render(stored())) == {CacheDifference.STALE}
    assert differences(stored(), body=b"{}") == {CacheDifference.STALE}
    assert differences(stored(), body=b"no JSON") == {CacheDifference.STALE}
    spaced = render(stored()).replace(b'":', b'": ', 1)
    assert differences(stored(), body=spaced) == {CacheDifference.BYTES}
