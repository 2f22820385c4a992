"""The rows of OTP's "supervisor" reference page: restart type by how the child ended, and what follows.

OTP's exit reasons map so: `normal` and `shutdown` are a return, `{shutdown, Term}` too, any other reason is an
exception. OTP terminates a child that does not start; here that is a failure like any other.
"""

from __future__ import annotations

import pytest

from telewarden_supervisors import AutoShutdown, Backoff, ChildSpec, Restart, State, Strategy, WorkerContext
from telewarden_supervisors.machine import decide
from telewarden_supervisors.occurrences import (
    BecameReady,
    Begun,
    Cancel,
    Ended,
    Launch,
    Occurrence,
    TerminateRequested,
)
from telewarden_supervisors.state import Child, Ending, SupervisorState


async def unused(ctx: WorkerContext) -> None:
    raise NotImplementedError


def running(*children: ChildSpec, strategy: Strategy, auto_shutdown: AutoShutdown) -> SupervisorState:
    state = SupervisorState(
        path="root",
        children={child.name: Child(child.name, child.policy) for child in children},
        strategy=strategy,
        auto_shutdown=auto_shutdown,
    )
    state, _ = after(state, Begun())
    for child in children:
        state, _ = after(state, BecameReady(child.name, 1))
    assert state.state is State.RUNNING
    return state


def after(state: SupervisorState, occurrence: Occurrence) -> tuple[SupervisorState, list[str]]:
    """The next state, and "+a" for each start of a child and "-a" for each cancellation."""
    state, actions = decide(state, occurrence, 0.0, 0.0)
    done = [action for action in actions if isinstance(action, (Launch, Cancel))]
    return state, [f"{'+' if isinstance(action, Launch) else '-'}{action.name}" for action in done]


def child(name: str, restart: Restart = Restart.PERMANENT, significant: bool = False) -> ChildSpec:
    return ChildSpec(name, unused, restart=restart, significant=significant, backoff=Backoff(0))


RETURN, RAISE = None, RuntimeError("broken")
ONE, ALL, REST = Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE
PERMANENT, TRANSIENT, TEMPORARY = Restart


@pytest.mark.parametrize(
    ("strategy", "restart", "ending", "at_once", "state"),
    [
        # "A permanent child process is always restarted."
        (ONE, PERMANENT, RETURN, ["+b"], State.STARTING),
        (ONE, PERMANENT, RAISE, ["+b"], State.STARTING),
        # "A transient child process is restarted only if it terminates abnormally."
        (ONE, TRANSIENT, RETURN, [], State.FINISHED),
        (ONE, TRANSIENT, RAISE, ["+b"], State.STARTING),
        # "A temporary child process is never restarted", and its specification is deleted when it ends.
        (ONE, TEMPORARY, RETURN, [], None),
        (ONE, TEMPORARY, RAISE, [], None),
        # one_for_all: "all other child processes are terminated and then all child processes […] restarted".
        (ALL, PERMANENT, RETURN, ["-c"], State.WAITING),
        (ALL, TRANSIENT, RAISE, ["-c"], State.WAITING),
        (ALL, TRANSIENT, RETURN, [], State.FINISHED),
        (ALL, TEMPORARY, RAISE, [], None),
        # rest_for_one: "the rest of the child processes (that is, the child processes after the terminated
        # child process in the start order) are terminated".
        (REST, PERMANENT, RAISE, ["-c"], State.WAITING),
        (REST, TRANSIENT, RETURN, [], State.FINISHED),
        (REST, TEMPORARY, RAISE, [], None),
    ],
)
def test_what_follows_when_a_child_ends(
    strategy: Strategy, restart: Restart, ending: Exception | None, at_once: list[str], state: State | None
) -> None:
    before = running(
        child("a"), child("b", restart), child("c"), strategy=strategy, auto_shutdown=AutoShutdown.NEVER
    )
    result, done = after(before, Ended("b", 1, ending))
    assert done == at_once
    assert result.state is State.RUNNING
    assert (result.children["b"].state if "b" in result.children else None) is state


NEVER, ANY, EVERY = AutoShutdown


@pytest.mark.parametrize(
    ("auto_shutdown", "restart", "ending", "ends"),
    [
        # "any_significant: the supervisor will shut down when any significant child terminates": a transient
        # one "that terminates normally", a temporary one "normally or abnormally".
        (ANY, TRANSIENT, RETURN, True),
        (ANY, TRANSIENT, RAISE, False),
        (ANY, TEMPORARY, RETURN, True),
        (ANY, TEMPORARY, RAISE, True),
        # "all_significant: … when all significant children have terminated"; here one is left.
        (EVERY, TRANSIENT, RETURN, False),
        (EVERY, TEMPORARY, RAISE, False),
    ],
)
def test_when_the_end_of_a_significant_child_ends_the_supervisor(
    auto_shutdown: AutoShutdown, restart: Restart, ending: Exception | None, ends: bool
) -> None:
    before = running(
        child("a", TRANSIENT, significant=True),
        child("b", restart, significant=True),
        strategy=ONE,
        auto_shutdown=auto_shutdown,
    )
    result, _ = after(before, Ended("b", 1, ending))
    assert (result.ending is Ending.SHUT_DOWN) is ends


def test_the_last_significant_child_ends_the_supervisor_and_a_terminated_one_does_not_count() -> None:
    before = running(
        child("a", TRANSIENT, significant=True),
        child("b", TRANSIENT, significant=True),
        strategy=ONE,
        auto_shutdown=EVERY,
    )
    state, _ = after(before, TerminateRequested("a"))
    state, _ = after(state, Ended("a", 1))
    assert state.ending is None, "ended by request, not by itself"
    state, _ = after(state, Ended("b", 1))
    assert state.ending is Ending.SHUT_DOWN
