"""A process of the role `api` beside a running stack."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from telewarden.sandbox.daemon import DaemonProcess, write_settings
from telewarden.sandbox.ports import free_port
from telewarden.sandbox.stack import CONSUMER, Stack


@asynccontextmanager
async def serving_process(
    stack: Stack,
    name: str = "serving",
    *,
    cache: Mapping[str, object] | None = None,
    gateway_token: str = "",
    wrong_keys: int = 100,
) -> AsyncIterator[DaemonProcess]:
    """Started and ready; ended with the context. cache: its settings, if not those of the stack's one Valkey.
    gateway_token: an administrator's, if there is to be one. wrong_keys: how many an address may send."""
    port = free_port()
    settings_file = stack.folder / f"{name}.toml"
    write_settings(
        settings_file,
        {
            "database": {"dsn": stack.postgres.dsn},
            "cache": cache or {"url": stack.valkey.url},
            "http": {
                "port": port,
                "api_keys": {CONSUMER: stack.daemon.api_key},
                "gateway_token": gateway_token,
                "wrong_keys": wrong_keys,
            },
            "log": {"format": "console"},
        },
    )
    process = DaemonProcess(
        settings_file,
        stack.folder / f"{name}.log",
        state_dir=stack.folder / name,
        url=f"http://127.0.0.1:{port}",
        api_key=stack.daemon.api_key,
    )
    process.start("--role", "api")
    try:
        await process.wait_ready(connected=False)
        yield process
    finally:
        process.kill()
