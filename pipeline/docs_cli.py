"""The reference pages of the command line and of the events, from the code. Written by `antiphon.pipeline.docs_gen`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, CommandInfo, OptionInfo, TyperInfo

from antiphon.pipeline import events
from antiphon.pipeline.cli import app
from antiphon.pipeline.cli.common import EXIT_CODES
from antiphon.pipeline.events import EVENT_TYPES, Event, Timings, TurnEnded
from antiphon.pipeline.speculation import SpeculationReport
from antiphon.pipeline.usage import EngineUsage

_CLI_INTRO = """\
# Command line

`antiphon COMMAND --help` prints what stands here. Where a command takes a configuration, that is a YAML file or the
name of a packaged one (`tiny.yaml`, or `tiny`); without it `local.yaml` is taken. Options of `antiphon` itself stand
before the command: `antiphon -v run`.

Results go to standard output; errors, warnings and progress to standard error. With `--json` standard output has JSON
and nothing else.
"""

_EXIT_INTRO = """\
## Exit codes

Of `run`, `chat`, `say`, `transcribe` and `doctor`:
"""

_EXIT_GROUPS_INTRO = """\
Of `models`, `engines` and `config`, which look and tell, there are fewer. A missing model is `1` here: whether it is
there is what was asked.
"""

_EXIT_GROUPS = (
    (
        "`models list`, `models show`, `models pull`, `models export`, `models import`",
        "done",
        "an error: a model that is not known, not here or cannot be fetched, a broken archive or catalog",
        "wrong usage, or a configuration with mistakes (`--for`)",
    ),
    ("`models verify`", "all files are right", "a file is missing or wrong", "wrong usage"),
    ("`models path`", "the model is here", "it is not, or is not known", "wrong usage, or it has no such file"),
    (
        "`models prune`",
        "removed, or there was nothing to remove",
        "not removed: the answer was no",
        "wrong usage, or there is nobody to ask and no `--yes`",
    ),
    ("`engines list`, `engines show`", "done", "no engine of that name", "wrong usage"),
    (
        "`config check`, `config show`, `config schema`",
        "valid, or done",
        "the configuration has mistakes, or is not there",
        "wrong usage",
    ),
)

_RECORDINGS = """\
## What becomes of a recording

Of `run --in` and `transcribe`. With several recordings, those that cannot be used are named, the others are answered,
and the exit code is 1.

| recording | what happens | exit code |
| --- | --- | --- |
| WAV, FLAC or OGG of 8 to 192 kHz, 16 or 24 bit or float, any number of channels up to 32 | heard as mono | `0` |
| silent, or with noise only | no turn, no answer; `run` says so and writes an empty WAV | `0` |
| clipped | heard, as well as can be | `0` |
| cut off in the middle | heard as far as it goes, with a warning | `0` |
| several turns with pauses between them | `run`: one answer for each | `0` |
| a turn that goes on for longer than `session.max_turn_s` | ended there and answered; the rest is the next turn | `0` |
| raw PCM on standard input, ending in half a sample | an error at its end; an open turn gets no answer | `1` |
| a file of 0 bytes, a header without samples, a broken header, no audio at all, over 2 hours | refused by name | `1` |
| a folder without recordings, a file that is not there | refused by name | `1` |
"""

_EVENTS_INTRO = """\
# Events

What `antiphon run --events FILE` writes, one JSON object a line, and what every event sink of the library gets. There
is one vocabulary: the command line, transcripts, metrics, the server and the benchmark read the same events.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One argument or option of a command, as its function declares it."""

    name: str
    info: ArgumentInfo | OptionInfo
    kind: Any
    """The type of one value."""
    many: bool
    required: bool
    default: Any

    def usage(self) -> str:
        """An argument in the line that shows the usage."""
        shown = self.info.metavar or self.name.upper()
        if " " in shown:  # several in one: it says itself what is optional
            return f"{shown}..."
        return (shown if self.required else f"[{shown}]") + ("..." if self.many else "")

    def names(self) -> str:
        """The names of an option, and what it takes."""
        assert isinstance(self.info, OptionInfo)
        first = self.info.default  # inside Annotated the first name stands where a default would
        names = [*([first] if isinstance(first, str) else []), *(self.info.param_decls or ())]
        names = names or [f"--{self.name.replace('_', '-')}"]
        takes = "" if self.kind is bool else f" {self.info.metavar or _takes(self.kind)}"
        return ", ".join(f"`{name}{takes}`" for name in names)


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    """What a command takes."""
    found = []
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if get_origin(hints[name]) is not Annotated:
            continue  # typer's context
        kind, info, *_ = get_args(hints[name])
        many = any(get_origin(part) is list for part in (kind, *get_args(kind)))
        single = next((part for part in _parts(kind) if isinstance(part, type) and part is not type(None)), str)
        required = parameter.default is inspect.Parameter.empty
        found.append(Parameter(name, info, single, many, required, None if required else parameter.default))
    return found


def cli_page() -> str:
    """docs/reference/cli.md, without its first line."""
    assert app.registered_callback is not None and app.registered_callback.callback is not None
    parts = [_CLI_INTRO, _options(app.registered_callback.callback), _EXIT_INTRO]
    parts.append(_table(["code", "meaning"], [[f"`{code}`", meaning] for code, meaning in EXIT_CODES.items()]))
    parts += [_EXIT_GROUPS_INTRO, _table(["command", "`0`", "`1`", "`2`"], _EXIT_GROUPS)]
    parts.append(_RECORDINGS)
    for command in app.registered_commands:
        parts.append(_described("antiphon", command, "##"))
    for group in app.registered_groups:
        parts += _group("antiphon", group, "##")
    return "\n".join(parts)


def _group(path: str, group: TyperInfo, level: str) -> list[str]:
    """The sections of a group's commands, and of the groups within it."""
    inner = group.typer_instance
    assert inner is not None
    path = f"{path} {group.name}"
    parts = [f"{level} `{path}`\n\n{inner.info.help or group.help}\n"]
    if inner.registered_callback is not None and inner.registered_callback.callback is not None:
        parts.append(f"Before the command:\n\n{_options(inner.registered_callback.callback)}")
    parts += [_described(path, command, f"{level}#") for command in inner.registered_commands]
    for within in inner.registered_groups:
        parts += _group(path, within, f"{level}#")
    return parts


def events_page() -> str:
    """docs/reference/events.md, without its first line."""
    every = {field.name for field in dataclasses.fields(Event)}
    example = Event(t_s=12.5, audio_s=3.2, session="sess_1", turn=1).to_dict()
    intro = textwrap.dedent((events.__doc__ or "").partition("\n\n")[2])
    parts = [_EVENTS_INTRO, intro.strip() + "\n"]
    parts.append(f"```json\n{json.dumps(example | {'type': 'speech_started', 'at_s': 2.9})}\n```\n")
    for kind in EVENT_TYPES:
        own = [field for field in dataclasses.fields(kind) if field.name not in every]
        parts.append(f"## `{kind.type}`\n\n{_prose(kind)}\n")
        if own:
            parts.append(_fields(kind, own))
        if kind is TurnEnded:
            for name, inner in (("timings", Timings), ("usage", EngineUsage), ("speculation", SpeculationReport)):
                parts.append(f"`{name}`{', a list' * (inner is EngineUsage)}: {_prose(inner)}\n")
                parts.append(_fields(inner, dataclasses.fields(inner)))
    return "\n".join(parts)


# ------------------------------------------------------------------------------------------------ commands


def _described(path: str, command: CommandInfo, level: str) -> str:
    function = command.callback
    assert function is not None
    name = f"{path} {command.name or function.__name__}"
    arguments = [one.usage() for one in parameters(function) if isinstance(one.info, ArgumentInfo)]
    usage = " ".join([name, "[OPTIONS]", *arguments])
    help_text = inspect.cleandoc(function.__doc__ or "")
    return f"{level} `{name}`\n\n```text\n{usage}\n```\n\n{help_text}\n\n{_options(function)}"


def _options(function: Callable[..., Any]) -> str:
    rows = []
    for one in parameters(function):
        if isinstance(one.info, ArgumentInfo):
            rows.append([f"`{one.usage()}`", one.info.help or "", ""])
        else:
            default = "" if one.default in (None, False) else f"`{getattr(one.default, 'value', one.default)}`"
            rows.append([one.names(), one.info.help or "", default])
    return _table(["argument or option", "meaning", "default"], rows) if rows else ""


def _parts(kind: Any) -> Iterator[Any]:
    """A type, or the types in a union or list of them."""
    inside = get_args(kind)
    if not inside:
        yield kind
    for part in inside:
        yield from _parts(part)


def _takes(kind: type) -> str:
    if issubclass(kind, Enum):
        return "|".join(str(choice.value) for choice in kind)
    return {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


# -------------------------------------------------------------------------------------------------- events


def _fields(kind: type, fields: Sequence[dataclasses.Field[Any]]) -> str:
    notes = _field_notes(kind)
    rows = [[f"`{field.name}`", f"`{_type(field)}`", notes.get(field.name, "")] for field in fields]
    return _table(["key", "type", "meaning"], rows)


def _type(field: dataclasses.Field[Any]) -> str:
    """As JSON has it: annotations are texts in that module."""
    written = str(field.type)
    if written == "TurnStatus":
        written = str(events.TurnStatus)
    choices = written.partition("Literal[")[2].rstrip("]")
    if choices:
        return " | ".join(part.strip().strip("'\"") for part in choices.split(","))
    if written.startswith("tuple["):
        return "array"
    names = {"float": "number", "int": "integer", "str": "string", "bool": "boolean", "None": "null"}
    return " | ".join(names.get(part.strip(), "object") for part in written.split("|"))


@cache
def _field_notes(kind: type) -> dict[str, str]:
    """The text under each field of a class, which Python itself does not keep."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    notes: dict[str, str] = {}
    for statement, following in itertools.pairwise(body):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            notes[statement.target.id] = inspect.cleandoc(str(following.value.value))
    return notes


def _prose(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
