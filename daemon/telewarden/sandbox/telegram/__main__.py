"""`python -m telewarden.sandbox.telegram`: the local Telegram in a process of its own."""

import argparse
from pathlib import Path

from telewarden.sandbox.telegram.server import ServerOptions, run


def main() -> None:
    """Read the options and serve."""
    defaults = ServerOptions(Path())
    parser = argparse.ArgumentParser(
        description="An MTProto server on 127.0.0.1 that unmodified clients log in to."
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="private folder for key and control socket"
    )
    parser.add_argument("--port", type=int, default=defaults.port)
    parser.add_argument("--channels", type=int, default=defaults.channels)
    parser.add_argument("--ids-apart", type=int, default=defaults.ids_apart)
    parser.add_argument("--phone", default=defaults.phone)
    parser.add_argument("--code", default=defaults.code)
    parser.add_argument("--password", default=defaults.password)
    run(ServerOptions(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
