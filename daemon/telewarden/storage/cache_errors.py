"""What is wrong with the cache's server, and what to do about it: a kind and words for each error. Pure.

An error of a command inside a script comes in other words than the command's own, and in other ones from each server:
Redis 6.2 wraps it (`ERR Error running script (call to f_…): @user_script:1: @user_script: 1: -OOM command not …`),
Redis 7 and Valkey append the place (`OOM command not … script: …, on @user_script:1.`). What counts is the code, its
first word.
"""

import asyncio
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import redis.exceptions
import redis.sentinel

_SHOWN_CHARS = 200


class Kind(StrEnum):
    """What can be wrong; few and fixed, so that they can be a metric's label."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS = "tls"
    NO_MASTER = "no_master"
    LOADING = "loading"
    BUSY = "busy"
    TOO_MANY_CLIENTS = "too_many_clients"
    READONLY = "readonly"
    NO_REPLICAS = "no_replicas"
    OUT_OF_MEMORY = "out_of_memory"
    EVICTS = "evicts"
    MISCONF = "misconf"
    NO_AUTH = "no_auth"
    WRONGPASS = "wrong_password"
    NO_PERMISSION = "no_permission"
    NO_DATABASE = "no_database"
    CLUSTER = "cluster"
    CROSS_SLOT = "cross_slot"
    WRONG_TYPE = "wrong_type"
    MISSING_COMMAND = "missing_command"
    PROTOCOL = "protocol"
    OTHER = "other"


_DISTRUSTS = frozenset({Kind.EVICTS, Kind.WRONG_TYPE})
_PASSES = frozenset(
    {
        Kind.UNREACHABLE,
        Kind.TIMEOUT,
        Kind.NO_MASTER,
        Kind.LOADING,
        Kind.BUSY,
        Kind.TOO_MANY_CLIENTS,
        Kind.READONLY,
        Kind.NO_REPLICAS,
    }
)

_WORDS = {
    Kind.UNREACHABLE: "the server cannot be reached; check that it runs, and cache.url",
    Kind.TIMEOUT: "the server does not answer within cache.timeout_s; it is frozen, overloaded or cut off",
    Kind.TLS: "there is no TLS connection to the server; check that its certificate is valid for the host in cache.url "
    "and signed by a CA that is trusted here (?ssl_ca_certs=FILE in cache.url names one)",
    Kind.NO_MASTER: "no Sentinel knows a master that answers; if no fail-over ends this, check the Sentinels, their "
    "quorum, and the name of the master in cache.url",
    Kind.LOADING: "the server has started and is loading its data; that passes by itself",
    Kind.BUSY: "the server is busy running somebody's script; if it does not end, run SCRIPT KILL there",
    Kind.TOO_MANY_CLIENTS: "the server has as many clients as it admits; raise maxclients there, or find out "
    "who holds them",
    Kind.READONLY: "the server is a replica, which cannot be written to; if no fail-over is under way, let cache.url "
    "name the master, or the Sentinels",
    Kind.NO_REPLICAS: "the server refuses writes because it has too few good replicas; bring them back, or lower "
    "min-replicas-to-write there",
    Kind.OUT_OF_MEMORY: "the server is out of memory (maxmemory) and refuses writes; raise maxmemory there, or remove "
    "what others keep in it",
    Kind.EVICTS: "the server throws keys away when its memory is full, so that messages could be missing in it; set "
    "maxmemory-policy noeviction there",
    Kind.MISCONF: "the server cannot save to its disk and refuses writes; free or mend its disk, or, since nothing in "
    "this cache has to be saved, set save '' or stop-writes-on-bgsave-error no there",
    Kind.NO_AUTH: "the server wants a password; put it into cache.url (redis://USER:PASSWORD@host:port/0)",
    Kind.WRONGPASS: "the server does not accept the user and password in cache.url, or the user is disabled; "
    "correct cache.url, or the user there (ACL SETUSER)",
    Kind.NO_PERMISSION: "the server's user in cache.url may not do what is needed; docs/cache.md lists the rights, for "
    "ACL SETUSER",
    Kind.NO_DATABASE: "the server does not have the database number in cache.url; use /0, or raise databases there",
    Kind.CLUSTER: "the server is a node of a cluster, which spreads keys that belong together over its nodes; name a "
    "single server in cache.url, or Sentinels",
    Kind.CROSS_SLOT: "the server is a cluster, or a proxy to one, and refuses keys of several slots in one call; name "
    "a single server in cache.url, or Sentinels",
    Kind.WRONG_TYPE: "a key of the cache holds a value of another type: somebody else writes under cache.prefix; give "
    "each program a prefix of its own",
    Kind.MISSING_COMMAND: "the server does not offer a command that is needed; it needs EVALSHA, SCRIPT LOAD and INFO, "
    "not renamed, and Redis 6.2 or Valkey 7.2, or newer",
    Kind.PROTOCOL: "what answers does not speak as a Redis server does; check host, port and scheme in cache.url",
    Kind.OTHER: "the server refused a command",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong. text: what happened and what to do, for the operator; it holds no password and no message."""

    kind: Kind
    text: str

    @property
    def distrusts(self) -> bool:
        """What was proven of the cache may be gone, and it has to be warmed; without, it is only down for now."""
        return self.kind in _DISTRUSTS

    @property
    def passes(self) -> bool:
        """It is expected to end by itself, as a restart or a fail-over does; the others wait for somebody."""
        return self.kind in _PASSES


def problem(kind: Kind, detail: str = "") -> Problem:
    """The problem of a kind, in its words. detail: what else is known, shown in brackets; one line, no secret."""
    words = _WORDS[kind]
    return Problem(kind, f"{words} ({detail})" if detail else words)


def classify(error: BaseException) -> Problem:
    """What an error of the client, or one that was raised from such an error, tells of the server."""
    found = Kind.OTHER
    for known in _origins(error):
        kind = _kind(known)
        if kind is Kind.TLS or kind is Kind.TIMEOUT:
            # Wrapped in words of a failed connection.
            return problem(kind, _detail(known))
        if found is Kind.OTHER and kind is not Kind.OTHER:
            found, error = kind, known
    return problem(found, _detail(error) if found in _DETAILED else "")


_DETAILED = frozenset(
    {Kind.UNREACHABLE, Kind.NO_MASTER, Kind.MISSING_COMMAND, Kind.NO_PERMISSION, Kind.PROTOCOL, Kind.OTHER}
)


def _origins(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised from, as far as they are of the client or the system."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(
            seen, redis.exceptions.RedisError | OSError | RuntimeError | asyncio.IncompleteReadError
        ):
            yield seen
        seen = seen.__cause__


# Only by class, for clients that do not keep the code.
_CLASSES: tuple[tuple[type[BaseException], Kind], ...] = (
    (redis.sentinel.MasterNotFoundError, Kind.NO_MASTER),
    (redis.exceptions.BusyLoadingError, Kind.LOADING),
    (redis.exceptions.ReadOnlyError, Kind.READONLY),
    (redis.exceptions.MasterDownError, Kind.READONLY),
    (redis.exceptions.OutOfMemoryError, Kind.OUT_OF_MEMORY),
    (redis.exceptions.NoPermissionError, Kind.NO_PERMISSION),
    (redis.exceptions.ClusterCrossSlotError, Kind.CROSS_SLOT),
    (redis.exceptions.ClusterDownError, Kind.CLUSTER),
    (redis.exceptions.AskError, Kind.CLUSTER),
    (redis.exceptions.TryAgainError, Kind.CLUSTER),
    (redis.exceptions.NoScriptError, Kind.MISSING_COMMAND),
    (redis.exceptions.AuthenticationError, Kind.WRONGPASS),
    (redis.exceptions.TimeoutError, Kind.TIMEOUT),
    (redis.exceptions.InvalidResponse, Kind.PROTOCOL),
    (ssl.SSLError, Kind.TLS),
    (TimeoutError, Kind.TIMEOUT),
    (OSError, Kind.UNREACHABLE),
    # uvloop's word for a transport that was closed while it was written to.
    (RuntimeError, Kind.UNREACHABLE),
    (asyncio.IncompleteReadError, Kind.UNREACHABLE),
)

_CODES = {
    "LOADING": Kind.LOADING,
    "BUSY": Kind.BUSY,
    "READONLY": Kind.READONLY,
    "MASTERDOWN": Kind.READONLY,
    "NOREPLICAS": Kind.NO_REPLICAS,
    "OOM": Kind.OUT_OF_MEMORY,
    "MISCONF": Kind.MISCONF,
    "NOAUTH": Kind.NO_AUTH,
    "DENIED": Kind.NO_AUTH,
    "WRONGPASS": Kind.WRONGPASS,
    "NOPERM": Kind.NO_PERMISSION,
    "CROSSSLOT": Kind.CROSS_SLOT,
    "CLUSTERDOWN": Kind.CLUSTER,
    "MOVED": Kind.CLUSTER,
    "ASK": Kind.CLUSTER,
    "TRYAGAIN": Kind.CLUSTER,
    "WRONGTYPE": Kind.WRONG_TYPE,
    "NOSCRIPT": Kind.MISSING_COMMAND,
    "NOPROTO": Kind.PROTOCOL,
}

# Errors that have no code of their own (ERR), or lose it inside a script.
_PHRASES = (
    ("max number of clients reached", Kind.TOO_MANY_CLIENTS),
    ("script killed by user", Kind.BUSY),
    ("authentication required", Kind.NO_AUTH),
    ("already authenticated", Kind.NO_AUTH),
    ("invalid password", Kind.WRONGPASS),
    ("without any password configured", Kind.WRONGPASS),
    ("no permissions to", Kind.NO_PERMISSION),
    ("the user executing the script can't", Kind.NO_PERMISSION),
    ("acl failure in script", Kind.NO_PERMISSION),
    ("db index is out of range", Kind.NO_DATABASE),
    ("invalid db index", Kind.NO_DATABASE),
    ("select is not allowed in cluster mode", Kind.CLUSTER),
    ("access a non local key in a cluster", Kind.CLUSTER),
    ("access a slot not served", Kind.CLUSTER),
    ("do not hash to the same slot", Kind.CROSS_SLOT),
    ("don't hash to the same slot", Kind.CROSS_SLOT),
    ("unknown command", Kind.MISSING_COMMAND),
    ("unknown redis command called from", Kind.MISSING_COMMAND),
    ("unknown subcommand", Kind.MISSING_COMMAND),
    ("cannot connect to sentinel", Kind.NO_MASTER),
    ("no master found", Kind.NO_MASTER),
    ("no connection available", Kind.TIMEOUT),
    ("certificate_verify_failed", Kind.TLS),
    ("[ssl", Kind.TLS),
    ("protocol error", Kind.PROTOCOL),
)

_IN_A_SCRIPT = re.compile(
    r"^(?:ERR )?Error (?:running|compiling) script \([^)]*\): (?:@user_script: ?\d+: )*-?", re.IGNORECASE
)
_COMMAND = re.compile(r"unknown command [`']?([^`', ]{1,40})", re.IGNORECASE)


def _kind(error: BaseException) -> Kind:
    text = _IN_A_SCRIPT.sub("", str(error))
    # A reply whose code the client knows comes without it, and has it in status_code.
    code = getattr(error, "status_code", None)
    if (kind := _CODES.get(code or "") or _CODES.get(text.partition(" ")[0])) is not None:
        return kind
    lowered = text.lower()
    for phrase, kind in _PHRASES:
        if phrase in lowered:
            return kind
    for kind_of_error, kind in _CLASSES:
        if isinstance(error, kind_of_error):
            return kind
    if isinstance(error, redis.exceptions.ConnectionError):
        return Kind.UNREACHABLE
    return Kind.OTHER


def _detail(error: BaseException) -> str:
    """The server's own words, as far as they can hold no secret: an unknown command is repeated with its arguments."""
    text = str(error)
    if (command := _COMMAND.search(text)) is not None:
        return command[1]
    text = " ".join(_IN_A_SCRIPT.sub("", text).split())
    return text[:_SHOWN_CHARS].rstrip(" .;")
