"""The scripted engines that hear: VAD, turn detector, STT."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.errors import EngineRequestInvalid
from antiphon.engines.lifecycle import Loadable
from antiphon.engines.protocols import EndpointPolicy, Stage, STTCapabilities, STTOptions, Transcript
from antiphon.engines.testing.script import Answer, Heard, ScriptedEngine, STTCall, TurnCall, now_s, timed

_POLICY = EndpointPolicy(silence_ms=600.0, steps=((0.5, 200.0),), check_at_ms=(100.0,))
_STT_CAPABILITIES = STTCapabilities(word_times=True)
_STT_OPTIONS = STTOptions()


class ScriptedVAD(Loadable):
    """Says "speech" inside given intervals of stream time, for every stream alike.

    A window is speech when its middle lies inside an interval (prolonged by the hidden hangover).
    """

    stage: Stage = "vad"
    engine = "scripted"

    def __init__(
        self,
        speech: Sequence[tuple[float, float]] | Callable[[int], Sequence[tuple[float, float]]] = (),
        *,
        rate_hz: int = 16000,
        window_samples: int = 512,
        threshold: float = 0.5,
        release_threshold: float = 0.35,
        hidden_hangover_ms: float = 0.0,
        speech_probability: float = 0.95,
        silence_probability: float = 0.02,
    ) -> None:
        """
        :param speech: (start, end) in seconds of stream time; or a function from the number of the stream (0 for the
            first one opened) to its intervals.
        """
        self._speech: Callable[[int], Sequence[tuple[float, float]]] = speech if callable(speech) else lambda _: speech
        self.rate_hz = rate_hz
        self.window_samples = window_samples
        self.threshold = threshold
        self.release_threshold = release_threshold
        self.hidden_hangover_ms = hidden_hangover_ms
        self.speech_probability = speech_probability
        self.silence_probability = silence_probability
        self.streams: list[ScriptedVADStream] = []

    def stream(self) -> ScriptedVADStream:
        self._require_entered()
        stream = ScriptedVADStream(self, tuple(self._speech(len(self.streams))))
        self.streams.append(stream)
        return stream


class ScriptedVADStream:
    """One stream of a :class:`ScriptedVAD`."""

    def __init__(self, vad: ScriptedVAD, speech: tuple[tuple[float, float], ...]) -> None:
        self._vad = vad
        self._speech = speech
        self.windows = 0
        """How many windows were seen."""
        self.resets = 0

    def probability(self, window: Samples) -> float:
        vad = self._vad
        if window.shape != (vad.window_samples,):
            raise EngineRequestInvalid(
                f"a window has {vad.window_samples} samples, not the shape {window.shape}", stage="vad",
                engine="scripted")  # fmt: skip
        middle_s = (self.windows + 0.5) * vad.window_samples / vad.rate_hz
        self.windows += 1
        hangover_s = vad.hidden_hangover_ms / 1000
        inside = any(start_s <= middle_s < end_s + hangover_s for start_s, end_s in self._speech)
        return vad.speech_probability if inside else vad.silence_probability

    def reset(self) -> None:
        """Counted, but stream time goes on: the script is written in the time of the whole stream."""
        self.resets += 1


class ScriptedTurnDetector(ScriptedEngine[Answer, TurnCall]):
    """Gives the probabilities of its script."""

    stage: Stage = "turn"

    def __init__(
        self,
        steps: Sequence[Answer | Exception] | Callable[[TurnCall], Answer | Exception] = (),
        *,
        policy: EndpointPolicy = _POLICY,
        repeat: bool = False,
        name: str = "scripted",
        load_s: float = 0.0,
        load_errors: Sequence[Exception] = (),
    ) -> None:
        super().__init__(steps, repeat=repeat, name=name, load_s=load_s, load_errors=load_errors)
        self.policy = policy

    async def end_probability(self, audio: AudioFrame, text: str | None) -> float:
        self._require_entered()
        call = TurnCall(began_s=now_s(), audio_s=audio.duration_s, text=text)
        self.calls.append(call)
        with timed(call):
            step = self.take(call)
            await asyncio.sleep(step.delay_s)
            return step.probability


class ScriptedSTT(ScriptedEngine[Heard, STTCall]):
    """Hears what its script says, whatever the audio; audio without a sample is an empty transcript and no step."""

    stage: Stage = "stt"

    def __init__(
        self,
        steps: Sequence[Heard | Exception] | Callable[[STTCall], Heard | Exception] = (),
        *,
        rate_hz: int = 16000,
        capabilities: STTCapabilities = _STT_CAPABILITIES,
        repeat: bool = False,
        name: str = "scripted",
        load_s: float = 0.0,
        load_errors: Sequence[Exception] = (),
    ) -> None:
        super().__init__(steps, repeat=repeat, name=name, load_s=load_s, load_errors=load_errors)
        self.rate_hz = rate_hz
        self.capabilities = capabilities

    async def transcribe(self, audio: AudioFrame, options: STTOptions = _STT_OPTIONS) -> Transcript:
        self._require_entered()
        if audio.rate_hz != self.rate_hz:
            raise EngineRequestInvalid(
                f"the audio has {audio.rate_hz} Hz, but the engine takes {self.rate_hz} Hz", stage="stt",
                engine=self.name)  # fmt: skip
        call = STTCall(began_s=now_s(), audio=audio, options=options)
        self.calls.append(call)
        with timed(call):
            if not len(audio.samples):
                return Transcript("")
            step = self.take(call)
            await asyncio.sleep(step.delay_s)
            return Transcript(step.text, language=step.language, words=step.words, rejected_text=step.rejected_text)
