"""A worker without a supervisor."""


class AloneContext:
    """A worker's context that nobody listens to."""

    name = "alone"

    def ready(self) -> None:
        """Nobody waits for it."""

    def beat(self) -> None:
        """Nobody watches it."""

    def status(self, text: str) -> None:
        """Nobody reads it."""
