"""The texts that an operator reads."""

from __future__ import annotations

from telewarden_supervisors import ChildStuck, Failure, SupervisorGaveUp, leaves


def test_the_history_has_a_line_for_each_failure_and_each_below() -> None:
    inner = SupervisorGaveUp(
        "root/storage",
        "too many",
        [Failure("a", 10.0, ValueError("bad\nline")), Failure("a", 11.5, KeyError())],
    )
    outer = SupervisorGaveUp("root", "too many", [Failure("storage", 12.0, inner)])
    assert str(outer).splitlines() == [
        "the supervisor root gave up: too many",
        "  +0.000 s  storage: the supervisor root/storage gave up: too many",
        "    -1.500 s  a: ValueError: bad line",
        "    +0.000 s  a: KeyError",
    ]


def test_a_failures_text_is_one_line() -> None:
    group = ExceptionGroup("several", [ValueError("one"), ExceptionGroup("more", [KeyError(2)])])
    assert Failure("a", 0.0, group).text == "ValueError: one; KeyError: 2"
    assert [type(leaf) for leaf in leaves(group)] == [ValueError, KeyError]


def test_a_stuck_workers_error_says_where_it_waits() -> None:
    error = ChildStuck({"root/a": ("file.py:1 outer", "file.py:2 inner")})
    assert str(error).splitlines() == [
        "root/a did not end when cancelled; a task cannot be killed, so only the end of the process helps",
        "  root/a waits in:",
        "    file.py:1 outer",
        "    file.py:2 inner",
    ]
