"""Where settings come from, and how what is wrong with them is told."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from telewarden.configuration import Loaded, Problem, SettingsInvalid, effective, load

TOML = """
[telegram]
api_id = 1
api_hash = "hash-hunter2"
channels = [-1001649127710]
[database]
dsn = "postgresql://user:dsn-hunter2@host/db"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "telewarden.toml"
    path.touch(mode=0o600)
    path.write_text(TOML, encoding="utf-8")
    return path


def read(file: Path, overrides: Sequence[str] = (), **environment: str) -> Loaded:
    return load(file, overrides, environment)


def problems(file: Path | None, overrides: Sequence[str] = (), **environment: str) -> dict[str, Problem]:
    """Each problem by its setting; no text of any may hold a secret."""
    with pytest.raises(SettingsInvalid) as invalid:
        load(file, overrides, environment)
    found = invalid.value.problems
    assert "hunter2" not in str(invalid.value)
    assert all("hunter2" not in repr(problem) for problem in found)
    assert len({problem.name for problem in found}) == len(found)
    return {problem.name: problem for problem in found}


def private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_gives_settings(file: Path) -> None:
    loaded = read(file)
    assert loaded.settings.telegram.api_id == 1
    assert loaded.sources["telegram.api_id"] == f"file {file}"


def test_environment_is_over_file(file: Path) -> None:
    loaded = read(file, TELEWARDEN_TELEGRAM__API_ID="2")
    assert loaded.settings.telegram.api_id == 2
    assert loaded.sources["telegram.api_id"] == "environment TELEWARDEN_TELEGRAM__API_ID"


def test_command_line_is_over_environment(file: Path) -> None:
    loaded = read(file, ["telegram.api_id=3"], TELEWARDEN_TELEGRAM__API_ID="2")
    assert loaded.settings.telegram.api_id == 3
    assert loaded.sources["telegram.api_id"].startswith("command line")


def test_the_last_of_two_options_counts(file: Path) -> None:
    assert read(file, ["http.port=1", "http.port=2"]).settings.http.port == 2


def test_credentials_are_between_file_and_environment(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "telewarden.telegram.api_hash").write_text("from-credential\n", encoding="utf-8")
    (folder / "of-another-service").write_text("x", encoding="utf-8")
    loaded = read(file, CREDENTIALS_DIRECTORY=str(folder))
    assert loaded.settings.telegram.api_hash.get_secret_value() == "from-credential"
    assert loaded.sources["telegram.api_hash"] == "credential telewarden.telegram.api_hash"
    loaded = read(file, CREDENTIALS_DIRECTORY=str(folder), TELEWARDEN_TELEGRAM__API_HASH="from-environment")
    assert loaded.settings.telegram.api_hash.get_secret_value() == "from-environment"


def test_each_consumers_key_may_be_a_credential(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "telewarden.http.api_keys.tp-capital").write_text("0123456789abcdef\n", encoding="utf-8")
    keys = read(file, CREDENTIALS_DIRECTORY=str(folder)).settings.http.api_keys
    assert {name: key.get_secret_value() for name, key in keys.items()} == {"tp-capital": "0123456789abcdef"}


def test_a_credential_that_means_nothing_is_told(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "telewarden.telegrm.api_hash").write_text("hunter2", encoding="utf-8")
    (folder / "telewarden.a.b.c.d").write_text("hunter2", encoding="utf-8")
    found = problems(file, CREDENTIALS_DIRECTORY=str(folder))
    assert "did you mean telegram.api_hash?" in found["telegrm.api_hash"].expected
    assert "telewarden.a.b.c.d" in found


@pytest.mark.parametrize("channels", ["-1001649127710,-1001649127711", "[-1001649127710, -1001649127711]"])
def test_channels_from_the_environment_are_a_list(file: Path, channels: str) -> None:
    loaded = read(file, TELEWARDEN_TELEGRAM__CHANNELS=channels)
    assert loaded.settings.telegram.channels == [-1001649127710, -1001649127711]


def test_a_secret_may_be_in_a_file_of_its_own(file: Path, tmp_path: Path) -> None:
    secret = private(tmp_path / "dsn", "postgresql://of-its-own/db\n")
    for loaded in (
        read(file, [f"database.dsn_file={secret}"]),
        read(file, TELEWARDEN_DATABASE__DSN_FILE=str(secret)),
    ):
        assert loaded.settings.database.dsn.get_secret_value() == "postgresql://of-its-own/db"
        assert str(secret) in loaded.sources["database.dsn"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_secret_file_that_others_can_use_is_refused(file: Path, tmp_path: Path, mode: int) -> None:
    secret = private(tmp_path / "dsn", "postgresql://u:hunter2@h/db")
    secret.chmod(mode)
    found = problems(file, [f"database.dsn_file={secret}"])
    assert f"chmod 600 {secret}" in found["database.dsn_file"].expected


def test_a_missing_secret_file_is_told(file: Path) -> None:
    assert "No such file" in problems(file, ["database.dsn_file=/nonexistent"])["database.dsn_file"].expected


def test_everything_that_is_wrong_is_told_at_once(file: Path) -> None:
    file.write_text(
        '[telegram]\napi_id = "x"\napi_hsh = "hunter2"\n[databse]\ndsn = "hunter2"\n[http]\nport = 99999\n',
        encoding="utf-8",
    )
    found = problems(
        file, ["log.level=loud", "nothing.here=1"], TELEWARDEN_CACHE__URL="hunter2", TELEWARDEN_HTTP__PROT="1"
    )
    assert {name: problem.source for name, problem in found.items()} == {
        "telegram.api_id": f"file {file}",
        "telegram.api_hsh": f"file {file}",
        "telegram.api_hash": "not set",
        "databse": f"file {file}",
        "database.dsn": "not set",
        "http.port": f"file {file}",
        "http.prot": "environment TELEWARDEN_HTTP__PROT",
        "cache.url": "environment TELEWARDEN_CACHE__URL",
        "log.level": "command line",
        "nothing.here": "command line",
    }


def test_a_problem_tells_name_source_value_and_what_is_expected(file: Path) -> None:
    text = str(problems(file, ["http.port=99999"])["http.port"])
    for part in ("http.port", "command line", "99999", "less than or equal to 65535", "port to listen on"):
        assert part in text


def test_a_mistyped_name_is_told_with_the_right_one(file: Path) -> None:
    found = problems(file, ["telegram.chanels=1"], TELEWARDEN_DATABASE__DSM="hunter2")
    assert "did you mean telegram.channels?" in found["telegram.chanels"].expected
    assert "did you mean database.dsn?" in found["database.dsm"].expected


@pytest.mark.parametrize(
    "values",
    [
        {"TELEWARDEN_DATABASE__DSN": "mysql://u:hunter2@h/db"},
        {"TELEWARDEN_CACHE__URL": "hunter2"},
        {"TELEWARDEN_HTTP__GATEWAY_TOKEN": "hunter2"},
        {"TELEWARDEN_HTTP__API_KEYS": "hunter2"},
        {"TELEWARDEN_HTTP__API_KEYS__TP": "hunter2"},
    ],
)
def test_a_secret_that_is_wrong_is_not_shown(file: Path, values: Mapping[str, str]) -> None:
    (problem,) = problems(file, **values).values()
    assert problem.given == "(hidden)"


def test_a_line_that_is_not_toml_is_told_by_its_place_alone(file: Path) -> None:
    file.write_text('[telegram]\napi_hash = "hunter2\n', encoding="utf-8")
    assert "(at line 2" in problems(file)["(file)"].expected


def test_a_section_that_is_no_table_is_told(file: Path) -> None:
    file.write_text("telegram = 5\n", encoding="utf-8")
    assert "[telegram]" in problems(file)["telegram"].expected


def test_a_named_file_has_to_exist(tmp_path: Path) -> None:
    assert "(file)" in problems(tmp_path / "none.toml")
    assert str(tmp_path) in problems(None, TELEWARDEN_CONFIG=str(tmp_path / "none.toml"))["(file)"].source


def test_the_environment_can_name_the_file(file: Path) -> None:
    assert load(None, (), {"TELEWARDEN_CONFIG": str(file)}).settings.telegram.api_id == 1


def test_the_settings_in_force_are_listed_with_their_sources(file: Path) -> None:
    rows = {name: (value, source) for name, value, source in effective(read(file, ["http.port=4011"]))}
    assert rows["http.port"] == ("4011", "command line")
    assert rows["http.host"] == ("127.0.0.1", "default")
    assert rows["telegram.session_file"] == ("/var/lib/telewarden/telewarden.session", "default")
    assert rows["database.dsn"] == ("(hidden)", f"file {file}")
    assert "hunter2" not in str(rows)


@pytest.mark.parametrize(
    "override", ["hunter2", "postgresql://u:hunter2@host/db", "postgresql://u:hunter2@host/db?a=b"]
)
def test_an_option_that_names_no_setting_is_not_repeated(file: Path, override: str) -> None:
    assert "section.name=value" in problems(file, [override])["--set"].expected


@pytest.mark.parametrize(
    "name", ["database.dsn", "telegram.api_hash", "cache.url", "http.gateway_token", "http.api_keys.tp"]
)
def test_a_secret_on_the_command_line_is_refused(file: Path, name: str) -> None:
    found = problems(file, [f"{name}=postgresql://u:hunter2@host/db"])
    assert "every user of the machine can see it" in found[name].expected


def test_a_file_with_secrets_that_everybody_can_read_is_refused(file: Path) -> None:
    file.chmod(0o644)
    expected = problems(file)["(file)"].expected
    assert f"chmod 600 {file}" in expected
    assert "telegram.api_hash, database.dsn" in expected
    file.chmod(0o640)  # as of a service whose group may read it
    read(file)


def test_a_secret_and_its_file_in_one_place_are_told(file: Path, tmp_path: Path) -> None:
    secret = private(tmp_path / "dsn", "postgresql://u:hunter2@h/db")
    file.write_text(f'{TOML}dsn_file = "{secret}"\n', encoding="utf-8")
    assert "not both" in problems(file)["database.dsn"].expected


def test_a_variable_cannot_replace_a_whole_section(file: Path) -> None:
    found = problems(file, TELEWARDEN_TELEGRAM="{}")
    assert "telegram.api_id" in found["telegram"].expected
    assert len(found) == 1


def test_variables_of_the_tests_are_not_settings(file: Path) -> None:
    read(file, TELEWARDEN_REQUIRE="all", TELEWARDEN_CHAOS="full", TELEWARDEN_TEST_POSTGRES_BIN="/usr/bin")


def test_keys_may_be_a_table_in_the_environment(file: Path) -> None:
    loaded = read(file, TELEWARDEN_HTTP__API_KEYS='{tp-capital = "0123456789abcdef"}')
    assert list(loaded.settings.http.api_keys) == ["tp-capital"]
