"""What all tests share."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Drivers are asyncio; tests of logic that runs on trio too override this."""
    return "asyncio"
