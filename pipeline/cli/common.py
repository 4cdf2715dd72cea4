"""What the commands share: arguments, errors as text, exit codes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer

from antiphon.engines.errors import AntiphonError, EngineUnavailable, ModelError
from antiphon.pipeline.config import packaged_names
from antiphon.pipeline.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")

EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_MISSING = 3
EXIT_INTERRUPTED = 130

EXIT_CODES = {
    0: "done",
    EXIT_FAILED: "something failed: an input could not be used, or a turn could not be answered",
    EXIT_CONFIG: "wrong usage, or a configuration with mistakes",
    EXIT_MISSING: "a package or a model is missing; the message has the command that brings it",
    EXIT_INTERRUPTED: "stopped with Ctrl-C",
}
"""Exit codes of `run`, `chat`, `say`, `transcribe` and `doctor`."""

ConfigArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML file, or the name of a packaged one such as tiny.yaml. Without it: local.yaml.",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override one value, for example stt.model=whisper-base. May be repeated."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def explained(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose expected errors end as text and an exit code, never as a traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except AntiphonError as error:
            typer.echo(f"error: {error.message}", err=True)
            for line in error.hint.splitlines():
                typer.echo(f"  {line}", err=True)
            raise typer.Exit(exit_code(error)) from None
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None

    return wrapper


def split_config(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Tell the configuration from what follows: it comes first, and is a YAML file or the name of a packaged one.

    A file of the user's that has such a name without the ending is no configuration.
    """
    first, *rest = arguments or [""]
    packaged = f"{first}.yaml" in packaged_names() and not Path(first).is_file()
    if first.lower().endswith((".yaml", ".yml")) or packaged:
        return first, rest
    return None, list(arguments)


def exit_code(error: AntiphonError) -> int:
    if isinstance(error, ConfigError):
        return EXIT_CONFIG
    if isinstance(error, EngineUnavailable | ModelError):
        return EXIT_MISSING
    return EXIT_FAILED
