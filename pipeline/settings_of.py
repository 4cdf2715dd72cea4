"""A configuration as a session's settings and text machinery."""

from __future__ import annotations

import math

from antiphon.pipeline.config import Config
from antiphon.pipeline.gate import GateSettings
from antiphon.pipeline.interruption import InterruptionSettings
from antiphon.pipeline.reply import ReplySettings
from antiphon.pipeline.session_settings import IdleSettings, SessionSettings, TextTools
from antiphon.pipeline.text import Lexicon, make_speakable, make_splitter
from antiphon.pipeline.text.completeness import judge


def session_settings(config: Config, *, manual_turns: bool = False) -> SessionSettings:
    """The configuration as a session's settings."""
    return SessionSettings(
        output_hz=config.audio.output_hz,
        gate=GateSettings(
            config.gate.start_ms, config.gate.start_window_ms, config.gate.pre_roll_ms, config.gate.stop_ms
        ),
        max_turn_s=float("inf") if manual_turns else config.session.max_turn_s,
        speculate=config.speculation.enabled,
        speculate_in_cloud=config.speculation.cloud,
        speculation_budget=config.speculation.budget,
        speculation_start_ms=config.speculation.start_ms,
        speculation_fading=config.speculation.fading,
        speculation_rerun_ms=config.speculation.rerun_ms,
        prefill=config.speculation.prefill,
        reopen_ms=config.speculation.reopen_ms,
        interruption=InterruptionSettings(
            enabled=config.interruption.enabled,
            min_speech_ms=config.interruption.min_speech_ms,
            min_words=config.interruption.min_words,
            thinking_min_speech_ms=config.interruption.thinking_min_speech_ms,
            backchannels=config.interruption.backchannels,
            mute_ms=config.interruption.mute_ms,
        ),
        manual_turns=manual_turns,
        on_error=config.session.on_error,
        on_overload=config.session.on_overload if config.session.on_error else "",
        max_errors=config.session.max_errors,
        errors_goodbye=config.session.errors_goodbye if config.session.on_error else "",
        greeting=config.session.greeting or "",
        idle=IdleSettings(
            after_s=config.session.idle_after_s or math.inf,
            prompts=config.session.idle_prompts,
            goodbye=config.session.idle_goodbye,
        ),
        history_turns=config.workflow.history_turns,
        history_tokens=config.workflow.max_history_tokens,
        reply=ReplySettings(
            output_hz=config.audio.output_hz,
            filler=config.session.filler,
            filler_after_s=config.session.filler_after_s,
            look_ahead=config.text.look_ahead_chunks,
            hurry_s=(config.text.first_clause_ms / 1000 or math.inf) if config.text.first_clause else math.inf,
            workflow_timeout_s=config.session.answer_deadline_s,
            workflow_gap_s=config.session.answer_gap_s,
            tts_timeout_s=config.session.tts_deadline_s,
        ),
        stt_timeout_s=config.session.stt_deadline_s,
        record_timeout_s=config.session.record_deadline_s,
        detector_timeout_s=config.session.turn_deadline_s,
    )


def text_tools(config: Config) -> TextTools:
    """The makers of the text machinery, as configured."""
    text = config.text
    lexicon = Lexicon(text.lexicon)
    spoken = getattr(config.stt[0].options, "language", None)
    return TextTools(
        splitter=lambda language: make_splitter(language, first_clause=text.first_clause),
        speakable=lambda language: make_speakable(language, lexicon=lexicon, urls=text.speak_urls),
        cue=lambda heard, language: judge(heard, language or spoken).words,
    )
