"""The API does what its OpenAPI document says, in both roles, on real servers; and the page that shows it."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest

from support.admin_api import ADMIN_KEY
from support.browser import start_browser
from support.serving import serving_process
from telewarden.sandbox.exercise import daemon_running
from telewarden.sandbox.stack import Stack, start_stack
from telewarden_http.described import openapi_document

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

_TESTS = Path(__file__).resolve().parents[1]
_SETTINGS = """
cache = {{ enabled = false }}
hooks = "support.openapi_hooks"
continue-on-failure = true
max-stream-events = 2
request-timeout = 20.0
warnings = false

[auth.openapi]
gatewayToken = {{ api_key = "{key}" }}

[generation]
deterministic = true
max-examples = {examples}

# What is deleted here is there afterwards, as it should be: a job that was cancelled, a key that is revoked, a message
# that was deleted softly.
[[operations]]
include-path = [
    "/api/messages/{{id}}",
    "/api/messages/{{id}}/reprocess",
    "/v1/admin/jobs/{{job}}",
    "/v1/admin/keys/{{key}}",
    "/v1/admin/keys/{{key}}/rotate",
]
checks = {{ use_after_free = {{ enabled = false }} }}
"""
OF_THE_SESSION = (
    "/sync-messages",
    "/api/telegram-gateway/sync-messages",
    "/api/telegram-gateway/auth/status",
    "/api/telegram-gateway/metrics",
    "/api/telegram-gateway/session",
)
"""What only the process that takes in can answer."""

WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', event => window.violations.push(event.violatedDirective));
window.addEventListener('error', event => window.violations.push(String(event.message)));
window.addEventListener('unhandledrejection', event => window.violations.push(String(event.reason)));
"""


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    settings: dict[str, dict[str, object]] = {
        # Each operation is asked with wrong keys.
        "http": {"gateway_token": ADMIN_KEY, "wrong_keys": 1_000_000},
        "testing": {"restarts": 1000},
        "telegram": {"first_read": "now", "requests_per_s": 100.0},
    }
    async with start_stack(tmp_path_factory.mktemp("openapi"), channels=2, settings=settings) as started:
        for text in ("one", "two", "three"):
            await started.control.post(started.channel_ids[0], text)
        async with daemon_running(started):
            yield started
            assert "unexpectedly" not in started.daemon.log


def schemathesis(
    url: str, folder: Path, *options: str, examples: int = 5
) -> subprocess.CompletedProcess[str]:
    """A run with all checks; the same every time, since nothing in it is random."""
    config = folder / "schemathesis.toml"
    config.write_text(_SETTINGS.format(key=ADMIN_KEY, examples=examples), "utf-8")
    command = [str(Path(sys.executable).with_name("st")), "--config-file", str(config), "run"]
    return subprocess.run(
        [*command, f"{url}/openapi.json", "--checks", "all", *options],
        cwd=folder,
        env={"PYTHONPATH": str(_TESTS), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


async def test_the_api_does_what_the_document_says(stack: Stack, tmp_path: Path) -> None:
    run = await anyio.to_thread.run_sync(schemathesis, stack.daemon.url, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "No issues found" in run.stdout


async def test_a_process_that_only_serves_does_too(stack: Stack, tmp_path: Path) -> None:
    async with serving_process(stack, gateway_token=ADMIN_KEY, wrong_keys=1_000_000) as process:
        # What is wrong is refused by the same code in both roles, and tried above.
        options = ["--phases", "coverage", "--mode", "positive"]
        # They answer 503 here, as is documented; to schemathesis each 5xx is a fault.
        options += [word for path in OF_THE_SESSION for word in ("--exclude-path", path)]
        run = await anyio.to_thread.run_sync(schemathesis, process.url, tmp_path, *options)
        assert run.returncode == 0, run.stdout + run.stderr
        async with httpx.AsyncClient(
            base_url=process.url, headers={"X-Gateway-Token": ADMIN_KEY}, trust_env=False
        ) as client:
            assert (await client.get("/openapi.json")).content == openapi_document()
            for path in OF_THE_SESSION:
                method = "POST" if path.endswith("sync-messages") else "GET"
                assert (await client.request(method, path)).status_code == 503, path


async def test_the_daemon_serves_the_document_that_is_kept(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.daemon.url, trust_env=False) as client:
        assert (await client.get("/openapi.json")).content == openapi_document()


async def test_the_page_shows_every_operation_with_nothing_from_elsewhere(
    stack: Stack, tmp_path: Path
) -> None:
    async with start_browser(tmp_path) as browser:
        await browser.devtools("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        await browser.open(f"{stack.daemon.url}/docs")
        await browser.until("return document.querySelectorAll('article').length > 100")
        assert await browser.run("return document.getElementById('get_v1_feed').innerText.includes('wait')")
        assert await browser.run("return !document.body.innerText.includes('undefined')")
        links = "return [...document.querySelectorAll('main a')].every(a => document.querySelector(a.hash))"
        assert await browser.run(links)
        entries = "return performance.getEntriesByType('resource').map(entry => entry.name)"
        loaded = await browser.run(entries)
        assert len(loaded) >= 6
        assert [url for url in loaded if not url.startswith(stack.daemon.url)] == []
        assert await browser.run("return window.violations") == []
