"""The addresses that a DSN names, and what is said where none of them will do."""

import socket
from collections.abc import Iterator

import anyio
import pytest

from telewarden.storage.addresses import Addresses, each_address

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("dsn", "each"),
    [
        ("postgresql://u:p@one:1/db", ["postgresql://u:p@one:1/db"]),
        (
            "postgresql://u:p@one:1,[::1]:2,three/db?target_session_attrs=read-write",
            [
                "postgresql://u:p@one:1/db?target_session_attrs=read-write",
                "postgresql://u:p@[::1]:2/db?target_session_attrs=read-write",
                "postgresql://u:p@three/db?target_session_attrs=read-write",
            ],
        ),
        # Left to asyncpg, as it is.
        ("postgresql:///db?host=/run/postgresql", ["postgresql:///db?host=/run/postgresql"]),
        ("postgresql://u@/db?host=one,two", ["postgresql://u@/db?host=one,two"]),
    ],
)
def test_each_address_of_a_dsn(dsn: str, each: list[str]) -> None:
    assert each_address(dsn) == each


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_each_gets_its_share_of_the_time_and_all_are_told_without_the_password(silent: int) -> None:
    addresses = Addresses(f"postgresql://u:secret-word@127.0.0.1:{silent},127.0.0.1:1/db")
    with anyio.fail_after(5), pytest.raises(ConnectionError) as failed:
        await addresses.connect(timeout_s=0.4)
    said = str(failed.value)
    assert f"127.0.0.1:{silent}: TimeoutError; 127.0.0.1:1: ConnectionRefusedError" in said
    assert "secret-word" not in said
