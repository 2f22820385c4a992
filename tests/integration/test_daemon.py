"""The daemon as a process: how it starts, what it tells its service manager, how it ends, what it never shows."""

import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from telewarden.sandbox.consumer import Consumer
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import CONSUMER, Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with start_stack(tmp_path, channels=2) as started:
        yield started


@asynccontextmanager
async def client(stack: Stack, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"X-API-Key": stack.daemon.api_key if key is None else key}
    async with httpx.AsyncClient(
        base_url=stack.daemon.url, headers=headers, timeout=5, trust_env=False
    ) as opened:
        yield opened


async def until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    with anyio.fail_after(timeout_s):
        while not condition():
            await anyio.sleep(0.01)


async def until_log(stack: Stack, text: str) -> None:
    await until(lambda: text in stack.daemon.log)


async def poll(stack: Stack, channel: int) -> tuple[str, list[str]]:
    async with client(stack) as http:
        answer = await http.get("/api/messages/unprocessed", params={"channel": str(channel)})
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Telewarden-Source"], [message["text"] for message in answer.json()["data"]]


async def until_polled(stack: Stack, channel: int, texts: list[str]) -> None:
    with anyio.fail_after(15):
        while (await poll(stack, channel))[1] != texts:
            await anyio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order_and_nothing_is_lost(stack: Stack, number: signal.Signals) -> None:
    channel = stack.channel_ids[0]
    stack.daemon.start()
    await stack.daemon.wait_ready()
    # The database is gone, so what is accepted is in the journal alone when the daemon ends.
    await stack.postgres.kill()
    await stack.control.post_many(channel, [f"#{n}" for n in range(50)])
    await until_polled(stack, channel, [f"#{n}" for n in range(50)])
    began = time.monotonic()
    stack.daemon.send(number)
    with anyio.fail_after(10):
        assert await stack.daemon.ended() == 0
    assert time.monotonic() - began < 10
    await stack.postgres.restart()
    async with daemon_running(stack):
        await until_polled(stack, channel, [f"#{n}" for n in range(50)])


async def test_a_second_signal_ends_it_at_once(stack: Stack) -> None:
    stack.daemon.start()
    await stack.daemon.wait_ready()
    # A frozen database keeps the writer from ending quickly.
    stack.postgres.suspend()
    try:
        await stack.control.post(stack.channel_ids[0], "waits for the database")
        await until_polled_by_cache(stack, stack.channel_ids[0])
        stack.daemon.send(signal.SIGTERM)
        await until_log(stack, "stopping")
        stack.daemon.send(signal.SIGTERM)
        with anyio.fail_after(2):
            await stack.daemon.ended()
    finally:
        stack.postgres.resume()
    async with daemon_running(stack):
        await until_polled(stack, stack.channel_ids[0], ["waits for the database"])


async def until_polled_by_cache(stack: Stack, channel: int) -> None:
    with anyio.fail_after(15):
        while not (await poll(stack, channel))[1]:
            await anyio.sleep(0.01)


async def test_without_a_database_at_start_it_serves_what_it_has_and_recovers(stack: Stack) -> None:
    channel = stack.channel_ids[0]
    async with daemon_running(stack):
        await stack.control.post(channel, "before")
        await until_polled(stack, channel, ["before"])
        await stack.postgres.kill()
        await stack.control.post(channel, "during")
        await until_polled(stack, channel, ["before", "during"])
    stack.daemon.start()
    await until_log(stack, "telegram_connected")
    # Restarted, nothing proves the cache any more, and the database is down: the journal is what there is.
    with anyio.fail_after(15):
        while True:
            try:
                source, texts = await poll(stack, channel)
            except httpx.ConnectError:
                continue
            if "during" in texts:
                break
    assert source == "journal"
    health = await stack.daemon.health()
    assert health is not None
    assert health["status"] == "unhealthy"
    degraded = health["degraded"]
    assert isinstance(degraded, list)
    assert "database" in {entry["what"] for entry in degraded}
    await stack.postgres.restart()
    await stack.daemon.wait_ready()
    await until_polled(stack, channel, ["before", "during"])
    await stack.daemon.stop()


async def test_a_fresh_start_without_a_database_waits_for_it_and_takes_in_what_came_meanwhile(
    stack: Stack,
) -> None:
    channel = stack.channel_ids[0]
    await stack.postgres.kill()
    stack.daemon.start()
    await until_log(stack, "this journal is new and must learn from the database where it ended")
    await stack.postgres.restart()
    await stack.daemon.wait_ready()
    await stack.control.post(channel, "taken in")
    await until_polled(stack, channel, ["taken in"])
    await stack.daemon.stop()


async def test_a_missing_session_is_told_with_the_command_to_run_and_polls_go_on(
    stack: Stack, tmp_path: Path
) -> None:
    absent = tmp_path / "elsewhere" / "absent.session"
    stack.daemon.start("--set", f"telegram.session_file={absent}")
    await until_log(stack, "run: telewarden session login")
    await stack.daemon.wait_ready(connected=False)
    assert await poll(stack, stack.channel_ids[0]) in (("database", []), ("cache", []))
    assert not absent.exists()
    await stack.daemon.stop()


async def test_a_session_that_telegram_refuses_is_told_with_the_command_to_run(stack: Stack) -> None:
    async with daemon_running(stack):
        await stack.control.fault("deauthorise")
        await until_log(stack, "no longer accepts the session")
        assert "run: telewarden session login" in stack.daemon.log
        assert (await poll(stack, stack.channel_ids[0]))[1] == []


async def test_a_second_process_on_the_same_session_ends_with_a_clear_error(stack: Stack) -> None:
    async with daemon_running(stack):
        with anyio.fail_after(20):
            second = await anyio.run_process(
                [*stack.daemon.command, "--set", "http.port=0"], check=False, stdin=None
            )
        assert second.returncode == 2
        assert f"in use by process {stack.daemon.pid}" in second.stderr.decode()
        assert "Traceback" not in second.stderr.decode()


async def test_a_taken_port_is_told_and_intake_goes_on_until_it_is_free(stack: Stack) -> None:
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", int(stack.daemon.url.rpartition(":")[2])))
        squatter.listen()
        stack.daemon.start()
        await until_log(stack, "telegram_connected")
        await until_log(stack, "CannotListen")
        await stack.control.post(stack.channel_ids[0], "taken in all the same")
    await stack.daemon.wait_ready()
    await until_polled(stack, stack.channel_ids[0], ["taken in all the same"])
    assert await stack.daemon.stop() == 0


async def test_the_session_and_the_journal_are_private(stack: Stack) -> None:
    async with daemon_running(stack):
        folder = stack.folder / "state"
        assert folder.stat().st_mode & 0o777 == 0o700
        files = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
        assert {"telewarden.session", "journal.sqlite"} <= files.keys()
        assert set(files.values()) == {0o600}


async def test_no_secret_is_logged(stack: Stack) -> None:
    async with daemon_running(stack), client(stack) as http:
        await http.get("/api/messages/unprocessed", params={"channel": str(stack.channel_ids[0])})
        await http.get("/api/messages/unprocessed", headers={"X-API-Key": "a-wrong-key-that-is-secret-too"})
        await stack.postgres.kill()
        await until_log(stack, "polls are answered by the cache")
        health = (await http.get("/health")).text
        metrics = (await http.get("/metrics")).text
    password = stack.postgres.dsn.split("@")[0].rpartition(":")[2]
    for secret in (password, stack.daemon.api_key, "a-wrong-key-that-is-secret-too", "0" * 32):
        for shown in (stack.daemon.log, health, metrics):
            assert secret not in shown


async def test_the_metrics_of_the_contract_are_there(stack: Stack) -> None:
    async with daemon_running(stack), client(stack) as http:
        await stack.control.post(stack.channel_ids[0], "counted")
        await until_polled(stack, stack.channel_ids[0], ["counted"])
        metrics = (await http.get("/metrics")).text
    for line in (
        "telegram_connection_status 1.0",
        "telegram_session_loaded 1.0",
        "telegram_messages_received_total 1.0",
        "telegram_publish_failures_total 0.0",
        "telegram_retry_attempts_total 0.0",
        "telegram_failure_queue_size 0.0",
        "gateway_cache_writes_total 1.0",
    ):
        assert line in metrics, line
    assert 'telewarden_worker_restarts_total{worker="listener"} 0.0' in metrics
    assert "telegram_gateway_api_http_requests_total" in metrics


BIG = "9" * 30


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "named"),
    [
        ("GET", "/api/messages/unprocessed", {}, 400, "channel"),
        (
            "GET",
            "/api/messages/unprocessed",
            {"params": {"channel": "-1009999999999"}},
            404,
            "-1009999999999",
        ),
        ("GET", "/api/messages/unprocessed", {"params": {"channel": "news"}}, 400, "channel"),
        ("GET", "/api/messages/unprocessed", {"params": {"channel": BIG}}, 400, "channel"),
        ("GET", "/api/messages/unprocessed", {"params": {"channel": "CHANNEL", "limit": "0"}}, 400, "limit"),
        (
            "GET",
            "/api/messages/unprocessed",
            {"params": {"channel": "CHANNEL", "status": "gone"}},
            400,
            "status",
        ),
        ("GET", "/api/messages/not-a-uuid", {}, 404, "UUID"),
        ("GET", "/api/messages/00000000-0000-4000-8000-000000000000", {}, 404, ""),
        ("GET", "/api/nothing-here", {}, 404, "route"),
        ("PUT", "/api/messages/mark-processed", {}, 405, "POST"),
        ("POST", "/api/messages/mark-processed", {"content": b"{not json"}, 400, "JSON"),
        ("POST", "/api/messages/mark-processed", {"content": b"[" * 100_000}, 400, ""),
        ("POST", "/api/messages/mark-processed", {"json": []}, 400, ""),
        ("POST", "/api/messages/mark-processed", {"json": {"messageIds": []}}, 400, "messageIds"),
        ("POST", "/api/messages/mark-processed", {"json": {"messageIds": ["1"]}}, 400, "processedBy"),
        (
            "POST",
            "/api/messages/mark-processed",
            {"json": {"messageIds": [BIG], "processedBy": "x"}},
            400,
            "9999",
        ),
        (
            "POST",
            "/api/messages/mark-processed",
            {"json": {"messageIds": [1.5], "processedBy": "x"}},
            400,
            "1.5",
        ),
        (
            "POST",
            "/api/messages/mark-processed",
            {"json": {"messageIds": [True], "processedBy": "x"}},
            400,
            "",
        ),
        (
            "POST",
            "/api/messages/mark-processed",
            {"json": {"messageIds": ["1"], "processedBy": "\0"}},
            400,
            "",
        ),
        (
            "POST",
            "/api/messages/mark-processed",
            {"json": {"messageIds": ["1"], "processedBy": "x", "channel": "-1009999999999"}},
            404,
            "-1009999999999",
        ),
        ("POST", "/api/messages/mark-processed", {"content": b"x" * 10_000_000}, 413, "1048576"),
        ("GET", "/api/messages/unprocessed", {"headers": {"X-API-Key": ""}}, 401, "key"),
        (
            "GET",
            "/api/messages/unprocessed",
            {"headers": {"X-API-Key": "wrong-wrong-wrong-wrong"}},
            403,
            "key",
        ),
    ],
)
async def test_bad_input_is_answered_with_what_is_wrong(
    one_daemon: Stack, method: str, path: str, options: dict[str, object], status: int, named: str
) -> None:
    parameters = options.get("params")
    if isinstance(parameters, dict) and parameters.get("channel") == "CHANNEL":
        options = {**options, "params": {**parameters, "channel": str(one_daemon.channel_ids[0])}}
    async with client(one_daemon) as http:
        answer = await http.request(method, path, **options)  # type: ignore[arg-type]
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert body["success"] is False
    assert named.lower() in body["message"].lower()
    assert "Traceback" not in answer.text


@pytest.fixture(scope="module")
async def one_daemon(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A running stack that the tests of bad input share: none of it may leave a trace."""
    async with (
        start_stack(tmp_path_factory.mktemp("bad-input"), channels=2) as started,
        daemon_running(started),
    ):
        yield started
        assert "Traceback" not in started.daemon.log


async def test_the_old_consumer_is_served_and_acknowledges(one_daemon: Stack) -> None:
    channel = one_daemon.channel_ids[1]
    consumer = Consumer(
        one_daemon.daemon.url, one_daemon.daemon.api_key, [channel], interval_s=0.05, name=CONSUMER
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consumer.run)
        done = await one_daemon.control.post_many(channel, ["BUY PETR4", "SELL VALE3"])
        await until(lambda: consumer.got.acknowledged == 2)
        tasks.cancel_scope.cancel()
    assert consumer.got.errors == {}
    async with client(one_daemon) as http:
        answer = await http.get(
            "/api/messages/unprocessed", params={"channel": str(channel), "status": "published"}
        )
        published = {message["messageId"]: message for message in answer.json()["data"]}
        one = published[str(done.message_ids[0])]
        assert one["metadata"]["processed_by"] == CONSUMER
        assert (await http.get(f"/api/messages/{one['id']}")).json()["data"] == one
