"""Settings that change while the daemon runs."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from telewarden.configuration import Problem, SettingsInvalid
from telewarden.reload import Reloaded, Reloader
from telewarden.settings import Settings


def settings(**sections: dict[str, object]) -> Settings:
    needed = {
        "telegram": {"api_id": 1, "api_hash": "0" * 32, **sections.pop("telegram", {})},
        "database": {"dsn": "postgresql://u:secret@localhost/d", **sections.pop("database", {})},
    }
    return Settings.model_validate({**needed, **sections})


class Running:
    """A daemon that can take the batch size and the keys, and remembers what it took."""

    def __init__(self, read: Callable[[], Settings]) -> None:
        self.taken: list[object] = []
        self.reloader = Reloader(
            settings(),
            read,
            {
                "database.batch_size": lambda new: self.taken.append(new.database.batch_size),
                "http.api_keys": lambda new: self.taken.append(sorted(new.http.api_keys)),
            },
        )


def test_what_changed_is_taken_once() -> None:
    running = Running(lambda: settings(database={"batch_size": 7}))
    assert running.reloader.reload() == Reloaded(("database.batch_size",), ())
    assert running.reloader.reload() == Reloaded((), ())
    assert running.taken == [7]


def test_what_cannot_change_is_named_each_time_until_the_restart() -> None:
    running = Running(lambda: settings(database={"batch_size": 7, "reader_pool": 9}))
    assert running.reloader.reload() == Reloaded(("database.batch_size",), ("database.reader_pool",))
    with capture_logs() as logged:
        assert running.reloader.reload() == Reloaded((), ("database.reader_pool",))
    assert logged[-1]["event"] == "settings_need_a_restart"
    assert logged[-1]["settings"] == ("database.reader_pool",)


def test_a_secret_that_changed_is_named_and_not_shown() -> None:
    running = Running(lambda: settings(http={"api_keys": {"tp-capital": "a-new-key-of-the-consumer"}}))
    with capture_logs() as logged:
        assert running.reloader.reload() == Reloaded(("http.api_keys",), ())
    assert running.taken == [["tp-capital"]]
    assert "a-new-key" not in str(logged)


def test_unusable_settings_change_nothing_and_every_problem_is_named() -> None:
    def broken() -> Settings:
        raise SettingsInvalid([Problem("a.b", "file", "a number"), Problem("c.d", "file", "a path")])

    running = Running(broken)
    with capture_logs() as logged:
        assert running.reloader.reload() is None
    assert [line["problem"] for line in logged] == ["a.b (file): a number", "c.d (file): a path"]
    assert running.taken == []


def test_every_setting_that_can_change_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    from typing import Any, cast

    from telewarden.settings import SECTIONS
    from telewarden.takers import make_takers

    known = {f"{section}.{name}" for section, model in SECTIONS.items() for name in model.model_fields}
    nothing = cast(Any, None)
    assert set(make_takers(nothing, nothing, nothing, nothing, nothing)) <= known
