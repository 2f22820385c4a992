"""The administrator's routes against a running daemon, and a process that only serves, on real servers."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import asyncpg
import httpx
import pytest

from support.admin_api import ADMIN_KEY, Admin, admin_of
from support.operator import WORKERS, ask
from support.serving import serving_process
from support.stacks import consumer, polled
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import CONSUMER, Stack, start_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ROUTES = (
    ("GET", "channels"),
    ("POST", "channels"),
    ("PATCH", "channels/-1001"),
    ("DELETE", "channels/-1001"),
    ("GET", "workers"),
    ("POST", "workers/writer/restart"),
    ("GET", "consumers"),
    ("DELETE", "consumers/tests"),
    ("GET", "cache"),
    ("GET", "journal"),
    ("GET", "poison"),
    ("POST", "poison/retry"),
    ("POST", "poison/drop"),
    ("GET", "jobs"),
    ("POST", "jobs"),
    ("GET", "jobs/1"),
    ("DELETE", "jobs/1"),
    ("GET", "overview"),
    ("GET", "overview/stream"),
)


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    settings: dict[str, dict[str, object]] = {
        "http": {"gateway_token": ADMIN_KEY},
        "testing": {"worker_faults": True, "restarts": 1000},
        "telegram": {"first_read": "now", "requests_per_s": 100.0},
    }
    folder = tmp_path_factory.mktemp("administration")
    async with start_stack(folder, channels=2, settings=settings) as started:
        for text in ("one", "two", "three"):
            await started.control.post(started.channel_ids[0], text)
        async with daemon_running(started):
            yield started
            assert "unexpectedly" not in started.daemon.log


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[Admin]:
    async with admin_of(stack.daemon.url) as found:
        yield found


def named(workers: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [worker for worker in workers if worker["name"] == name]
    return found


def of_channel(channels: list[dict[str, Any]], channel_id: int) -> dict[str, Any]:
    (found,) = [channel for channel in channels if channel["channel"] == str(channel_id)]
    return found


async def ended(admin: Admin, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await admin.until(
        f"jobs/{job['id']}", lambda seen: seen["state"] not in ("queued", "running")
    )
    return found


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_key_without_the_scope_admin_is_refused(stack: Stack, method: str, path: str) -> None:
    for headers, status in (({"X-API-Key": stack.daemon.api_key}, 403), ({}, 401)):
        async with httpx.AsyncClient(base_url=stack.daemon.url, trust_env=False) as client:
            answer = await client.request(method, f"/v1/admin/{path}", headers=headers, json={})
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_the_workers_are_listed_with_their_history(admin: Admin) -> None:
    found = await admin.ask("GET", "workers")
    names = [worker["name"] for worker in found["workers"]]
    assert set(names) == {*WORKERS, "cache", "serving", "intake"}
    assert names.index("serving") < names.index("api")
    listener = named(found["workers"], "listener")
    assert (listener["path"], listener["state"], listener["isPart"]) == ("intake/listener", "running", False)
    assert [each["kind"] for each in listener["history"]][-2:] == ["ready", "started"]
    assert listener["since"] == listener["history"][0]["at"]
    assert {each["worker"] for each in found["history"]} >= {"listener", "writer", "api"}


async def test_a_restarted_worker_is_ready_when_it_is_answered(admin: Admin) -> None:
    before = named((await admin.ask("GET", "workers"))["workers"], "writer")["restarts"]
    answer = await admin.ask("POST", "workers/writer/restart")
    assert answer["worker"] == "writer"
    after = named((await admin.ask("GET", "workers"))["workers"], "writer")
    assert (after["restarts"], after["state"]) == (before + 1, "running")


async def test_what_cannot_be_restarted_is_said_why(admin: Admin) -> None:
    told = await admin.ask("POST", "workers/wirter/restart", status=404)
    assert "there is no worker 'wirter'; there are " in told
    assert "listener" in told
    told = await admin.ask("POST", "workers/api/restart", status=409)
    assert "use `telewarden restart api`" in told


async def test_a_killed_worker_is_seen_in_the_stream_to_fail_and_come_back(
    stack: Stack, admin: Admin
) -> None:
    async with admin.stream() as looks:
        restarts = named((await anext(looks))["workers"], "upkeep")["restarts"]
        assert (await ask(stack.daemon.state_dir, command="fault", worker="upkeep", kind="exception"))["ok"]
        with anyio.fail_after(10):
            async for look in looks:
                worker = named(look["workers"], "upkeep")
                if worker["restarts"] == restarts + 1 and worker["state"] == "running":
                    break
    kinds = [each["kind"] for each in worker["history"]]
    assert kinds[: kinds.index("failed") + 1] == ["ready", "restarted", "backing off", "failed"]
    assert "was made to fail by a test" in worker["history"][kinds.index("failed")]["text"]
    assert "was made to fail by a test" in worker["lastError"]


async def test_the_overview_shows_a_post_and_what_comes_of_it(stack: Stack, admin: Admin) -> None:
    channel_id = stack.channel_ids[1]
    async with admin.stream() as looks:
        first = await anext(looks)
        assert (first["role"], first["health"]["live"], first["health"]["ready"]) == ("all", True, True)
        await stack.control.post(channel_id, "x" * 400)
        with anyio.fail_after(10):
            async for look in looks:
                if look["messages"] and look["messages"][0]["channel"] == str(channel_id):
                    break
    newest = look["messages"][0]
    assert (newest["text"], newest["isCut"], newest["label"]) == ("x" * 300, True, "Channel 2")
    seen = await admin.until("overview", lambda now: of_channel(now["channels"], channel_id)["waiting"] == 1)
    channel = of_channel(seen["channels"], channel_id)
    assert (channel["behind"], channel["state"], channel["active"]) == (0, "taken in", True)
    assert channel["lastMessageAt"] >= newest["receivedAt"]
    assert 0 <= channel["lagMs"] < 20_000
    assert await polled(stack, channel_id) == ["x" * 400]
    async with consumer(stack) as client:
        body = {"messageIds": [newest["messageId"]], "channel": str(channel_id), "processedBy": "tests"}
        assert (await client.post("/api/messages/mark-processed", json=body)).status_code == 200
    seen = await admin.until("overview", lambda now: now["rates"]["acknowledged"]["total"] >= 1)
    assert seen["rates"]["polls"]["total"] >= 1
    assert seen["rates"]["received"]["total"] >= 1
    assert seen["latency"]["poll"]["count"] >= 1
    assert seen["latency"]["post"]["p95Ms"] > 0
    assert seen["journal"]["backlogEvents"] == 0
    assert seen["cache"]["trusted"] is True
    assert seen["telegram"]["connected"] is True
    assert seen["database"] == {"up": True, "problem": None}


async def test_consumers_are_listed_with_their_lag_and_dropped(stack: Stack, admin: Admin) -> None:
    async with consumer(stack) as client:
        assert (await client.get("/v1/messages")).json() == {"messages": []}
    await stack.control.post(stack.channel_ids[0], "for the consumer")
    found = await admin.until("consumers", lambda seen: seen["consumers"][0]["lag"]["waiting"] == 1)
    assert [each["name"] for each in found["consumers"]] == [CONSUMER]
    seen = await admin.until("overview", lambda now: now["consumers"] and now["consumers"][0]["waiting"] == 1)
    assert (seen["consumers"][0]["name"], seen["consumers"][0]["dead"]) == (CONSUMER, 0)
    assert await admin.ask("DELETE", f"consumers/{CONSUMER}", status=204) is None
    assert "There is no consumer" in await admin.ask("DELETE", f"consumers/{CONSUMER}", status=404)
    assert await admin.ask("GET", "consumers") == {"consumers": []}


async def test_a_look_serves_everybody_who_looks(stack: Stack, admin: Admin) -> None:
    async with admin.stream() as one, admin_of(stack.daemon.url) as second, second.stream() as other:
        first = [(await anext(one))["at"] for _ in range(3)]
        others = [(await anext(other))["at"] for _ in range(3)]
    assert set(first) & set(others)


async def test_channels_are_added_labelled_paused_and_removed(stack: Stack, admin: Admin) -> None:
    extra = await stack.control.create_channel("Extra signals", username="extra_signals")
    channel = str(extra.channel_id)
    added = await admin.ask(
        "POST", "channels", {"channel": "@extra_signals", "label": "Extras", "start": "all"}, status=201
    )
    assert (added["channel"], added["label"], added["title"]) == (channel, "Extras", "Extra signals")
    again = await admin.ask("POST", "channels", {"channel": channel})
    assert (again["label"], again["source"]) == ("Extras", "added")
    paused = await admin.ask("PATCH", f"channels/{channel}", {"active": False, "label": "More"})
    assert (paused["active"], paused["state"], paused["label"]) == (False, "paused", "More")
    resumed = await admin.ask("PATCH", f"channels/{channel}", {"active": True, "label": None})
    assert (resumed["active"], resumed["label"]) == (True, "Extra signals")
    found = await admin.until(
        "channels", lambda seen: of_channel(seen["channels"], extra.channel_id)["state"] == "taken in"
    )
    assert len(found["channels"]) == 3
    assert await admin.ask("DELETE", f"channels/{channel}", status=204) is None
    assert len((await admin.ask("GET", "channels"))["channels"]) == 2
    assert "is none of the channels" in await admin.ask("DELETE", f"channels/{channel}", status=404)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "channels", {"channel": "two words"}, 400, "two words"),
        ("POST", "channels", {"channel": "https://t.me/c/²"}, 400, "is no channel's name"),
        ("POST", "channels", {"channel": "@a_name", "start": "²"}, 400, "is no start"),
        ("POST", "channels", {"channel": "@nobody_has_this"}, 409, "nobody_has_this"),
        ("POST", "channels", {}, 400, "channel"),
        ("PATCH", "channels/-1", {"active": True}, 404, "is none of the channels"),
        ("PATCH", "channels/{channel}", {}, 400, "nothing to change"),
        ("PATCH", "channels/{channel}", {"label": "a\0b"}, 400, "label"),
        ("PATCH", "channels/{channel}", {"active": "yes"}, 400, "active"),
        ("DELETE", "channels/{channel}", None, 409, "stands in the settings"),
        ("POST", "jobs", {"kind": "fly"}, 400, "kind"),
        ("POST", "jobs", {"kind": "verify", "since": "yesterday"}, 400, "since"),
        ("POST", "jobs", {"kind": "backfill"}, 400, "channel"),
        ("POST", "jobs", {"kind": "sync", "limit": 0}, 400, "limit"),
        ("GET", "jobs/none", None, 404, "There is no job 'none'"),
        ("DELETE", "jobs/none", None, 404, "There is no job 'none'"),
        ("POST", "poison/retry", {"ids": []}, 400, "ids"),
        ("POST", "poison/retry", {"ids": ["1:1"]}, 404, "wait no longer"),
        ("POST", "poison/drop", {"ids": ["x"]}, 404, "is no id"),
    ],
)
async def test_a_request_that_is_not_right_is_said_why(
    stack: Stack, admin: Admin, method: str, path: str, body: object, status: int, told: str
) -> None:
    path = path.format(channel=stack.channel_ids[0])
    assert told in await admin.ask(method, path, body, status=status)


async def test_cache_and_journal_are_shown(stack: Stack, admin: Admin) -> None:
    await admin.until("overview", lambda seen: seen["cache"]["trusted"])
    found = await admin.ask("GET", "cache")
    assert found["cache"]["lagEvents"] == 0
    assert found["server"]["problem"] is None
    assert (found["server"]["markIsOurs"], found["server"]["breaker"]) == (True, "closed")
    journal = await admin.ask("GET", "journal")
    assert int(journal["epoch"]) >= 1
    assert (journal["backlogBytes"], journal["poison"], journal["isFull"]) == (0, 0, False)
    assert journal["roomBytes"] > 1_000_000


async def test_refused_events_are_listed_and_decided_on(stack: Stack, admin: Admin) -> None:
    connection = await asyncpg.connect(stack.postgres.dsn)
    try:
        await connection.execute(
            "alter table telegram_gateway.messages add constraint no_poison check (text <> 'poison') not valid"
        )
        await stack.control.post(stack.channel_ids[0], "poison")
        found = await admin.until("poison", lambda seen: seen["total"] == 1)
        event = found["events"][0]
        assert (event["channel"], event["kind"]) == (str(stack.channel_ids[0]), "posted")
        assert "no_poison" in event["error"]
        await admin.until("journal", lambda seen: seen["poison"] == 1)
        assert await admin.ask("POST", "poison/retry", {"ids": [event["id"]]}) == {"retried": 1}
        again = await admin.until("poison", lambda seen: seen["total"] == 1)
        assert await admin.ask("POST", "poison/drop", {"ids": [again["events"][0]["id"]]}) == {"dropped": 1}
    finally:
        await connection.execute("alter table telegram_gateway.messages drop constraint no_poison")
        await connection.close()
    assert await admin.ask("GET", "poison") == {"events": [], "total": 0}


async def test_jobs_of_every_kind_tell_what_came_of_them(stack: Stack, admin: Admin) -> None:
    one, two = map(str, stack.channel_ids)
    requests = (
        {"kind": "sync", "limit": 5},
        {"kind": "verify", "channels": [two]},
        {"kind": "backfill", "channel": one},
        {"kind": "warm"},
    )
    results = {}
    for request in requests:
        answer = await admin.client.post("/v1/admin/jobs", json=request)
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert answer.headers["Location"] == f"/v1/admin/jobs/{job['id']}"
        assert (job["state"], job["by"], job["request"]["kind"]) == ("queued", "gateway", request["kind"])
        over = await ended(admin, job)
        assert (over["state"], over["error"]) == ("done", None)
        assert over["progress"]["text"]
        results[job["kind"]] = over["result"]
    assert [each["channel"] for each in results["sync"]["channels"]] == [one, two]
    assert (results["verify"]["different"], results["verify"]["differences"]) == (0, [])
    assert results["backfill"]["posts"] == 3
    assert results["warm"]["tookS"] > 0
    kinds = [job["kind"] for job in (await admin.ask("GET", "jobs"))["jobs"]]
    assert kinds[:4] == ["warm", "backfill", "verify", "sync"]


async def test_a_job_that_fails_says_why(admin: Admin) -> None:
    job = await admin.ask("POST", "jobs", {"kind": "backfill", "channel": "-100777"}, status=202)
    over = await ended(admin, job)
    assert over["state"] == "failed"
    assert "-100777 is none of the channels" in over["error"]


async def test_a_job_is_cancelled_and_its_worker_goes_on(stack: Stack, admin: Admin) -> None:
    await stack.control.fault("slow", method="messages.getHistory", seconds=30)
    try:
        channel = str(stack.channel_ids[1])
        jobs = [
            await admin.ask("POST", "jobs", {"kind": "verify", "channels": [channel]}, status=202)
            for _ in range(3)
        ]
        await admin.until(f"jobs/{jobs[1]['id']}", lambda seen: seen["state"] == "running")
        assert (await admin.ask("GET", f"jobs/{jobs[2]['id']}"))["state"] == "queued"
        for job in reversed(jobs):
            over = await admin.ask("DELETE", f"jobs/{job['id']}")
            assert (over["state"], over["error"]) == ("cancelled", None)
            assert over["endedAt"]
        assert (await admin.ask("DELETE", f"jobs/{jobs[0]['id']}"))["state"] == "cancelled"
    finally:
        await stack.control.clear()
    assert named((await admin.ask("GET", "workers"))["workers"], "jobs")["state"] == "running"


async def test_a_process_that_only_serves_says_whom_to_ask(stack: Stack) -> None:
    async with serving_process(stack, gateway_token=ADMIN_KEY) as process, admin_of(process.url) as admin:
        for method, path, body in (
            ("GET", "journal", None),
            ("GET", "jobs", None),
            ("POST", "jobs", {"kind": "warm"}),
            ("GET", "poison", None),
            ("POST", "poison/drop", {"ids": ["1:1"]}),
            ("POST", "channels", {"channel": "@a_name"}),
        ):
            told = await admin.ask(method, path, body, status=409)
            assert "ask the one that takes in (role all)" in told
        workers = await admin.ask("GET", "workers")
        assert {"api", "channels", "health"} <= {worker["name"] for worker in workers["workers"]}
        assert (await admin.ask("POST", "workers/channels/restart"))["worker"] == "channels"
        seen = await admin.until("overview", lambda now: now["cache"]["trusted"] and now["channels"])
        assert (seen["role"], seen["journal"], seen["telegram"], seen["rates"]["received"]) == (
            "api",
            None,
            None,
            None,
        )
        assert (await admin.ask("GET", "cache"))["server"]["markIsOurs"] is False
        channel = str(stack.channel_ids[0])
        changed = await admin.ask("PATCH", f"channels/{channel}", {"label": "Called so"})
        assert (changed["label"], changed["state"], changed["active"]) == ("Called so", "served here", True)
        async with admin_of(stack.daemon.url) as other:
            found = await other.ask("GET", "channels")
        assert of_channel(found["channels"], stack.channel_ids[0])["label"] == "Called so"
        async with admin.stream() as looks:
            assert (await anext(looks))["role"] == "api"
            assert await process.stop() == 0
            with anyio.fail_after(10):
                async for _ in looks:
                    pass
