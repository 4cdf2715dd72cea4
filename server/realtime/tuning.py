"""What a client's settings mean for the pipeline: when a turn ends, what interrupts, how it is heard and spoken."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from antiphon.engines.protocols import EndpointPolicy, STTOptions, TTSOptions, WordCue
from antiphon.pipeline.interruption import InterruptionSettings
from antiphon.pipeline.session import Session
from antiphon.pipeline.session_settings import Engines, SessionSettings
from antiphon.pipeline.turns import MANUAL
from antiphon.server.names import UnknownName, resolve
from antiphon.server.realtime.protocol import ProtocolError, SemanticVad, ServerVad, SessionConfig, TurnDetection

Interrupt = Literal["sure", "at_once", "decided"]
"""See `server.realtime.interrupt`."""
PATIENCE: Mapping[str, float] = MappingProxyType({"low": 1.4, "medium": 1.0, "auto": 1.0, "high": 0.55})
"""By eagerness: how many times as long as configured to wait. The presets `careful` and `fast` of our turn detectors
stand in about these proportions to `balanced`."""
LONGEST_MS: Mapping[str, float] = MappingProxyType({"low": 8000.0, "medium": 4000.0, "auto": 4000.0, "high": 2000.0})
"""By eagerness: silence that ends a turn whatever else is known, as the protocol has it."""
SHORTEST_MS = 100.0
"""No silence below this ends a turn by its being scaled."""
SURE_MS = 160.0
"""Speech beyond doubt that ends a reply which cannot be paused (`server.realtime.interrupt: sure`): found with the
windows of the Silero VAD, six of 32 ms less its hangover."""
_OWN_THRESHOLD = ServerVad().threshold
"""The protocol's default means the VAD's own threshold: engines differ in what their probabilities mean."""


def endpoint_policy(detection: TurnDetection | None, configured: EndpointPolicy) -> EndpointPolicy:
    """When a silence ends a turn."""
    match detection:
        case None:
            return MANUAL
        case ServerVad(silence_duration_ms=silence_ms):
            return EndpointPolicy(silence_ms=float(silence_ms), max_silence_ms=float(silence_ms))
        case SemanticVad(eagerness=eagerness):
            return _scaled(configured, PATIENCE[eagerness], LONGEST_MS[eagerness])


def _scaled(policy: EndpointPolicy, factor: float, longest_ms: float) -> EndpointPolicy:
    def ms(value: float) -> float:
        return value if factor == 1.0 or math.isinf(value) else max(min(value, SHORTEST_MS), value * factor)

    rows: dict[WordCue, tuple[float, ...]] = {
        cue: tuple(ms(value) for value in row) for cue, row in policy.by_words.items()
    }
    return dataclasses.replace(
        policy,
        silence_ms=ms(policy.silence_ms),
        steps=tuple((least, ms(value)) for least, value in policy.steps),
        low_silence_ms=None if policy.low_silence_ms is None else ms(policy.low_silence_ms),
        by_words=MappingProxyType(rows),
        max_silence_ms=min(ms(policy.max_silence_ms), longest_ms),
    )


def check_names(config: SessionConfig, *, models: list[str], voices: tuple[str, ...], aliases: object) -> None:
    """
    :raises ProtocolError: a model or a voice means nothing here.
    """
    places = (("model", config.model, models, "models"), ("audio.output.voice", config.voice, voices, "voices"))
    for place, wanted, own, kind in places:
        try:
            resolve(wanted, own, getattr(aliases, kind))
        except UnknownName as error:
            raise ProtocolError(f"{error}.", code="model_not_found" if kind == "models" else "invalid_value",
                                param=f"session.{place}") from None  # fmt: skip


def voice_of(name: str, speed: float, engines: Engines, aliases: Mapping[str, str]) -> TTSOptions:
    """How an answer is spoken.

    :raises ProtocolError: there is no such voice.
    """
    try:
        voice = resolve(name, engines.tts.capabilities.voices, aliases)
    except UnknownName as error:
        raise ProtocolError(f"{error}.", param="audio.output.voice") from None
    return TTSOptions(voice=voice, speed=None if speed == 1.0 else speed)


def interruption(settings: InterruptionSettings, interrupt: Interrupt, *, enabled: bool) -> InterruptionSettings:
    """What stops a reply of a client that cannot be told to pause.

    :param settings: as they are configured for all.
    """
    enabled = enabled and settings.enabled
    match interrupt:
        case "at_once":
            return dataclasses.replace(settings, enabled=enabled, min_speech_ms=0.0, thinking_min_speech_ms=0.0)
        case "sure":
            return dataclasses.replace(settings, enabled=enabled, sure_speech_ms=SURE_MS)
        case "decided":
            return dataclasses.replace(settings, enabled=enabled)


def apply(
    config: SessionConfig, session: Session, settings: SessionSettings, engines: Engines, *, interrupt: Interrupt
) -> None:
    """Make a session listen as the client wants it. Takes effect at once, for the open turn too.

    :param interrupt: what stops a reply, if anything does.
    """
    detection = config.turn_detection
    gate, threshold = settings.gate, None
    if isinstance(detection, ServerVad):
        gate = dataclasses.replace(gate, pre_roll_ms=float(detection.prefix_padding_ms))
        threshold = None if detection.threshold == _OWN_THRESHOLD else min(max(detection.threshold, 0.01), 0.99)
    interrupts = detection is not None and detection.interrupt_response
    session.live.listen(
        stt=_stt_options(config, settings.stt),
        gate=gate,
        threshold=threshold,
        interruption=interruption(settings.interruption, interrupt, enabled=interrupts),
    )
    session.live.policy = endpoint_policy(detection, engines.policy)
    session.live.answers = config.type == "realtime" and (detection is None or detection.create_response)


def _stt_options(config: SessionConfig, configured: STTOptions) -> STTOptions:
    asked = config.transcription
    if asked is None:
        return configured
    language = asked.language or (asked.languages[0] if len(asked.languages) == 1 else None)
    return dataclasses.replace(
        configured,
        language=language or configured.language,
        prompt=asked.prompt or configured.prompt,
        hotwords=", ".join(asked.keywords) or configured.hotwords,
    )
