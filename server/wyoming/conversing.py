"""A conversation in speech with a satellite: `run-pipeline`, audio in, the transcript and the reply's audio out.

One session a connection, whatever the number of runs: what was said in one is known in the next. The protocol has no
word for "drop what you have not played": a reply goes out no sooner than it is due, less a moment for the network, so
it ends where it is interrupted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from antiphon.engines.audio import Samples
from antiphon.engines.live_resampler import LiveResampler
from antiphon.pipeline.events import Committed, Event, SpeechStarted, SpeechStopped, TranscriptEvent, TurnEnded
from antiphon.pipeline.patience import end_tasks
from antiphon.pipeline.session import Session
from antiphon.server.access.principal import caller
from antiphon.server.paced_audio import PacedTransport
from antiphon.server.service import Refused, Service
from antiphon.server.together import end_all, first_over
from antiphon.server.wyoming.sending import AudioOut, ClientGone, Sender

if TYPE_CHECKING:
    from wyoming.event import Event as WyomingEvent

logger = logging.getLogger(__name__)

INPUT_HZ = 16000
_LEAD_S = 0.3
"""So much of a reply is under way to the satellite before it is heard there."""
_FRAME_MS = 60.0
_TAIL_S = 0.5
"""So long after a reply its last sound may still come back from a satellite that hears itself."""


class Conversing:
    """The session of one connection. :meth:`close` ends it in order."""

    def __init__(self, service: Service, sender: Sender) -> None:
        self._service = service
        self._sender = sender
        self._out = AudioOut(sender, service.config.audio.output_hz)
        self._transport = self._new_transport()
        self._resampler: LiveResampler | None = None
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._telling: asyncio.Queue[WyomingEvent] = asyncio.Queue()
        self.asked_for = False
        """There was a session, or is: audio is meant for it."""
        self._goes_on = False
        """The next turn begins by itself when this one is over."""
        self._always = False
        """It was asked to go on, whatever becomes of a session."""
        self._listening = False
        self._speech = False
        """Somebody has spoken since it is listened."""
        self._answering: set[int] = set()
        """Turns that are over and whose answers are not."""

    @property
    def begun(self) -> bool:
        """There is a session now."""
        return self._task is not None and not self._task.done()

    @property
    def busy(self) -> bool:
        """Somebody speaks, or an answer is awaited."""
        return self.begun and bool(self._answering or (self._listening and self._speech))

    async def start(self, *, goes_on: bool) -> None:
        """Listen for a turn.

        :param goes_on: and for the one after it, and so on.
        :raises Refused: there can be no further conversation now.
        """
        self.asked_for = True
        if not self.begun:
            self._transport = self._new_transport()
            ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._converse(ready), name="wyoming-session")
            await asyncio.wait({ready, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                return  # it broke, and that was told
            ready.result()
        self._goes_on = self._always = goes_on
        self._listening, self._speech = True, False

    async def hear(self, samples: Samples, rate_hz: int) -> None:
        """Audio of the satellite; it goes nowhere while no turn is listened for."""
        if self._always and not self.begun and not self._service.draining:
            self._always = False  # it is told once if there can be none
            await self.start(goes_on=True)  # the conversation was over; who streams all the time begins another
        if not self._listening:
            return
        if self._resampler is None or self._resampler.from_hz != rate_hz:
            self._resampler = LiveResampler(rate_hz, INPUT_HZ)
        await self._while_begun(self._transport.push(self._resampler.push(samples)))

    async def stop_hearing(self) -> None:
        """The satellite says that the user has finished."""
        await self._while_begun(self._transport.all_heard())
        if not self.begun or not self._listening or self._goes_on or self._session is None:
            return  # the turn was over before
        if self._speech:
            self._session.commit()
        else:
            self._listening = False
            await self._sender.error("nobody spoke", "stt-no-text-recognized")

    def close(self) -> None:
        """What is being said is said to its end."""
        if self._session is not None:
            self._session.end()

    async def leave(self) -> None:
        """End it at once."""
        if self._task is not None:
            await end_tasks([self._task])

    # ------------------------------------------------------------------------ inside

    async def _while_begun(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for what the session is to hear, but not past its end: it hears nothing then."""
        working = asyncio.ensure_future(work)
        try:
            if self._task is not None:
                await asyncio.wait({working, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not working.done():
                await end_tasks([working])
        if not working.cancelled():
            working.result()

    async def _converse(self, ready: asyncio.Future[None]) -> None:
        service = self._service
        try:
            service.admit()
        except Refused as why:
            ready.set_exception(why)
            return
        async with service.conversation(self):  # before the first await: the next client must see it counted
            try:
                self._session = session = service.session(
                    self._transport, protocol="wyoming", principal=caller(), sinks=[self._tell]
                )
                ready.set_result(None)
                async with asyncio.timeout(service.settings.max_session_s):
                    await self._hold(session)
            except TimeoutError:
                await self._sender.error(f"a conversation may last {service.settings.max_session_s:g} s", "too-long")
            except ClientGone:
                logger.info("a client has gone in the middle", extra={"front": "wyoming"})
            except Exception:
                logger.exception("a conversation broke", extra={"front": "wyoming"})
                await self._sender.error("the conversation broke; the server's log says why", "failed")
            finally:
                self._session = None
                self._listening = self._goes_on = False
                self._answering.clear()

    async def _hold(self, session: Session) -> None:
        talking = asyncio.create_task(session.run(), name=f"session-{session.id}")
        playing = asyncio.create_task(self._transport.run(), name=f"play-{session.id}")
        sending = asyncio.create_task(self._send_events(), name=f"send-{session.id}")
        tasks = (talking, playing, sending)
        try:
            await first_over(tasks)
            while not self._telling.empty():
                await self._sender.send(self._telling.get_nowait())
        finally:
            self._transport.close()
            await end_all(tasks)

    def _new_transport(self) -> PacedTransport:
        rate_hz = self._service.config.audio.output_hz
        self._out = AudioOut(self._sender, rate_hz)
        return PacedTransport(self._play, input_hz=INPUT_HZ, output_hz=rate_hz, frame_ms=_FRAME_MS, lead_s=_LEAD_S)

    async def _play(self, frame: Samples | None) -> None:
        if frame is None:
            await self._out.end()
        else:
            await self._out.audio(frame)

    async def _send_events(self) -> None:
        while True:
            await self._sender.send(await self._telling.get())

    def _tell(self, event: Event) -> None:
        from wyoming.asr import Transcript
        from wyoming.tts import Synthesize
        from wyoming.vad import VoiceStarted, VoiceStopped

        match event:
            case SpeechStarted(at_s=at_s):
                self._speech = True
                self._telling.put_nowait(VoiceStarted(timestamp=round(at_s * 1000)).event())
            case SpeechStopped(at_s=at_s):
                self._telling.put_nowait(VoiceStopped(timestamp=round(at_s * 1000)).event())
            case Committed(turn=turn):
                self._answering.add(turn)
                self._listening = self._goes_on and self._service.settings.wyoming.echo_cancelled
            case TranscriptEvent(role="user", final=True):
                self._telling.put_nowait(Transcript(text=event.text, language=event.language).event())
            case TranscriptEvent(role="assistant", final=True):
                self._telling.put_nowait(Synthesize(text=event.text).event())
            case TurnEnded():
                self._ended(event)

    def _ended(self, event: TurnEnded) -> None:
        from wyoming.error import Error

        self._answering.discard(event.turn)
        self._speech = False
        if self._goes_on and not self._listening:
            asyncio.get_running_loop().call_later(_TAIL_S, self._listen_again)
        if event.status == "failed":
            self._telling.put_nowait(Error(text="the turn failed", code="failed").event())
        elif event.status in ("no_speech", "dismissed") and not self._goes_on:
            self._telling.put_nowait(Error(text="nothing was understood", code="stt-no-text-recognized").event())

    def _listen_again(self) -> None:
        if self._goes_on and not self._answering:
            self._listening = True
