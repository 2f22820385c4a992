"""Ports for servers that are stopped and started again on the same port."""

import random
import socket
from pathlib import Path

HOST = "127.0.0.1"
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _HIGHEST = 10_000, 32_767


def free_port() -> int:
    """A port of 127.0.0.1 that is free now, and outside the range that outgoing connections take theirs from.

    Within that range, a client that keeps trying to reach a stopped server can be given the server's own port, connect
    to itself (TCP's simultaneous open) and so keep the server from coming back.
    """
    highest = min(_HIGHEST, _first_outgoing_port() - 1)
    if highest - _LOWEST < 100:
        return _bound_port(0)
    for _ in range(1000):
        try:
            return _bound_port(random.randint(_LOWEST, highest))
        except OSError:
            continue
    return _bound_port(0)


def _first_outgoing_port() -> int:
    try:
        return int(_RANGE_FILE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _HIGHEST + 1


def _bound_port(port: int) -> int:
    with socket.socket() as probe:
        probe.bind((HOST, port))
        return int(probe.getsockname()[1])
