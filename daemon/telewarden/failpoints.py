"""Fail points: places where a test makes the process die as if by `kill -9`. Off unless testing.fail_point is set."""

import os
import signal


class FailPoint:
    """Ends the process at a named place.

    text: "NAME", or "NAME:N" for the N-th time that the place is reached; None: never.
    """

    def __init__(self, text: str | None) -> None:
        name, _, times = (text or "").partition(":")
        self._name, self._left = name, int(times or 1)

    def reach(self, name: str) -> None:
        """This place was reached."""
        if name and name == self._name:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
