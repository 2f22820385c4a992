"""The same scenarios by threads, by asyncio and by trio, against a server in memory."""

import pytest

from support.client_ways import Tasks, Threads, Use
from support.fake_api import FakeApi


@pytest.fixture(params=["threads", "asyncio", "trio"])
def use(request: pytest.FixtureRequest) -> Use:
    """Each way."""
    return Threads() if request.param == "threads" else Tasks(request.param)


@pytest.fixture
def api() -> FakeApi:
    """A server with nothing in it."""
    return FakeApi()
