"""What comes from Debian packages: where it is absent, tests are left out saying why, or fail where all is required."""

import os
from pathlib import Path

import pytest


def needed(path: Path, package: str) -> Path:
    """The path, if it is there."""
    if not path.exists():
        why = f"{path} is missing: install the Debian package {package}"
        if os.environ.get("TELEWARDEN_REQUIRE") == "all":
            pytest.fail(why)
        pytest.skip(why)
    return path
