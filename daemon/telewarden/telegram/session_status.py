"""What can be told of a session: everything but what it holds."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from telewarden.telegram.session import LOGIN_HINT, owner_of
from telewarden.telegram.session_file import SessionDamaged, SessionUnreadable, read_facts
from telewarden.telegram.session_online import Verdict


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A session as it looks from outside.

    usable: as far as is known; problem: why not, and what to do. mode: in octal. digest: names the key without telling
    it. owner_pid: the process that uses it. asked: whether Telegram was; reason: why not, or why it does not accept it.
    """

    file: Path
    usable: bool = False
    problem: str | None = None
    mode: int | None = None
    size_bytes: int | None = None
    updated_at: datetime | None = None
    digest: str | None = None
    dc_id: int | None = None
    owner_pid: str | None = None
    asked: bool = False
    verdict: Verdict | None = None
    reason: str = "not asked; with --online it is"

    def not_asked(self, reason: str) -> "SessionStatus":
        """It, with why Telegram was not asked."""
        return replace(self, reason=reason)

    def unanswered(self, reason: str) -> "SessionStatus":
        """It, with why Telegram did not answer: then nobody knows whether it can be used."""
        problem = f"whether Telegram accepts the session is unknown: {reason}"
        return replace(self, usable=False, problem=problem, asked=True, reason=reason)

    def judged(self, verdict: Verdict) -> "SessionStatus":
        """It, with what Telegram says."""
        problem = f"Telegram does not accept the session ({verdict.reason}); {LOGIN_HINT}"
        return replace(
            self,
            usable=verdict.accepted,
            problem=None if verdict.accepted else problem,
            asked=True,
            verdict=verdict,
        )

    def as_json(self) -> dict[str, Any]:
        """The same, for machines."""
        verdict = self.verdict
        return {
            "file": str(self.file),
            "exists": self.mode is not None,
            "usable": self.usable,
            "problem": self.problem,
            "mode": None if self.mode is None else f"{self.mode:04o}",
            "size_bytes": self.size_bytes,
            "updated_at": None if self.updated_at is None else self.updated_at.isoformat(timespec="seconds"),
            "digest": self.digest,
            "dc_id": self.dc_id,
            "owner_pid": int(self.owner_pid) if self.owner_pid and self.owner_pid.isdecimal() else None,
            "in_use": self.owner_pid is not None,
            "online": {
                "asked": self.asked,
                "accepted": None if verdict is None else verdict.accepted,
                "account": None if verdict is None else verdict.account,
                "reason": self.reason if verdict is None else verdict.reason,
            },
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """The same, for people: (name, value)."""
        yield "session", str(self.file)
        yield "usable", "yes" if self.usable else "no"
        if self.mode is not None:
            open_to_others = f": others can read it; run: chmod 600 {self.file}" if self.mode & 0o077 else ""
            yield "mode", f"{self.mode:04o}{open_to_others}"
            yield "size", f"{self.size_bytes} bytes"
            yield "updated", f"{self.updated_at:%Y-%m-%d %H:%M:%S} UTC"
        if self.digest is not None:
            yield "key", f"{self.digest} (names it, and does not tell it)"
            yield "data centre", str(self.dc_id)
        yield "in use", "by nobody" if self.owner_pid is None else f"by process {self.owner_pid}"
        if self.verdict is None:
            yield "Telegram", self.reason
        elif self.verdict.accepted:
            yield "Telegram", f"accepts it, as {self.verdict.account}"
        else:
            yield "Telegram", f"does not accept it: {self.verdict.reason}"


def look_at(file: Path) -> SessionStatus:
    """What can be told without Telegram; the session may be in use. It changes nothing of it."""
    status = SessionStatus(file)
    try:
        known = file.stat()
        status = replace(
            status,
            owner_pid=owner_of(file),
            mode=known.st_mode & 0o7777,
            size_bytes=known.st_size,
            updated_at=datetime.fromtimestamp(known.st_mtime, UTC),
        )
        facts = read_facts(file)
    except FileNotFoundError:
        return replace(status, problem=f"there is no session at {file}; {LOGIN_HINT}")
    except SessionDamaged as error:
        return replace(status, problem=f"{error}; restore a copy of it, or {LOGIN_HINT}")
    except SessionUnreadable as error:
        return replace(status, problem=str(error))
    except OSError as error:
        problem = (
            f"{file} cannot be looked at ({error.strerror}); run this as the user that the daemon runs as"
        )
        return replace(status, problem=problem)
    return replace(status, usable=True, digest=facts.digest, dc_id=facts.dc_id)
