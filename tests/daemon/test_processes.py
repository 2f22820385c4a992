"""Several processes that serve: what goes over their pipes, which settings they run with, what systemd is told."""

import os
from contextlib import closing

import pytest

from telewarden.process_words import Messages, ParentNotifier, decode_settings, encode_settings
from telewarden.processes import summed_up, with_taken
from telewarden.settings import Settings


def settings(**sections: dict[str, object]) -> Settings:
    usual = {"database": {"dsn": "postgresql://u:secret@localhost/d"}, "role": "api"}
    return Settings.model_validate({**usual, **sections})


def test_settings_arrive_as_they_were_with_their_secrets() -> None:
    sent = settings(
        http={"api_keys": {"parser": "a-key-of-the-parser"}, "workers": 2},
        cache={"url": "redis://:hunter2@localhost"},
        telegram={"channels": [-1001649127710]},
    )
    line = encode_settings(sent)
    assert line.count(b"\n") == 1
    assert decode_settings(line) == sent


def test_messages_are_cut_out_of_whatever_arrives() -> None:
    messages = Messages()
    assert list(messages.feed(b"READY=1\nSTATUS=a=b\n\nWATCH")) == [{"READY": "1", "STATUS": "a=b"}]
    assert list(messages.feed(b"DOG=1\n\n\n")) == [{"WATCHDOG": "1"}]


def test_a_parent_that_does_not_read_holds_nobody_up() -> None:
    reading, writing = os.pipe()
    with closing(ParentNotifier(writing)) as notifier:
        for _ in range(1_000):
            notifier.status("fällt aus · 数据库 " * 500)
        notifier.alive()
        told = list(Messages().feed(os.read(reading, 65_536)))
        assert told[0]["STATUS"].startswith("fällt aus · 数据库")
        os.close(reading)
        notifier.alive()
    os.close(writing)


def test_what_needs_a_restart_stays() -> None:
    running, new = settings(), settings(log={"level": "debug", "format": "console"}, http={"port": 1})
    assert with_taken(running, new, "log.level") == settings(log={"level": "debug"})


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ([], "0 of 2 processes"),
        (["serving", "serving"], "2 of 2 processes · serving"),
        (["serving"], "1 of 2 processes · serving"),
        (["serving", "serving · redis degraded"], "2 of 2 processes · serving · redis degraded"),
    ],
)
def test_the_status_line_counts_them(statuses: list[str], said: str) -> None:
    assert summed_up(2, statuses) == said
