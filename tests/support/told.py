"""What a worker says of itself, kept."""

import anyio

from telewarden.sandbox.alone import AloneContext


class Told(AloneContext):
    """The context of a worker that runs alone."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def status(self, text: str) -> None:
        """See WorkerContext."""
        self.said.append(text)

    async def says(self, text: str, times: int = 2) -> None:
        """Until it has said so: more than once, if it is to be seen trying again by itself."""
        with anyio.fail_after(60):
            while sum(text in said for said in self.said) < times:
                await anyio.sleep(0.01)
