"""The documents say what the code does: settings, commands, targets, links and metrics."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def check(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run docs/check.py on the texts below a folder."""
    command = [sys.executable, str(ROOT / "docs" / "check.py"), "--root", str(root), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the texts, to spoil."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copytree(ROOT / "systemd", tmp_path / "systemd")
    for document in (*ROOT.glob("*.md"), ROOT / "LICENSE"):
        shutil.copy(document, tmp_path)
    return tmp_path


def add(document: Path, text: str) -> None:
    """Write more into a document."""
    document.write_text(document.read_text("utf-8") + text, "utf-8")


def test_the_documents_are_true_to_the_code() -> None:
    done = check(ROOT, "--check")
    assert done.returncode == 0, done.stderr


def test_a_table_of_settings_that_is_out_of_date_is_found_and_put_right(copy: Path) -> None:
    configuration = copy / "docs" / "configuration.md"
    check(copy)
    right = configuration.read_text("utf-8")
    configuration.write_text(right.replace("| `4010` |", "| `4011` |"), "utf-8")
    found = check(copy, "--check")
    assert found.returncode == 1
    assert "out of date; run: make docs" in found.stderr
    assert check(copy).returncode == 0
    assert configuration.read_text("utf-8") == right


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("`telewarden fly`", "there is no command: telewarden fly"),
        ("`telewarden config mend`", "there is no command: telewarden config mend"),
        ("```sh\n/opt/x/bin/telewarden run --wings\n```", "there is no command: telewarden run --wings"),
        ("`make coffee`", "there is no target: make coffee"),
        ("[more](docs/nowhere.md)", "the link leads nowhere: docs/nowhere.md"),
    ],
)
def test_what_does_not_exist_is_found(copy: Path, text: str, problem: str) -> None:
    add(copy / "README.md", f"\n{text}\n")
    found = check(copy, "--check")
    assert found.returncode == 1
    assert f"README.md: {problem}\n" in found.stderr


def test_a_metric_that_is_not_explained_is_found(copy: Path) -> None:
    operations = copy / "docs" / "operations.md"
    operations.write_text(operations.read_text("utf-8").replace("telewarden_database_up", "…"), "utf-8")
    assert "the metric telewarden_database_up" in check(copy, "--check").stderr


def test_the_table_of_settings_does_not_depend_on_this_machine(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(copy)
    monkeypatch.setenv("STATE_DIRECTORY", "/elsewhere")
    assert check(copy, "--check").returncode == 0


def test_decisions_are_short() -> None:
    decisions = (ROOT / "docs" / "decisions").glob("*.md")
    assert {path.name for path in decisions if len(path.read_text("utf-8").splitlines()) > 25} == set()
