"""`antiphon run`: recordings in, spoken answers out; or talk through microphone and speaker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import numpy as np
import typer
from rich.console import Console

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.audio_file import read_audio_file
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.cli.common import EXIT_FAILED, ConfigArgument, JsonOption, SetOption, explained
from antiphon.pipeline.cli.show import Conversation, TurnRecord
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.errors import AudioInputError
from antiphon.pipeline.events import Event, EventSink
from antiphon.pipeline.session import Session
from antiphon.pipeline.transports.microphone import MicrophoneTransport
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames
from antiphon.pipeline.wav_out import write_wav

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
STDIN = "-"


@explained
def run(
    config: ConfigArgument = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--in", metavar="FILE", help="A recording, a folder of them, or - for raw PCM. May be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where the replies go (WAV); a folder where there are several.")
    ] = None,
    events: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every event as one line of JSON.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Do not wait: run on the stream clock.")] = False,
    mix: Annotated[bool, typer.Option("--mix", help="Write both sides: left the user, right the assistant.")] = False,
    rate: Annotated[int, typer.Option(metavar="HZ", help="Rate of raw PCM (16 bit, mono) on standard input.")] = 16000,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Talk with the configured pipeline, or let it answer recordings.

    With --in: each recording is played to the pipeline in real time; its end ends the turn. Without: microphone and
    speaker.

    Exit codes: 0 done; 1 an input could not be used or a turn failed; 2 wrong usage or configuration; 3 a package or
    a model is missing; 130 stopped with Ctrl-C.
    """
    loaded = load_config(config, overrides=overrides or ())
    paths = _paths(inputs or [])
    if not paths and (out or mix or fast):
        raise typer.BadParameter("--out, --mix and --fast go with --in")
    several = len(paths) > 1 or (out is not None and out.is_dir())
    if several and out is not None and out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is a file; several recordings need a folder")
    console = Console(stderr=as_json, highlight=False)
    job = _Job(loaded, config or "local.yaml", paths, out, several, fast, mix, rate, console)
    with _events_file(events) as file:
        report = asyncio.run(job.run(file))
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    if job.failed:
        raise typer.Exit(EXIT_FAILED)


def _paths(inputs: Sequence[str]) -> list[str]:
    """Folders become the recordings in them."""
    found: list[str] = []
    for given in inputs:
        path = Path(given)
        if given != STDIN and path.is_dir():
            inside = sorted(str(one) for one in path.iterdir() if one.suffix.lower() in AUDIO_SUFFIXES)
            if not inside:
                raise AudioInputError(f"{given}: no recording in this folder", hint="WAV, FLAC and OGG files are read")
            found.extend(inside)
        else:
            found.append(given)
    return found


@contextlib.contextmanager
def _events_file(path: Path | None) -> Any:
    if path is None:
        yield None
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise AudioInputError(f"the events cannot be written to {path}: {error.strerror}") from error


class _Job:
    """One call of the command."""

    def __init__(
        self,
        config: Config,
        name: str,
        paths: list[str],
        out: Path | None,
        several: bool,
        fast: bool,
        mix: bool,
        rate_hz: int,
        console: Console,
    ) -> None:
        self.config = config
        self.name = name
        self.paths = paths
        self.out = out
        self.several = several
        self.fast = fast
        self.mix = mix
        self.rate_hz = rate_hz
        self.console = console
        self.failed = False

    async def run(self, events: TextIO | None) -> dict[str, Any]:
        began_s = time.monotonic()
        report: dict[str, Any] = {"config": self.name, "inputs": []}
        async with Assembly(self.config, on_fallback=lambda event: self._say_fallback(event)) as assembly:
            report["ready_s"] = round(time.monotonic() - began_s, 3)
            self.console.print(f"[dim]ready in {report['ready_s']:.1f} s ({self.name})[/dim]")
            if not self.paths:
                report["inputs"].append(await self._talk(assembly, events))
                return report
            for path in self.paths:
                if len(self.paths) > 1:
                    self.console.print(f"\n[bold]{path}[/bold]")
                try:
                    report["inputs"].append(await self._answer(assembly, path, events))
                except AudioInputError as error:
                    if len(self.paths) == 1:
                        raise
                    self.failed = True
                    self.console.print(f"error: {error.message}", style="red")
                    report["inputs"].append({"input": path, "error": error.message, "turns": []})
        return report

    def _say_fallback(self, event: Any) -> None:
        to = f", now {event.to}" if event.to else ""
        self.console.print(f"[yellow]{event.stage}: {event.engine} {event.kind.replace('_', ' ')}{to}[/yellow]")

    async def _answer(self, assembly: Assembly, path: str, events: TextIO | None) -> dict[str, Any]:
        source = self._source(path)
        transport = RecordingTransport(source, paced=not self.fast)
        shown = Conversation(self.console, waterfalls=not self.fast)
        session = assembly.session(transport, sinks=[shown.on_event, *_sinks(events)])
        try:
            await session.run()
        finally:
            written = self._write(transport, path)
        if not shown.turns:
            self.console.print("[dim]no speech was heard[/dim]")
        self.failed |= any(turn.status == "failed" for turn in shown.turns)
        if written is not None:
            self.console.print(f"[dim]wrote {written}[/dim]")
        return _report(path, session, shown.turns, written)

    def _source(self, path: str) -> AsyncIterator[AudioFrame]:
        if path == STDIN:
            return _raw_pcm(self.rate_hz)
        file = read_audio_file(path, self.config.audio.input_hz)
        for warning in file.warnings:
            self.console.print(f"[yellow]{path}: {warning}[/yellow]")
        return recording_frames(file.frame, paced=not self.fast)

    def _write(self, transport: RecordingTransport, path: str) -> Path | None:
        if self.out is None:
            return None
        target = self.out
        if self.several:
            name = "stdin" if path == STDIN else Path(path).stem
            target = self.out / f"{name}.wav"
        rate_hz = self.config.audio.output_hz
        write_wav(target, transport.mix(rate_hz) if self.mix else transport.replies(), rate_hz)
        return target

    async def _talk(self, assembly: Assembly, events: TextIO | None) -> dict[str, Any]:
        audio = self.config.audio
        async with MicrophoneTransport(input_hz=audio.input_hz, output_hz=audio.output_hz) as transport:
            shown = Conversation(self.console, waterfalls=True)
            session = assembly.session(transport, sinks=[shown.on_event, *_sinks(events)])
            loop = asyncio.get_running_loop()
            with contextlib.suppress(NotImplementedError):  # no signal handlers on Windows' loop: Ctrl-C still ends it
                loop.add_signal_handler(signal.SIGINT, transport.stop)
            self.console.print("[dim]speak; Ctrl-C ends the conversation[/dim]")
            await session.run()
        return _report("microphone", session, shown.turns, None)


def _report(source: str, session: Session, turns: Sequence[TurnRecord], written: Path | None) -> dict[str, Any]:
    return {
        "input": source,
        "session": session.id,
        "out": str(written) if written else None,
        "turns": [turn.to_dict() for turn in turns],
    }


def _sinks(file: TextIO | None) -> list[EventSink]:
    if file is None:
        return []

    def write(event: Event) -> None:
        file.write(json.dumps(event.to_dict(), ensure_ascii=False) + "\n")
        file.flush()

    return [write]


async def _raw_pcm(rate_hz: int) -> AsyncIterator[AudioFrame]:
    """16-bit little-endian mono PCM from standard input, in chunks of 20 ms."""
    if not 8000 <= rate_hz <= 48000:
        raise AudioInputError(f"--rate {rate_hz}: give 8000 to 48000 Hz")
    size = 2 * (rate_hz // 50)
    position = 0
    rest = b""
    while data := await asyncio.to_thread(os.read, sys.stdin.fileno(), size):  # as it comes, not when a buffer is full
        data = rest + data
        whole = len(data) // 2 * 2
        data, rest = data[:whole], data[whole:]
        samples = np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768.0
        yield AudioFrame(samples, rate_hz, position / rate_hz)
        position += len(samples)
    if rest:
        raise AudioInputError("standard input ended in the middle of a 16-bit sample", hint="is it really raw PCM?")
