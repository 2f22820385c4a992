"""What is wrong with the cache's server, from the very words that servers send."""

import ssl
from collections.abc import Callable

import pytest
import redis._parsers.base
import redis.exceptions
import redis.sentinel

from telewarden.storage.cache_errors import Kind, Problem, classify, problem

OOM = "OOM command not allowed when used memory > 'maxmemory'."
REPLICA = "READONLY You can't write against a read only replica."
MISCONF = (
    "MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist on disk. Commands "
    "that may modify the data set are disabled, because this instance is configured to report errors during writes "
    "if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about "
    "the RDB error."
)
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
HELLO = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> "
    "<pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
)
SHA = "370013bb3b289e03e16dba19342cacbbc733c51c"
IN_6 = f"ERR Error running script (call to f_{SHA}): @user_script:1: "
IN_7 = f" script: {SHA}, on @user_script:1."
IN_VALKEY = " script: on @user_script:1."

REPLIES = [
    (OOM, Kind.OUT_OF_MEMORY),
    (f"{IN_6}@user_script: 1: -{OOM}", Kind.OUT_OF_MEMORY),
    (OOM + IN_7, Kind.OUT_OF_MEMORY),
    (OOM + IN_VALKEY, Kind.OUT_OF_MEMORY),
    (REPLICA, Kind.READONLY),
    (f"{IN_6}@user_script: 1: -{REPLICA}", Kind.READONLY),
    (REPLICA + IN_7, Kind.READONLY),
    (REPLICA + IN_VALKEY, Kind.READONLY),
    ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Kind.READONLY),
    ("NOREPLICAS Not enough good replicas to write.", Kind.NO_REPLICAS),
    ("NOREPLICAS Not enough good replicas to write." + IN_7, Kind.NO_REPLICAS),
    (MISCONF, Kind.MISCONF),
    (f"{IN_6}@user_script: 1: -{MISCONF}", Kind.MISCONF),
    (MISCONF + IN_VALKEY, Kind.MISCONF),
    (WRONG_TYPE, Kind.WRONG_TYPE),
    (f"{IN_6}{WRONG_TYPE}", Kind.WRONG_TYPE),
    (WRONG_TYPE + IN_7, Kind.WRONG_TYPE),
    (WRONG_TYPE + IN_VALKEY, Kind.WRONG_TYPE),
    ("LOADING Redis is loading the dataset in memory", Kind.LOADING),
    ("LOADING Valkey is loading the dataset in memory", Kind.LOADING),
    (
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        Kind.BUSY,
    ),
    (f"{IN_6}Script killed by user with SCRIPT KILL...", Kind.BUSY),
    ("ERR Script killed by user with SCRIPT KILL." + IN_VALKEY, Kind.BUSY),
    ("ERR max number of clients reached", Kind.TOO_MANY_CLIENTS),
    ("NOAUTH Authentication required.", Kind.NO_AUTH),
    (HELLO, Kind.NO_AUTH),
    ("DENIED Redis is running in protected mode because protected mode is enabled", Kind.NO_AUTH),
    ("WRONGPASS invalid username-password pair or user is disabled.", Kind.WRONGPASS),
    ("ERR invalid password", Kind.WRONGPASS),
    (
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
        "configuration is correct?",
        Kind.WRONGPASS,
    ),
    (
        "NOPERM this user has no permissions to run the 'info' command or its subcommand",
        Kind.NO_PERMISSION,
    ),
    ("NOPERM No permissions to access a key", Kind.NO_PERMISSION),
    (
        f"{IN_6}@user_script: 1: The user executing the script can't run this command or subcommand",
        Kind.NO_PERMISSION,
    ),
    (
        "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments"
        + IN_7,
        Kind.NO_PERMISSION,
    ),
    ("ERR ACL failure in script: No permissions to access a key" + IN_VALKEY, Kind.NO_PERMISSION),
    ("ERR DB index is out of range", Kind.NO_DATABASE),
    ("ERR SELECT is not allowed in cluster mode", Kind.CLUSTER),
    ("CLUSTERDOWN Hash slot not served", Kind.CLUSTER),
    ("MOVED 3999 127.0.0.1:6381", Kind.CLUSTER),
    ("ASK 3999 127.0.0.1:6381", Kind.CLUSTER),
    ("TRYAGAIN Multiple keys request during rehashing of slot", Kind.CLUSTER),
    (
        f"{IN_6}@user_script: 1: Lua script attempted to access a non local key in a cluster node",
        Kind.CLUSTER,
    ),
    ("ERR Script attempted to access a slot not served" + IN_7, Kind.CLUSTER),
    ("ERR Attempted to access a non local key in a cluster node" + IN_VALKEY, Kind.CLUSTER),
    ("CROSSSLOT Keys in request don't hash to the same slot", Kind.CROSS_SLOT),
    (
        "ERR Script attempted to access keys that do not hash to the same slot" + IN_7,
        Kind.CROSS_SLOT,
    ),
    (
        f"ERR unknown command `EVALSHA`, with args beginning with: `{SHA}`, `0`, ",
        Kind.MISSING_COMMAND,
    ),
    (f"ERR unknown command 'EVALSHA', with args beginning with: '{SHA}' '0' ", Kind.MISSING_COMMAND),
    ("ERR Unknown Redis command called from script" + IN_7, Kind.MISSING_COMMAND),
    (f"{IN_6}@user_script: 1: Unknown Redis command called from Lua script", Kind.MISSING_COMMAND),
    ("ERR Unknown command called from script" + IN_VALKEY, Kind.MISSING_COMMAND),
    ("NOPROTO unsupported protocol version", Kind.PROTOCOL),
    ("ERR something new", Kind.OTHER),
]


def arrived(reply: str) -> Exception:
    """An error reply as the client raises it."""
    parse: Callable[[str], object] = redis._parsers.base.BaseParser.parse_error
    error = parse(reply)
    assert isinstance(error, Exception)
    return error


@pytest.mark.parametrize(("reply", "kind"), REPLIES)
def test_a_reply_is_known_by_its_code_in_and_outside_of_a_script(reply: str, kind: Kind) -> None:
    assert classify(arrived(reply)).kind is kind


FAILURES: list[tuple[BaseException, Kind]] = [
    (
        redis.exceptions.ConnectionError("Error 111 connecting to cache:6379. Connection refused."),
        Kind.UNREACHABLE,
    ),
    (redis.exceptions.ConnectionError("Connection closed by server."), Kind.UNREACHABLE),
    (ConnectionResetError(104, "Connection reset by peer"), Kind.UNREACHABLE),
    (RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed"), Kind.UNREACHABLE),
    (redis.exceptions.TimeoutError("Timeout reading from cache:6379"), Kind.TIMEOUT),
    (TimeoutError(), Kind.TIMEOUT),
    (redis.exceptions.ConnectionError("No connection available."), Kind.TIMEOUT),
    (redis.sentinel.MasterNotFoundError("No master found for 'mymaster'"), Kind.NO_MASTER),
    (ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] unable to get issuer"), Kind.TLS),
    (redis.exceptions.InvalidResponse('Protocol Error: b"HTTP/1.1 400"'), Kind.PROTOCOL),
    (redis.exceptions.RedisError("something new"), Kind.OTHER),
]


@pytest.mark.parametrize(("error", "kind"), FAILURES)
def test_a_failure_of_the_connection_has_its_kind(error: BaseException, kind: Kind) -> None:
    assert classify(error).kind is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"), Kind.LOADING),
        (redis.exceptions.ReadOnlyError("You can't write against a read only replica."), Kind.READONLY),
        (redis.exceptions.OutOfMemoryError("command not allowed"), Kind.OUT_OF_MEMORY),
        (redis.exceptions.AuthenticationError("Authentication required."), Kind.NO_AUTH),
        (redis.exceptions.AuthenticationError("invalid username-password pair"), Kind.WRONGPASS),
        (redis.exceptions.NoPermissionError("this user may not"), Kind.NO_PERMISSION),
        (redis.exceptions.ClusterCrossSlotError("Keys in request"), Kind.CROSS_SLOT),
        (redis.exceptions.ClusterDownError("Hash slot not served"), Kind.CLUSTER),
    ],
)
def test_a_client_that_does_not_keep_the_code_is_understood(error: BaseException, kind: Kind) -> None:
    assert classify(error).kind is kind


def raised(outer: Exception, cause: BaseException) -> Exception:
    outer.__cause__ = cause
    return outer


def test_an_error_that_was_raised_from_one_of_the_client_is_that_one() -> None:
    assert classify(raised(ValueError("in other words"), arrived(OOM + IN_7))) == problem(Kind.OUT_OF_MEMORY)


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (ssl.SSLError(1, "wrong version number"), Kind.TLS),
        (TimeoutError(), Kind.TIMEOUT),
        (ConnectionRefusedError(111, "refused"), Kind.UNREACHABLE),
    ],
)
def test_a_connection_that_failed_is_known_by_its_reason(cause: BaseException, kind: Kind) -> None:
    assert classify(raised(redis.exceptions.ConnectionError("Error connecting"), cause)).kind is kind


def test_an_error_of_nobody_knows_whom_is_other_and_shown() -> None:
    assert classify(KeyError("x")) == Problem(Kind.OTHER, "the server refused a command ('x')")


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_words_that_tell_what_and_is_a_label(kind: Kind) -> None:
    assert len(problem(kind).text) > 20
    assert kind.value.replace("_", "").isalpha()
    assert kind.value == kind.value.lower()


def test_what_is_known_besides_is_in_the_text() -> None:
    assert "cache:6379" in classify(FAILURES[0][0]).text
    assert "ERR something new" not in classify(arrived("ERR something new")).text
    assert classify(arrived("ERR something new")).text.endswith("(something new)")


def test_no_argument_of_a_command_is_repeated() -> None:
    text = classify(arrived("ERR unknown command 'AUTH', with args beginning with: 'user' 'secret' ")).text
    assert "AUTH" in text
    assert "secret" not in text


def test_a_text_is_one_line_and_bounded() -> None:
    text = classify(arrived("ERR " + "x\r\n" * 10_000)).text
    assert "\n" not in text
    assert len(text) < 500


@pytest.mark.parametrize("kind", Kind)
def test_only_what_can_have_taken_keys_away_distrusts(kind: Kind) -> None:
    assert problem(kind).distrusts == (kind in {Kind.EVICTS, Kind.WRONG_TYPE})


@pytest.mark.parametrize(
    ("kind", "passes"),
    [
        (Kind.LOADING, True),
        (Kind.TIMEOUT, True),
        (Kind.READONLY, True),
        (Kind.OUT_OF_MEMORY, False),
        (Kind.WRONGPASS, False),
        (Kind.MISCONF, False),
        (Kind.CLUSTER, False),
    ],
)
def test_what_ends_by_itself_is_told_from_what_waits_for_somebody(kind: Kind, passes: bool) -> None:
    assert problem(kind).passes is passes
