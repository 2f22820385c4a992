"""A machine of its own, booted: systemd in a container over a throw-away copy of this machine's files.

Nothing of this machine is changed. All of it lives in its own namespaces, and the kernel ends it with the process that
started it.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec

from telewarden.sandbox.processes import ServerFailed, ServerProcess

REPOSITORY = Path(__file__).parents[2]
UNIT = "telewarden.service"
PROGRAM = "/opt/telewarden"
HIERARCHIES = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")
"""Where systemd keeps its control groups: one or two of them, by the version of control groups that the machine has."""

_BOOT_S = 30.0
_ASK_AGAIN_S = 0.02
_CGROUP = "telewarden-boot-"

_UNSHARE = (
    *("unshare", "--mount", "--propagation=private", "--pid", "--mount-proc"),
    *("--fork", "--kill-child=SIGKILL"),
)
_START = """
set -e
root=$1; shift
while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs"; shift; done
shift
mount --bind / "$root"
mount -t tmpfs -o mode=755 tmpfs /run
exec systemd-nspawn --directory="$root" "$@"
"""
"""In namespaces of its own, so that neither mount is seen outside: nspawn takes no "/", and notes things in /run."""

_GET = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
try:
    connection.request("GET", sys.argv[2], headers=json.loads(sys.argv[3]))
except ConnectionError:
    sys.exit()
answer = connection.getresponse()
sys.stdout.buffer.write(b"%d\\n" % answer.status + answer.read())
"""


class CannotBoot(Exception):
    """No systemd can be booted here; the message says why."""


def obstacle() -> str | None:
    """Why systemd-nspawn need not even be tried here; None if nothing is known to be in its way."""
    if os.geteuid() != 0:
        return "systemd-nspawn needs root"
    try:
        # The same namespaces as below: where they are forbidden, this says so.
        tried = subprocess.run(
            [*_UNSHARE, "--net", "mount", "--bind", "/", "/"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except FileNotFoundError:
        return "there is no unshare (util-linux)"
    if tried.returncode != 0:
        return f"no namespace can be made: {tried.stderr.strip()}"
    return None


class Machine:
    """A booted container. Made by `boot`."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process
        self._init: int | None = None

    def path(self, inside: str) -> Path:
        """Where a file of the container is seen from outside."""
        assert self._init is not None
        return Path(f"/proc/{self._init}/root") / inside.lstrip("/")

    async def run(self, *command: str, timeout_s: float = 30.0) -> str:
        """Run a command in the container as root. Returns what it wrote; raises AssertionError when it fails."""
        status, written = await self.try_(*command, timeout_s=timeout_s)
        assert status == 0, f"{' '.join(command)} ended with status {status}:\n{written}"
        return written

    async def try_(self, *command: str, timeout_s: float = 30.0) -> tuple[int, str]:
        """The same for a command that may fail: its exit status, and what it wrote."""
        with anyio.fail_after(timeout_s):
            done = await anyio.run_process(
                [*self._enter("--all"), *command],
                check=False,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": ""},
            )
        return done.returncode, done.stdout.decode(errors="replace")

    async def start(self, unit: str = UNIT) -> None:
        """`systemctl start`; raises AssertionError with the unit's journal when that fails."""
        try:
            await self.run("systemctl", "start", unit, timeout_s=20)
        except (AssertionError, TimeoutError) as error:
            raise AssertionError(f"{error}\n{await self.journal_end(unit)}") from error

    async def show(self, *names: str, unit: str = UNIT) -> dict[str, str]:
        """Properties of a unit."""
        lines = (await self.run("systemctl", "show", f"--property={','.join(names)}", unit)).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    async def until(self, timeout_s: float = 20.0, unit: str = UNIT, **wanted: str) -> None:
        """Until a unit's properties are as wanted."""
        found: dict[str, str] = {}
        try:
            with anyio.fail_after(timeout_s):
                while (found := await self.show(*wanted, unit=unit)) != wanted:
                    await anyio.sleep(_ASK_AGAIN_S)
        except TimeoutError:
            raise AssertionError(
                f"{unit} is {found} and not {wanted}; its journal ends with:\n{await self.journal_end()}"
            ) from None

    async def journal(self, *options: str, unit: str = UNIT) -> str:
        """What a unit, and systemd about it, have written."""
        return await self.run("journalctl", "--output=cat", "--no-pager", f"--unit={unit}", *options)

    async def journal_end(self, unit: str = UNIT) -> str:
        """The last lines of it."""
        return "\n".join((await self.journal(unit=unit)).splitlines()[-30:])

    async def cursor(self) -> str:
        """The journal's end as it is now: an option for `journal`, to be told what follows."""
        lines = (await self.run("journalctl", "--no-pager", "--lines=0", "--show-cursor")).splitlines()
        return f"--after-cursor={lines[-1].removeprefix('-- cursor: ')}"

    async def until_journal(self, text: str, since: str, timeout_s: float = 20.0) -> str:
        """Until the unit's journal has a text. since: from `cursor`. Returns what came since."""
        with anyio.fail_after(timeout_s):
            while text not in (written := await self.journal(since)):
                await anyio.sleep(_ASK_AGAIN_S)
        return written

    async def get(
        self, port: int, path: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes] | None:
        """A request over the container's own network: status and body; None while nothing listens."""
        asked = [str(port), path, msgspec.json.encode(headers or {}).decode()]
        with anyio.fail_after(15):
            done = await anyio.run_process(
                [*self._enter("--net"), sys.executable, "-I", "-S", "-c", _GET, *asked],
                stdin=subprocess.DEVNULL,
            )
        if not done.stdout:
            return None
        status, _, body = done.stdout.partition(b"\n")
        return int(status), body

    async def control(self, **request: str) -> dict[str, Any]:
        """Ask the daemon something over its socket."""
        path = self.path("/var/lib/telewarden/control.sock")
        with anyio.fail_after(15):
            async with await anyio.connect_unix(path) as stream:
                await stream.send(msgspec.json.encode(request) + b"\n")
                answer: dict[str, Any] = msgspec.json.decode(await stream.receive())
        return answer

    async def _runs(self) -> bool:
        self._init = self._find_init()
        if self._init is None:
            return False
        status, state = await self.try_("systemctl", "is-system-running")
        return status == 0 or state.strip() == "degraded"

    def _find_init(self) -> int | None:
        # unshare is the parent of nspawn, and nspawn of the container's first process.
        nspawn = _child(self._process.pid, lambda name: name == "systemd-nspawn")
        return None if nspawn is None else _child(nspawn, lambda name: name == "systemd")

    def _enter(self, namespaces: str) -> list[str]:
        return ["nsenter", f"--target={self._init}", namespaces, "--"]

    async def _end(self) -> None:
        # The first process of the namespace that holds all of it: the kernel kills the others before it is gone.
        first = _child(self._process.pid, lambda _: True) if self._process.running else None
        if first is not None:
            with suppress(ProcessLookupError):
                os.kill(first, signal.SIGKILL)
            with anyio.move_on_after(5):
                while self._process.running:
                    await anyio.sleep(_ASK_AGAIN_S)
        await self._process.kill()


@asynccontextmanager
async def boot(folder: Path, units: Mapping[str, str]) -> AsyncIterator[Machine]:
    """Boot a systemd that has the units given and its own, Telewarden in /opt, and no network but its loopback.

    folder: a new one, for what it needs outside. units: texts of files by their paths below /etc/systemd/system.
    Raises CannotBoot. At the end nothing of it is left.
    """
    root = folder / "root"
    for made in (root, folder / "units", folder / "program" / "bin"):
        made.mkdir(parents=True)
    for name, text in {**units, f"{UNIT}.d/python.conf": _environment()}.items():
        file = folder / "units" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    groups = _cgroups()
    try:
        for group in groups:
            group.mkdir()
    except OSError as error:
        await _remove_cgroups(groups)
        raise CannotBoot(f"no control group can be made: {error}") from error
    start = ["/bin/sh", "-c", _START, "sh", str(root), *map(str, groups), "--", *_options(folder)]
    process = ServerProcess(
        "systemd-nspawn",
        [_where("unshare"), *_UNSHARE[1:], *start],
        folder=folder,
        log_file=folder / "nspawn.log",
        account=None,
    )
    machine = Machine(process)
    try:
        try:
            await process.start(machine._runs, _BOOT_S)
        except ServerFailed as error:
            raise CannotBoot(str(error)) from error
        yield machine
    finally:
        with anyio.CancelScope(shield=True):
            await machine._end()
            await _remove_cgroups(groups)


def _options(folder: Path) -> list[str]:
    """How nspawn is started."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    _lay_out_program(folder / "program", version)
    binds = {
        folder / "units": "/etc/systemd/system",
        REPOSITORY / "systemd" / "telewarden.sysusers": "/etc/sysusers.d/telewarden.conf",
        # A virtual environment as README.md asks for, of what this test runs with: outside /home and /root.
        folder / "program": PROGRAM,
        Path(sys.base_prefix): "/opt/python",
        Path(sysconfig.get_path("purelib")): f"{PROGRAM}-packages",
        **{
            REPOSITORY / source: f"/opt/source/{source}"
            for source in ("daemon", "http", "supervisors", "tests")
        },
        # Neither mounted nor started: what this machine has.
        Path("/dev/null"): "/etc/fstab",
    }
    return [
        "--boot",
        "--volatile=overlay",
        "--private-network",
        "--register=no",
        "--keep-unit",
        f"--machine={_CGROUP}{os.getpid()}",
        "--console=pipe",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        *(
            f"--tmpfs={path}:mode=755"
            for path in ("/opt", "/etc/telewarden", "/var/lib/telewarden", "/var/log")
        ),
        *(f"--bind-ro={outside}:{inside}" for outside, inside in binds.items()),
        "--",
        "--unit=basic.target",
    ]


def _lay_out_program(folder: Path, version: str) -> None:
    """The virtual environment's own files; the rest is bound beside it."""
    packages = folder / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("home = /opt/python/bin\ninclude-system-site-packages = false\n")
    (folder / "bin" / "python3").symlink_to(f"/opt/python/bin/{version}")
    sources = [f"/opt/source/{source}" for source in ("daemon", "http", "supervisors", "tests")]
    (packages / "telewarden.pth").write_text("\n".join([*sources, f"{PROGRAM}-packages", ""]))
    command = folder / "bin" / "telewarden"
    command.write_text(f"#!{PROGRAM}/bin/python3\nfrom telewarden.cli import main\nmain()\n")
    command.chmod(0o755)


def _environment() -> str:
    """Where this Python's library is there, if it has one: it was told an absolute path when it was made."""
    library = Path(sys.base_prefix, "lib", str(sysconfig.get_config_var("INSTSONAME")))
    shared = library.suffix != ".a" and library.is_file()
    return "[Service]\nEnvironment=LD_LIBRARY_PATH=/opt/python/lib\n" if shared else ""


def _where(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise CannotBoot(f"there is no {program}")
    return found


def _child(parent: int, named: Callable[[str], bool]) -> int | None:
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            before, _, after = (process / "stat").read_text().rpartition(")")
        except OSError:
            continue  # it has ended
        if int(after.split()[1]) == parent and named(before.partition("(")[2]):
            return int(process.name)
    return None


def _cgroups() -> list[Path]:
    """What is to be its control group, in each hierarchy that systemd uses: below this process's own."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, place = line.split(":", 2)
        own[controllers or number] = place.lstrip("/")
    groups = []
    for hierarchy in map(Path, HIERARCHIES):
        path = own.get("name=systemd" if hierarchy.name == "systemd" else "0")
        if path is not None and (hierarchy / path / "cgroup.procs").exists():
            _remove_abandoned(hierarchy / path)
            groups.append(hierarchy / path / f"{_CGROUP}{os.getpid()}")
    return groups


def _remove_abandoned(parent: Path) -> None:
    """What a killed test could not remove."""
    for group in parent.glob(f"{_CGROUP}*"):
        if not Path("/proc", group.name.removeprefix(_CGROUP)).exists():
            _remove_tree(group)


async def _remove_cgroups(groups: Sequence[Path]) -> None:
    """Once the last process has left them."""
    with anyio.fail_after(10):
        for group in groups:
            while not _remove_tree(group):
                await anyio.sleep(_ASK_AGAIN_S)


def _remove_tree(group: Path) -> bool:
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            Path(folder).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
