"""A process whose cache is complete, for tests that spoil the cache."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from support.pipeline import Pipeline, open_pipeline, post
from telewarden_http.protocols import Source

LEASE_S = 1.0
HEALS_S = 20.0
"""Generous: the machine may be busy."""


@asynccontextmanager
async def working(folder: Path, dsn: str, url: str, posts: int = 3) -> AsyncIterator[Pipeline]:
    """A process whose cache is complete, with some posts that wait."""
    async with open_pipeline(folder, dsn, url, lease_s=LEASE_S) as pipeline, pipeline.running():
        await pipeline.accept([post(n, str(n)) for n in range(1, posts + 1)])
        await served_by_the_cache(pipeline, [str(n) for n in range(1, posts + 1)])
        yield pipeline


async def served_by_the_cache(pipeline: Pipeline, texts: list[str]) -> None:
    """Everything that waits is served at each moment, and by the cache in the end."""
    with anyio.fail_after(HEALS_S):
        while True:
            source, found = await pipeline.poll()
            assert found == texts
            if source is Source.CACHE and pipeline.sync.applied == pipeline.journal.head:
                return
            await anyio.sleep(0.02)
