"""What a caller offers (SDP), looked at before anything is built on it."""

from __future__ import annotations

from aiortc.sdp import MediaDescription, SessionDescription

from antiphon.server.realtime.webrtc.faults import BadOffer

MAX_OFFER_BYTES = 65_536
MAX_CANDIDATES = 64


def checked_offer(text: str, *, reaching_out: bool = False) -> str:
    """The offer as it is used.

    The caller's own addresses (candidates) are left out: the caller reaches this machine, and is answered where the
    packets come from. So nobody can have this machine send anything to an address of their choice.

    :param reaching_out: keep them, since a relay must be told of them; but for a browser's made-up names (`.local`):
        for those the whole network would have to be asked.
    :raises BadOffer: it cannot be used.
    """
    if len(text) > MAX_OFFER_BYTES:
        raise BadOffer(f"the offer is {len(text)} characters long, {MAX_OFFER_BYTES} are allowed")
    if not text.lstrip().startswith("v="):
        raise BadOffer("the body is no SDP: it does not begin with 'v='")
    lines = [line for line in text.strip().splitlines() if not _is_left_out(line, reaching_out)]
    if sum(line.startswith("a=candidate:") for line in lines) > MAX_CANDIDATES:
        raise BadOffer(f"the offer has more than {MAX_CANDIDATES} candidates")
    kept = "\r\n".join(lines) + "\r\n"
    try:
        description = SessionDescription.parse(kept)
    except Exception as error:  # the parser takes the shape of its input for granted
        raise BadOffer("the SDP cannot be read") from error
    _check(description.media)
    return kept


def _is_left_out(line: str, reaching_out: bool) -> bool:
    if line.startswith("a=end-of-candidates"):
        return True  # there is always one more: where the packets come from
    words = line.split()
    return line.startswith("a=candidate:") and (
        not reaching_out or len(words) < 8 or words[4].lower().endswith(".local")
    )


def _check(sections: list[MediaDescription]) -> None:
    kinds = [section.kind for section in sections]
    if kinds.count("audio") != 1:
        raise BadOffer(f"the offer has {kinds.count('audio')} sections for audio; a call has one")
    if extra := sorted(set(kinds) - {"audio", "application"}):
        raise BadOffer(f"the offer has a section for {extra[0]}; a call carries sound and events only")
    if kinds.count("application") > 1:
        raise BadOffer("the offer has more than one section for data channels")
    audio = sections[kinds.index("audio")]
    if not any(codec.mimeType.lower() == "audio/opus" for codec in audio.rtp.codecs):
        raise BadOffer("the offer does not have Opus, the one codec of calls")
    if audio.direction not in (None, "sendrecv", "recvonly"):
        raise BadOffer(f"the caller of a call that is '{audio.direction}' would hear nothing; offer 'sendrecv'")
    for section in sections:
        if section.ice is None or not section.ice.usernameFragment or not section.ice.password:
            raise BadOffer("the offer lacks ice-ufrag or ice-pwd")
        if section.dtls is None or not section.dtls.fingerprints:
            raise BadOffer("the offer lacks the fingerprint of a certificate")
