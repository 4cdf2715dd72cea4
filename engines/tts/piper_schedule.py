"""How many frames to decode next: little at first, so that sound begins early, then more, and never too late.

Decoding a slice of n frames costs pace * (n + context on both sides); small slices pay for their context over and over.
A slice must be ready before what was handed over has been played. So a slice may be as long as the audio ahead pays
for, and the first must be long enough that those after it can keep up.
"""

from __future__ import annotations

from dataclasses import dataclass

SAFETY = 0.7
"""The share of the audio ahead that a slice may use up, by prediction; the rest is for what else the machine does."""


@dataclass(frozen=True, slots=True)
class SliceSchedule:
    """The rule for one voice."""

    steps: tuple[int, ...]
    """Frames of the first slice, the second, ...; the last number holds for all that follow."""
    context_frames: int
    """Frames decoded and thrown away on each side of a slice."""
    frame_s: float
    """Seconds of audio that a frame makes."""

    def first(self, remaining: int, pace_s: float) -> int:
        """Frames of a text's first slice.

        :param remaining: frames that there are.
        :param pace_s: measured seconds of work for a decoded frame.
        """
        return self._whole_if_near(max(self.steps[0], min(self.steps[-1], self._sustaining(pace_s))), remaining)

    def following(self, index: int, remaining: int, pace_s: float, ahead_s: float) -> int:
        """Frames of a later slice.

        :param index: how many slices of the text came before.
        :param ahead_s: seconds of audio handed over and not yet played.
        """
        wanted = self.steps[min(index, len(self.steps) - 1)]
        affordable = int(ahead_s * SAFETY / max(pace_s, 1e-9)) - 2 * self.context_frames
        floor = min(wanted, max(self.steps[0], self._sustaining(pace_s)))
        return self._whole_if_near(max(floor, min(wanted, affordable)), remaining)

    def _sustaining(self, pace_s: float) -> int:
        """The shortest slice that lasts, when played, as long as the next one of its size takes to make."""
        spare = SAFETY * self.frame_s - pace_s
        if spare <= 0:
            return self.steps[-1]  # slower than speech: nothing keeps up; the longest slices lose least
        return min(self.steps[-1], int(2 * self.context_frames * pace_s / spare) + 1)

    def _whole_if_near(self, frames: int, remaining: int) -> int:
        """Take a short rest along: decoding it on its own would cost more."""
        return remaining if remaining - frames <= self.context_frames else frames


class Pace:
    """Seconds of work for a decoded frame: a running mean that rises at once and falls slowly."""

    def __init__(self, start_s: float) -> None:
        self.frame_s = start_s

    def note(self, seconds: float, frames: int) -> None:
        """Take in one decoded slice, its context included in `frames`."""
        measured = seconds / max(frames, 1)
        self.frame_s = max(measured, 0.75 * self.frame_s + 0.25 * measured)
