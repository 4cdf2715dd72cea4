"""`antiphon bench scenarios OUT`: the scenario set, spoken by our own TTS."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from antiphon.benchmarks.clips import Clip, ClipError
from antiphon.benchmarks.scenarios import SCENARIOS, VOICE, items, make_scenarios
from antiphon.pipeline.cli.common import explained


@explained
def scenarios(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the WAVs and their index.tsv.")],
    voice: Annotated[
        str, typer.Option(help="An English Piper voice: a catalog name, or the path of its .onnx file.")
    ] = VOICE,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="SCENARIO", help=f"Only this scenario ({', '.join(SCENARIOS)}). May be repeated."),
    ] = None,
) -> None:
    """Make the scenario set: clips spoken by our own TTS, with exact ground truth.

    The same command gives the same files on the same machine.

    Exit codes: 0 made; 1 the folder holds other clips, or cannot be written; 2 wrong usage; 3 a package or the voice is
    missing; 130 stopped with Ctrl-C.
    """
    try:
        items(tuple(only or ()))
    except ClipError as error:
        raise typer.BadParameter(f"{error.message}; {error.hint}", param_hint="--only") from None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("speaking", total=None)

        def made(clip: Clip, done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, description=clip.scenario)

        clips = asyncio.run(make_scenarios(out, voice=voice, only=tuple(only or ()), on_clip=made))
    counts = Counter(clip.scenario for clip in clips)
    typer.echo(f"{out}: {len(clips)} clips (" + ", ".join(f"{count} {name}" for name, count in counts.items()) + ")")
