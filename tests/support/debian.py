"""What comes from Debian packages: where it is absent, tests are left out saying why, or fail where all is required."""

import os
from pathlib import Path

import pytest

REDIS = Path("/usr/bin/redis-server")


def needed(path: Path, package: str) -> Path:
    """The path, if it is there."""
    if not path.exists():
        why = f"{path} is missing: install the Debian package {package}"
        if os.environ.get("TELEWARDEN_REQUIRE") == "all":
            pytest.fail(why)
        pytest.skip(why)
    return path


def cache_program(name: str) -> Path | None:
    """The program of a cache server, as `EmbeddedValkey.start` takes it: "valkey" for the wheel's, "redis" for
    Debian's, which is a Sentinel too."""
    return None if name == "valkey" else needed(REDIS, "redis-server")
