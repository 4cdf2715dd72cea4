"""Packets of a call's audio, put in order again without waiting for more than a lost one takes.

Nothing here plays sound: whoever listens is a program that takes audio as it comes. So there is no delay to smooth
arrival times; a packet in its turn goes through at once, and only behind a gap do others wait.
"""

from __future__ import annotations

from dataclasses import dataclass

LOST_AFTER = 3
"""Packets behind a missing one; when so many are there it is not waited for any longer (60 ms of audio)."""
RESTART = 500
"""A sequence number so far from what is expected means that the sender has begun anew."""
_WRAP = 1 << 16


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet."""

    sequence: int
    """0 to 65535, one more with every packet."""
    timestamp: int
    """Of the first sample, modulo 2**32, in samples at 48 kHz."""
    payload: bytes


class Reorder:
    """Takes packets as they come, gives them in order, each at most once. Lost ones are left out."""

    def __init__(self) -> None:
        self._next: int | None = None
        """The sequence number that is due, not modulo anything."""
        self._waiting: dict[int, Packet] = {}

    def push(self, packet: Packet) -> list[Packet]:
        """
        :returns: what is ready now.
        """
        if self._next is None:
            self._next = packet.sequence
        ahead = (packet.sequence - self._next + _WRAP // 2) % _WRAP - _WRAP // 2
        if abs(ahead) >= RESTART:
            ready = self._rest()
            self._next = packet.sequence + 1
            return [*ready, packet]
        if ahead < 0:  # too late, or a second time
            return []
        self._waiting[self._next + ahead] = packet
        if self._next not in self._waiting and len(self._waiting) >= LOST_AFTER:
            self._next = min(self._waiting)
        ready = []
        while (due := self._waiting.pop(self._next, None)) is not None:
            ready.append(due)
            self._next += 1
        return ready

    def _rest(self) -> list[Packet]:
        rest = [self._waiting[at] for at in sorted(self._waiting)]
        self._waiting.clear()
        return rest
