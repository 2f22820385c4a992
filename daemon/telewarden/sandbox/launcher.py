"""Becomes a server that ends with the process that started it. A script, never imported; needs nothing installed.

    python -I -S launcher.py PARENT_PID SIGNAL (UID:GID | -) (search | -) PROGRAM ARGUMENT…

A program of its own rather than a preexec_fn, which may deadlock where there are threads. Linux only: PR_SET_PDEATHSIG
(PR_SET_PDEATHSIG(2const)) has the kernel send SIGNAL to this process when the thread that started it ends, in whatever
way.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Capabilities(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def main(arguments: list[str]) -> None:
    """Never returns: becomes PROGRAM, or ends with a line on standard error and status 125."""
    parent, orphan_signal, account, search, *command = arguments
    try:
        os.setpgid(0, 0)
        os.umask(0o077)
        if account != "-":
            user, _, group = account.partition(":")
            _become(int(user), int(group), search=search == "search")
        # Last: a change of user clears it. execve keeps it, since it grants nothing.
        _prctl(_PR_SET_PDEATHSIG, int(orphan_signal))
        if os.getppid() != int(parent):
            sys.exit(125)
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        print(f"cannot start {command[0]}: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(125)


def _become(user: int, group: int, *, search: bool) -> None:
    """Take on another user's identity for good; search: but keep the right to pass through any directory."""
    capability = _search_capability() if search else None
    if capability is not None:
        # Else access(2), which PostgreSQL uses to find its own files, would leave the capability out.
        _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    if capability is not None:
        _write_capabilities(1 << capability)
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def _search_capability() -> int:
    """The weakest capability at hand that passes through directories. Raises PermissionError where there is none."""
    permitted = _read_capabilities().permitted
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if permitted >> capability & 1:
            return capability
    raise PermissionError(
        "its directory is closed to other users, and this root may not enter every directory"
    )


def _read_capabilities() -> _Capabilities:
    found = (_Capabilities * 2)()
    header = _Header(_CAPABILITY_VERSION_3, 0)
    _check(_libc.capget(ctypes.byref(header), found))
    first: _Capabilities = found[0]
    return first


def _write_capabilities(mask: int) -> None:
    wanted = (_Capabilities * 2)(_Capabilities(mask, mask, mask))
    header = _Header(_CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(ctypes.byref(header), wanted))


def _prctl(option: int, first: int, second: int = 0) -> None:
    arguments = [ctypes.c_ulong(value) for value in (first, second, 0, 0)]
    _check(_libc.prctl(ctypes.c_int(option), *arguments))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(sys.argv[1:])
