"""Speech to text for a Wyoming client: audio is gathered until it ends, then heard as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler
from antiphon.engines.host import Priority, Ticket, current_ticket
from antiphon.engines.protocols import STTOptions, Transcript
from antiphon.engines.wyoming_wire import BadEvent, UnreadableAudio, pcm_samples
from antiphon.server.access.principal import caller
from antiphon.server.rest.pace import in_time
from antiphon.server.service import Service

if TYPE_CHECKING:
    from wyoming.event import Event

_NOTHING: Samples = np.zeros(0, np.float32)


class TooLong(BadEvent):
    """Raised for a recording that is longer than one may be."""


def samples_of(event: Event) -> tuple[Samples, int]:
    """The audio of an `audio-chunk`, and its rate.

    :raises BadEvent: in a form that is not read.
    """
    data = event.data
    try:
        samples = pcm_samples(
            event.payload or b"", rate_hz=data.get("rate"), width=data.get("width"), channels=data.get("channels")
        )
    except UnreadableAudio as error:
        raise BadEvent(str(error)) from None
    return samples, int(data["rate"])


@dataclass(slots=True, eq=False)
class Recording:
    """Audio of one request, resampled as it comes."""

    rate_hz: int
    max_s: float
    _pieces: list[Samples] = field(default_factory=list)
    _count: int = 0
    _resampler: StreamResampler | None = None

    def push(self, samples: Samples, rate_hz: int) -> None:
        """
        :raises TooLong: no more fits.
        """
        if self._resampler is None or self._resampler.from_hz != rate_hz:
            self._flush()
            self._resampler = StreamResampler(rate_hz, self.rate_hz)
        self._keep(self._resampler.push(samples))
        if self._count > self.max_s * self.rate_hz:
            raise TooLong(f"the recording is longer than {self.max_s:g} s")

    def finished(self) -> AudioFrame:
        """All of it."""
        self._flush()
        return AudioFrame(np.concatenate(self._pieces) if self._pieces else _NOTHING, self.rate_hz)

    def _flush(self) -> None:
        if self._resampler is not None and self._resampler.from_hz != self._resampler.to_hz:
            self._keep(self._resampler.push(_NOTHING, last=True))
        self._resampler = None

    def _keep(self, samples: Samples) -> None:
        self._pieces.append(samples)
        self._count += len(samples)


async def transcribe(service: Service, audio: AudioFrame, options: STTOptions) -> Transcript:
    """
    :raises Refused: the service is not ready.
    :raises AntiphonError: the engine failed, or took too long.
    """
    service.must_be_ready()
    if not len(audio.samples):
        return Transcript("")
    limit_s = service.config.session.stt_deadline_s + audio.duration_s
    with service.using(), service.usage(caller()) as meter:
        current_ticket.set(Ticket("wyoming", priority=Priority.COMMITTED, meter=meter))  # somebody waits for it
        return await in_time("stt", limit_s, service.engines.stt.transcribe(audio, options))


def stt_options(service: Service, event: Event | None) -> STTOptions:
    """What `transcribe` asks for. A language that the engine does not know is left to the engine.

    :raises BadEvent: a field of it is not as it should be.
    """
    data = event.data if event is not None else {}
    language = data.get("language")
    lists = [data.get("transcript_names") or [], data.get("transcript_terms") or []]
    words = [word for one in lists if isinstance(one, list) for word in one]
    listed = all(isinstance(one, list) for one in lists) and all(isinstance(word, str) for word in words)
    if not isinstance(language, str | None) or not listed:
        raise BadEvent("transcribe: language is a text, transcript_names and transcript_terms are lists of texts")
    code = (language or "").replace("_", "-").partition("-")[0].lower()
    known = service.engines.stt.capabilities.languages
    return STTOptions(
        language=code if code and (known is None or code in known) else None,
        hotwords=", ".join(words)[:1000] or None,
    )
