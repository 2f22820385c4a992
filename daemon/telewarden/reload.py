"""Settings that change while the daemon runs: which can be taken, and which need a restart."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from telewarden.configuration import SettingsInvalid
from telewarden.settings import SECTIONS, Settings

log = structlog.get_logger(__name__)

Taker = Callable[[Settings], object]
"""Brings one setting into the running parts."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """taken: names of the settings that changed; left: of those that changed and need a restart to do so."""

    taken: tuple[str, ...]
    left: tuple[str, ...]


class Reloader:
    """Reads the settings again and takes over what can be.

    running: what the daemon was started with. read: reads afresh, may raise SettingsInvalid. takers: by the
    setting's name, "section.name"; a changed setting without one needs a restart.
    """

    def __init__(self, running: Settings, read: Callable[[], Settings], takers: Mapping[str, Taker]) -> None:
        self._running = _flat(running)
        self._read = read
        self._takers = takers

    def reload(self) -> Reloaded | None:
        """Take over what changed. None: the settings are unusable, and everything stays as it is."""
        try:
            settings = self._read()
        except SettingsInvalid as invalid:
            for problem in invalid.problems:
                log.error("settings_not_reloaded", problem=str(problem), effect="the old ones stay")
            return None
        now = _flat(settings)
        changed = [name for name, value in now.items() if value != self._running[name]]
        taken = tuple(name for name in changed if name in self._takers)
        left = tuple(name for name in changed if name not in self._takers)
        for name in taken:
            self._takers[name](settings)
            self._running[name] = now[name]
        log.info("settings_reloaded", changed=taken)
        if left:
            log.warning("settings_need_a_restart", settings=left, effect="the old values stay until then")
        return Reloaded(taken, left)


def _flat(settings: Settings) -> dict[str, object]:
    flat: dict[str, object] = {"state_dir": settings.state_dir}
    for section in SECTIONS:
        flat |= {f"{section}.{name}": value for name, value in getattr(settings, section)}
    return flat
