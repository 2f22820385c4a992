"""Real servers for the tests of this folder (for development: pointed at by variables until the sandbox starts them)."""

import os
from collections.abc import AsyncIterator

import pytest

from support.servers import Servers


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    found = Servers(os.environ["DEV_DSN"], os.environ["DEV_CACHE"])
    await found.empty()
    yield found
