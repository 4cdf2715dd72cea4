"""Tries one engine of a configuration: load it, ask it once, time both. Runs in a process of its own.

:func:`antiphon.engines.host_process.try_in_child` calls these functions by name: a crash in native code ends the child
and not the command that wants to report it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import Finish, LLMOptions, Message, TextDelta, TTSOptions
from antiphon.pipeline.config import EngineBlock, load_config
from antiphon.pipeline.engine_making import create_engine, engine_context
from antiphon.pipeline.needs import block_paths

TRY_BLOCK = "antiphon.pipeline.trial:try_block"
AUDIO_DEVICES = "antiphon.pipeline.trial:audio_devices"

_LLM_TOKENS = 16
_TURN_RATE_HZ = 16000


@dataclass(frozen=True, slots=True)
class Tried:
    """What an engine did."""

    load_s: float
    """Loading and warming."""
    call_s: float
    """One call on the warm engine; of a VAD, the mean of its windows."""
    what: str
    """What the call was, and what came of it."""
    memory_mb: float
    """The most that its process held, Python and all."""


async def try_block(source: str | None, overrides: Sequence[str], path: str) -> Tried:
    """Load the engine at a key path of a configuration ("stt", "llm.1") and ask it once.

    :raises AntiphonError: it cannot be loaded, or does not work.
    """
    config = load_config(source, overrides=tuple(overrides))
    block = block_paths(config)[path]
    async with engine_context(config) as context:
        began_s = time.perf_counter()
        async with create_engine(block, context) as engine:
            load_s = time.perf_counter() - began_s
            call_s, what = await _CALLS[block.stage](engine, block)
            return Tried(load_s, call_s, what, _peak_memory_mb())


def audio_devices() -> dict[str, str | None]:
    """Names of this machine's default microphone and speaker; None where there is none.

    :raises ImportError: the package sounddevice is not installed.
    :raises OSError: the PortAudio library is not.
    """
    import sounddevice

    found: dict[str, str | None] = {}
    for direction in ("input", "output"):
        try:
            found[direction] = str(sounddevice.query_devices(kind=direction)["name"])
        except (sounddevice.PortAudioError, ValueError):
            found[direction] = None
    return found


def synthetic_second(rate_hz: int) -> Samples:
    """A second of sound that is like a voice: a buzz of 120 Hz whose harmonics fall off, in four syllables."""
    time_s = np.arange(rate_hz) / rate_hz
    harmonics = range(1, min(24, rate_hz // 240))
    buzz = sum(np.sin(2 * np.pi * 120.0 * n * time_s) / n for n in harmonics)
    syllables = np.clip(np.sin(2 * np.pi * 2.0 * time_s) ** 2, 0.05, 1.0)
    return np.asarray(0.2 * buzz * syllables, dtype=np.float32)


# ------------------------------------------------------------------------------------------ one call a stage


async def _call_vad(vad: Any, block: EngineBlock) -> tuple[float, str]:
    stream, size = vad.stream(), vad.window_samples
    sound = synthetic_second(vad.rate_hz)
    windows = [sound[at : at + size] for at in range(0, len(sound) - size + 1, size)]
    began_s = time.perf_counter()
    for window in windows:
        probability = stream.probability(window)
        if not 0.0 <= probability <= 1.0:
            raise EngineFailed(f"the speech probability of a window is {probability}", stage="vad", engine=block.engine)
    call_s = (time.perf_counter() - began_s) / len(windows)
    return call_s, f"a window of {1000 * size / vad.rate_hz:g} ms"


async def _call_turn(detector: Any, block: EngineBlock) -> tuple[float, str]:
    policy = detector.policy
    if not policy.check_at_ms:
        return 0.0, f"ends a turn after {policy.silence_ms:g} ms of silence"
    audio = AudioFrame(synthetic_second(_TURN_RATE_HZ), _TURN_RATE_HZ)
    began_s = time.perf_counter()
    probability = await detector.end_probability(audio, None)
    call_s = time.perf_counter() - began_s
    if not 0.0 <= probability <= 1.0:
        raise EngineFailed(f"the end probability is {probability}", stage="turn", engine=block.engine)
    return call_s, "1 s of sound"


async def _call_stt(stt: Any, block: EngineBlock) -> tuple[float, str]:
    audio = AudioFrame(synthetic_second(stt.rate_hz), stt.rate_hz)
    began_s = time.perf_counter()
    transcript = await stt.transcribe(audio)
    call_s = time.perf_counter() - began_s
    words = len(transcript.text.split())
    return call_s, f"1 s of sound: {f'{words} words' if words else 'no words, as it should be'}"


async def _call_llm(llm: Any, block: EngineBlock) -> tuple[float, str]:
    messages = [Message("system", "Answer briefly."), Message("user", "Say hello.")]
    began_s = time.perf_counter()
    first_s: float | None = None
    finished = False
    async with aclosing(_events(llm, messages)) as events:
        async for event in events:
            if isinstance(event, TextDelta) and first_s is None:
                first_s = time.perf_counter() - began_s
            finished |= isinstance(event, Finish)
    call_s = time.perf_counter() - began_s
    if not finished:
        raise EngineFailed("the answer broke off without an end", stage="llm", engine=block.engine)
    if first_s is None:  # a model that thinks first needs more than these few
        return call_s, f"up to {_LLM_TOKENS} tokens: no text yet"
    return call_s, f"up to {_LLM_TOKENS} tokens, the first after {1000 * first_s:.0f} ms"


def _events(llm: Any, messages: Sequence[Message]) -> Any:
    return llm.stream(messages, (), LLMOptions(max_tokens=_LLM_TOKENS), "doctor")


async def _call_tts(tts: Any, block: EngineBlock) -> tuple[float, str]:
    call_s, first_s, audio_s = await _spoken(tts.synthesize("Hello."), block, f"{block.stage}.voice")
    for language, voice in block.voices.items():
        options = TTSOptions(voice=voice, language=language)
        await _spoken(tts.synthesize("Hello.", options), block, f"{block.stage}.voices.{language} ({voice})")
    more = f"; {len(block.voices)} voices speak" if block.voices else ""
    return call_s, f"{audio_s:.1f} s of speech, the first after {1000 * first_s:.0f} ms{more}"


async def _spoken(source: AsyncIterator[Any], block: EngineBlock, key: str) -> tuple[float, float, float]:
    """Seconds until all of it, until the first chunk, and of audio."""
    began_s = time.perf_counter()
    first_s: float | None = None
    audio_s = 0.0
    chunks: Any = source
    async with aclosing(chunks):
        async for chunk in chunks:
            if first_s is None:
                first_s = time.perf_counter() - began_s
            audio_s += chunk.frame.duration_s
    if first_s is None:
        raise EngineFailed(f"{key} gave no audio for a word", stage="tts", engine=block.engine)
    return time.perf_counter() - began_s, first_s, audio_s


_CALLS: dict[str, Callable[[Any, EngineBlock], Coroutine[Any, Any, tuple[float, str]]]] = {
    "vad": _call_vad,
    "turn": _call_turn,
    "stt": _call_stt,
    "llm": _call_llm,
    "tts": _call_tts,
}


def _peak_memory_mb() -> float:
    # Linux hands ru_maxrss down through fork and exec: a child of a big process would show its parent's peak.
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource  # POSIX only, as the child process is

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
