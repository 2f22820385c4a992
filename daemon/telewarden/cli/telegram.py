"""`telewarden sandbox telegram`: the local Telegram by itself, for developing a client against it."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from telewarden.cli.options import fail


def telegram(
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Private folder for the server's key, its control socket, and its channels, messages and clients, "
            "which it has again after a restart; made if missing. "
            "Without it: a temporary one, removed at the end."
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 takes a free one and tells it.")
    ] = 0,
    channels: Annotated[
        int, typer.Option(min=1, max=300, help="How many channels a new folder begins with.")
    ] = 3,
    phone: Annotated[str, typer.Option(help="Phone number of the account.")] = "+5511900000000",
    code: Annotated[str, typer.Option(help="Code that signs it in.")] = "22222",
    password: Annotated[
        str | None,
        typer.Option(help="Password of the account, which is made up like its code; none without it."),
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File with that password, instead of --password.")
    ] = None,
) -> None:
    """Serve MTProto to unmodified clients on 127.0.0.1, until stopped.

    The first line of output is a JSON object that tells how to reach it: dc_address and public_key_file are what the
    settings telegram.dc_address and telegram.dc_public_key_file want; phone and code sign in; control is the socket
    to post and to inject faults through.
    """
    from telewarden.sandbox.telegram.server import ServerOptions, run

    if password is not None and password_file is not None:
        fail("--password and --password-file exclude each other")
    failure: BaseException | None = None
    with ExitStack() as at_end:
        try:
            if password_file is not None:
                password = password_file.read_text(encoding="utf-8").strip()
            if folder is None:
                folder = Path(
                    at_end.enter_context(tempfile.TemporaryDirectory(prefix="telewarden-telegram-"))
                )
            options = ServerOptions(
                folder, port=port, channels=channels, phone=phone, code=code, password=password
            )
            run(options)
        except* (OSError, ValueError) as group:
            failure = _first(group)
    if failure is not None:
        fail(f"the local Telegram cannot run: {failure}")


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
