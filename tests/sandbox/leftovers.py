"""What still runs after a server should have ended."""

from pathlib import Path

import anyio


def processes_in(folder: Path) -> list[int]:
    """Which processes work in a folder or below it."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if _works_in(entry, folder.resolve())]


async def nothing_runs_in(folder: Path) -> None:
    """Wait until no process works in a folder or below it. Raises TimeoutError if that takes too long."""
    with anyio.fail_after(10):
        while processes_in(folder):
            await anyio.sleep(0.01)


def _works_in(process: Path, folder: Path) -> bool:
    try:
        where = (process / "cwd").readlink()
    except OSError:
        return False  # not a process, another user's, or it has ended
    return Path(str(where).removesuffix(" (deleted)")).is_relative_to(folder)
