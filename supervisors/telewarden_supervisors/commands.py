"""What may be asked for one child of a running supervisor (OTP "supervisor": start_child and its kin)."""

from __future__ import annotations

from collections.abc import Callable

from telewarden_supervisors.dependencies import dependents, held_down, stopped_among
from telewarden_supervisors.driver import Driver
from telewarden_supervisors.errors import (
    ChildAlive,
    ChildExists,
    ChildNeeded,
    ChildNotFound,
    ChildStuck,
    DependencyStopped,
    NotRunning,
    StartFailed,
)
from telewarden_supervisors.occurrences import (
    DeleteRequested,
    RestartRequested,
    StartRequested,
    TerminateRequested,
)
from telewarden_supervisors.spec import (
    AnySpec,
    Arguments,
    ChildTemplate,
    check_dependencies,
    check_significance,
)
from telewarden_supervisors.state import ALIVE, Child, State, SupervisorState

RUNS = (State.STARTING, State.RUNNING)


def supervisor_below(root: Driver, path: str) -> Driver:
    """The supervisor at a path below `root`, "storage/replica"; `root` itself for "".

    Raises ChildNotFound if there is none, or it does not run.
    """
    driver = root
    for name in path.split("/") if path else ():
        if name not in driver.below:
            raise ChildNotFound(driver.state.path, name, driver.below)
        driver = driver.below[name]
    return driver


async def start_child(driver: Driver, spec: AnySpec) -> None:
    """Adds a child and waits until it is ready."""
    _must_run(driver)
    if spec.name in driver.state.children:
        raise ChildExists(driver.state.path, spec.name)
    check_significance(spec, driver.state.auto_shutdown)
    check_dependencies(spec, driver.specs.values())
    children = driver.state.children
    stopped = stopped_among(children, spec.dependencies, held_down(children))
    if stopped is not None:
        raise DependencyStopped(driver.state.path, spec.name, stopped)
    driver.specs[spec.name] = spec
    await _started(driver, spec.name, 1, lambda: driver.feed(StartRequested(spec.name, spec.policy)))


async def start_child_from(
    driver: Driver, template: ChildTemplate[*Arguments], *arguments: *Arguments
) -> str:
    """Adds a child made from a template, waits until it is ready, and returns its name."""
    _must_run(driver)
    numbers = driver.template_children
    numbers[template.name] += 1
    while f"{template.name}-{numbers[template.name]}" in driver.state.children:
        numbers[template.name] += 1
    spec = template.child(numbers[template.name], *arguments)
    await start_child(driver, spec)
    return spec.name


async def restart_child(driver: Driver, name: str) -> None:
    """Stops the child and its dependents if they run, starts it afresh, and waits until it is ready."""
    number = _child(driver, name).instance + 1
    _must_not_be_held_down(driver, name)
    await _started(driver, name, number, lambda: driver.feed(RestartRequested(name)))


async def terminate_child(driver: Driver, name: str) -> None:
    """Stops the child after its dependents and waits until it has ended."""
    before = _child(driver, name)

    def is_over(state: SupervisorState) -> bool:
        child = state.children.get(name)
        return child is None or child.instance != before.instance or child.state not in ALIVE - {State.STUCK}

    driver.feed(TerminateRequested(name))
    await driver.until(is_over)
    _must_not_be_stuck(driver, name)


def delete_child(driver: Driver, name: str) -> None:
    """Forgets a child that does not run."""
    child = _child(driver, name)
    if child.state not in (State.STOPPED, State.FINISHED):
        raise ChildAlive(driver.state.path, name, child.state.value)
    needing = dependents(driver.state.children, name)
    if needing:
        raise ChildNeeded(driver.state.path, name, needing)
    driver.feed(DeleteRequested(name))


async def _started(driver: Driver, name: str, number: int, ask: Callable[[], None]) -> None:
    """Asks for instance `number` of a child and waits until it is ready, or will never be."""
    was_ready = False

    def is_decided(state: SupervisorState) -> bool:
        nonlocal was_ready
        child = state.children.get(name)
        if child is None or child.instance > number or state.state not in RUNS or child.state is State.STUCK:
            return True
        if child.instance == number and child.state in (State.RUNNING, State.FINISHED):
            was_ready = True
        is_held_down = name in held_down(state.children)
        was_stopped_instead = child.instance < number and (child.state is State.STOPPED or is_held_down)
        return was_stopped_instead or (child.instance == number and child.state is not State.STARTING)

    ask()
    await driver.until(is_decided)
    if was_ready:
        return
    _must_not_be_stuck(driver, name)
    _must_run(driver)
    _must_not_be_held_down(driver, name)
    child = driver.state.children.get(name)
    of_child = (failure for failure in reversed(driver.state.failures) if failure.child == name)
    failure = None if child is not None and child.state is State.STOPPED else next(of_child, None)
    raise StartFailed(driver.state.path, name, failure) from (failure.cause if failure else None)


def _must_run(driver: Driver) -> None:
    if driver.state.state not in RUNS:
        raise NotRunning(driver.state.path, driver.state.state.value)


def _must_not_be_stuck(driver: Driver, name: str) -> None:
    child = driver.state.children.get(name)
    if child is not None and child.state is State.STUCK:
        raise ChildStuck(driver.stacks(name))


def _must_not_be_held_down(driver: Driver, name: str) -> None:
    stopped = held_down(driver.state.children).get(name)
    if stopped is not None:
        raise DependencyStopped(driver.state.path, name, stopped)


def _child(driver: Driver, name: str) -> Child:
    _must_run(driver)
    if name not in driver.state.children:
        raise ChildNotFound(driver.state.path, name, driver.state.children)
    return driver.state.children[name]
