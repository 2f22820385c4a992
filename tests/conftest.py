"""What all tests share."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of this project."""
    parser.addoption("--chaos-full", action="store_true", help="run the chaos tests at full length")


@pytest.fixture
def anyio_backend() -> str:
    """Drivers are asyncio; tests of logic that runs on trio too override this."""
    return "asyncio"
