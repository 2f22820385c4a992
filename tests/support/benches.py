"""What `telewarden bench` measures, as programs read it."""

import json
from typing import Any

from typer.testing import CliRunner

from telewarden.cli import app


def measured(group: str) -> dict[str, dict[str, Any]]:
    """The figures of a group, each in the promised shape."""
    done = CliRunner().invoke(app, ["bench", "--only", group, "--json"])
    assert done.exit_code == 0, done.output
    figures: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    for figure in figures.values():
        assert set(figure) == {"value", "unit", "floor", "ratio", "goal", "met"}
        assert isinstance(figure["met"], bool)
    return figures
