"""What is told of Sentinels."""

import pytest
import redis.asyncio

from telewarden.storage.cache import CacheUnavailable, open_cache

pytestmark = pytest.mark.anyio


async def test_sentinels_that_do_not_answer_are_told_by_their_addresses_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As the versions of redis-py do that hide nothing.
    monkeypatch.setattr(
        redis.asyncio.Redis, "__repr__", lambda client: f"<Redis({client.connection_pool.connection_kwargs})>"
    )
    sentinels = [("127.0.0.1", 1), ("127.0.0.1", 2)]
    async with open_cache(
        "redis://mymaster/0", sentinels=sentinels, sentinel_password="not to be told"
    ) as cache:
        with pytest.raises(CacheUnavailable, match="names a master for 'mymaster'") as caught:
            await cache.connect()
    assert "127.0.0.1:1 - " in str(caught.value)
    assert "127.0.0.1:2 - " in str(caught.value)
    assert "not to be told" not in str(caught.value)
    assert "<Redis" not in str(caught.value)
