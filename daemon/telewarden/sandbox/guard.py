"""Kills frozen processes when whoever froze them dies. Run as a script, never imported; needs nothing installed.

    python -I -S guard.py PID… < a pipe that the freezing process holds open

The kernel kills a server when its parent dies (see `launcher`); its children end because they notice, and what is
frozen notices nothing.
"""

import os
import signal
import sys


def main(processes: list[int]) -> None:
    """Wait for the pipe's end, then kill."""
    sys.stdin.buffer.read()
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
