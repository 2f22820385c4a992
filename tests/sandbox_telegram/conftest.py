"""One local Telegram a module, without a fault at the start of each test."""

from collections.abc import AsyncIterator

import pytest

from sandbox_telegram.local import World


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop a module: the server is shared."""
    return "asyncio"


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The module's local Telegram."""
    async with World.start(tmp_path_factory.mktemp("local-telegram")) as world:
        yield world


@pytest.fixture
async def world(shared: World) -> AsyncIterator[World]:
    """It, without a fault."""
    await shared.control.clear()
    yield shared
    await shared.control.clear()
