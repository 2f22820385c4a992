"""`telewarden tail`, `poll`, `ack` and `lag`, against a server in memory on a port of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from support.fake_api import CHANNEL, KEY, FakeApi, Fault, listening
from telewarden.cli import app
from telewarden.cli.terminal import plain

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TELEWARDEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TELEWARDEN_KEY", KEY)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[FakeApi, str]]:
    """One server for those that change nothing in it."""
    api = FakeApi()
    api.post("good\nmorning", "\x1b[2J\x1b]0;owned\x07 evil \u202eLLES")
    api.post("changed", channel="-1009", kind="edited")
    with listening(api) as url:
        yield api, url


@pytest.fixture
def url(shared: tuple[FakeApi, str]) -> str:
    return shared[1]


def telewarden(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert KEY not in result.output
    return result


def settings(tmp_path: Path, text: str) -> str:
    file = tmp_path / "telewarden.toml"
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_tail_shows_a_line_for_each_event_that_can_do_nothing_to_a_terminal(url: str) -> None:
    result = telewarden("tail", "--url", url, "--after", "beginning", "--no-follow")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"2026-01-02 03:04:05  {CHANNEL}  posted   good⏎ morning",
        f"2026-01-02 03:04:05  {CHANNEL}  posted   \\x1b[2J\\x1b]0;owned\\x07 evil \\u202eLLES",
        "2026-01-02 03:04:05           -1009  edited   changed",
    ]


def test_tail_shows_one_channel_only_some_kinds_and_only_what_is_new_enough(url: str) -> None:
    everything = ("tail", "--url", url, "--no-follow", "--json")
    (edited,) = telewarden(*everything, "--after", "beginning", "--kinds", "edited").stdout.splitlines()
    assert json.loads(edited)["message"]["text"] == "changed"
    assert len(telewarden(*everything, CHANNEL, "--after", "beginning").stdout.splitlines()) == 2
    assert len(telewarden(*everything, "--since", "2026-01-02").stdout.splitlines()) == 3
    assert telewarden(*everything, "--since", "2026-01-03").stdout == ""
    assert telewarden(*everything, "--after", json.loads(edited)["id"]).stdout == ""
    assert telewarden(*everything).stdout == ""


def test_tail_goes_on_where_it_was(url: str, tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    command = ("tail", "--url", url, "--after", "beginning", "--no-follow", "--cursor", place)
    assert len(telewarden(*command).stdout.splitlines()) == 3
    assert telewarden(*command).stdout == ""


def test_tail_follows_until_it_is_interrupted_and_then_ends_quietly() -> None:
    api = FakeApi()
    with listening(api) as url:
        command = [sys.executable, "-m", "telewarden", "tail", "--url", url, "--after", "beginning"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for text in ("first", "second"):
                api.post(text)
                assert process.stdout.readline().endswith(f"posted   {text}\n")
            process.send_signal(signal.SIGINT)
            assert (process.stdout.read(), process.stderr.read()) == ("", "")
            assert process.wait(10) == 130


def test_tail_ends_quietly_when_nobody_reads_it_any_more() -> None:
    api = FakeApi()
    api.post(*map(str, range(10)))
    with listening(api) as url:
        command = [sys.executable, "-m", "telewarden", "tail", "--url", url, "--after", "beginning"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            api.post(*map(str, range(10)))
            assert process.wait(10) == 0
            assert process.stderr.read() == ""


def test_poll_shows_what_waits_and_ack_marks_it(tmp_path: Path) -> None:
    api = FakeApi()
    api.post("one", "two")
    with listening(api) as url:
        polled = telewarden("poll", CHANNEL, "--url", url)
        assert [line.split()[0] for line in polled.stdout.splitlines()] == ["1", "2"]
        assert polled.stdout.splitlines()[1].endswith("  two")
        (line, *_) = telewarden("poll", CHANNEL, "--url", url, "--json", "--limit", "1").stdout.splitlines()
        assert json.loads(line)["messageId"] == "1"
        marked = telewarden("ack", "1", "2", "--channel", CHANNEL, "--processed-by", "me", "--url", url)
        assert marked.stdout.startswith("2 of 2 marked as processed")
        assert api.processed == [{"messageIds": ["1", "2"], "processedBy": "me", "channel": CHANNEL}]


def test_what_a_consumer_polled_is_acknowledged_or_given_back_by_its_receipt() -> None:
    api = FakeApi()
    api.post("one", "two")
    with listening(api) as url:
        polled = telewarden("poll", "--consume", "--url", url).stdout.splitlines()
        assert [line.split()[0] for line in polled] == ["1.1", "2.1"]
        assert telewarden("ack", "1.1", "--url", url).stdout == "1.1  acknowledged\n"
        assert telewarden("ack", "1.1", "--url", url).stdout == "1.1  already\n"
        returned = telewarden("ack", "--give-back", "--delay", "5", "2.1", "--url", url)
        assert (returned.exit_code, returned.stdout) == (0, "2.1  returned\n")
        assert api.leases[2].delay == 5
        # A receipt may begin with a minus sign.
        unknown = telewarden("ack", "-x9.1", "--url", url)
        assert (unknown.exit_code, unknown.stdout) == (1, "-x9.1  unknown\n")
        api.expire_leases()
        assert "(2 times)" in telewarden("poll", "--consume", "--url", url).stdout


def test_lag_shows_the_keys_consumer_or_all_of_them(url: str) -> None:
    own = telewarden("lag", "--url", url)
    assert own.exit_code == 0
    assert "my-consumer" in own.stdout
    (line,) = telewarden("lag", "--all", "--json", "--url", url).stdout.splitlines()
    assert json.loads(line)["lag"]["waiting"] == 3


def test_server_and_key_come_from_the_settings(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TELEWARDEN_KEY")
    port = url.rpartition(":")[2]
    config = settings(
        tmp_path,
        f'[http]\nhost = "0.0.0.0"\nport = {port}\n[http.api_keys]\nme = "{KEY}"\nother = "another-key-0123456789"\n',
    )
    assert telewarden("lag", "--config", config, "--as", "me").exit_code == 0
    assert "The key is not valid" in telewarden("lag", "--config", config, "--as", "other").stderr
    which = telewarden("lag", "--config", config)
    assert (which.exit_code, which.stderr) == (
        2,
        "telewarden: which key? http.api_keys has me, other; choose with --as NAME, or give --key-file\n",
    )
    nobody = telewarden("lag", "--config", config, "--as", "nobody")
    assert nobody.stderr == "telewarden: http.api_keys has no key of 'nobody'; there are me, other\n"


def test_an_admins_key_is_the_gateways_token(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TELEWARDEN_KEY")
    config = settings(tmp_path, f'[http]\ngateway_token = "{KEY}"\n')
    assert telewarden("lag", "--all", "--url", url, "--config", config).exit_code == 0


def test_a_key_comes_from_a_file_that_others_cannot_read(url: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    file.chmod(0o644)
    assert "chmod 600" in telewarden("lag", "--url", url, "--key-file", str(file)).stderr
    file.chmod(0o600)
    assert telewarden("lag", "--url", url, "--key-file", str(file)).exit_code == 0
    file.write_text("\n")
    assert "is empty" in telewarden("lag", "--url", url, "--key-file", str(file)).stderr
    missing = telewarden("lag", "--url", url, "--key-file", str(tmp_path / "none"))
    assert (missing.exit_code, "No such file" in missing.stderr) == (2, True)


@pytest.mark.parametrize("command", [("tail",), ("poll", CHANNEL), ("ack", "1.1"), ("lag",)])
def test_what_is_wrong_is_told_in_words(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = telewarden(*command, "--url", NOBODY)
    assert (nobody.exit_code, nobody.stdout) == (1, "")
    assert nobody.stderr.startswith(f"telewarden: nobody answers at {NOBODY}/: ")
    bad = telewarden(*command, "--url", "localhost")
    assert (bad.exit_code, "is not an address" in bad.stderr) == (2, True)
    monkeypatch.delenv("TELEWARDEN_KEY")
    keyless = telewarden(*command, "--url", NOBODY)
    assert (keyless.exit_code, keyless.stderr.startswith("telewarden: a key is needed")) == (2, True)


def test_what_the_server_refuses_is_told_in_its_words(url: str, shared: tuple[FakeApi, str]) -> None:
    shared[0].fault("/v1/consumer", Fault(status=404))
    refused = telewarden("lag", "--url", url)
    assert (refused.exit_code, refused.stderr) == (1, "telewarden: as the test wants it\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("tail", "--kinds", "posted,moved"),
        ("tail", "--since", "2026-01-02", "--after", "now"),
        ("poll",),
        ("poll", CHANNEL, "--consume"),
        ("ack", "1", "--channel", CHANNEL, "--give-back"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(arguments: tuple[str, ...]) -> None:
    refused = telewarden(*arguments, "--url", NOBODY)
    assert refused.exit_code == 2
    assert refused.stderr.startswith("telewarden: ")
    assert "Traceback" not in refused.output


def test_text_keeps_what_is_harmless() -> None:
    assert plain("ß 👩\u200d👩 zwölf\tEUR") == "ß 👩\u200d👩 zwölf EUR"
    assert plain("a\x00\x9b31m\u2028b\ud800") == "a\\x00\\x9b31m\\u2028b\\ud800"
