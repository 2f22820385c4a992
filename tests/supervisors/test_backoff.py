"""Delays before restarts, and what a specification refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telewarden_supervisors import (
    AutoShutdown,
    Backoff,
    ChildSpec,
    Intensity,
    Restart,
    Supervisor,
    SupervisorSpec,
    WorkerContext,
)


async def worker(ctx: WorkerContext) -> None:
    raise NotImplementedError


def needing(name: str, *dependencies: str) -> ChildSpec:
    return ChildSpec(name, worker, dependencies=dependencies)


@pytest.mark.parametrize(
    ("attempt", "draw", "delay_s"),
    [
        (0, 0.0, 1.0),
        (1, 0.0, 2.0),
        (3, 0.0, 8.0),
        (4, 0.0, 10.0),
        (10_000, 0.0, 10.0),
        (3, 0.5, 6.0),
        (4, 0.999, 5.005),
    ],
)
def test_the_delay_doubles_up_to_its_cap_and_jitter_only_shortens_it(
    attempt: int, draw: float, delay_s: float
) -> None:
    backoff = Backoff(initial_s=1, factor=2, cap_s=10, jitter=0.5)
    assert backoff.delay_s(attempt, draw) == pytest.approx(delay_s)


def test_no_initial_delay_means_no_delay_ever() -> None:
    assert [Backoff(initial_s=0).delay_s(attempt, 0.0) for attempt in (0, 5, 10_000)] == [0, 0, 0]


@given(
    st.floats(0, 100),
    st.floats(1, 10),
    st.floats(100, 1000),
    st.floats(0, 1),
    st.integers(0, 5000),
    st.floats(0, 0.999),
)
def test_any_delay_is_within_its_bounds(
    initial_s: float, factor: float, cap_s: float, jitter: float, attempt: int, draw: float
) -> None:
    backoff = Backoff(initial_s, factor, cap_s, jitter)
    delay_s = backoff.delay_s(attempt, draw)
    assert initial_s * (1 - jitter) <= delay_s * (1 + 1e-9) + 1e-300
    assert delay_s <= cap_s


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Backoff(initial_s=-1), "0 <= initial_s <= cap_s"),
        (lambda: Backoff(initial_s=31), "0 <= initial_s <= cap_s"),
        (lambda: Backoff(cap_s=float("inf")), "0 <= initial_s <= cap_s"),
        (lambda: Backoff(factor=0.5), "factor must be at least 1"),
        (lambda: Backoff(jitter=1.1), "jitter must be between 0 and 1"),
        (lambda: Backoff(reset_after_s=-1), "reset_after_s must not be negative"),
        (lambda: Intensity(restarts=-1), "restarts must not be negative"),
        (lambda: Intensity(period_s=0), "period_s must be positive"),
        (lambda: ChildSpec("", worker), "a name must not be empty"),
        (lambda: ChildSpec("a/b", worker), "must not contain '/'"),
        (lambda: ChildSpec("a", worker, stop_timeout_s=0), "stop_timeout_s must be positive, or None"),
        (lambda: ChildSpec("a", worker, significant=True), "a permanent child cannot be significant"),
        (lambda: SupervisorSpec("s", [ChildSpec("a", worker)] * 2), "unique among siblings; repeated: a"),
        (lambda: Supervisor("s/t"), "must not contain '/'"),
        (lambda: Supervisor("s", [needing("a", "a")]), "a depends on itself; take it out"),
        (
            lambda: Supervisor("s", [needing("a", "b"), ChildSpec("b", worker)]),
            "a depends on b, which starts after it; move b before it",
        ),
        (
            lambda: SupervisorSpec("s", [ChildSpec("a", worker), needing("b", "x")]),
            "b depends on 'x', which is no sibling; name one of those before it: a",
        ),
        (
            lambda: Supervisor("s", [SupervisorSpec("a", restart=Restart.TEMPORARY), needing("b", "a")]),
            "b depends on a, which is temporary and does not come back",
        ),
        (
            lambda: Supervisor("s", [ChildSpec("a", worker, restart=Restart.TRANSIENT, significant=True)]),
            "a is significant, but auto_shutdown is NEVER",
        ),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_where_it_is_written(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_significant_child_is_welcome_where_the_supervisor_shuts_down() -> None:
    child = ChildSpec("a", worker, restart=Restart.TRANSIENT, significant=True)
    Supervisor("s", [child], auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)


def test_one_dependency_that_is_written_as_a_string_is_refused() -> None:
    with pytest.raises(TypeError, match=re.escape("write ('a',) for one")):
        Supervisor("s", [ChildSpec("a", worker), ChildSpec("b", worker, dependencies="a")])
