"""`antiphon bench label DIR`: an index for a user's own recordings, which a person can correct."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from antiphon.benchmarks.clips import Clip
from antiphon.benchmarks.label_folder import TO_REVIEW, Labelled, OnFile, convert, label_folder, open_index
from antiphon.benchmarks.label_review import review
from antiphon.benchmarks.label_transcribe import transcribe
from antiphon.pipeline.cli.common import SetOption, explained
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.engine_making import engine_context, make_engine


@explained
def label(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with your recordings.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The index to write. Without it: index.tsv in the folder.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            "--convert",
            metavar="OUT",
            help="Copy all recordings (WAV, FLAC, OGG, MP3) to OUT as 16 kHz mono WAVs, and label those.",
        ),
    ] = None,
    lang: Annotated[str, typer.Option(help="The language spoken in new recordings, as a code such as en.")] = "-",
    with_review: Annotated[bool, typer.Option("--review", help="Go through the clips and correct them.")] = False,
    config: Annotated[
        str | None,
        typer.Option("--transcribe", metavar="CONFIG", help="Draft transcripts with this configuration's recogniser."),
    ] = None,
    overrides: SetOption = None,
    force: Annotated[bool, typer.Option("--force", help="Label also recordings that have a row already.")] = False,
) -> None:
    """Find where the speech is in your own recordings, and write an index for `antiphon bench run`.

    The method looks at whole recordings and is none of the VADs that a benchmark measures. Rows that are there already
    stay as they are. Drafted transcripts have the kind machine-transcript: word errors are not counted against them
    until you have accepted them in a review (or written another kind into the row yourself).

    Exit codes: 0 written; 1 a recording or the index cannot be used; 2 wrong usage or configuration; 3 a package or a
    model is missing; 130 stopped with Ctrl-C (what was reviewed until then is kept).
    """
    settings = load_config(config, overrides=tuple(overrides or ())) if config is not None else None
    if into is not None:
        with _progress("converting") as on_file:
            convert(folder, into, on_file=on_file)
        folder = into
    labelled = open_index(folder, out)
    with _progress("labelling") as on_file:
        label_folder(labelled, lang=lang, force=force, on_file=on_file)
    labelled.save()
    if settings is not None:
        with _progress("transcribing") as on_file:
            asyncio.run(_transcribe(settings, labelled, on_file))
        labelled.save()
    if with_review:
        _review(labelled)
    _summary(labelled)


async def _transcribe(config: Config, labelled: Labelled, on_file: OnFile) -> None:
    async with engine_context(config) as context, make_engine(config.stt, context) as stt:
        await transcribe(labelled, stt, on_file=on_file)


def _review(labelled: Labelled) -> None:
    """Save after each clip that was accepted, so that nothing is lost however it ends."""
    clips = list(labelled.clips(labelled.to_review()))
    if not clips:
        typer.echo("nothing to review: every row has been looked at", err=True)
        return
    if not _is_terminal():
        typer.echo("not reviewed: this is no terminal", err=True)
        return

    def save(number: int, clip: Clip) -> None:
        labelled.put(number, clip)
        labelled.save()

    review(clips, save, ask=input, show=typer.echo)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _summary(labelled: Labelled) -> None:
    rows = labelled.table.rows
    kinds = Counter(row["kind"] for row in rows)
    parts = ", ".join(f"{count} {kind or 'without a kind'}" for kind, count in kinds.items())
    typer.echo(f"{labelled.index}: {len(rows)} clips, {len(labelled.new)} of them labelled now ({parts})")
    if any(kinds[kind] for kind in TO_REVIEW):
        typer.echo(f"look through them: antiphon bench label {labelled.folder} --review", err=True)


@contextmanager
def _progress(what: str) -> Iterator[OnFile]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)

        def on_file(name: str, done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield on_file
