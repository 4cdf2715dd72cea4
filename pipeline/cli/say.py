"""`antiphon say [CONFIG] TEXT`: the configured voice says a text, to a file, a pipe or the speaker."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from antiphon.engines.audio import Samples, to_pcm16
from antiphon.engines.protocols import TTS, SpeechChunk, TTSOptions
from antiphon.pipeline.cli.common import EXIT_FAILED, JsonOption, SetOption, explained, split_config
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.engine_making import engine_context, make_engine
from antiphon.pipeline.errors import AudioInputError
from antiphon.pipeline.text import make_speakable
from antiphon.pipeline.transports.sound_devices import load_sounddevice
from antiphon.pipeline.wav_out import new_wav

Write = Callable[[Samples], None]
Sink = Callable[[int], AbstractContextManager[Write]]
"""(rate in Hz) -> a context manager that yields what takes float32 samples."""


@explained
def say(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[CONFIG] TEXT", help="A configuration (optional), then the text; - reads it from stdin."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(help="WAV file to write; - writes raw 16-bit mono PCM to stdout. Without it the speaker plays."),
    ] = None,
    voice: Annotated[str | None, typer.Option(help="Voice or speaker, by name.")] = None,
    speed: Annotated[float | None, typer.Option(help="Pace; 1 is the voice's own.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the text, as a code such as de.")] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say a text with the configured voice.

    With `--out -` the rate of the samples is told on stderr. With `--json` stdout has one object: path (null: the
    speaker), seconds, rate in Hz, voice (null: the engine has no names for them, or is one of a chain).

    Exit codes: 0 said; 1 nothing, or not all, could be said; 2 wrong usage or configuration; 3 a package or a model is
    missing; 130 stopped with Ctrl-C.
    """
    if as_json and out == "-":
        raise typer.BadParameter("--json and --out - both want standard output; give a file to --out")
    source, words = split_config(arguments) if len(arguments) > 1 else (None, arguments)
    text = " ".join(words)
    if text == "-":
        text = sys.stdin.read()
    config = load_config(source, overrides=tuple(overrides or ()))
    request = TTSOptions(voice=voice, speed=speed, language=language)
    rates_hz: list[int] = []
    try:
        seconds = asyncio.run(_run(config, text, request, _noting(_sink(out), rates_hz)))
    except BrokenPipeError:  # whoever read the samples has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(EXIT_FAILED) from None
    except OSError as error:
        raise AudioInputError(f"cannot write: {error}", hint="give another --out") from error
    if not seconds:
        raise AudioInputError("the text has nothing that can be spoken")
    if as_json:
        report = {"path": out, "seconds": round(seconds, 3), "rate": rates_hz[0], "voice": _voice(config, request)}
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    elif out not in (None, "-"):
        typer.echo(f"{out}: {seconds:.1f} s")


def _voice(config: Config, request: TTSOptions) -> str | None:
    """The voice that was asked for, or the one of the only engine; which engine of a chain spoke is not known here."""
    if request.voice is not None:
        return request.voice
    configured = getattr(config.tts[0].options, "voice", None) if len(config.tts) == 1 else None
    return None if configured is None else str(configured)


async def _run(config: Config, text: str, request: TTSOptions, sink: Sink) -> float:
    """Say it; returns how many seconds of audio came."""
    async with engine_context(config) as context, make_engine(config.tts, context) as tts:
        languages = tts.capabilities.languages
        language = request.language or (languages[0] if languages else None)
        speakable = make_speakable(language, lexicon=config.text.lexicon, urls=config.text.speak_urls)
        return await speak(tts, speakable(text), request, sink)


async def speak(tts: TTS, text: str, request: TTSOptions, sink: Sink) -> float:
    """Send a text's audio to a sink as it comes; the sink is opened with the first chunk.

    :param tts: an entered engine.
    :returns: seconds of audio; 0 where there was nothing to say, and the sink was not opened.
    """
    source: Any = tts.synthesize(text, request)
    async with aclosing(source) as chunks:
        first: SpeechChunk | None = await anext(chunks, None)
        if first is None:
            return 0.0
        seconds = 0.0
        with sink(first.frame.rate_hz) as write:
            async for chunk in _prepended(first, chunks):
                await asyncio.to_thread(write, chunk.frame.samples)
                seconds += chunk.frame.duration_s
        return seconds


async def _prepended(first: SpeechChunk, rest: AsyncIterator[SpeechChunk]) -> AsyncIterator[SpeechChunk]:
    yield first
    async for chunk in rest:
        yield chunk


# ------------------------------------------------------------------------------------------- sinks


def _noting(sink: Sink, rates_hz: list[int]) -> Sink:
    """The same sink, which notes the rate that it is opened with."""

    def opened(rate_hz: int) -> AbstractContextManager[Write]:
        rates_hz.append(rate_hz)
        return sink(rate_hz)

    return opened


def _sink(out: str | None) -> Sink:
    if out is None:
        _sounddevice()  # say at once that there is no speaker, not when the voice is loaded
        return _speaker
    return _raw_stdout if out == "-" else partial(new_wav, Path(out))


@contextmanager
def _raw_stdout(rate_hz: int) -> Iterator[Write]:
    """16-bit little-endian mono samples to stdout, each chunk as it comes."""
    typer.echo(f"raw PCM: {rate_hz} Hz, 16-bit little-endian, mono", err=True)
    stream = sys.stdout.buffer

    def write(samples: Samples) -> None:
        stream.write(to_pcm16(samples).astype("<i2").tobytes())
        stream.flush()

    yield write


@contextmanager
def _speaker(rate_hz: int) -> Iterator[Write]:
    """This machine's speaker; writing waits while it plays."""
    sounddevice = _sounddevice()
    try:
        with sounddevice.OutputStream(rate_hz, channels=1, dtype="float32") as stream:
            yield lambda samples: stream.write(np.ascontiguousarray(samples.reshape(-1, 1)))
            stream.stop()  # waits until all has been heard
    except sounddevice.PortAudioError as error:
        raise AudioInputError(f"no usable speaker: {error}", hint="write a file instead: --out FILE.wav") from error


def _sounddevice() -> Any:
    return load_sounddevice("playing", "or write a file: --out FILE.wav")
