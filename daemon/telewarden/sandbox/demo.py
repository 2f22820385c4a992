"""`telewarden demo`: the main job at work on embedded servers and a local Telegram, with a live table and a verdict."""

import shutil
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table

from telewarden.sandbox.exercise import (
    Exercise,
    Fault,
    Result,
    daemon_running,
    percentiles,
    postgres_down,
    valkey_down,
)
from telewarden.sandbox.stack import start_stack

_REFRESH_S = 0.5
_OUTAGE_S = 3.0

FAULTS = (
    Fault("PostgreSQL killed, back after 3 s", 0.4, lambda stack: postgres_down(stack, _OUTAGE_S)),
    Fault("Valkey killed, back empty after 3 s", 0.65, lambda stack: valkey_down(stack, _OUTAGE_S)),
)


def run(
    *, seconds: float, rate: float, channels: int, as_json: bool, faults: bool, keep: Path | None = None
) -> int:
    """Run the demo. Returns 0 if nothing was lost, doubled or stale, else 1.

    seconds: how long to post; rate: posts a second over all channels. keep: a folder to leave everything in.
    """
    console = Console(stderr=as_json)
    result = anyio.run(
        _demo, console, seconds, rate, channels, faults, keep, backend_options={"use_uvloop": True}
    )
    for line in result.verdict.lines():
        console.print(f"[red]{line}[/red]")
    if as_json:
        print(msgspec.json.encode(result.as_json()).decode(), flush=True)  # noqa: T201
    else:
        console.print(_summary(result))
    return 0 if result.verdict.clean else 1


async def _demo(
    console: Console, seconds: float, rate: float, channels: int, faults: bool, keep: Path | None
) -> Result:
    async with _folder(keep) as folder:
        with console.status("starting PostgreSQL, Valkey, a local Telegram and the daemon …"):
            async with start_stack(folder, channels=channels) as stack, daemon_running(stack):
                exercise = Exercise(stack, seconds, rate, FAULTS if faults else ())
                console.print(
                    f"{channels} channels, {rate:g} posts/s for {seconds:g} s; "
                    f"the API listens on {stack.daemon.url}; logs are in {folder}"
                )
                return await _watch(console, exercise)


async def _watch(console: Console, exercise: Exercise) -> Result:
    results: list[Result] = []
    rates = _Rates(exercise)
    with Live(_table(exercise, None, rates), console=console, refresh_per_second=4, transient=False) as live:
        async with anyio.create_task_group() as tasks:

            async def show() -> None:
                while True:
                    live.update(_table(exercise, await exercise.stack.daemon.health(), rates))
                    await anyio.sleep(_REFRESH_S)

            tasks.start_soon(show)
            results.append(await exercise.run())
            live.update(_table(exercise, await exercise.stack.daemon.health(), rates))
            tasks.cancel_scope.cancel()
    return results[0]


@asynccontextmanager
async def _folder(keep: Path | None) -> AsyncIterator[Path]:
    """A private folder that other users' servers can enter; thrown away unless it was asked for."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    folder = Path(tempfile.mkdtemp(prefix="telewarden-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Rates:
    """What goes through in a second, over the last few looks."""

    def __init__(self, exercise: Exercise) -> None:
        self._exercise = exercise
        self._looks: deque[tuple[float, int, int, int]] = deque([self._look()], maxlen=5)

    def _look(self) -> tuple[float, int, int, int]:
        done, got = self._exercise.poster.done, self._exercise.consumer.got
        return time.monotonic(), len(done.posted_at_ms), got.acknowledged, got.polls

    def line(self) -> str:
        """Posts, acknowledgements and polls a second."""
        first, last = self._looks[0], self._look()
        self._looks.append(last)
        seconds = max(last[0] - first[0], 0.001)
        posts, acknowledgements, polls = ((last[n] - first[n]) / seconds for n in (1, 2, 3))
        return f"{posts:.0f} posts · {acknowledgements:.0f} acknowledgements · {polls:.0f} polls"


def _table(exercise: Exercise, health: dict[str, object] | None, rates: _Rates) -> Table:
    done, got = exercise.poster.done, exercise.consumer.got
    table = Table(title=f"Telewarden · {exercise.phase}", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    table.add_row("posted · edited · deleted", f"{len(done.posted_at_ms)} · {done.edited} · {done.deleted}")
    table.add_row("polled · acknowledged", f"{len(got.received)} · {got.acknowledged}")
    table.add_row("a second", rates.line())
    latency = percentiles(exercise.latencies_ms())
    table.add_row("post → poll, ms", f"p50 {latency['p50']} · p95 {latency['p95']} · p99 {latency['p99']}")
    poll = percentiles(got.poll_ms[-1000:])
    table.add_row("one poll, ms", f"p50 {poll['p50']} · p95 {poll['p95']}")
    table.add_row("answers came from", " · ".join(f"{s} {n}" for s, n in sorted(got.sources.items())) or "-")
    table.add_row("errors", " · ".join(f"{s} {n}" for s, n in sorted(got.errors.items())) or "none")
    for outage in exercise.outages:
        over = outage.ended_ms != float("inf")
        table.add_row("fault", f"{outage.name}{' (over)' if over else '[red] (now)[/red]'}")
    if health is None:
        table.add_row("daemon", "[red]does not answer[/red]")
        return table
    degraded = health.get("degraded")
    for entry in degraded if isinstance(degraded, list) else ():
        table.add_row("[yellow]degraded[/yellow]", f"{entry['what']}: {entry['effect']}"[:110])
    workers = health.get("workers")
    for name, worker in workers.items() if isinstance(workers, dict) else ():
        restarts = f", {worker['restarts']} restarts" if worker["restarts"] else ""
        table.add_row(f"  {name}", f"{worker['state']}{restarts} · {worker['status'] or ''}"[:110])
    return table


def _summary(result: Result) -> Table:
    title = "Telegram, the database and the consumer, compared id by id"
    table = Table(title=title, title_justify="left", show_header=False)
    facts = result.as_json()
    for name in (
        "posted",
        "edited",
        "deleted",
        "stored",
        "polled",
        "acknowledged",
        "lost",
        "duplicated",
        "stale",
    ):
        bad = name in ("lost", "duplicated", "stale") and facts[name]
        table.add_row(name, f"[red]{facts[name]}[/red]" if bad else str(facts[name]))
    latency = result.latency_ms
    table.add_row(
        "post → poll outside outages, ms",
        f"p50 {latency['p50']} · p95 {latency['p95']} · p99 {latency['p99']}",
    )
    table.add_row("restarts", str(result.restarts))
    return table
