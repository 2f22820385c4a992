"""Where settings come from, and what is wrong with them, all at once and without showing a secret.

Later wins: default, file, credentials (files that the service manager hands over), environment, command line.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from telewarden.settings import SECTIONS, Settings, field_of, is_secret

DEFAULT_FILE = Path("/etc/telewarden/telewarden.toml")
PREFIX, DELIMITER = "TELEWARDEN_", "__"
HIDDEN = "(hidden)"
_LIST = re.compile(r"^\s*[\[{]")
_NOT_SETTINGS = ("TELEWARDEN_CONFIG", "TELEWARDEN_REQUIRE", "TELEWARDEN_CHAOS", "TELEWARDEN_TEST_")
KEY_VARIABLE = "TELEWARDEN_KEY"
"""The key of the commands that ask the API; no setting of the daemon."""
_NAME = re.compile(r"[a-z_]+(\.[A-Za-z0-9_-]+){0,2}")
COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    name: the setting; source: where its value came from; given: the value, never a secret.
    """

    name: str
    source: str
    expected: str
    given: str | None = None

    def __str__(self) -> str:
        given = "" if self.given is None else f", not {self.given}"
        return f"{self.name} ({self.source}): {self.expected}{given}"


class SettingsInvalid(Exception):
    """The settings cannot be used. problems: all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Usable settings. sources: where each value that is not a default came from, by name."""

    settings: Settings
    sources: Mapping[str, str]


class _Sources:
    """Values by (section or None, name), the later source over the earlier, and what could not be read."""

    def __init__(self) -> None:
        self.values: dict[tuple[str | None, str], tuple[object, str]] = {}
        self.problems: list[Problem] = []

    def put(self, section: str | None, name: str, value: object, source: str) -> None:
        full = _full(section, name)
        if section is None and name in SECTIONS:
            expected = (
                f"one setting of it at a time, such as {name}.{next(iter(SECTIONS[name].model_fields))}"
            )
            self.problems.append(Problem(name, source, expected))
        elif field_of(section, name) is not None:
            self.values[section, name] = (value, source)
        elif (
            name.endswith("_file") and section is not None and is_secret(section, name.removesuffix("_file"))
        ):
            self._put_file(section, name.removesuffix("_file"), value, source)
        else:
            self.problems.append(Problem(full, source, f"there is no such setting{_did_you_mean(full)}"))

    def put_mapping(self, section: str, name: str, key: str, value: object, source: str) -> None:
        """One entry of a table, such as http.api_keys."""
        before = self.values.get((section, name), ({}, source))[0]
        self.put(section, name, {**(before if isinstance(before, dict) else {}), key: value}, source)

    def _put_file(self, section: str, name: str, value: object, source: str) -> None:
        path = Path(str(value)).expanduser()
        place = f"{source}, file {path}"
        try:
            mode = path.stat().st_mode
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(
                Problem(f"{section}.{name}_file", source, f"a readable file ({error})", str(path))
            )
            return
        if mode & 0o077:
            self.problems.append(
                Problem(
                    f"{section}.{name}_file", source, f"a file that only its owner can read; chmod 600 {path}"
                )
            )
        if self.values.get((section, name), (None, None))[1] == source:
            self.problems.append(
                Problem(f"{section}.{name}", source, f"either {name} or {name}_file, not both", HIDDEN)
            )
        self.values[section, name] = (text, place)


def load(
    file: Path | None = None,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Loaded:
    """Read the settings. overrides: "section.name=value" from the command line. Raises SettingsInvalid."""
    environment = os.environ if environment is None else environment
    found = _Sources()
    _read_file(found, file, environment)
    _read_credentials(found, environment)
    _read_environment(found, environment)
    for override in overrides:
        _read_override(found, override)
    nested: dict[str, Any] = {name: {} for name in SECTIONS}
    for (place, field), (given, _) in found.values.items():
        (nested if place is None else nested[place])[field] = given
    problems = list(found.problems)
    settings = None
    try:
        settings = Settings.model_validate(nested)
    except ValidationError as error:
        problems += [_problem(detail, found) for detail in error.errors(include_url=False)]
    if problems or settings is None:
        raise SettingsInvalid(problems)
    return Loaded(settings, {_full(*key): source for key, (_, source) in found.values.items()})


def _read_file(found: _Sources, file: Path | None, environment: Mapping[str, str]) -> None:
    path, wanted = file, file is not None
    if path is None and environment.get("TELEWARDEN_CONFIG"):
        path, wanted = Path(environment["TELEWARDEN_CONFIG"]), True
    path = path or DEFAULT_FILE
    source = f"file {path}"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if wanted:
            found.problems.append(Problem("(file)", source, "a settings file; there is none"))
        return
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        # A parser's message may quote the line, and the line may hold a secret: only its place is told.
        where = re.search(r"\(at .*\)", str(error))
        reason = (
            error.strerror if isinstance(error, OSError) else f"not TOML {where[0] if where else ''}".strip()
        )
        found.problems.append(Problem("(file)", source, f"a readable TOML file: {reason}"))
        return
    secrets = [
        _full(name, field)
        for name, inner in content.items()
        if name in SECTIONS and isinstance(inner, dict)
        for field in inner
        if is_secret(name, field)
    ]
    if secrets and path.stat().st_mode & 0o007:
        expected = (
            f"a file that not everybody can read, since it holds {', '.join(secrets)}; chmod 600 {path}"
        )
        found.problems.append(Problem("(file)", source, expected))
    for name, value in content.items():
        if name in SECTIONS and isinstance(value, dict):
            for field, inner in value.items():
                found.put(name, field, inner, source)
        elif name in SECTIONS:
            found.problems.append(Problem(name, source, f"a section: [{name}]"))
        else:
            found.put(None, name, value, source)


def _read_override(found: _Sources, override: str) -> None:
    name, equals, value = override.partition("=")
    if not equals or not _NAME.fullmatch(name):
        # Not repeated: whatever it is, it may hold a secret.
        found.problems.append(Problem("--set", COMMAND_LINE, "section.name=value"))
        return
    parts = name.split(".")
    if len(parts) > 1 and is_secret(parts[0], parts[1]):
        instead = f"{name}_file, a credential" if len(parts) == 2 else "a credential"
        expected = f"not here, where every user of the machine can see it; use {instead} or the environment"
        found.problems.append(Problem(name, COMMAND_LINE, expected, HIDDEN))
    elif len(parts) == 3:
        found.put_mapping(parts[0], parts[1], parts[2], value, COMMAND_LINE)
    else:
        _put_text(found, parts[0] if len(parts) == 2 else None, parts[-1], value, COMMAND_LINE)


def _read_credentials(found: _Sources, environment: Mapping[str, str]) -> None:
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return
    for path in sorted(Path(folder).glob("telewarden.*")):
        parts = path.name.split(".")
        source = f"credential {path.name}"
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            found.problems.append(Problem(path.name, source, f"readable text ({error})"))
            continue
        if len(parts) == 4:
            found.put_mapping(parts[1], parts[2], parts[3], text, source)
        elif len(parts) == 3:
            _put_text(found, parts[1], parts[2], text, source)
        else:
            found.problems.append(Problem(path.name, source, "a name such as telewarden.telegram.api_hash"))


def _read_environment(found: _Sources, environment: Mapping[str, str]) -> None:
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable.startswith(_NOT_SETTINGS) or variable == KEY_VARIABLE:
            continue
        parts = variable.removeprefix(PREFIX).lower().split(DELIMITER)
        source = f"environment {variable}"
        match parts:
            case [name]:
                _put_text(found, None, name, value, source)
            case [section, name]:
                _put_text(found, section, name, value, source)
            case [section, name, key]:
                found.put_mapping(section, name, key, value, source)
            case _:
                found.problems.append(Problem(variable, source, "a name such as TELEWARDEN_HTTP__PORT"))


def _put_text(found: _Sources, section: str | None, name: str, value: str, source: str) -> None:
    """A value that arrives as text: lists and tables are written as in the file."""
    parsed: object = value
    if _LIST.match(value) and not (section and is_secret(section, name) and name != "api_keys"):
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value
    elif section == "telegram" and name == "channels":
        parsed = [part.strip() for part in value.split(",") if part.strip()]
    found.put(section, name, parsed, source)


def _problem(detail: Any, found: _Sources) -> Problem:
    location = [str(part) for part in detail["loc"]]
    section, name = (
        (location[0], location[1]) if location[0] in SECTIONS and len(location) > 1 else (None, location[0])
    )
    value, source = found.values.get((section, name), (None, "not set"))
    field = field_of(section, name)
    hint = f" ({field.description})" if field is not None and field.description else ""
    if detail["type"] == "missing":
        return Problem(_full(section, name), "not set", f"needed{hint}")
    expected = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    hidden = section is not None and (is_secret(section, name) or isinstance(value, SecretStr))
    given = HIDDEN if hidden else repr(value)[:80] if value is not None else None
    return Problem(_full(section, name), source, f"{expected}{hint}", given)


def _full(section: str | None, name: str) -> str:
    return name if section is None else f"{section}.{name}"


def _did_you_mean(name: str) -> str:
    known = [_full(section, field) for section, model in SECTIONS.items() for field in model.model_fields]
    close = difflib.get_close_matches(name, [*known, "state_dir", "role"], n=1)
    return f"; did you mean {close[0]}?" if close else ""


def effective(loaded: Loaded) -> list[tuple[str, str, str]]:
    """(name, value, source) of every setting; secrets are hidden."""
    rows = [
        (name, str(getattr(loaded.settings, name)), loaded.sources.get(name, "default"))
        for name in ("state_dir", "role")
    ]
    for section in SECTIONS:
        for name, value in getattr(loaded.settings, section):
            full = _full(section, name)
            rows.append((full, _shown(value), loaded.sources.get(full, "default")))
    return rows


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_shown(inner)}" for key, inner in value.items()) + "}"
    return "" if value is None else str(value)
