"""The phases of connecting to Telegram: each has a time-out of its own, and an error that says where it stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

import anyio

from telewarden.telegram.feed import TelegramUnavailable


class Phase(Enum):
    """What connecting is about at a moment; the text says what does not come, and what to look at."""

    RESOLVE = "its host name was not resolved; check the DNS of this machine"
    TCP = "no TCP connection came about; check the network, the firewall and telegram.dc_address"
    KEY = "no authorisation key was agreed on; check that Telegram itself is there, and telegram.dc_public_key_file"
    HANDSHAKE = (
        "the connection stands, but nothing was answered on it; check what is between here and Telegram"
    )
    LOGIN = "it did not say whether the account is signed in; try again later"
    DIALOGS = "it did not say which channels there are; try again later"


@dataclass(frozen=True, slots=True)
class PhaseTimeouts:
    """How long each phase may take, in seconds."""

    resolve_s: float = 5.0
    tcp_s: float = 10.0
    key_s: float = 20.0
    handshake_s: float = 10.0
    login_s: float = 20.0
    dialogs_s: float = 60.0

    def of(self, phase: Phase) -> float:
        """One phase's."""
        return float(getattr(self, f"{phase.name.lower()}_s"))


class Phases:
    """Where one client's attempt to connect is. address: Telegram's, "host:port"."""

    def __init__(self, timeouts: PhaseTimeouts) -> None:
        self._timeouts = timeouts
        self._scope = anyio.CancelScope()
        self.address = "?"
        self.phase = Phase.RESOLVE
        self.problem = ""
        """What the system said of the last failure."""

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Bounds what is done within by the times of the phases that it enters. Raises TelegramUnavailable."""
        self.problem = ""
        # Two may overlap, such as a look for channels and an operator's: each has to end by its own time.
        with anyio.CancelScope() as scope:
            self._scope = scope
            try:
                yield
            except (TelegramUnavailable, OSError, EOFError) as error:
                raise TelegramUnavailable(self._text(f" ({self.problem or error})")) from error
        if scope.cancelled_caught:
            raise TelegramUnavailable(self._text(f" (not within {self._timeouts.of(self.phase):g} s)"))

    def enter(self, phase: Phase) -> None:
        """A phase begins, and with it its time."""
        self.phase = phase
        self._scope.deadline = anyio.current_time() + self._timeouts.of(phase)

    def _text(self, why: str) -> str:
        return f"connecting to Telegram at {self.address}: {self.phase.value}{why}"
