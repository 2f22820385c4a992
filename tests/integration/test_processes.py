"""Several processes that serve on one port: what one's end does to the others, reload, stop."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from support.processes import HEALTH, KEY, Processes, crowd, poll, runs, send, serving_processes
from support.servers import Servers
from telewarden.sandbox.postgres import EmbeddedPostgres
from telewarden.sandbox.raw_http import Answer, get, raw_connection
from telewarden.sandbox.valkey import EmbeddedValkey

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture(scope="module")
async def processes(
    tmp_path_factory: pytest.TempPathFactory, postgres: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> AsyncIterator[Processes]:
    servers = Servers(postgres.dsn, valkey_server.url)
    async with serving_processes(tmp_path_factory.mktemp("serving"), servers, 2) as started:
        yield started


async def test_one_that_is_killed_drops_no_request_of_another(processes: Processes) -> None:
    victim, other = await processes.pids(2)
    async with crowd(processes) as clients:
        await clients.until_answered(victim, other)
        send(victim, signal.SIGKILL)
        await clients.until_answered(other, more=200)
        replaced = [pid for pid in await processes.pids(2, without=victim) if pid != other]
        await clients.until_answered(other)

    assert clients.failed.keys() <= {victim}, "those that it was answering"
    assert clients.failed[victim] <= clients.connected[victim]
    assert clients.refused == [], "a new connection works at once"
    assert replaced


async def test_one_that_is_told_to_stop_loses_no_request(processes: Processes) -> None:
    first, other = await processes.pids(2)
    async with crowd(processes) as clients:
        await clients.until_answered(first, other)
        send(first, signal.SIGTERM)
        with anyio.fail_after(10):
            while runs(first):
                await anyio.sleep(0.01)
        await processes.pids(2, without=first)
        await clients.until_answered(other)

    assert clients.failed == {}
    assert clients.refused == []


async def test_one_that_hangs_keeps_nobody_waiting_who_comes_anew(processes: Processes) -> None:
    frozen, _ = await processes.pids(2)
    send(frozen, signal.SIGSTOP)
    try:
        with anyio.fail_after(10):
            for _ in range(50):
                async with raw_connection(processes.port) as connection:
                    assert (await connection.ask(poll())).status == 200
    finally:
        send(frozen, signal.SIGCONT)


async def test_each_says_which_one_it_is(processes: Processes) -> None:
    await processes.pids(2)
    for number in (1, 2):
        async with raw_connection(processes.own_port + number - 1) as connection:
            text = (await connection.ask(get("/metrics"))).body.decode()
            health = json.loads((await connection.ask(get("/health"))).body)
        samples = [line for line in text.splitlines() if not line.startswith("#")]
        assert samples
        assert all(f'process="{number}"' in line for line in samples)
        assert (health["process"]["number"], health["process"]["of"]) == (number, 2)
    assert "2 of 2 processes · serving" in processes.manager.text
    await processes.manager.until("WATCHDOG=1", times=3)


async def test_a_reload_reaches_all_also_those_that_start_later(processes: Processes) -> None:
    pids = await processes.pids(2)
    new_key = "another-key-of-the-consumer"
    text = processes.settings_file.read_text()
    processes.settings_file.write_text(
        text.replace(KEY, new_key).replace("[http]", "[http]\nbody_limit_bytes = 2048")
    )
    processes.reload()
    await processes.manager.until("settings changed: http.api_keys; need a restart: http.body_limit_bytes")
    # Broken now: a process that starts does not read it.
    processes.settings_file.write_text("no settings")
    processes.reload()
    await processes.manager.until("settings are unusable, the old ones stay")
    for pid in pids:
        send(pid, signal.SIGKILL)
    fresh = await processes.pids(2, without=pids[0])
    assert not set(fresh) & set(pids)
    for _ in range(10):
        async with raw_connection(processes.port) as connection:
            statuses = [(await connection.ask(poll(key))).status for key in (new_key, KEY)]
        assert statuses == [200, 403]
    assert new_key not in processes.parent.log
    processes.settings_file.write_text(text)
    processes.reload()
    await processes.manager.until("settings changed: http.api_keys", times=2)


async def test_the_parent_ends_them_in_order(processes: Processes) -> None:
    pids = await processes.pids(2)
    answers: list[Answer] = []

    async def wait_for_news() -> None:
        async with raw_connection(processes.port) as connection:
            assert (await connection.ask(HEALTH)).status == 200
            waiting.release()
            answers.append(await connection.ask(get("/v1/feed?after=now&wait=60", KEY)))

    waiting = anyio.Semaphore(0)
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(wait_for_news)
        for _ in range(8):
            await waiting.acquire()
        assert await processes.parent.stop() == 0
    assert len(answers) == 8
    assert "ending_at_once" not in processes.parent.log
    for answer in answers:
        assert (answer.status, json.loads(answer.body)["events"]) == (200, [])
        assert answer.last
    assert not any(map(runs, pids))
    assert "STOPPING=1" in processes.manager.text


async def test_they_end_with_a_parent_that_is_killed(tmp_path: Path, servers: Servers) -> None:
    async with serving_processes(tmp_path, servers, 2) as started:
        pids = await started.pids(2)
        started.parent.kill()
        with anyio.fail_after(10):
            while any(map(runs, pids)):
                await anyio.sleep(0.01)
