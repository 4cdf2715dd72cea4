"""A room with a person in it: a live transport, and somebody who talks, interrupts, coughs and hangs up. Seeded."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.pipeline.events import Event, TurnEnded
from antiphon.pipeline.session import Session
from antiphon.pipeline.transports.base import Playhead, TransportCapabilities

RATE_HZ = 16000
PATIENCE_S = 120.0
"""Nothing that a person waits for may take longer: no turn without an end."""


class Room:
    """Hears what is said in it, in time; forgets what was played once it was heard. Its memory does not grow."""

    def __init__(self, *, frame_s: float = 0.02, max_ahead_s: float = 0.5) -> None:
        self.capabilities = TransportCapabilities(paced=True, greets=True, clears=True, pauses=True)
        self.position_s = 0.0
        """How much was heard."""
        self.played_s = 0.0
        self._frame = round(frame_s * RATE_HZ)
        self._playhead = Playhead(max_ahead_s)
        self._sounds: deque[Samples] = deque()
        self._fallen_silent = asyncio.Event()
        self._open = True
        self._breaks = False

    @property
    def playing(self) -> bool:
        return self._playhead.playing

    async def sound(self, samples: Samples) -> tuple[float, float]:
        """Make a sound at once; waits until it was heard whole. Returns its begin and end on the stream clock."""
        begin_s = self.position_s
        self._sounds.append(samples)
        self._fallen_silent.clear()
        await self._fallen_silent.wait()
        return begin_s, begin_s + len(samples) / RATE_HZ

    def hang_up(self) -> None:
        """The input ends."""
        self._open = False

    def break_off(self) -> None:
        """The transport fails."""
        self._breaks = True

    async def frames(self) -> AsyncIterator[AudioFrame]:
        loop = asyncio.get_running_loop()
        origin_s = loop.time()
        number = 0
        while self._open:
            samples = self._next()
            frame = AudioFrame(samples, RATE_HZ, number * self._frame / RATE_HZ)
            number += 1
            await asyncio.sleep(max(0.0, origin_s + frame.end_s - loop.time()))
            self.position_s = frame.end_s
            if not self._sounds:
                self._fallen_silent.set()
            if self._breaks:
                raise ConnectionResetError("the line broke")
            yield frame
        self._fallen_silent.set()

    def _next(self) -> Samples:
        samples = np.zeros(self._frame, dtype=np.float32)
        if self._sounds:
            sound = self._sounds.popleft()
            heard = sound[: self._frame]
            samples[: len(heard)] = heard
            if len(sound) > self._frame:
                self._sounds.appendleft(sound[self._frame :])
        return samples

    async def play(self, frame: AudioFrame, mark: int) -> float:
        self.played_s += frame.duration_s
        return await self._playhead.book(frame.duration_s, mark)

    async def drain(self) -> None:
        await self._playhead.drain()

    def clear(self) -> None:
        self._playhead.clear()

    def pause(self) -> None:
        self._playhead.pause()

    def resume(self) -> None:
        self._playhead.resume()

    def heard_s(self, mark: int) -> float:
        return self._playhead.heard_s(mark)


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    text: str
    samples: Samples


Voice = Callable[[random.Random, str], Utterance]
"""(chance, what kind: "question", "backchannel", "noise") -> something to be heard."""


@dataclass
class Tally:
    """What happened, over any number of sessions."""

    turns: int = 0
    """That ended."""
    events: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    resumed: Counter[str] = field(default_factory=Counter)
    """False interruptions, by reason."""
    reopened: int = 0
    acts: Counter[str] = field(default_factory=Counter)

    def __call__(self, event: Event) -> None:
        """An event sink."""
        self.events[event.type] += 1
        if isinstance(event, TurnEnded):
            self.turns += 1
            self.statuses[event.status] += 1
        elif event.type == "playback_resumed":
            self.resumed[event.reason] += 1  # type: ignore[attr-defined]
        elif event.type == "dropped" and event.reason == "reopened":  # type: ignore[attr-defined]
            self.reopened += 1


class Person:
    """Talks to one session. Make it before the session (it is an event sink), then give it that: :meth:`meet`."""

    def __init__(self, room: Room, voice: Voice, chance: random.Random, tally: Tally) -> None:
        self.room = room
        self.session: Session | None = None
        self.turns = 0
        """That have ended."""
        self._voice = voice
        self._chance = chance
        self._tally = tally
        self._said: deque[tuple[float, float, str]] = deque(maxlen=16)
        self._open: set[int] = set()
        """Turns that were committed and have not ended."""
        self._last_stop = 0
        self._stirred_s = 0.0
        self._audible = asyncio.Event()

    def meet(self, session: Session) -> Person:
        self.session = session
        return self

    def __call__(self, event: Event) -> None:
        """An event sink."""
        self._stirred_s = event.t_s
        match event.type:
            case "committed":
                assert event.turn not in self._open, "a turn is committed once"
                self._open.add(event.turn)
            case "turn_ended":
                assert event.turn in self._open, "a turn ends once, after its commit"
                self._open.remove(event.turn)
                self.turns += 1
            case "dropped" if event.reason == "reopened":  # type: ignore[attr-defined]
                self._open.discard(event.turn)
            case "audio_started":
                self._audible.set()
            case "interrupted":
                self._last_stop = event.turn

    def said_between(self, begin_s: float, end_s: float) -> str:
        """What a recogniser of that stretch of the stream should hear."""
        return " ".join(text for begin, end, text in self._said if text and begin < end_s and end > begin_s)

    # ------------------------------------------------------------------------ what it does

    async def talk(self, turns: int, weights: dict[str, float], between: Callable[[], None] = lambda: None) -> None:
        """Do one thing after another until so many turns have ended; each time the session deals with it first."""
        while self.turns < turns:
            act = self._chance.choices(list(weights), list(weights.values()))[0]
            self._tally.acts[act] += 1
            self._audible.clear()
            await getattr(self, act)()
            await self.quiet()
            between()

    def leave(self) -> None:
        """End the session."""
        self._session.end()

    async def ask(self) -> None:
        await self._say("question")

    async def barge_in(self) -> None:
        """A question, and into its answer another one."""
        await self._say("question")
        if await self._hears_an_answer():
            await self._wait(0.0, 2.0)
            await self._say("question")
            if self._chance.random() < 0.5 and self._last_stop:
                self._session.played(self._last_stop, self._chance.uniform(0.0, 2.0))

    async def nod(self) -> None:
        """A question, and into its answer an "uh-huh"."""
        await self._say("question")
        if await self._hears_an_answer():
            await self._wait(0.0, 1.0)
            await self._say("backchannel")

    async def cough(self) -> None:
        await self._say("question")
        if await self._hears_an_answer():
            await self._wait(0.0, 1.0)
            await self._say("noise")

    async def go_on(self) -> None:
        """A question, and more of it after a pause that may have ended the turn."""
        await self._say("question")
        await self._wait(0.1, 0.8)
        await self._say("question")

    async def hold(self) -> None:
        """Pauses the reply, and speaks into the pause at times."""
        await self._say("question")
        if await self._hears_an_answer():
            self._session.pause()
            await self._wait(0.1, 1.5)
            if self._chance.random() < 0.3:
                await self._say("question")
            self._session.resume()

    async def cancel(self) -> None:
        """Stops a reply by a button; at times before there is one."""
        await self._say("question")
        if self._chance.random() < 0.7:
            await self._hears_an_answer()
        self._session.cancel()

    async def announce(self) -> None:
        """The application has something to say of its own."""
        self._session.say("By the way, the door is open.", interruptible=self._chance.random() < 0.7)
        if self._chance.random() < 0.5:
            await self._say("question")
        elif self._chance.random() < 0.5:
            await self._wait(0.0, 1.0)
            self._session.cancel()

    async def mute(self) -> None:
        self._session.muted = True
        await self._say("question")
        self._session.muted = False

    async def press(self) -> None:
        """Ends the turn by a button, or throws it away, in the middle of speech."""
        speaking = asyncio.create_task(self._say("question"))
        await self._wait(0.1, 1.0)
        if self._chance.random() < 0.5:
            self._session.commit()
        else:
            self._session.clear()
        await speaking

    # ------------------------------------------------------------------------ how it does it

    @property
    def _session(self) -> Session:
        assert self.session is not None
        return self.session

    async def _say(self, kind: str) -> None:
        utterance = self._voice(self._chance, kind)
        begin_s = self.room.position_s
        # Known before it is over: a recogniser may ask in the middle of it.
        self._said.append((begin_s, begin_s + len(utterance.samples) / RATE_HZ, utterance.text))
        await self.room.sound(utterance.samples)

    async def _wait(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self._chance.uniform(least_s, most_s))

    async def _hears_an_answer(self) -> bool:
        """Whether something is said within a few seconds."""
        try:
            async with asyncio.timeout(8.0):
                await self._audible.wait()
        except TimeoutError:
            return False
        return True

    async def quiet(self) -> None:
        """Until nothing is open, nothing sounds, and nothing has happened for a moment."""
        loop = asyncio.get_running_loop()
        patience_s = loop.time() + PATIENCE_S
        while self._open or self.room.playing or loop.time() - self._stirred_s < 1.0:
            assert loop.time() < patience_s, f"turns without an end: {self._open}"
            await asyncio.sleep(0.1)
