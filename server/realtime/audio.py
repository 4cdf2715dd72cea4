"""Audio of Realtime clients: to and from their formats, and the transport of those whose audio comes in events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler
from antiphon.pipeline.transports.base import TransportCapabilities
from antiphon.server import g711
from antiphon.server.client_audio import ClientSink, ClientTransport, from_pcm16, pcm16
from antiphon.server.realtime.protocol import AudioFormat

DELTA_S = 0.4
"""So much audio at most goes into one event."""


def from_wire(data: bytes, form: AudioFormat) -> Samples:
    """A client's audio as samples at `form.rate_hz`.

    :raises ValueError: half a sample is left over.
    """
    match form.type:
        case "audio/pcm":
            return from_pcm16(data)
        case "audio/pcmu":
            return g711.decode(data, "mulaw")
        case "audio/pcma":
            return g711.decode(data, "alaw")


class Encoder:
    """The audio of one message on its way to the client: any rate in, the client's format out."""

    def __init__(self, form: AudioFormat) -> None:
        self._form = form
        self._resampler: StreamResampler | None = None

    def push(self, frame: AudioFrame) -> Iterator[bytes]:
        """What can be sent now, in pieces of at most :data:`DELTA_S`."""
        if self._resampler is None or self._resampler.from_hz != frame.rate_hz:
            self._resampler = StreamResampler(frame.rate_hz, self._form.rate_hz)
        return self._pieces(self._resampler.push(frame.samples))

    def flush(self) -> Iterator[bytes]:
        """The rest."""
        if self._resampler is None:
            return iter(())
        resampler, self._resampler = self._resampler, None
        return self._pieces(resampler.push(np.empty(0, dtype=np.float32), last=True))

    def _pieces(self, samples: Samples) -> Iterator[bytes]:
        step = round(DELTA_S * self._form.rate_hz)
        for begin in range(0, len(samples), step):
            yield self._encoded(samples[begin : begin + step])

    def _encoded(self, samples: Samples) -> bytes:
        match self._form.type:
            case "audio/pcm":
                return pcm16(samples)
            case "audio/pcmu":
                return g711.encode(samples, "mulaw")
            case "audio/pcma":
                return g711.encode(samples, "alaw")


class EventTransport(ClientTransport):
    """Replies go out in events as they are made; the client plays them at its own pace.

    It cannot be told to stand still: the one thing that makes these clients fall silent is `speech_started`, and what
    they drop then is gone. So nothing is paused; a reply goes on until it is sure that the user wants to speak.
    """

    def __init__(self, sink: ClientSink, on_audio: Callable[[int, AudioFrame], None]) -> None:
        """
        :param on_audio: told of each piece of a reply, with its mark, as it is handed over.
        """
        super().__init__(sink, rate_hz=24000)
        self.capabilities = TransportCapabilities(paced=True, greets=False, pauses=False, queues=True)
        self._on_audio = on_audio

    async def play(self, frame: AudioFrame, mark: int) -> float:
        await self._sink.room()
        self._on_audio(mark, frame)
        return await super().play(frame, mark)


class Silent:
    """The transport of an answer beside the conversation: nobody here plays it, the client does as it likes."""

    capabilities = TransportCapabilities(greets=False, queues=True)

    def __init__(self, on_audio: Callable[[AudioFrame], None], now_s: Callable[[], float]) -> None:
        self._on_audio = on_audio
        self._now_s = now_s

    async def frames(self) -> AsyncIterator[AudioFrame]:
        nothing: tuple[AudioFrame, ...] = ()
        for frame in nothing:
            yield frame

    async def play(self, frame: AudioFrame, mark: int) -> float:
        self._on_audio(frame)
        return self._now_s()

    async def drain(self) -> None:
        """It is heard whenever the client plays it."""

    def clear(self) -> None:
        """What was sent was sent."""

    def pause(self) -> None:
        """Nothing here plays."""

    def resume(self) -> None:
        """Nothing here plays."""

    def heard_s(self, mark: int) -> float:
        return 0.0
