"""How much audio Whisper's encoder sees, and how many tokens may come out. Pure.

Whisper was trained on 30 s windows, and its encoder costs more than in proportion to the window. On a short window the
same words come out for a tenth of the cost, but the decoder then loops now and then. So: a window that belongs to the
model (measured, not guessed), a cap on tokens, and longer windows to fall back on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from antiphon.engines.audio import Samples

RATE_HZ = 16_000
FULL_WINDOW_S = 30.0
"""The longest window: what Whisper was trained on, and what its position table holds."""
RETRY_WINDOW_S = 10.0
"""The first fallback, well under half the cost of the full window."""
MAX_TOKENS = 224
"""Half of the decoder's position table; the other half is for the prompt."""
PIECE_S = 12.0
"""Pieces of long audio: with longer ones there are more word errors and more breaking off, with no less work."""
MIN_MARGIN_S = 1.28
"""Silence after the last sample of a piece of long audio: without any, the decoder often loops."""

_TOKENS_PER_S = {"en": 8.0}
_TOKENS_PER_S_OTHER = 14.0  # scripts whose letters take two or three byte-level tokens each
_TOKENS_BASE = 8


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """The encoder window as a function of the audio's length: max(floor, length + margin), at most 30 s."""

    floor_s: float = FULL_WINDOW_S
    margin_s: float = MIN_MARGIN_S
    retry_logprob: float | None = None
    """A mean log-probability of a token below which the full window is tried too, and the likelier text taken."""

    def window_s(self, duration_s: float) -> float:
        """The window for audio of that length, in whole seconds above the floor (few shapes, little waste)."""
        wanted = duration_s + self.margin_s
        return min(FULL_WINDOW_S, self.floor_s if wanted <= self.floor_s else float(math.ceil(wanted)))

    def attempts(self, duration_s: float) -> tuple[float, ...]:
        """The windows to try in order: the first, then longer ones that can still hold the audio."""
        first = self.window_s(duration_s)
        longer = [w for w in (RETRY_WINDOW_S, FULL_WINDOW_S) if w > first]
        return (first, *longer)

    @property
    def longest_piece_s(self) -> float:
        """Longer audio is cut into pieces of at most this length: what fits the floor, and 12 s in any case."""
        return min(max(PIECE_S, self.floor_s - self.margin_s), FULL_WINDOW_S - max(self.margin_s, MIN_MARGIN_S))

    @property
    def warm_windows(self) -> tuple[float, ...]:
        """The windows that a first request can meet: the floor and both fallbacks."""
        return tuple(sorted({min(self.floor_s, FULL_WINDOW_S), max(self.floor_s, RETRY_WINDOW_S), FULL_WINDOW_S}))


MEASURED: Mapping[str, WindowPolicy] = {
    "tiny.en": WindowPolicy(8.0, 1.28),
    "base": WindowPolicy(8.0, 1.28, retry_logprob=-0.65),
}
"""Windows found by the sweep in docs/engines-stt.md. Any other model gets the full window until it is measured."""


def policy_for(
    model: str, metadata: Mapping[str, Any], floor_s: float | None = None, margin_s: float | None = None
) -> WindowPolicy:
    """The window of a model: as configured, else the catalog's, else the measured table's, else the full 30 s.

    :param model: the model's name, as in the catalog or a path.
    :param metadata: the catalog's facts; `encoder_window_s`, `encoder_margin_s` and `encoder_retry_logprob`
        count here.
    """
    stem = model.replace("\\", "/").rstrip("/").split("/")[-1].split("@")[0].lower()
    size = stem.removeprefix("faster-").removeprefix("whisper-")
    known = MEASURED.get(size, WindowPolicy())
    floor = next(v for v in (floor_s, metadata.get("encoder_window_s"), known.floor_s) if v is not None)
    margin = next(v for v in (margin_s, metadata.get("encoder_margin_s"), known.margin_s) if v is not None)
    retry = metadata.get("encoder_retry_logprob", known.retry_logprob)
    return WindowPolicy(float(floor), float(margin), retry)


def token_cap(duration_s: float, language: str | None, limit: int | None = None) -> int:
    """The most tokens that speech of that length can be: more means that the decoder loops.

    :param limit: a cap that the caller set; the smaller one counts.
    """
    rate = _TOKENS_PER_S.get(language or "", _TOKENS_PER_S_OTHER)
    cap = min(MAX_TOKENS, _TOKENS_BASE + math.ceil(rate * duration_s))
    return cap if limit is None else max(1, min(cap, limit))


def cut_quiet(samples: Samples, longest_s: float, rate_hz: int = RATE_HZ) -> list[tuple[int, int]]:
    """Cut audio into pieces of at most `longest_s` at quiet places. The pieces join without gap or overlap.

    :returns: [(start, end)] in samples; one piece where the audio is short enough, none where it is empty.
    """
    longest = int(longest_s * rate_hz)
    pieces: list[tuple[int, int]] = []
    start = 0
    while len(samples) - start > longest:
        # Short pieces lose context: none shorter than half of the longest, and no scrap at the end.
        left = len(samples) - start
        if left < 1.75 * longest:
            earliest, latest = max(left // 4, left - longest), min(longest, left - left // 4)
        else:
            earliest, latest = longest // 2, longest
        cut = start + earliest + _quietest(samples[start + earliest : start + latest], rate_hz)
        pieces.append((start, cut))
        start = cut
    if len(samples) > start:
        pieces.append((start, len(samples)))
    return pieces


def _quietest(samples: Samples, rate_hz: int) -> int:
    """The middle of the quietest 200 ms, in samples from the start."""
    hop = rate_hz // 50
    frames = len(samples) // hop
    if frames < 2:
        return len(samples) // 2
    energy = np.square(samples[: frames * hop].reshape(frames, hop)).mean(axis=1)
    width = min(10, frames)
    smooth = np.convolve(energy, np.full(width, 1.0 / width), mode="valid")
    quietest = int(smooth.argmin())
    return max(1, (quietest + width // 2) * hop)
