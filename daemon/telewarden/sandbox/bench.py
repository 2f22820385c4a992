"""`telewarden bench`: groups of figures, each beside a floor measured in the same run."""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import anyio
import msgspec
import structlog
from rich.console import Console
from rich.table import Table

from telewarden.sandbox import (
    bench_api,
    bench_cache,
    bench_end_to_end,
    bench_intake,
    bench_storage,
    bench_supervision,
)
from telewarden.sandbox.figures import Figure

GROUPS: dict[str, Callable[[], Awaitable[dict[str, Figure]]]] = {
    "end_to_end": bench_end_to_end.measure,
    "supervision": bench_supervision.measure,
    "intake": bench_intake.measure,
    "storage": bench_storage.measure,
    "cache": bench_cache.measure,
    "api": bench_api.measure,
}
"""Every group that can be measured."""


class UnknownGroup(Exception):
    """There is no such group."""


@contextmanager
def _unlogged() -> Iterator[None]:
    """What the faults of a bench make the parts log is expected, and would go between the figures."""
    kept = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**kept)


def run(only: Sequence[str], *, as_json: bool) -> int:
    """Measure some groups, or all. Returns 0: a goal that is not met is reported, not an error."""
    unknown = [name for name in only if name not in GROUPS]
    if unknown:
        raise UnknownGroup(f"there is no group {', '.join(unknown)}; there are: {', '.join(GROUPS)}")
    console = Console(stderr=as_json)
    figures: dict[str, Figure] = {}
    for name, measure in GROUPS.items():
        if not only or name in only:
            console.print(f"measuring {name} …")
            with _unlogged():
                figures |= anyio.run(measure, backend_options={"use_uvloop": True})
    table = Table("figure", "value", "floor", "ratio", "goal", "met")
    for name, figure in figures.items():
        row = figure.as_json()
        shown = [f"{row['value']} {row['unit']}", f"{row['floor']}", f"{row['ratio']}", f"{row['goal']}"]
        table.add_row(name, *shown, "yes" if figure.met else "[red]no[/red]")
    console.print(table)
    if as_json:
        facts = {name: figure.as_json() for name, figure in figures.items()}
        print(msgspec.json.encode(facts).decode(), flush=True)  # noqa: T201
    return 0
