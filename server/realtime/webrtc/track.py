"""The outgoing audio of a call: a frame every 20 ms, silence where nothing is said, so that the stream never stalls."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import Any

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.packet import Packet

from antiphon.server.realtime.webrtc.clock import Beat
from antiphon.server.realtime.webrtc.opus import FRAME_S, FRAME_SAMPLES, RATE_HZ, OpusEncoder
from antiphon.server.realtime.webrtc.playout import Playout

logger = logging.getLogger(__name__)


class SpokenTrack(MediaStreamTrack):
    """Gives packets of Opus, encoded here: through aiortc's own encoder each frame would wait for a thread."""

    kind = "audio"

    def __init__(self, playout: Playout) -> None:
        super().__init__()
        self._playout = playout
        self._encoder = OpusEncoder()
        self._beat = Beat(FRAME_S)
        self._frame = 0

    async def recv(self) -> Packet[Any]:
        """
        :raises MediaStreamError: the track was stopped.
        """
        if self.readyState != "live":
            raise MediaStreamError
        due_s, left_out = await self._beat.wait()
        packet: Packet[Any] = Packet(self._encode(due_s))
        packet.pts = (self._frame + left_out) * FRAME_SAMPLES
        packet.time_base = Fraction(1, RATE_HZ)
        self._frame += left_out + 1
        return packet

    def _encode(self, due_s: float) -> bytes:
        try:
            return self._encoder.encode(self._playout.take(due_s))
        except Exception:  # the library would neither send nor close any more
            logger.exception("a packet of a call could not be made")
            return self._encoder.encode(None)
