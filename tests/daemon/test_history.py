"""What is remembered of the supervision tree."""

from telewarden.history import OF_A_WORKER, TRANSITIONS, History
from telewarden_supervisors import ChildFailed, ChildReady, ChildStarted, GaveUp, SupervisorReady


def history() -> History:
    return History(clock_us=lambda: 1_767_605_400_000_000)


def test_a_transition_is_told_in_words_and_by_the_path_below_the_root() -> None:
    found = history()
    found.note(
        ChildFailed(
            supervisor="telewarden/intake",
            at=1.0,
            child="listener",
            instance=1,
            cause=ExceptionGroup("several", [ValueError("no channel"), OSError("no disk")]),
        )
    )
    (told,) = found.of("intake/listener")
    assert (told.worker, told.kind, told.at) == ("listener", "failed", "2026-01-05T09:30:00.000Z")
    assert told.text == "ValueError: no channel; OSError: no disk"
    assert found.newest() == [told]


def test_a_part_that_gives_up_is_told_and_what_says_nothing_is_not() -> None:
    found = history()
    found.note(SupervisorReady(supervisor="telewarden/intake", at=1.0))
    assert (found.newest(), found.count) == ([], 0)
    found.note(GaveUp(supervisor="telewarden/intake", at=1.0, reason="too many restarts", failures=()))
    assert [(each.path, each.kind, each.text) for each in found.of("intake")] == [
        ("intake", "gave up", "too many restarts")
    ]


def test_a_worker_that_fails_again_and_again_does_not_push_out_the_others() -> None:
    found = history()
    found.note(ChildStarted(supervisor="telewarden", at=0.0, child="writer", instance=1))
    for number in range(TRANSITIONS * 2):
        found.note(ChildReady(supervisor="telewarden", at=1.0, child="api", instance=number, after_s=number))
    assert len(found.newest()) == TRANSITIONS
    assert found.newest()[0].text == f"after {TRANSITIONS * 2 - 1:.2f} s"
    assert len(found.of("api")) == OF_A_WORKER
    assert [each.kind for each in found.of("writer")] == ["started"]
