"""The unit is one that systemd takes, and confines the daemon."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from telewarden.configuration import load
from telewarden.settings import field_of

FOLDER = Path(__file__).parents[2] / "systemd"
UNIT = FOLDER / "telewarden.service"
BACKUP = FOLDER / "telewarden-session-backup.service"
TIMER = FOLDER / "telewarden-session-backup.timer"
EXPOSURE_IN_TENTHS = 15
"""Of 100. It is 10 with systemd 252; other versions weigh a little differently."""


@pytest.fixture
def systemd_analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None and os.environ.get("TELEWARDEN_REQUIRE") == "all":
        pytest.fail("there is no systemd-analyze")
    if found is None:
        pytest.skip("there is no systemd-analyze")
    return found


@pytest.fixture
def runnable(tmp_path: Path) -> Path:
    """The unit with a program that exists, and with every secret that it shows as an example."""
    return made_runnable(UNIT, tmp_path)


def made_runnable(unit: Path, folder: Path) -> Path:
    """A copy of a unit with a program that exists, and with all that it shows as an example."""
    text = unit.read_text(encoding="utf-8")
    text = re.sub("^ExecStart=[^ ]+", f"ExecStart={shutil.which('true')}", text, flags=re.MULTILINE)
    text = re.sub("^#(LoadCredential|ReadWritePaths)=", r"\1=", text, flags=re.MULTILINE)
    path = folder / unit.name
    path.write_text(text, encoding="utf-8")
    return path


def ask(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def service(unit: Path = UNIT, wanted: str = "[Service]") -> dict[str, list[str]]:
    """The values of a unit's [Service] section, or another."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in unit.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line
        elif section == wanted and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def credentials() -> list[str]:
    """The credentials that the unit shows as examples."""
    return re.findall(
        "^#LoadCredential=telewarden[.]([^:]+):", UNIT.read_text(encoding="utf-8"), flags=re.MULTILINE
    )


def test_systemd_knows_every_word_of_it(systemd_analyze: str, runnable: Path) -> None:
    assert ask(systemd_analyze, "verify", "--recursive-errors=yes", runnable) == ""


def test_systemd_finds_it_well_confined(systemd_analyze: str, runnable: Path) -> None:
    ask(
        systemd_analyze,
        "security",
        "--no-pager",
        "--offline=true",
        f"--threshold={EXPOSURE_IN_TENTHS}",
        runnable,
    )


def test_it_tells_systemd_itself_how_it_is() -> None:
    unit = service()
    assert unit["Type"] == ["notify"]
    assert unit["NotifyAccess"] == ["main"]
    assert unit["WatchdogSec"] == ["30"]
    assert unit["Restart"] == ["always"]
    assert unit["TimeoutStopSec"] == ["15"]


def test_nobody_else_can_read_its_state() -> None:
    unit = service()
    assert (unit["StateDirectoryMode"], unit["UMask"]) == (["0700"], ["0077"])


def test_its_example_credentials_are_settings() -> None:
    for name in credentials():
        section, field = name.split(".")[:2]
        assert field_of(section, field) is not None, name


def test_what_its_credentials_give_is_taken(tmp_path: Path) -> None:
    values = {
        "telegram.api_hash": "0123456789abcdef",
        "database.dsn": "postgresql://host/db",
        "cache.url": "redis://host",
        "http.gateway_token": "0123456789abcdef",
        "http.api_keys.tp-capital": "0123456789abcdef",
    }
    assert set(credentials()) == set(values)
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name, value in values.items():
        (folder / f"telewarden.{name}").write_text(value, encoding="utf-8")
    config = tmp_path / "telewarden.toml"
    config.write_text("[telegram]\napi_id = 1\nchannels = [-1001649127710]\n", encoding="utf-8")
    loaded = load(config, (), {"CREDENTIALS_DIRECTORY": str(folder)})
    assert loaded.sources["database.dsn"] == "credential telewarden.database.dsn"


def test_its_user_is_the_one_that_is_made() -> None:
    (line,) = [
        line for line in (FOLDER / "telewarden.sysusers").read_text().splitlines() if not line.startswith("#")
    ]
    assert line.split()[:2] == ["u", service()["User"][0]]


def test_systemd_knows_every_word_of_the_backup_and_its_timer(systemd_analyze: str, tmp_path: Path) -> None:
    units = [made_runnable(unit, tmp_path) for unit in (BACKUP, TIMER)]
    assert ask(systemd_analyze, "verify", "--recursive-errors=yes", *units) == ""


def test_systemd_finds_the_backup_well_confined(systemd_analyze: str, tmp_path: Path) -> None:
    unit = made_runnable(BACKUP, tmp_path)
    ask(
        systemd_analyze, "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE_IN_TENTHS}", unit
    )


def test_the_backup_is_confined_at_least_as_the_daemon_is() -> None:
    daemon, backup = service(), service(BACKUP)
    not_for_a_copy = {"ExecReload", "LimitNOFILE", "NotifyAccess", "TimeoutStopSec", "WatchdogSec"}
    not_for_a_copy |= {"Restart", "RestartSec"}
    narrower = {"Type", "ExecStart", "TimeoutStartSec", "TasksMax", "RestrictAddressFamilies"}
    for name, values in daemon.items():
        if name not in not_for_a_copy | narrower:
            assert backup.get(name) == values, name
    assert backup["Type"] == ["oneshot"]
    assert backup["PrivateNetwork"] == ["yes"]


def test_the_backup_runs_each_day_also_after_a_day_without_power() -> None:
    timer = service(TIMER, "[Timer]")
    assert (timer["OnCalendar"], timer["Persistent"]) == (["daily"], ["true"])
    assert timer["RandomizedDelaySec"] == ["1h"]
    assert TIMER.stem == BACKUP.stem
    assert service(TIMER, "[Install]")["WantedBy"] == ["timers.target"]


def test_the_backup_runs_a_command_that_there_is() -> None:
    (command,) = service(BACKUP)["ExecStart"]
    assert command.split()[1:3] == ["session", "backup"]
