"""Both sides of a conversation on the stream clock, sample by sample, while it goes on. Pure.

The user's audio comes as it is heard. The assistant's comes ahead of time, and may be taken back or put off before its
time has come; so what lies before the user's last sample is final, and what lies behind it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler

_SNAP_S = 0.02
"""Pieces of a reply that nearly touch do touch: their times are rounded."""


@dataclass(slots=True)
class _Piece:
    start: int
    """In samples of the timeline."""
    samples: Samples


class Timeline:
    """Collects both sides at one rate; :meth:`take` gives what is final."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.taken = 0
        """So many samples have been given out."""
        self._user: list[Samples] = []
        self._user_end: int | None = None
        self._pieces: list[_Piece] = []
        self._resamplers: dict[str, StreamResampler] = {}
        self._paused: int | None = None

    @property
    def now(self) -> int:
        """The end of the user's audio: everything before it has been heard."""
        return self.taken if self._user_end is None else self._user_end

    def hear(self, frame: AudioFrame) -> None:
        """The user's next audio; gaps between frames do not exist on the stream clock."""
        if self._user_end is None:
            lead = max(0, round(frame.start_s * self.rate_hz))
            self._user_end = self.taken
            self._add_user(np.zeros(lead, dtype=np.float32))
        self._add_user(self._resampled("user", frame))

    def play(self, frame: AudioFrame, start_s: float) -> None:
        """The assistant's next audio; its first sample is heard at `start_s` of the stream clock."""
        samples = self._resampled("assistant", frame)
        end = self._reply_end()
        start = round(start_s * self.rate_hz)
        if end is not None and (start < end or start - end < _SNAP_S * self.rate_hz):
            start = end
        if len(samples):
            self._pieces.append(_Piece(max(start, self.taken), samples))

    def clear(self, at_s: float | None = None) -> None:
        """What would be heard after `at_s` (None: now) is not."""
        at = self.now if at_s is None else max(self.taken, round(at_s * self.rate_hz))
        if self._paused is not None:
            at = min(at, self._paused)
            self._paused = None
        kept = (_Piece(piece.start, piece.samples[: max(0, at - piece.start)]) for piece in self._pieces)
        self._pieces = [piece for piece in kept if len(piece.samples)]
        self._resamplers.pop("assistant", None)

    def pause(self, at_s: float | None = None) -> None:
        """Playback stands still from now on."""
        if self._paused is None:
            self._paused = self.now if at_s is None else max(self.taken, round(at_s * self.rate_hz))
            self._split(self._paused)

    def resume(self, at_s: float | None = None) -> None:
        """Playback goes on where it stood."""
        if self._paused is None:
            return
        at = self.now if at_s is None else round(at_s * self.rate_hz)
        delay = max(0, at - self._paused)
        for piece in self._pieces:
            if piece.start >= self._paused:
                piece.start += delay
        self._paused = None

    def take(self, *, all_of_it: bool = False) -> NDArray[np.float32]:
        """What is final and was not given out yet: shape (n, 2), left the user, right the assistant.

        :param all_of_it: the conversation is over: also what was to be heard after the user's last sample.
        """
        if all_of_it and self._user_end is not None and (resampler := self._resamplers.pop("user", None)) is not None:
            self._add_user(resampler.push(np.empty(0, dtype=np.float32), last=True))
        end = self.now
        if all_of_it:
            end = max([end, *(piece.start + len(piece.samples) for piece in self._pieces if not self._held(piece))])
        out = np.zeros((max(0, end - self.taken), 2), dtype=np.float32)
        user = np.concatenate([np.empty(0, dtype=np.float32), *self._user])
        out[: min(len(user), len(out)), 0] = user[: len(out)]
        self._user = []
        rest: list[_Piece] = []
        for piece in self._pieces:
            if self._held(piece) or piece.start >= end:
                rest.append(piece)
                continue
            cut = min(len(piece.samples), end - piece.start)
            out[piece.start - self.taken : piece.start - self.taken + cut, 1] += piece.samples[:cut]
            if cut < len(piece.samples):
                rest.append(_Piece(end, piece.samples[cut:]))
        self._pieces = rest
        self.taken = max(self.taken, end)
        return out

    # ------------------------------------------------------------------------ inside

    def _held(self, piece: _Piece) -> bool:
        return self._paused is not None and piece.start >= self._paused

    def _split(self, at: int) -> None:
        pieces: list[_Piece] = []
        for piece in self._pieces:
            cut = at - piece.start
            if 0 < cut < len(piece.samples):
                pieces.extend((_Piece(piece.start, piece.samples[:cut]), _Piece(at, piece.samples[cut:])))
            else:
                pieces.append(piece)
        self._pieces = pieces

    def _reply_end(self) -> int | None:
        return max((piece.start + len(piece.samples) for piece in self._pieces), default=None)

    def _add_user(self, samples: Samples) -> None:
        assert self._user_end is not None
        self._user.append(samples)
        self._user_end += len(samples)

    def _resampled(self, side: str, frame: AudioFrame) -> Samples:
        resampler = self._resamplers.get(side)
        if resampler is None or resampler.from_hz != frame.rate_hz:
            resampler = self._resamplers[side] = StreamResampler(frame.rate_hz, self.rate_hz)
        return resampler.push(frame.samples)
