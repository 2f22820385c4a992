"""What each setting may be. Where settings come from is in test_settings_sources."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from telewarden.settings import SECTIONS, Settings, field_of, is_secret

NEEDED: dict[str, dict[str, Any]] = {
    "telegram": {"api_id": 1, "api_hash": "0123456789abcdef", "channels": [-1001649127710]},
    "database": {"dsn": "postgresql://user:hunter2@host:5432/telegram_gateway"},
}


def settings(section: str | None = None, **values: object) -> Settings:
    data: dict[str, Any] = {name: dict(inner) for name, inner in NEEDED.items()}
    (data if section is None else data.setdefault(section, {})).update(values)
    return Settings.model_validate(data)


def test_the_defaults_are_those_of_the_contract() -> None:
    found = settings()
    assert (found.http.host, found.http.port) == ("127.0.0.1", 4010)
    assert found.cache.prefix == "telegram:"
    assert (found.cache.body_ttl_s, found.cache.dedup_ttl_s) == (3600, 7200)
    assert found.cache.url is None
    assert found.telegram.first_read == "now"
    assert not found.database.auto_migrate
    assert found.testing.fail_point is None


def test_every_setting_says_what_it_means() -> None:
    undescribed = [
        f"{section}.{name}"
        for section, model in SECTIONS.items()
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert undescribed == []


def test_every_secret_is_known_as_one() -> None:
    secret = {
        f"{s}.{name}" for s, model in SECTIONS.items() for name in model.model_fields if is_secret(s, name)
    }
    assert secret == {
        "telegram.api_hash",
        "database.dsn",
        "cache.url",
        "cache.sentinel_password",
        "http.api_keys",
        "http.gateway_token",
    }


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().http.port = 1  # type: ignore[misc]


def test_files_are_in_the_state_folder_unless_named(tmp_path: Path) -> None:
    found = settings(state_dir=str(tmp_path))
    assert found.session_file == found.telegram.session_file == tmp_path / "telewarden.session"
    assert found.journal_file == found.journal.file == tmp_path / "journal.sqlite"
    named = settings("journal", file=str(tmp_path / "mine"))
    assert named.journal_file == tmp_path / "mine"


def test_the_state_folder_is_the_service_managers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/first:/var/lib/second")
    assert settings().state_dir == Path("/var/lib/first")
    monkeypatch.delenv("STATE_DIRECTORY")
    assert settings().state_dir == Path("/var/lib/telewarden")


@pytest.mark.parametrize(
    ("section", "name", "given", "meant"),
    [
        ("telegram", "channels", ["-1001649127710"], [-1001649127710]),
        ("telegram", "first_read", "all", "all"),
        ("telegram", "first_read", "50", 50),
        ("telegram", "first_read", 0, 0),
        ("telegram", "dc_address", "127.0.0.1:443", "127.0.0.1:443"),
        ("telegram", "dc_address", "[::1]:443", "[::1]:443"),
        ("telegram", "dc_address", "", None),
        ("telegram", "dc_public_key_file", "", None),
        ("telegram", "request_timeout_s", "1.5", 1.5),
        ("cache", "url", "", None),
        ("http", "gateway_token", "", None),
        ("http", "port", 0, 0),
    ],
)
def test_a_value_that_is_taken(section: str, name: str, given: object, meant: object) -> None:
    assert getattr(getattr(settings(section, **{name: given}), section), name) == meant


@pytest.mark.parametrize(
    ("section", "name", "given", "expected"),
    [
        ("telegram", "api_id", 0, "greater than 0"),
        ("telegram", "channels", [1649127710], "marked form.*not so: 1649127710"),
        ("telegram", "channels", [-5], "marked form.*not so: -5"),
        ("telegram", "channels", [-(2**64)], "marked form"),
        ("telegram", "channels", [-1001649127710, "-1001649127710"], "given twice: -1001649127710"),
        ("telegram", "first_read", "soon", '"now", "all" or a whole number'),
        ("telegram", "first_read", -1, '"now", "all" or a whole number'),
        ("telegram", "first_read", True, '"now", "all" or a whole number'),
        ("telegram", "history_page", 101, "less than or equal to 100"),
        ("telegram", "session_file", "/tmp/mine", "ends in .session"),
        ("telegram", "dc_address", "nowhere", "host:port"),
        ("telegram", "dc_address", "host:0", "host:port"),
        ("telegram", "dc_address", "host:65536", "host:port"),
        ("telegram", "dc_address", ":443", "host:port"),
        ("telegram", "dc_public_key_file", "/nonexistent", "file that this user can read"),
        ("telegram", "request_timeout_s", 0, "greater than 0"),
        ("database", "dsn", "mysql://u@h/db", "begins with postgresql://"),
        ("database", "dsn", "postgresql://u:hunter2@h:99x/db", "port is a number"),
        ("database", "dsn", "postgresql://u:hunter2@[::1/db", "well-formed URL"),
        ("database", "writer_pool", 0, "greater than or equal to 1"),
        ("database", "statement_cache_size", -1, "greater than or equal to 0"),
        ("cache", "url", "localhost:6379", "begins with redis://"),
        ("cache", "url", "redis://:hunter2@h:0/0", "port is a number"),
        ("http", "port", 65536, "less than or equal to 65535"),
        ("http", "api_keys", {"tp": "hunter2"}, "at least 16.*not so for tp"),
        ("http", "api_keys", {"tp": "a key with its spaces"}, "without spaces; not so for tp"),
        ("http", "gateway_token", "hunter2", "at least 16"),
        ("log", "level", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("log", "format", "xml", "'json' or 'console'"),
        ("cache", "no_such", 1, "Extra inputs are not permitted"),
    ],
)
def test_a_value_that_is_refused(section: str, name: str, given: object, expected: str) -> None:
    with pytest.raises(ValidationError, match=expected) as refused:
        settings(section, **{name: given})
    assert [detail["loc"][:2] for detail in refused.value.errors()] == [(section, name)]
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgres://user@host/db",
        "postgresql:///db?host=/run/postgresql",
        "postgresql://u:p@first:5432,second:5433/db",
        "postgresql://u:p@[::1]:5432/db",
        "postgresql://u:p@[::1]/db",
    ],
)
def test_every_form_of_database_url_is_taken(dsn: str) -> None:
    assert settings("database", dsn=dsn).database.dsn.get_secret_value() == dsn


@pytest.mark.parametrize("url", ["rediss://host", "redis://user:pass@host:6380/2", "unix:///run/valkey.sock"])
def test_every_form_of_cache_url_is_taken(url: str) -> None:
    found = settings("cache", url=url).cache.url
    assert found is not None
    assert found.get_secret_value() == url


def test_with_sentinels_the_url_names_the_master() -> None:
    sentinels = ["127.0.0.1:26379", "[::1]:26380"]
    found = settings("cache", url="redis://:secret@mymaster/0", sentinels=sentinels).cache
    assert found.sentinel_addresses == [("127.0.0.1", 26379), ("::1", 26380)]


@pytest.mark.parametrize(
    ("url", "sentinels", "expected"),
    [
        ("redis://:secret@127.0.0.1:6379/0", ["127.0.0.1:26379"], "names the master as they know it"),
        ("unix:///run/valkey.sock", ["127.0.0.1:26379"], "names the master as they know it"),
        ("", ["127.0.0.1:26379"], "names the master as they know it"),
        ("redis://mymaster", ["127.0.0.1"], "host:port"),
        ("redis://mymaster", ["127.0.0.1:1", "127.0.0.1:1"], "each address once"),
    ],
)
def test_sentinels_that_do_not_fit_the_url_are_refused(url: str, sentinels: list[str], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected) as caught:
        settings("cache", url=url, sentinels=sentinels)
    assert "secret" not in str(caught.value)


def test_no_secret_is_in_a_representation() -> None:
    found = settings(
        "http", api_keys={"tp": "hunter2-hunter2-hunter2"}, gateway_token="hunter2-hunter2-hunter2"
    )
    for text in (repr(found), str(found), found.model_dump_json(), str(found.model_dump())):
        assert "hunter2" not in text
        assert "0123456789abcdef" not in text


def test_a_setting_is_found_by_name() -> None:
    assert field_of("http", "port") is not None
    assert field_of(None, "state_dir") is not None
    assert field_of("http", "no_such") is None
    assert field_of("no_such", "port") is None


def test_only_processes_that_serve_can_be_several() -> None:
    with pytest.raises(ValidationError, match="needs role api: one process takes in"):
        settings("http", workers=2)
    data = {**NEEDED, "role": "api", "http": {"workers": 2}}
    assert Settings.model_validate(data).http.workers == 2
