"""Starts both servers below a folder, tells their process ids on standard output, and waits to be killed.

python start_servers.py FOLDER (asyncio | uvloop) (running | busy | suspended)
"""

import json
import sys
from pathlib import Path

import anyio
import asyncpg

from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.valkey import EmbeddedValkey


async def main(folder: Path, state: str) -> None:
    async with (
        EmbeddedPostgres.start(folder / "postgres") as postgres,
        EmbeddedValkey.start(folder / "valkey") as valkey,
    ):
        connection = await asyncpg.connect(postgres.dsn)
        facts = {
            "postgres": postgres.pid,
            "valkey": valkey.pid,
            "answer": await connection.fetchval("select 1"),
        }
        if state == "suspended":
            postgres.suspend()
            valkey.suspend()
        print(json.dumps(facts), flush=True)
        if state == "busy":
            await connection.fetchval("select count(*) from generate_series(1, 1e15)")
        await anyio.sleep_forever()


if __name__ == "__main__":
    place, loop, wanted = sys.argv[1:]
    anyio.run(main, Path(place), wanted, backend_options={"use_uvloop": loop == "uvloop"})
