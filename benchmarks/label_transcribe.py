"""Fills transcripts of labelled clips with a recogniser. They are drafts: no word error is counted against them."""

from __future__ import annotations

from dataclasses import replace

from antiphon.benchmarks.clips import MACHINE_TRANSCRIPT, RATE_HZ
from antiphon.benchmarks.label_folder import UNREVIEWED, Labelled, OnFile
from antiphon.engines.audio import AudioFrame, resample
from antiphon.engines.protocols import STT, STTOptions


async def transcribe(labelled: Labelled, stt: STT, *, on_file: OnFile | None = None) -> int:
    """Transcribe the clips that nobody has looked at and that have speech and no text.

    Their kind becomes "machine-transcript"; a language that was not known is taken from the engine.

    :param stt: an entered engine.
    :returns: how many got a text.
    :raises EngineError: the engine failed.
    """
    open_rows = [row["file"] for row in labelled.table.rows if row["kind"] == UNREVIEWED]
    todo = [(number, clip) for number, clip in labelled.clips(open_rows) if clip.has_speech and not clip.transcript]
    made = 0
    for done, (number, clip) in enumerate(todo, 1):
        options = STTOptions(language=None if clip.lang == "-" else clip.lang)
        frame = AudioFrame(resample(clip.samples(), RATE_HZ, stt.rate_hz), stt.rate_hz)
        heard = await stt.transcribe(frame, options)
        if text := heard.text.strip():
            lang = heard.language or "-" if clip.lang == "-" else clip.lang
            labelled.put(number, replace(clip, kind=MACHINE_TRANSCRIPT, draft=text, lang=lang))
            made += 1
        if on_file is not None:
            on_file(clip.name, done, len(todo))
    return made
