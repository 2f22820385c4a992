"""What only root may do, and not in every container: where it is refused, tests are left out, saying why."""

import subprocess

import pytest


def allowed(what: str, *command: str) -> None:
    """Skip the test unless the command, which tries it, succeeds. No setting can require what the machine forbids."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{what} is not allowed here: {done.stderr.strip() or f'status {done.returncode}'}")
