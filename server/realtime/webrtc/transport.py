"""A call's audio both ways, as a transport of the pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.transports.base import TransportCapabilities
from antiphon.server.realtime.webrtc.hearing import Hearing
from antiphon.server.realtime.webrtc.playout import Listener, Playout


class WebRtcTransport(Playout):
    """Both halves. Input goes into :attr:`hearing`; output is taken by the line, frame by frame."""

    def __init__(self, listener: Listener | None = None) -> None:
        super().__init__(listener)
        self.capabilities = TransportCapabilities(paced=True, greets=True, pauses=True, aec=True, queues=True)
        self.hearing = Hearing()

    def frames(self) -> AsyncIterator[AudioFrame]:
        return self.hearing.frames()
