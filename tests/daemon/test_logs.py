"""The log shows what happened and never what a variable held."""

import json
import subprocess
import sys

import pytest

EVENTS = """
from telewarden import logs
from telewarden_supervisors import (
    BackingOff, BeatMissed, ChildFailed, ChildReady, ChildRestarted, Escalated, GaveUp, Stuck
)
logs.configure("info", {format!r})
where = dict(at=1.0, supervisor="telewarden/intake")
child = dict(**where, child="listener", instance=2)
calls = ("main.py:1 main", "listener.py:2 run")
for event in (
    ChildReady(**child, after_s=0.5),
    ChildFailed(**child, cause=ExceptionGroup("both", [ValueError("first"), OSError("second")])),
    BackingOff(**child, delay_s=0.1),
    ChildRestarted(**child),
    BeatMissed(**child, age_s=31.0, stack=calls),
    Stuck(**child, after_s=3.0, stack=calls),
    GaveUp(**where, reason="too many", failures=()),
    Escalated(**where, stuck=("listener",)),
):
    logs.log_supervision(event)
"""

SCRIPT = """
import structlog
from telewarden import logs
logs.configure("info", {format!r})
def fails(password):
    raise ValueError("it broke")
try:
    fails("hunter2-is-secret")
except ValueError:
    structlog.get_logger("test").error("worker_failed", worker="writer", exc_info=True)
import logging
logging.getLogger("asyncpg").warning("from a library")
logging.getLogger("telethon").warning("chatter")
"""


def logged(format_: str, script: str = SCRIPT) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script.format(format=format_)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_traceback_shows_no_local_variable(format_: str) -> None:
    text = logged(format_)
    assert "it broke" in text
    assert "in fails" in text
    # The source line is shown; the value that was passed on is in no line of it.
    assert "hunter2" not in text


def test_machines_get_one_json_object_a_line() -> None:
    lines = [json.loads(line) for line in logged("json").splitlines()]
    assert [line["event"] for line in lines] == ["worker_failed", "from a library"]
    assert lines[0]["worker"] == "writer"
    assert lines[0]["level"] == "error"
    assert lines[0]["timestamp"].endswith("Z")


@pytest.mark.parametrize("format_", ["json", "console"])
def test_every_transition_that_matters_has_its_line(format_: str) -> None:
    text = logged(format_, EVENTS)
    for word in ("ready", "failed", "backing_off", "restarted", "hangs", "stuck"):
        assert f"worker_{word}" in text
    assert "telewarden/intake/listener" in text
    assert "supervisor_gave_up" in text
    assert "supervisor_escalated" in text
    assert "first" in text
    assert "second" in text
    assert text.count("listener.py:2 run") == 2
