"""What people write when they mean a channel: a name, a link or an id. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{3,31}")
_HASH = re.compile(r"[A-Za-z0-9_-]{8,64}")
_HOSTS = ("t.me", "telegram.me", "telegram.dog")
_MARK = 10**12
_HINT = "write @name, a t.me link, or an id such as -1001649127710"


class BadReference(ValueError):
    """It names no channel; the message says what would."""


@dataclass(frozen=True, slots=True)
class ByName:
    """A public channel's @name, without the @."""

    name: str


@dataclass(frozen=True, slots=True)
class ByInvite:
    """The secret part of an invite link."""

    invite: str


@dataclass(frozen=True, slots=True)
class ById:
    """A marked id, -100…"""

    channel_id: int


Reference = ByName | ByInvite | ById


def parse_reference(text: str) -> Reference:
    """What a person means. Raises BadReference."""
    text = text.strip()
    if re.fullmatch(r"-?\d{1,18}", text):
        return _by_id(int(text))
    if text.startswith("tg:"):
        return _app_link(text)
    host, _, path = re.sub(r"^https?://(www\.)?", "", text, flags=re.IGNORECASE).partition("/")
    if host.lower() in _HOSTS:
        return _web_link(path)
    return _by_name(text.removeprefix("@"), text)


def _by_id(number: int) -> ById:
    if number > 0:
        # A positive number is the bare id, as links write it, or the marked one that has lost its sign.
        number = -number if number > _MARK else -_MARK - number
    if number >= -_MARK:
        raise BadReference(
            f"{number} is the id of a private chat or a small group, not of a channel; {_HINT}"
        )
    return ById(number)


def _app_link(text: str) -> Reference:
    query = parse_qs(urlsplit(text).query)
    for name, kind in (("domain", _by_name), ("invite", _by_invite)):
        if name in query:
            return kind(query[name][0], text)
    if "channel" in query and query["channel"][0].isdecimal():
        return _by_id(int(query["channel"][0]))
    raise BadReference(f"{text!r} names no channel; {_HINT}")


def _web_link(path: str) -> Reference:
    parts = [part for part in urlsplit(path).path.split("/") if part]
    match parts:
        case ["c", number, *_] if number.isdecimal():
            return _by_id(int(number))
        case ["joinchat", invite, *_]:
            return _by_invite(invite, path)
        case ["s", name, *_]:
            return _by_name(name, path)
        case [first, *_] if first.startswith("+"):
            return _by_invite(first[1:], path)
        case [name, *_]:
            return _by_name(name, path)
    raise BadReference(f"the link names no channel; {_HINT}")


def _by_name(name: str, text: str) -> ByName:
    if not _NAME.fullmatch(name):
        raise BadReference(f"{text!r} is no channel's name; {_HINT}")
    return ByName(name)


def _by_invite(invite: str, text: str) -> ByInvite:
    if not _HASH.fullmatch(invite):
        raise BadReference(f"that is no invite link; {_HINT}")
    return ByInvite(invite)
