"""One local Telegram a module, without a fault at the start of each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox_telegram.local import PASSWORD, World
from telewarden.sandbox.telegram.process import LocalTelegram


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


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalTelegram]:
    """A Telegram whose account has a password."""
    async with LocalTelegram.start(tmp_path_factory.mktemp("guarded"), password=PASSWORD) as telegram:
        yield telegram


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """Where a session is to be."""
    return tmp_path / "session" / "account.session"
