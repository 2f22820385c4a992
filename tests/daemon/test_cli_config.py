"""`telewarden config`, as an operator sees it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from telewarden.cli import app

FINE = """
[telegram]
api_id = 1
api_hash = "hash-hunter2"
channels = [-1001649127710]
[database]
dsn = "postgresql://user:dsn-hunter2@host/db"
[cache]
url = "redis://:cache-hunter2@host/0"
[http]
gateway_token = "token-hunter2-0123"
[http.api_keys]
tp-capital = "key-hunter2-01234567"
"""


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TELEWARDEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


def telewarden(tmp_path: Path, text: str, *arguments: str) -> Result:
    file = tmp_path / "telewarden.toml"
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, [*arguments, "--config", str(file)])
    assert "hunter2" not in result.output
    return result


def test_good_settings_are_said_to_be_fine(tmp_path: Path) -> None:
    result = telewarden(tmp_path, FINE, "config", "check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 1


def test_every_problem_is_a_line_and_the_status_is_2(tmp_path: Path) -> None:
    text = '[telegram]\napi_id = "x"\napi_hsh = "hunter2"\n[http]\nport = 99999\n'
    result = telewarden(tmp_path, text, "config", "check", "--set", "log.level=loud")
    assert result.exit_code == 2
    assert result.stdout == ""
    first, *lines = result.stderr.splitlines()
    assert first == "telewarden: 6 problems with the settings"
    assert {line.split()[0] for line in lines} == {
        "telegram.api_id",
        "telegram.api_hsh",
        "telegram.api_hash",
        "database.dsn",
        "http.port",
        "log.level",
    }


def test_no_command_that_needs_settings_starts_with_bad_ones(tmp_path: Path) -> None:
    for command in (["run"], ["config", "show"], ["db", "upgrade"], ["session", "login"]):
        result = telewarden(tmp_path, "", *command)
        assert result.exit_code == 2, command
        assert "telegram.api_id" in result.stderr
        assert "Traceback" not in result.output


def test_the_settings_in_force_are_shown_without_secrets(tmp_path: Path) -> None:
    result = telewarden(tmp_path, FINE, "config", "show")
    assert result.exit_code == 0
    assert "4010" in result.stdout
    assert "default" in result.stdout


def test_the_settings_in_force_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEWARDEN_LOG__LEVEL", "debug")
    result = telewarden(tmp_path, FINE, "config", "show", "--json", "--set", "http.port=4011")
    shown = json.loads(result.stdout)
    assert shown["http.port"] == {"value": "4011", "source": "command line"}
    assert shown["log.level"] == {"value": "debug", "source": "environment TELEWARDEN_LOG__LEVEL"}
    assert shown["http.host"]["source"] == "default"
    for secret in ("telegram.api_hash", "database.dsn", "cache.url", "http.gateway_token"):
        assert shown[secret]["value"] == "(hidden)"
    assert shown["http.api_keys"]["value"] == "{tp-capital = (hidden)}"


def test_an_unknown_command_or_option_is_one_clear_error() -> None:
    for arguments in (["no-such-command"], ["config", "check", "--no-such-option"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "No such" in result.stderr


def test_it_runs_as_a_module_without_a_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "telewarden", "config", "check", "--config", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("telewarden: 4 problems with the settings\n  (file)")
    assert "Traceback" not in done.stderr


def test_the_version_is_that_of_the_distribution() -> None:
    result = CliRunner().invoke(app, ["version"])
    assert result.exit_code == 0
    assert result.stdout.strip().count(".") >= 1


def test_the_local_telegrams_bad_folder_is_one_line() -> None:
    result = CliRunner().invoke(app, ["sandbox", "telegram", "--folder", "/dev/null/below"])
    assert result.exit_code == 2
    assert result.stderr.startswith("telewarden: the local Telegram cannot run:")
    assert len(result.stderr.splitlines()) == 1
