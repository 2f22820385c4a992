"""Keeps the documentation true: writes the table of settings and the OpenAPI document, and finds commands, targets and
links that do not exist.

`python docs/check.py` writes docs/configuration.md and docs/openapi.json anew; with `--check` it changes nothing, and
says what is wrong.
Exit status 1 if something is. `--root` looks at another copy of the repository's texts.
"""

import argparse
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer.main
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from telewarden.cli import app
from telewarden.settings import SECTIONS, Settings
from telewarden_http.described import openapi_document

HERE = Path(__file__).resolve().parent.parent
BEGIN = "<!-- settings: written by `make docs`, from daemon/telewarden/settings.py -->"
END = "<!-- settings: end -->"

_LATE_DEFAULTS = {
    "state_dir": "`$STATE_DIRECTORY`, which systemd sets; else `/var/lib/telewarden`",
    "telegram.session_file": "`telewarden.session` in `state_dir`",
    "journal.file": "`journal.sqlite` in `state_dir`",
}
"""Defaults that depend on where the daemon runs."""

_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"(?<![\w/=.-])(?:[\w./-]*/bin/)?telewarden((?: +(?:--)?[a-z][a-z-]*)+)")
_TARGET = re.compile(r"(?<![\w/.-])make ([a-z]+)")
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
_METRIC = re.compile(r'"((?:telegram|telewarden|gateway)_[a-z_]+)"')
_METRIC_SOURCES = (
    "daemon/telewarden/metrics.py",
    "daemon/telewarden/feed_metrics.py",
    "daemon/telewarden/consumer_metrics.py",
    "http/telewarden_http/metrics.py",
)


def settings_tables() -> str:
    """Every setting with its default, what it accepts and its meaning, as Markdown: one table a section."""
    parts = [_table(None, {n: f for n, f in Settings.model_fields.items() if n not in SECTIONS}, "")]
    parts += [_table(name, model.model_fields, model.__doc__ or "") for name, model in SECTIONS.items()]
    return "\n".join(parts)


def _table(section: str | None, fields: dict[str, FieldInfo], about: str) -> str:
    lines = [] if section is None else [f"### `[{section}]`", "", " ".join(about.split()), ""]
    lines += ["| setting | default | accepted | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        full = name if section is None else f"{section}.{name}"
        cells = (f"`{full}`", _default(full, field), _accepted(field), field.description or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _default(full: str, field: FieldInfo) -> str:
    if full in _LATE_DEFAULTS:
        return _LATE_DEFAULTS[full]
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "**needed**"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "none" if value in (None, [], {}) else f"`{value}`"


def _accepted(field: FieldInfo) -> str:
    limits = {
        kind: bound
        for constraint in field.metadata
        for kind in ("ge", "gt", "le", "min_length")
        if (bound := getattr(constraint, kind, None)) is not None
    }
    kind = _kind(field.annotation)
    if "ge" in limits and "le" in limits:
        return f"{kind}, {limits['ge']} to {limits['le']}"
    if "ge" in limits:
        return f"{kind}, {limits['ge']} or more"
    return f"{kind} above {limits['gt']}" if "gt" in limits else kind


_KINDS: dict[object, str] = {
    int: "whole number",
    float: "number",
    bool: "`true`, `false`",
    str: "text",
    Path: "path",
    SecretStr: "text (secret)",
}


def _kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    match origin:
        case None:
            return _KINDS[annotation]
        case typing.Annotated:
            return _kind(arguments[0])
        case typing.Literal:
            return ", ".join(f"`{choice}`" for choice in arguments)
        case types.UnionType | typing.Union:
            return ", ".join(_kind(each) for each in arguments if each is not types.NoneType)
        case _ if origin is list:
            return f"list: {_kind(arguments[0])}"
        case _:
            return f"table: name = {_kind(arguments[1])}"


def rewritten(text: str) -> str:
    """A text with its table of settings up to date. Raises ValueError if it has no place for one."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no {BEGIN!r} … {END!r}")
    return f"{before}{BEGIN}\n\n{settings_tables()}\n{END}{after}"


def unknown_commands(text: str) -> Iterator[str]:
    """The `telewarden …` commands in the code of a text that the command line does not know."""
    for code in _CODE.findall(text):
        for words in _COMMAND.findall(code):
            if not _is_known(words.split()):
                yield f"there is no command: telewarden{words}"


def _is_known(words: list[str]) -> bool:
    command: Any = typer.main.get_command(app)
    options = {"--help"}
    for word in words:
        options |= {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        if word.startswith("--"):
            if word not in options:
                return False
        elif hasattr(command, "commands"):
            if word not in command.commands:
                return False
            command, options = command.commands[word], {"--help"}
    return True


def unknown_targets(text: str, makefile: str) -> Iterator[str]:
    """The `make …` targets in the code of a text that the Makefile does not have."""
    phony = re.search(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)
    targets = set(phony[1].split()) if phony else set()
    for code in _CODE.findall(text):
        yield from (
            f"there is no target: make {name}" for name in _TARGET.findall(code) if name not in targets
        )


def broken_links(text: str, folder: Path) -> Iterator[str]:
    """The relative links of a text that lead nowhere."""
    yield from (
        f"the link leads nowhere: {link}" for link in _LINK.findall(text) if not (folder / link).exists()
    )


def missing_metrics(text: str, root: Path) -> Iterator[str]:
    """The metrics of the code that a text does not explain."""
    for source in _METRIC_SOURCES:
        for name in _METRIC.findall((root / source).read_text(encoding="utf-8")):
            if f"`{name.removesuffix('_total')}" not in text:
                yield f"the metric {name} ({source}) is not explained"


def texts(root: Path) -> list[Path]:
    """The documents that are checked."""
    return sorted(
        [
            *root.glob("*.md"),
            *root.glob("docs/**/*.md"),
            *root.glob("docs/**/*.mdx"),
            *root.glob("systemd/*.md"),
        ]
    )


def problems(root: Path) -> list[str]:
    """Everything that is wrong with the texts below a folder."""
    makefile = (HERE / "Makefile").read_text(encoding="utf-8")
    checks: tuple[Callable[[str, Path], Iterator[str]], ...] = (
        lambda text, _: unknown_commands(text),
        lambda text, _: unknown_targets(text, makefile),
        broken_links,
    )
    found = []
    for path in texts(root):
        text = path.read_text(encoding="utf-8")
        found += [
            f"{path.relative_to(root)}: {each}" for check in checks for each in check(text, path.parent)
        ]
    operations = root / "docs" / "operations.md"
    found += [f"docs/operations.md: {each}" for each in missing_metrics(operations.read_text("utf-8"), HERE)]
    return found


def main() -> int:
    """Write or check. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Keep the documentation true.")
    parser.add_argument("--check", action="store_true", help="change nothing; say what is wrong")
    parser.add_argument("--root", type=Path, default=HERE, help="the repository, or a copy of its texts")
    options = parser.parse_args()
    configuration = options.root / "docs" / "configuration.md"
    text = configuration.read_text(encoding="utf-8")
    wanted = rewritten(text)
    found = problems(options.root)
    if wanted != text and options.check:
        found.append("docs/configuration.md: the table of settings is out of date; run: make docs")
    elif wanted != text:
        configuration.write_text(wanted, encoding="utf-8")
        sys.stdout.write("docs/configuration.md: written anew\n")
    document = options.root / "docs" / "openapi.json"
    served = openapi_document()
    if not document.exists() or document.read_bytes() != served:
        if options.check:
            found.append("docs/openapi.json: it is not what is served; run: make docs")
        else:
            document.write_bytes(served)
            sys.stdout.write("docs/openapi.json: written anew\n")
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    if not found:
        sys.stdout.write(f"{len(texts(options.root))} documents are true to the code\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
