"""The sound of a conversation's newest items, for clients that ask for it (`conversation.item.retrieve`).

In memory alone, and bounded: what the user says is kept while a turn is open, silence is not; the oldest items lose
their sound first, and an item has all of its sound or none.
"""

from __future__ import annotations

import base64
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.audio import AudioFrame, Samples, to_mono_float32
from antiphon.server.client_audio import FULL_SCALE
from antiphon.server.realtime.audio import Encoder
from antiphon.server.realtime.protocol import AudioFormat

LEAD_S = 1.5
"""Of the user's sound so much is kept while nobody speaks: that a voice has begun is known a moment later."""

WAIT_S = 5.0
"""So much may lie between the end of a turn and the moment at which it is known to be one: that is not kept with it."""
LEAST_PIECE_S = 0.1
"""Sound that comes in smaller pieces is kept in pieces of this length: each array takes room and time of its own."""

Pcm = NDArray[np.int16]


def _pcm(samples: Samples) -> Pcm:
    """float32 in [-1, 1] as int16; what is out of range is clipped. The way back loses nothing."""
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


@dataclass(slots=True, eq=False)
class Sound:
    """One item's, in pieces of any rates."""

    pieces: list[tuple[Pcm, int]] = field(default_factory=list)
    """Samples, and how many of them there are in a second."""
    seconds: float = 0.0
    heard_s: float | None = None
    """So much of it was heard; None: all of it, as far as anybody knows."""

    def add(self, samples: Pcm, rate_hz: int) -> None:
        self.pieces.append((samples, rate_hz))
        self.seconds += len(samples) / rate_hz

    def heard(self) -> list[tuple[Pcm, int]]:
        """The pieces of it that were heard."""
        if self.heard_s is None:
            return list(self.pieces)
        left_s, heard = self.heard_s, []
        for samples, rate_hz in self.pieces:
            if (count := min(len(samples), round(left_s * rate_hz))) <= 0:
                break
            heard.append((samples[:count], rate_hz))
            left_s -= count / rate_hz
        return heard


def joined(one: Sound | None, other: Sound | None) -> Sound | None:
    """One behind the other; None: a part is missing."""
    if one is None or other is None:
        return None
    return Sound([*one.pieces, *other.pieces], one.seconds + other.seconds)


def encoded(pieces: list[tuple[Pcm, int]], form: AudioFormat) -> str:
    """Sound in a client's format, as base64; "" where there is none. A minute of it takes its time: not on the loop."""
    data = bytearray()
    for rate_hz, row in groupby(pieces, key=lambda piece: piece[1]):
        encoder, samples = Encoder(form), np.concatenate([samples for samples, _ in row])
        data += b"".join([*encoder.push(AudioFrame(to_mono_float32(samples), rate_hz)), *encoder.flush()])
    return base64.b64encode(data).decode("ascii")


class Sounds:
    """One per connection. The user's go by the id of their item, the assistant's by the turn that they answer."""

    def __init__(self, *, max_s: float) -> None:
        """:param max_s: so much is kept, of all items together; 0: none."""
        self._max_s = max_s
        self._seconds = 0.0
        self._sounds: OrderedDict[str | int, Sound] = OrderedDict()
        self._gone: deque[int] = deque(maxlen=32)
        """Answers of late whose sound was too much, or that were deleted: what still comes of them is not kept."""

    def __len__(self) -> int:
        return len(self._sounds)

    @property
    def seconds(self) -> float:
        """How much is kept."""
        return self._seconds

    def put(self, item_id: str, sound: Sound) -> None:
        """What the user said in an item; more than is kept altogether pushes out nothing."""
        self.forget(item_id)
        if sound.seconds > self._max_s:
            return
        self._sounds[item_id] = sound
        self._seconds += sound.seconds
        self._make_room()

    def put_frame(self, item_id: str, frame: AudioFrame) -> None:
        """The same, in one piece."""
        sound = Sound()
        sound.add(_pcm(frame.samples), frame.rate_hz)
        self.put(item_id, sound)

    def say(self, turn: int, frame: AudioFrame) -> None:
        """More of what the assistant says in answer to a turn; 0 (the session's own lines) is not kept."""
        if not turn or not self._max_s or turn in self._gone:
            return
        sound = self._sounds.setdefault(turn, Sound())
        sound.add(_pcm(frame.samples), frame.rate_hz)
        self._seconds += frame.duration_s
        self._make_room()

    def find(self, key: str | int) -> Sound | None:
        return self._sounds.get(key)

    def cut(self, turn: int, heard_s: float) -> None:
        """Only so much of an answer was heard, counted from its first sample."""
        if (sound := self._sounds.get(turn)) is not None:
            sound.heard_s = heard_s

    def forget(self, key: str | int) -> None:
        """It never was; there may be another one."""
        if (sound := self._sounds.pop(key, None)) is not None:
            self._seconds -= sound.seconds

    def delete(self, key: str | int) -> None:
        """There is to be none."""
        self.forget(key)
        if isinstance(key, int) and key:
            self._gone.append(key)

    def _make_room(self) -> None:
        while self._sounds and self._seconds > self._max_s:
            self.delete(next(iter(self._sounds)))


@dataclass(slots=True, eq=False)
class _Piece:
    """What came in a row at one rate: small ones are joined as they come."""

    start_s: float
    rate_hz: int
    count: int = 0
    """Samples in it."""
    _parts: list[Pcm] = field(default_factory=list)

    @property
    def end_s(self) -> float:
        return self.start_s + self.count / self.rate_hz

    def takes(self, start_s: float, rate_hz: int) -> bool:
        """Whether what begins there belongs into it."""
        is_next = rate_hz == self.rate_hz and abs(start_s - self.end_s) * rate_hz < 0.5
        return is_next and self.count < LEAST_PIECE_S * rate_hz

    def add(self, samples: Pcm) -> None:
        self._parts.append(samples)
        self.count += len(samples)
        if self.count >= LEAST_PIECE_S * self.rate_hz:
            self._parts = [self.samples]

    @property
    def samples(self) -> Pcm:
        return self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)

    def between(self, from_s: float, until_s: float) -> Pcm:
        """What lies between two times."""
        first, last = (max(0, round((at_s - self.start_s) * self.rate_hz)) for at_s in (from_s, until_s))
        return self.samples[first:last]


class Recorder:
    """What the user says, on its way into the session: kept from a moment before a turn begins until it ends."""

    def __init__(self, *, max_s: float) -> None:
        """:param max_s: the longest turn that is kept; 0: none is."""
        self._max_s = max_s
        self._pieces: deque[_Piece] = deque()
        self._end_s = 0.0
        """On the session's clock: all that it was given."""
        self._from_s: float | None = None
        """Where the open turn begins; None: none is open."""
        self._whole = True
        """All of the open turn is kept."""
        self._taken_s = 0.0
        """All before this was taken, as far as it was wanted."""

    def hear(self, frame: AudioFrame, *, keep: bool = True) -> None:
        """
        :param keep: False: the session hears it, and it is nothing that anybody said.
        """
        start_s, self._end_s = self._end_s, self._end_s + frame.duration_s
        if keep and self._max_s:
            self._keep(start_s, _pcm(frame.samples), frame.rate_hz)
        if self._from_s is not None and self._whole:
            self._forget(max(self._from_s, self._end_s - self._max_s - WAIT_S))
        else:
            self._forget(self._end_s - LEAD_S)

    def begin(self, at_s: float, *, goes_on: bool = False) -> None:
        """A turn began there.

        :param goes_on: it is the one that was taken last: it begins where that ended, at the earliest.
        """
        self._from_s = max(at_s, self._taken_s) if goes_on else at_s
        self._whole = True

    def drop(self) -> None:
        """It was none, or is over."""
        self._from_s = None

    def take(self, until_s: float) -> Sound | None:
        """The open turn up to there; it is over. None: there is nothing of it, or not all."""
        from_s, self._from_s = self._from_s, None
        if from_s is None:
            return None
        self._taken_s = max(from_s, min(until_s, self._end_s))
        sound = Sound()
        if self._whole:
            for rate_hz, pieces in groupby(self._pieces, key=lambda piece: piece.rate_hz):
                parts = [one.between(from_s, until_s) for one in pieces]
                if len(joined := np.concatenate(parts)):
                    sound.add(joined, rate_hz)
        return sound if sound.pieces else None

    def _keep(self, start_s: float, samples: Pcm, rate_hz: int) -> None:
        last = self._pieces[-1] if self._pieces else None
        if last is None or not last.takes(start_s, rate_hz):
            self._pieces.append(last := _Piece(start_s, rate_hz))
        last.add(samples)

    def _forget(self, before_s: float) -> None:
        """Of the open turn nothing is left then, should some of it be in there."""
        while self._pieces and self._pieces[0].end_s <= before_s:
            gone = self._pieces.popleft()
            if self._from_s is not None and gone.end_s > self._from_s:
                self._whole = False
