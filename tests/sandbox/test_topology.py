"""The servers of a highly available cache: they fail over, come back, and leave nothing behind."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis.asyncio
import redis.asyncio.sentinel
import redis.exceptions

from sandbox.leftovers import processes_in
from support.debian import cache_program
from telewarden.sandbox.ports import HOST
from telewarden.sandbox.topology import MASTER_NAME, Topology
from telewarden.sandbox.valkey import EmbeddedValkey

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop a module: the servers live on it."""
    return "asyncio"


@pytest.fixture(scope="module", params=["valkey", "redis"])
async def folder_and_topology(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Path, Topology]]:
    folder = tmp_path_factory.mktemp("topology")
    async with Topology.start(folder, program=cache_program(request.param)) as topology:
        yield folder, topology
    assert processes_in(folder) == []


@pytest.fixture
async def topology(folder_and_topology: tuple[Path, Topology]) -> Topology:
    """All of it up and in step, whoever is the master."""
    _, topology = folder_and_topology
    await topology.whole()
    return topology


async def test_a_sentinel_aware_client_finds_the_master(topology: Topology) -> None:
    settings = topology.cache_settings
    addresses = settings["sentinels"]
    assert isinstance(addresses, list)
    pairs = [(host, int(port)) for host, _, port in (address.rpartition(":") for address in addresses)]
    sentinel: Any = redis.asyncio.sentinel.Sentinel(  # type: ignore[no-untyped-call]
        pairs, sentinel_kwargs={"password": settings["sentinel_password"]}
    )
    try:
        assert await sentinel.discover_master(MASTER_NAME) == (HOST, topology.nodes[0].port)
    finally:
        for client in sentinel.sentinels:
            await client.aclose()


async def test_what_is_written_to_the_master_reaches_the_replica(topology: Topology) -> None:
    master = await topology.master()
    async with master.connect() as client, topology.other(master).connect() as replica:
        await client.set("key", "value")
        await topology.in_sync()
        assert await replica.get("key") == "value"
        with pytest.raises(redis.exceptions.ReadOnlyError):
            await replica.set("key", "other")


async def test_clients_without_the_password_are_refused_by_all_five(topology: Topology) -> None:
    for server in (*topology.nodes, *topology.sentinels):
        stranger: Any = redis.asyncio.Redis.from_url(f"redis://{HOST}:{server.port}", retry=None)
        async with stranger as client:
            with pytest.raises(redis.exceptions.AuthenticationError):
                await client.execute_command("INFO")


async def test_the_replica_takes_over_from_a_dead_master_which_comes_back_empty(topology: Topology) -> None:
    old = await topology.master()
    new = topology.other(old)
    async with old.connect() as client:
        await client.set("kept", "by the replica")
    await topology.in_sync()
    await old.kill()
    await topology.failed_over(new)
    assert await topology.master() is new
    async with new.connect() as client:
        assert await client.get("kept") == "by the replica"
    await old.restart()
    async with old.connect() as client:
        assert await client.dbsize() == 0
    await topology.follow(old)
    await topology.whole()
    async with old.connect() as client:
        assert await client.get("kept") == "by the replica"


async def test_a_replica_can_be_promoted_while_its_master_lives(topology: Topology) -> None:
    old = await topology.master()
    new = await topology.fail_over()
    assert new is topology.other(old)
    await topology.follow(old)
    await topology.whole()
    assert await topology.master() is new


async def test_one_sentinel_alone_promotes_nobody_and_three_do(topology: Topology) -> None:
    old = await topology.master()
    for sentinel in topology.sentinels[1:]:
        await sentinel.kill()
    old.suspend()
    # Down for the one that is left, which may not decide.
    async with topology.sentinels[0].connect() as client:
        with anyio.fail_after(20):
            while "s_down" not in (await client.sentinel_master(MASTER_NAME))["flags"]:
                await anyio.sleep(0.02)
        assert (await client.sentinel_get_master_addr_by_name(MASTER_NAME))[1] == topology.seat(old).announced
    for sentinel in topology.sentinels[1:]:
        await sentinel.restart()
    await topology.failed_over(topology.other(old))
    old.resume()
    await topology.follow(old)
    await topology.whole()


async def test_a_restarted_server_has_forgotten_what_it_held(
    folder_and_topology: tuple[Path, Topology], topology: Topology
) -> None:
    folder, _ = folder_and_topology
    master = await topology.master()
    async with master.connect() as client:
        await client.set("lost", "soon")
    await topology.in_sync()
    await restart_empty(master)
    async with master.connect() as client:
        assert await client.get("lost") is None
    assert not list(folder.rglob("*.rdb"))


async def restart_empty(node: EmbeddedValkey) -> None:
    await node.kill()
    await node.restart()
