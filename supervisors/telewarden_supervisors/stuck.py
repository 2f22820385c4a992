"""What the root does about a worker that cannot be stopped."""

from __future__ import annotations

import faulthandler
import os
import sys

from telewarden_supervisors.errors import ChildStuck

EXIT_STATUS = 70
"""EX_SOFTWARE of sysexits.h: an internal error; systemd's Restart=on-failure starts a fresh process."""


def end_process(error: ChildStuck) -> None:
    """Writes the error and every thread's stack to standard error, then ends the process with status 70.

    No clean-up of the interpreter is tried: it would wait for what is stuck. Everything that could be
    stopped in order has been stopped by then. After OTP's `brutal_kill`, which a task has no match for.
    """
    print(error, file=sys.stderr, flush=True)  # noqa: T201 - the last words of the process
    faulthandler.dump_traceback(all_threads=True)
    os._exit(EXIT_STATUS)
