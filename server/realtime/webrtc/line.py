"""One caller's peer connection: sound both ways, data channels, and whether anybody is still there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiortc import (
    RTCDataChannel,
    RTCIceCandidate,
    RTCIceTransport,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.rtp import RtpPacket

from antiphon.pipeline.config.webrtc import WebRtcKeys
from antiphon.server.realtime.webrtc.candidates import (
    Gatherer,
    expected_from,
    ice_servers,
    inner_address,
    own_addresses,
)
from antiphon.server.realtime.webrtc.faults import BadOffer, NoPort
from antiphon.server.realtime.webrtc.hearing import Hearing
from antiphon.server.realtime.webrtc.jitter import Packet
from antiphon.server.realtime.webrtc.track import SpokenTrack
from antiphon.server.realtime.webrtc.transport import WebRtcTransport

logger = logging.getLogger(__name__)

CLOSE_S = 5.0
DISCARD_PORT = 9
"""Where nobody answers: what counts is the address."""
MAX_PARTIAL_BYTES = 1 << 20
"""Of messages that are not complete yet."""


class Line:
    """A context manager: leaving it closes everything."""

    def __init__(self, transport: WebRtcTransport, on_channel: Callable[[RTCDataChannel], None]) -> None:
        """
        :param on_channel: told of each data channel that the caller opens.
        """
        self.connected = asyncio.Event()
        self.gone = asyncio.Event()
        """The connection is over, or never came about."""
        self._transport = transport
        self._on_channel = on_channel
        self._peer: RTCPeerConnection | None = None

    async def __aenter__(self) -> Line:
        return self

    async def __aexit__(self, *_: object) -> None:
        peer, self._peer = self._peer, None
        self.gone.set()
        self._transport.hearing.end()
        if peer is None:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                await peer.close()
        except TimeoutError:
            logger.warning("a call could not be closed in order")

    async def answer(self, offer: str, settings: WebRtcKeys, host: str, caller: str = "") -> str:
        """
        :param offer: SDP that was checked.
        :param host: where the server listens.
        :param caller: the address from which the call was asked for.
        :returns: SDP, with all candidates of this machine.
        :raises BadOffer: it cannot be used after all.
        :raises NoPort: no port is free.
        """
        addresses = await own_addresses(settings, host)
        inner = inner_address(addresses, settings)
        self._peer = peer = RTCPeerConnection(ice_servers(settings))
        peer.on("connectionstatechange", self._look)
        peer.on("datachannel", self._on_channel)
        transceiver = peer.addTransceiver(SpokenTrack(self._transport), direction="sendrecv")
        opus = [codec for codec in RTCRtpSender.getCapabilities("audio").codecs if codec.mimeType == "audio/opus"]
        transceiver.setCodecPreferences(opus)
        try:
            await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        except Exception as error:  # the library takes the shape of an offer for granted
            raise BadOffer(f"the offer cannot be used ({type(error).__name__})") from error
        _listen(transceiver.receiver, self._transport.hearing)
        for transport in {transceiver.receiver.transport, *([peer.sctp.transport] if peer.sctp else [])}:
            Gatherer(transport.transport.iceGatherer._connection, addresses, settings, inner).install()
        await peer.setLocalDescription(await peer.createAnswer())
        answer: str = peer.localDescription.sdp
        if "a=candidate:" not in answer:
            raise NoPort("there is no UDP port to take this call at")
        if settings.turn is not None:
            await _introduce(transceiver.receiver.transport.transport, caller)
        return answer

    @property
    def flooded(self) -> bool:
        """The caller sends parts of messages, and never ends one."""
        sctp = None if self._peer is None else self._peer.sctp
        return sctp is not None and sctp._advertised_rwnd < -MAX_PARTIAL_BYTES

    def _look(self) -> None:
        state = "closed" if self._peer is None else self._peer.connectionState
        if state == "connected":
            self.connected.set()
        elif state in ("failed", "closed"):
            self.gone.set()


async def _introduce(ice: RTCIceTransport, caller: str) -> None:
    """Have our relay let the caller through, from whichever port."""
    relayed = [one.ip for one in ice.iceGatherer.getLocalCandidates() if one.type == "relay"]
    for number, address in enumerate(expected_from(caller, relayed) if relayed else []):
        await ice.addRemoteCandidate(
            RTCIceCandidate(
                component=1,
                foundation=f"expected{number}",
                ip=address,
                port=DISCARD_PORT,
                priority=1,
                protocol="udp",
                type="host",
            )
        )


class _Tap:
    """Stands where the library has its jitter buffer.

    That one is made for playing sound at once: it holds back 80 ms, waits 320 ms for a packet that was lost, and gives
    what it has to a thread for decoding.
    """

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._broken = False

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        payload: bytes = packet._data  # type: ignore[attr-defined]
        try:
            self._hearing.take(Packet(packet.sequence_number, packet.timestamp, payload))
        except Exception:  # the library would take no further packet of any kind
            if not self._broken:
                logger.exception("a packet of a call could not be heard")
            self._broken = True
        return False, None


def _listen(receiver: Any, hearing: Hearing) -> None:
    name = "_RTCRtpReceiver__jitter_buffer"
    if not hasattr(receiver, name):
        raise RuntimeError("this version of aiortc is not the one that calls were made for")
    setattr(receiver, name, _Tap(hearing))
