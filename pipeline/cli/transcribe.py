"""`antiphon transcribe [CONFIG] FILE...`: recordings to text, JSON or subtitles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from antiphon.engines.errors import AntiphonError
from antiphon.engines.protocols import STT, STTOptions, Transcript
from antiphon.pipeline.audio_file import read_audio_file
from antiphon.pipeline.cli.common import EXIT_FAILED, SetOption, explained, split_config
from antiphon.pipeline.cli.inputs import named_in
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.engine_making import engine_context, make_engine
from antiphon.pipeline.subtitles import SUFFIXES, render


class OutputFormat(StrEnum):
    """What `--format` takes."""

    text = "text"
    json = "json"
    srt = "srt"
    vtt = "vtt"


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file: a transcript, or an error."""

    path: Path
    transcript: Transcript | None = None
    duration_s: float = 0.0
    warnings: tuple[str, ...] = ()
    error: AntiphonError | None = None


async def transcribe_files(
    stt: STT, paths: Sequence[Path], *, word_times: bool = False, language: str | None = None
) -> AsyncIterator[FileResult]:
    """Transcribe files one after another; one that fails is a result with an error, and the next one is done.

    :param stt: an entered engine.
    """
    options = STTOptions(language=language, word_times=word_times and stt.capabilities.word_times)
    for path in paths:
        try:
            audio = await asyncio.to_thread(read_audio_file, path, stt.rate_hz)
            transcript = await stt.transcribe(audio.frame, options)
        except AntiphonError as error:
            yield FileResult(path, error=error)
            continue
        yield FileResult(path, transcript, audio.frame.duration_s, audio.warnings)


@explained
def transcribe(
    arguments: Annotated[
        list[str], typer.Argument(metavar="[CONFIG] FILE", help="A configuration (optional), then recordings.")
    ],
    format: Annotated[OutputFormat, typer.Option(help="What to write.")] = OutputFormat.text,
    out: Annotated[
        Path | None, typer.Option(help="File to write to; a folder where there are several recordings.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Language spoken, as a code such as de.")] = None,
    overrides: SetOption = None,
) -> None:
    """Write down what is said in recordings (WAV, FLAC, OGG).

    JSON is one object a recording, one line each. A recording that fails is named, the others are done all the same.

    Exit codes: 0 done; 1 a recording could not be used or transcribed; 2 wrong usage or configuration; 3 a package or a
    model is missing; 130 stopped with Ctrl-C.
    """
    source, files = split_config(arguments)
    paths = [Path(file) for file in files]
    if not paths:
        raise typer.BadParameter("no recording was named")
    if out is None and len(paths) > 1 and format in (OutputFormat.srt, OutputFormat.vtt):
        raise typer.BadParameter(f"several recordings do not fit into one {format}: give a folder with --out")
    targets = _targets(paths, out, format)
    config = load_config(source, overrides=tuple(overrides or ()))
    failed = asyncio.run(_run(config, paths, targets, format, language))
    if failed:
        if len(paths) > 1:
            typer.echo(f"{failed} of {len(paths)} recordings failed", err=True)
        raise typer.Exit(EXIT_FAILED)


async def _run(
    config: Config, paths: Sequence[Path], targets: Sequence[Path | None], format: OutputFormat, language: str | None
) -> int:
    """Do the work; returns how many files failed."""
    failed = 0
    async with engine_context(config) as context, make_engine(config.stt, context) as stt:
        results = transcribe_files(stt, paths, word_times=format is not OutputFormat.text, language=language)
        async with aclosing(results):  # type: ignore[type-var]
            position = 0
            async for result in results:
                failed += not _write(result, targets[position], format, several=len(paths) > 1)
                position += 1
    return failed


def _write(result: FileResult, target: Path | None, format: OutputFormat, *, several: bool) -> bool:
    """Write one result (or say what was wrong); whether it was good."""
    if result.error is not None or result.transcript is None:
        problem = result.error.message if result.error else "no transcript"
        hint = f"\n  {result.error.hint}" if result.error and result.error.hint else ""
        named = problem if str(result.path) in problem else f"{result.path}: {problem}"
        typer.echo(f"error: {named}{hint}", err=True)
        return False
    for warning in result.warnings:
        typer.echo(f"warning: {result.path}: {warning}", err=True)
    extra = {"file": str(result.path), "warnings": list(result.warnings)}
    rendered = render(result.transcript, format.value, result.duration_s, extra)
    if target is not None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(rendered, encoding="utf-8")
        except OSError as error:
            typer.echo(f"error: {target}: cannot be written: {error.strerror}", err=True)
            return False
    elif several and format is OutputFormat.text:
        typer.echo(f"{result.path}: {rendered}", nl=False)
    else:
        typer.echo(rendered, nl=False)
    return True


def _targets(paths: Sequence[Path], out: Path | None, format: OutputFormat) -> list[Path | None]:
    """Where each recording's text goes; None: to the screen. Recordings of the same name get a number."""
    if out is None:
        return [None] * len(paths)
    if len(paths) == 1 and not out.is_dir():
        return [out]
    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"--out {out} is a file, but several recordings need a folder")
    return list(named_in(out, [path.stem for path in paths], SUFFIXES[format.value]))
