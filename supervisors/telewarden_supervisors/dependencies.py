"""Who needs whom among the children of one supervisor. A dependency always comes before what depends on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from telewarden_supervisors.state import ALIVE, Child, State

Children = Mapping[str, Child]


def reliable(children: Children) -> set[str]:
    """Who can be depended on: ready or finished, not about to be stopped, and all that it depends on too."""
    names: set[str] = set()
    for child in children.values():
        if (
            child.state in (State.RUNNING, State.FINISHED)
            and child.leaves_with is None
            and names.issuperset(child.policy.dependencies)
        ):
            names.add(child.name)
    return names


def needed(children: Children) -> set[str]:
    """Who is depended on, directly or not, by a child that runs."""
    names: set[str] = set()
    for child in reversed(tuple(children.values())):
        if child.state in ALIVE or child.name in names:
            names.update(child.policy.dependencies)
    return names


def held_down(children: Children) -> dict[str, str]:
    """Who does not run and depends, directly or not, on a child that somebody stopped; with that child."""
    down: dict[str, str] = {}
    for child in children.values():
        if child.state not in ALIVE:
            stopped = stopped_among(children, child.policy.dependencies, down)
            if stopped is not None:
                down[child.name] = stopped
    return down


def stopped_among(children: Children, dependencies: Iterable[str], down: Mapping[str, str]) -> str | None:
    """The child that somebody stopped and that must start before something with these dependencies can.

    `down` are those that are held down among the children before it.
    """
    for name in dependencies:
        if children[name].state is State.STOPPED:
            return name
        if name in down:
            return down[name]
    return None


def dependents(children: Children, name: str) -> tuple[str, ...]:
    """Who depends on a child directly, in their order, whether they run or not."""
    return tuple(child.name for child in children.values() if name in child.policy.dependencies)
