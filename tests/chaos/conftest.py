"""A whole stack for the tests of this folder. They take seconds; as long as the issue asks with --chaos-full."""

import os

import pytest


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Everything there is, which takes many minutes: asked for on the command line."""
    return bool(request.config.getoption("--chaos-full"))


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Full length: asked for on the command line, or by TELEWARDEN_CHAOS=full."""
    return bool(request.config.getoption("--chaos-full")) or os.environ.get("TELEWARDEN_CHAOS") == "full"
