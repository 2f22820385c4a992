"""Which schedules are run: blocks of them, so that each has a time-out of its own, or one alone."""

import pytest

USUAL, LONG, BLOCK = 1_000, 5_000, 100


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Blocks of schedules for tests that ask for them."""
    if "block" in metafunc.fixturenames:
        config = metafunc.config
        given, alone = config.getoption("--schedules"), config.getoption("--replay")
        count = given if given is not None else LONG if config.getoption("--chaos-full") else USUAL
        blocks = [range(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]
        if alone is not None:
            blocks = [range(alone, alone + 1)]
        metafunc.parametrize("block", blocks, ids=[f"{block[0]}-{block[-1]}" for block in blocks])


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The base seed."""
    return int(request.config.getoption("--seed"))
