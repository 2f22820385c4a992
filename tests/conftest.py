"""What all tests share."""

import sys
from typing import TextIO, cast

import pytest
import structlog


class _StandardError:
    """Whatever standard error is at the moment: pytest and CliRunner put files of their own in its place."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


# By default structlog keeps the file that standard output was when it was first imported, perhaps inside a CliRunner.
structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _StandardError())))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of this project."""
    parser.addoption("--chaos-full", action="store_true", help="run the chaos tests at full length")
    parser.addoption("--suite", help="run only the chaos tests of this suite, such as telegram")
    simulation = parser.getgroup("simulation", "the simulation of the cache's protocol (tests/simulation)")
    simulation.addoption("--schedules", type=int, help="how many schedules to run; 1,000 unless given")
    simulation.addoption("--seed", type=int, default=1, help="the base seed of the schedules")
    simulation.addoption("--replay", type=int, help="run this schedule alone and print what happens in it")
    simulation.addoption("--without", help="break this rule of the protocol in the schedules that are run")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """--suite selects by the mark `suite`."""
    suite = config.getoption("--suite")
    if suite is None:
        return
    known = sorted({str(arg) for item in items for mark in item.iter_markers("suite") for arg in mark.args})
    chosen = [item for item in items if any(suite in mark.args for mark in item.iter_markers("suite"))]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
    if not chosen:
        raise pytest.UsageError(f"there is no suite {suite!r}; there are: {', '.join(known) or 'none here'}")


@pytest.fixture
def anyio_backend() -> str:
    """Drivers are asyncio; tests of logic that runs on trio too override this."""
    return "asyncio"
