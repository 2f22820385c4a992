"""The programs in the guide to the supervision library run, and print what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "supervision.mdx").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PRINTED = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a stranger would: in a process of its own, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_whole_program_prints_what_the_page_says() -> None:
    done = run(PROGRAMS[0])
    assert done.returncode == 0, done.stderr
    assert [done.stdout] == PRINTED


@pytest.mark.parametrize("program", PROGRAMS[1:])
def test_every_other_program_runs(program: str) -> None:
    done = run(program)
    assert done.returncode == 0, done.stderr


def test_every_row_of_the_comparison_has_a_cell_for_each_project() -> None:
    rows = [line for line in PAGE.partition("## Compared")[2].splitlines() if line.startswith("|")]
    assert len(rows) > 20
    assert {row.count("|") for row in rows} == {8}
