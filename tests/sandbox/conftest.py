"""The embedded servers under test. TELEWARDEN_REQUIRE=all: where they are missing, tests fail and are not skipped."""

import os

import pytest

from telewarden.sandbox.postgres import embedded_bin
from telewarden.sandbox.processes import ServerFailed
from telewarden.sandbox.valkey import embedded_program


@pytest.fixture(autouse=True, scope="session")
def _servers_are_installed() -> None:
    try:
        embedded_bin()
        embedded_program()
    except ServerFailed as missing:
        if os.environ.get("TELEWARDEN_REQUIRE") == "all":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
