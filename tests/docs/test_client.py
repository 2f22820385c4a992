"""The programs in the guide to the client run, and print what a server in memory holds."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.fake_api import KEY, FakeApi, listening

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "client.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=["feed", "consume", "run"])
def test_every_program_does_what_it_says_until_it_is_interrupted(program: str, tmp_path: Path) -> None:
    api = FakeApi()
    api.post("good morning", "good night")
    with listening(api) as url:
        program = program.replace("http://127.0.0.1:4010", url).replace("change-me-0123456789", KEY)
        command = [sys.executable, "-u", "-W", "error", "-c", program]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
        ) as process:
            assert process.stdout is not None
            printed = [process.stdout.readline() for _ in range(2)]
            process.send_signal(signal.SIGINT)
            process.wait(20)
    assert [line.split()[-2:] for line in printed] == [["good", "morning"], ["good", "night"]]
