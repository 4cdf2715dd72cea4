"""`antiphon run`: recordings in, spoken answers out; or talk through microphone and speaker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.text import Text

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.audio_file import read_audio_file
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.cli.common import EXIT_FAILED, ConfigArgument, JsonOption, SetOption, explained
from antiphon.pipeline.cli.inputs import (
    MAX_RATE_HZ,
    MIN_RATE_HZ,
    STDIN,
    any_folder,
    find_recordings,
    raw_pcm,
    reply_targets,
)
from antiphon.pipeline.cli.show import Conversation, TurnRecord, show_fallback
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.errors import AudioInputError
from antiphon.pipeline.events import Event, EventSink
from antiphon.pipeline.frontend import AudioFrontEnd, front_end_settings
from antiphon.pipeline.session import Session
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.transports.microphone import MicrophoneTransport, load_microphone
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames
from antiphon.pipeline.wav_out import write_wav


@explained
def run(
    config: ConfigArgument = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--in", metavar="FILE", help="A recording, a folder of them, or - for raw PCM. May be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Where the replies go (WAV): a file for one recording; a folder for several, or if --in is a folder.",
        ),
    ] = None,
    events: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every event as one line of JSON.")] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Do not play in real time: go on as soon as the engines are done.")
    ] = False,
    mix: Annotated[
        bool, typer.Option("--mix", help="Into --out go both sides: left the user, right the assistant.")
    ] = False,
    rate: Annotated[
        int,
        typer.Option(
            metavar="HZ", min=MIN_RATE_HZ, max=MAX_RATE_HZ, help="Rate of raw PCM (16 bit, mono) on standard input."
        ),
    ] = 16000,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="SESSION",
            help="Go on with a session of the transcripts, by the beginning of its id or `last`: the agent knows what "
            "was said, and what waited for a yes is done or told.",
        ),
    ] = None,
    person: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose conversation this is, for the transcripts.")
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Talk with the configured pipeline, or let it answer recordings.

    With --in: each recording is played to the pipeline in real time (with --fast: as fast as the engines go); its end
    ends a turn that is still open. One without speech gets no answer, which is no error. Of several, one that cannot be
    read is named, and the others are answered all the same. The replies are heard by nobody: they go to --out.
    Without --in: microphone and speaker, until Ctrl-C.

    Exit codes: 0 done, also when Ctrl-C ended a talk with the microphone; 1 an input could not be used, or a turn of a
    recording failed; 2 wrong usage or configuration; 3 a package or a model is missing; 130 stopped with Ctrl-C.
    """
    loaded = load_config(config, overrides=overrides or ())
    if not inputs and (out or mix or fast):
        raise typer.BadParameter("--out, --mix and --fast go with --in")
    if mix and out is None:
        raise typer.BadParameter("--mix goes with --out")
    if not inputs:
        load_microphone()  # say at once that there is none, not when the engines are loaded
    paths = find_recordings(inputs or [])
    replies = dict(zip(paths, reply_targets(paths, out, into_folder=any_folder(inputs or [])), strict=True))
    console = Console(stderr=as_json, highlight=False)
    job = _Job(
        loaded,
        config or "local.yaml",
        replies,
        fast=fast,
        mix=mix,
        rate_hz=rate,
        console=console,
        resume=resume,
        person=person,
    )
    with _events_file(events) as file:
        report = asyncio.run(job.run(file))
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    if job.failed:
        raise typer.Exit(EXIT_FAILED)


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


@dataclass(slots=True)
class _Job:
    """One call of the command."""

    config: Config
    name: str
    replies: dict[str, Path | None]
    """Each recording, and where the replies to it go."""
    fast: bool
    mix: bool
    rate_hz: int
    console: Console
    resume: str | None = None
    person: str | None = None
    failed: bool = False

    async def run(self, events: TextIO | None) -> dict[str, Any]:
        began_s = time.monotonic()
        report: dict[str, Any] = {"config": self.name, "inputs": []}
        async with Assembly(self.config, on_fallback=partial(show_fallback, self.console)) as assembly:
            report["ready_s"] = round(time.monotonic() - began_s, 3)
            self.console.print(f"[dim]ready in {report['ready_s']:.1f} s ({self.name})[/dim]")
            if not self.replies:
                report["inputs"].append(await self._talk(assembly, events))
                return report
            for path in self.replies:
                if len(self.replies) > 1:
                    self.console.print(Text(f"\n{path}", "bold"))
                try:
                    report["inputs"].append(await self._answer(assembly, path, events))
                except AudioInputError as error:
                    if len(self.replies) == 1:
                        raise
                    self.failed = True
                    self.console.print(Text(f"error: {error.message}", "red"))
                    report["inputs"].append({"input": path, "error": error.message, "turns": []})
        return report

    async def _session(self, assembly: Assembly, transport: Transport, sinks: list[EventSink]) -> Session:
        if self.resume is None:
            return assembly.session(transport, sinks=sinks, person=self.person)
        earlier = await assembly.find_session(self.resume)
        known = await assembly.recalled(earlier)
        return assembly.session(transport, sinks=sinks, conversation=known, person=self.person, resumed_from=earlier)

    async def _answer(self, assembly: Assembly, path: str, events: TextIO | None) -> dict[str, Any]:
        transport = RecordingTransport(self._source(path), paced=not self.fast)
        shown = Conversation(self.console, waterfalls=not self.fast)
        session = await self._session(assembly, transport, [shown.on_event, *_sinks(events)])
        written: Path | None = None
        try:
            await session.run()
        except BaseExceptionGroup as group:
            raise _input_error(group) or group from None
        finally:
            written = self._write(transport, path)
        if not shown.turns:
            self.console.print("[dim]no speech was heard[/dim]")
        self.failed |= any(turn.status == "failed" for turn in shown.turns)
        if written is not None:
            self.console.print(Text(f"wrote {written}", "dim"))
        return _report(path, session, shown.turns, written)

    def _source(self, path: str) -> AsyncIterator[AudioFrame]:
        if path == STDIN:
            return raw_pcm(self.rate_hz, paced=not self.fast)
        file = read_audio_file(path, self.config.audio.input_hz)
        for warning in file.warnings:
            self.console.print(Text(f"{path}: {warning}", "yellow"))
        return recording_frames(file.frame, paced=not self.fast)

    def _write(self, transport: RecordingTransport, path: str) -> Path | None:
        target = self.replies[path]
        if target is not None:
            rate_hz = self.config.audio.output_hz
            write_wav(target, transport.mix(rate_hz) if self.mix else transport.replies(), rate_hz)
        return target

    async def _talk(self, assembly: Assembly, events: TextIO | None) -> dict[str, Any]:
        audio = self.config.audio
        front_end = AudioFrontEnd(front_end_settings(audio, paced=True, aec=False))
        async with MicrophoneTransport(
            input_hz=audio.input_hz, output_hz=audio.output_hz, front_end=front_end
        ) as transport:
            shown = Conversation(self.console, waterfalls=True)
            session = await self._session(assembly, transport, [shown.on_event, *_sinks(events)])
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


def _input_error(group: BaseExceptionGroup[BaseException]) -> AudioInputError | None:
    """What broke the input, if that is what ended the session."""
    for error in group.exceptions:
        found = _input_error(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, AudioInputError):
            return found
    return None
