"""What a killed PostgreSQL leaves in the kernel: a System V segment of some bytes, its lock against a second start."""

import ctypes
from pathlib import Path

_IPC_RMID = 0
_SEGMENT_LINE = 6


def remove_segment(lock_file: Path) -> None:
    """Remove the segment that a postmaster.pid names; a server that starts there again does so itself.

    Only after every process of that server has ended. Nothing happens where it is gone, or cannot be removed.
    """
    try:
        lines = lock_file.read_text(encoding="ascii").splitlines()
    except OSError:
        return
    words = lines[_SEGMENT_LINE].split() if len(lines) > _SEGMENT_LINE else []
    if len(words) == 2 and words[1].isdigit():
        ctypes.CDLL(None).shmctl(int(words[1]), _IPC_RMID, None)
