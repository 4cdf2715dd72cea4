"""A Realtime client and its session, whatever brings its events: a WebSocket, or a call's data channel."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.protocols import TTSOptions
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.conversation import Conversation, new_id
from antiphon.pipeline.events import EventSink
from antiphon.pipeline.session import Session
from antiphon.pipeline.session_settings import IdleSettings, SessionSettings
from antiphon.pipeline.transports.base import Transport
from antiphon.server.access.principal import Principal
from antiphon.server.realtime import tuning
from antiphon.server.realtime.answers import Answers
from antiphon.server.realtime.asides import Asides
from antiphon.server.realtime.audio import EventTransport
from antiphon.server.realtime.beginning import allowing, as_allowed, first_config, service_voice
from antiphon.server.realtime.buffer import InputBuffer
from antiphon.server.realtime.commands import Commands
from antiphon.server.realtime.ear import Ear
from antiphon.server.realtime.idle import IdleTimeout
from antiphon.server.realtime.items import ItemBook
from antiphon.server.realtime.mcp.calls import Calls
from antiphon.server.realtime.mcp.toolbox import Toolbox
from antiphon.server.realtime.narrator import Narrator
from antiphon.server.realtime.protocol import (
    ClientEvent,
    InputAudioAppend,
    InputAudioClear,
    InputAudioCommit,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    OutputAudioClear,
    ProtocolError,
    ResponseCancel,
    ResponseCreate,
    ServerEvent,
    ServerVad,
    SessionUpdate,
    parse_client_event,
    server_events,
)
from antiphon.server.realtime.protocol.session import Kind
from antiphon.server.realtime.sounds import Recorder, Sounds
from antiphon.server.realtime.spending import Spending
from antiphon.server.realtime.user_sound import UserSound
from antiphon.server.realtime.workflow import RealtimeWorkflow
from antiphon.server.service import Service

logger = logging.getLogger(__name__)

Send = Callable[[ServerEvent], None]
"""Takes an event; never waits."""


class Listening(Protocol):
    """A transport that plays replies itself, and says when."""

    listener: Any


class Room(Protocol):
    """The way of audio events to a client."""

    async def room(self) -> None:
        """Wait while too much waits to be sent."""
        ...

    def drop(self) -> None:
        """Take back the audio that has not been sent."""
        ...


class RealtimeConnection:
    """One client. Await :meth:`run` once; :meth:`receive` its events meanwhile."""

    def __init__(
        self,
        service: Service,
        principal: Principal,
        *,
        send: Send,
        transport: Transport | None = None,
        room: Room | None = None,
        model: str | None = None,
        kind: Kind = "realtime",
        settings: Mapping[str, Any] | None = None,
        protocol: str = "realtime",
    ) -> None:
        """
        :param send: the way to the client.
        :param transport: brings the user's voice and plays replies (a call), with a `listener` that it tells of; None:
            both come and go in events.
        :param room: for a client whose audio goes in events: bounds what waits to be sent.
        :param model: by which name the client asks for what is configured.
        :param settings: as in `session.update`, on top of those that are bound to the key.
        :raises ProtocolError: settings that are wrong.
        """
        self.id = new_id("sess")
        self._service = service
        self._principal = principal
        self._protocol = protocol
        self._senders: list[Send] = [send]
        self._conversation = Conversation()
        self._conversation_id = new_id("conv")
        self._sends_audio = transport is None
        keys = service.settings.realtime
        self._keys = keys
        self._config = first_config(service, id=self.id, kind=kind, model=model, settings=(principal.session, settings))
        sounds, recorder = Sounds(max_s=keys.keep_audio_s), Recorder(max_s=keys.keep_audio_s)
        self._book = ItemBook(
            self._conversation,
            self._emit,
            max_items=keys.max_items,
            max_chars=keys.max_text_chars,
            sounds=sounds,
        )
        self._toolbox = Toolbox(lambda: allowing(service), self._book, self._emit)
        self._spending = Spending(service.access, principal, self._emit)
        self._hosting = Calls(self._toolbox, self._book, self._emit, most=keys.mcp.max_calls, tell=self._tell_tool_done)
        self._answers = Answers(
            self._emit,
            self._book,
            conversation_id=self._conversation_id,
            config=lambda: self._config,
            sends_audio=self._sends_audio,
            offered=self._toolbox.offered,
            spent=self._spending.spent,
            hosted=self._hosting,
        )
        self._narrator = Narrator(self._emit, self._book, self._answers, config=lambda: self._config, recorder=recorder)
        self._client = None if transport is not None else EventTransport(_Sink(room), self._answers.audio)
        self._transport: Transport = transport if transport is not None else self._client  # type: ignore[assignment]
        self._answers.heard_s = self._transport.heard_s
        if transport is not None:
            transport.listener = self._narrator  # type: ignore[attr-defined]
        self._buffer = InputBuffer(max_s=keys.max_buffer_s)
        ear = Ear(
            self._transport,
            self._buffer,
            is_manual=lambda: self._config.turn_detection is None,
            recorder=recorder,
            sounds=sounds,
            on_sound=self._answers.sounds,
        )
        self._ear = cast(Transport, ear)
        self._watchers: list[EventSink] = []
        self._session: Session | None = None
        self._settings = SessionSettings()
        self._workflow: RealtimeWorkflow | None = None
        self._commands: Commands | None = None
        self._ready = asyncio.Event()
        self._closing = False

    # ------------------------------------------------------------------------ life

    async def run(self) -> None:
        """Serve until the client's audio ends, :meth:`close`, or the conversation is over.

        :raises BaseExceptionGroup: the session broke.
        """
        if self._closing:
            return
        session = self._begin()
        self._emit(server_events.session_created(self._config))
        talking = asyncio.create_task(session.run(), name=f"session-{session.id}")
        idling = asyncio.create_task(self._idle.watch(), name=f"idle-{session.id}")
        try:
            await asyncio.sleep(0)  # the session's first step: from then on it takes orders
            self._ready.set()
            self._toolbox.use(self._config.mcp)
            await asyncio.wait({talking})
            talking.result()
        finally:
            self._ready.set()
            idling.cancel()
            talking.cancel()
            await asyncio.wait({talking, idling})
            assert self._commands is not None
            self._commands.close()
            self._hosting.close()
            self._answers.close()
            self._toolbox.close()
            await self._toolbox.closed()

    def close(self) -> None:
        """End the conversation: what is being said is said to its end. One that has not begun does not begin."""
        self._closing = True
        if self._session is not None:
            self._session.end()

    def session_object(self) -> dict[str, Any]:
        """The effective session, as `session.created` has it."""
        return self._config.to_wire()

    def listen(self, send: Send) -> Callable[[], None]:
        """Somebody who follows from beside: gets `session.created` now, then every event. Returns what ends that."""
        send(server_events.session_created(self._config))
        self._senders.append(send)
        return lambda: self._senders.remove(send)

    def watch(self, sink: EventSink) -> Callable[[], None]:
        """Somebody who wants the pipeline's own events, from now on. Returns what ends that."""
        self._watchers.append(sink)
        return lambda: self._watchers.remove(sink)

    # ------------------------------------------------------------------------ from the client

    async def receive(self, message: str | bytes, reply: Send | None = None) -> None:
        """One event of the client's. What is wrong with it is told; the session goes on.

        :param reply: the way to whoever sent it, who alone is told of that; None: the client itself.
        """
        reply = reply or self._senders[0]
        await self._ready.wait()
        event_id = None
        try:
            if isinstance(message, bytes):
                raise ProtocolError("Events are text messages, not binary ones.", code="invalid_message")
            event = parse_client_event(message)
            event_id = event.event_id
            await self._obey(event, reply)
        except ProtocolError as problem:
            reply(server_events.error(problem.about(event_id)))
        except Exception:
            logger.exception("a client's event could not be obeyed", extra={"session": self.id})
            failure = ProtocolError("The server could not do this.", code="server_error", type="server_error")
            reply(server_events.error(failure.about(event_id)))

    async def hear(self, samples: Samples, rate_hz: int) -> None:
        """Audio of the user's that came otherwise than in events; waits while too much of it has not been heard."""
        await self._ready.wait()
        if self._client is not None:
            await self._client.push(samples, rate_hz)

    def end_input(self) -> None:
        """There will be no more audio: what was said is answered, then the session ends."""
        if self._client is not None:
            self._client.end()

    async def _obey(self, event: ClientEvent, reply: Send) -> None:
        assert self._commands is not None and self._session is not None
        commands = self._commands
        match event:
            case InputAudioAppend():
                await self._input.append(event)
            case InputAudioCommit():
                self._input.commit(event.event_id, reply)
            case InputAudioClear():
                self._input.clear()
            case SessionUpdate():
                self._update(event)
            case ItemCreate():
                commands.create_item(event)
            case ItemRetrieve():
                by_channel = not self._sends_audio and reply is self._senders[0]  # it takes no sound
                await commands.retrieve_item(event, with_sound=not by_channel)
            case ItemTruncate():
                commands.truncate_item(event)
            case ItemDelete():
                commands.delete_item(event)
            case ResponseCreate():
                commands.create_response(event, reply)
            case ResponseCancel():
                commands.cancel_response(event)
            case OutputAudioClear():
                commands.clear_output()
        self._idle.stir()

    # ------------------------------------------------------------------------ settings

    def _update(self, event: SessionUpdate) -> None:
        merged = self._config.merged(event.session, audio_sent=self._answers.spoke)
        config = as_allowed(self._service, merged)
        was_manual = self._config.turn_detection is None
        self._config = config
        self._apply()
        if was_manual != (config.turn_detection is None):
            self._input.drop()
        self._emit(server_events.session_updated(config))
        self._toolbox.use(config.mcp)

    def _apply(self) -> None:
        """Let the session do as is effective now."""
        session, config, engines = self._session, self._config, self._service.engines
        assert session is not None
        interrupt = self._keys.interrupt if self._sends_audio else "decided"  # what a call plays can be paused
        tuning.apply(config, session, self._settings, engines, interrupt=interrupt)
        voice = self._voice_of(config.voice, config.speed)
        session.live.speak(voice, speaks=config.modality == "audio" and config.type == "realtime")

    def _voice_of(self, name: str, speed: float) -> TTSOptions:
        if name == service_voice(self._service):
            name = "default"
        return tuning.voice_of(name, speed, self._service.engines, self._service.settings.aliases.voices)

    # ------------------------------------------------------------------------ inside

    def _begin(self) -> Session:
        """Make the session."""
        session = self._service.session(
            self._ear,
            protocol=self._protocol,
            principal=self._principal,
            sinks=[self._narrator, self._tell_watchers],
            conversation=self._conversation,
            adjust=self._adjust,
        )
        assert self._workflow is not None
        self._session = self._narrator.session = self._answers.session = session
        asides = Asides(
            session,
            self._workflow,
            self._conversation,
            self._emit,
            conversation_id=self._conversation_id,
            most=self._keys.max_asides,
            sends_audio=self._sends_audio,
            spent=self._spending.spent,
        )
        self._commands = Commands(
            session,
            self._narrator,
            self._answers,
            self._book,
            self._conversation,
            self._emit,
            config=lambda: self._config,
            voice_of=self._voice_of,
            asides=asides,
            toolbox=self._toolbox,
            hosting=self._hosting,
            spending=self._spending,
        )
        self._input = UserSound(
            self._buffer, self._client, session, self._commands, self._emit, config=lambda: self._config
        )
        self._idle = IdleTimeout(self._idle_after_s, session, self._answers, self._commands)
        self._apply()
        return session

    def _adjust(self, assembly: Assembly, arguments: dict[str, Any]) -> None:
        # Who speaks first, and what silence means, is for the client to say.
        settings = dataclasses.replace(arguments["settings"], greeting="", idle=IdleSettings())
        self._settings = arguments["settings"] = settings
        self._workflow = arguments["workflow"] = RealtimeWorkflow(
            arguments["workflow"],
            assembly.llm,
            is_chat=assembly.config.workflow.kind == "chat",
            config_of=self._answers.config_of,
            items_of=self._answers.inputs_of,
            on_limit=self._answers.limited,
            ready=lambda config: self._toolbox.ready(config.mcp),
            hosting=self._hosting,
        )
        arguments["front"] = self._narrator
        arguments["session_id"] = self.id

    def _idle_after_s(self) -> float:
        detection = self._config.turn_detection
        ms = detection.idle_timeout_ms if isinstance(detection, ServerVad) else None
        return math.inf if ms is None or self._config.type == "transcription" else ms / 1000

    def _tell_tool_done(self, turn: int, call_id: str, name: str, output: str) -> None:
        if self._session is not None:
            self._session.requests.tool_done(turn, call_id, name, output)

    def _tell_watchers(self, event: Any) -> None:
        for watcher in tuple(self._watchers):
            watcher(event)

    def _emit(self, event: ServerEvent) -> None:
        for send in tuple(self._senders):
            send(event)


class _Sink:
    """Of a client whose audio goes in events: those are made as audio is handed over, so that only bounds are left."""

    def __init__(self, room: Room | None) -> None:
        self._room = room

    def audio(self, frame: AudioFrame) -> None:
        """It has gone out in events."""

    def flush(self) -> None:
        """The last event of a message holds the rest."""

    def drop(self) -> None:
        if self._room is not None:
            self._room.drop()

    async def room(self) -> None:
        if self._room is not None:
            await self._room.room()
