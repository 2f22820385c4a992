"""The log shows what happened and never what a variable held."""

import json
import subprocess
import sys

import pytest

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


def logged(format_: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(format=format_)], capture_output=True, text=True, check=True
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
