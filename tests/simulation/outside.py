"""What outlives a process, and is shared."""

from collections.abc import Callable
from dataclasses import dataclass

from simulation.journal_file import MemoryFile
from simulation.servers import Servers
from simulation.store import Store
from simulation.weather import Spawn, Weather

CHANNELS = (-1001, -1002)
LEASE_S = 3.0


@dataclass(frozen=True)
class Outside:
    """What outlives a process, and is shared."""

    servers: Servers
    store: Store
    file: MemoryFile
    weather: Weather
    spawn: Spawn
    say: Callable[[str], None]
