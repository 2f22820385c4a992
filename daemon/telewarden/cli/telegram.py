"""`telewarden sandbox telegram`: the local Telegram by itself, for developing a client against it."""

from pathlib import Path
from typing import Annotated

import typer

from telewarden.cli.options import fail


def telegram(
    folder: Annotated[
        Path,
        typer.Option(help="Private folder for the server's key and its control socket; made if missing."),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 takes a free one and tells it.")
    ] = 0,
    channels: Annotated[int, typer.Option(min=1, max=300, help="How many channels to begin with.")] = 3,
    phone: Annotated[str, typer.Option(help="Phone number of the account.")] = "+5511900000000",
    code: Annotated[str, typer.Option(help="Code that signs it in.")] = "22222",
    password_file: Annotated[
        Path | None, typer.Option(help="File with its password; without one it has none.")
    ] = None,
) -> None:
    """Serve MTProto to unmodified clients on 127.0.0.1, until stopped.

    The first line of output is a JSON object with the port, the public key's file and the control socket.
    """
    from telewarden.sandbox.telegram.server import ServerOptions, run

    try:
        password = None if password_file is None else password_file.read_text(encoding="utf-8").strip()
        run(ServerOptions(folder, port=port, channels=channels, phone=phone, code=code, password=password))
    except* OSError as group:
        fail(f"the local Telegram cannot run: {_first(group)}")


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
