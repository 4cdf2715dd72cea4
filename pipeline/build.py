"""From a configuration to running engines and sessions."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from antiphon.engines.errors import AntiphonError, EngineLoadFailed
from antiphon.engines.fallback import FallbackEvent
from antiphon.engines.host import EngineHost, Priority
from antiphon.engines.metering import metered
from antiphon.engines.models.store import ModelStore
from antiphon.engines.net import forbid_network
from antiphon.engines.protocols import LLM, Stage
from antiphon.engines.registry import EngineContext
from antiphon.pipeline.agents_sdk import bridge_sdk
from antiphon.pipeline.config import Config, EngineBlock
from antiphon.pipeline.conversation import Conversation
from antiphon.pipeline.engine_making import make_engine, make_store
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.events import EventSink
from antiphon.pipeline.own_lines import Lines, spoken_lines
from antiphon.pipeline.policy import ApprovalDesk
from antiphon.pipeline.session import Session
from antiphon.pipeline.session_settings import Engines
from antiphon.pipeline.settings_of import session_settings, text_tools
from antiphon.pipeline.surroundings import Surroundings
from antiphon.pipeline.text_session import TextSession
from antiphon.pipeline.transcript import TranscriptStore
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.transports.echo import echo_controlled
from antiphon.pipeline.transports.wake import WakeGated, wake_gated
from antiphon.pipeline.user_code import bound, load_user_object, make_user_workflow, workflow_uses_llm
from antiphon.pipeline.workflow import ChatWorkflow, Workflow

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Assembly:
    """A configuration's engines, loaded once and shared by any number of sessions. An async context manager."""

    config: Config
    store: ModelStore | None = None
    replacements: dict[Stage, Any] = field(default_factory=dict)
    """Engines of the caller's own, in place of the configured ones; entered and left like those."""
    needs_llm: bool | None = None
    """None: if the configured workflow does, or may (:func:`may_use_llm`)."""
    text_only: bool = False
    """Load the LLM alone, for conversations in text: there are no `engines`, and so no sessions."""
    on_fallback: Callable[[FallbackEvent], None] | None = None
    host: EngineHost = field(default_factory=EngineHost)
    engines: Engines | None = None
    llm: LLM | None = None
    load_s: dict[str, float] = field(default_factory=dict)
    """How long each stage took to load, in seconds."""
    _lines: Lines = field(default_factory=dict)
    _surroundings: Surroundings | None = None
    _agents: Any = None
    """The agent runtime, for the workflow kind `agent`."""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Assembly:
        """Load and warm every engine, side by side.

        :raises AntiphonError: an engine cannot be loaded; those that could are freed again.
        """
        try:
            if self.config.session.offline:
                self._stack.enter_context(forbid_network())
            self._stack.push_async_callback(self.host.close)
            self.host.max_waiting = self.config.session.max_waiting
            await self._load()
        except BaseException:
            # With what went wrong, so that no engine's own complaint on the way out takes its place.
            await self._stack.__aexit__(*sys.exc_info())
            raise
        gc.collect()
        gc.freeze()  # what is loaded now stays: later collections need not look at it
        return_free_memory()
        return self

    async def __aexit__(self, *_: object) -> None:
        gc.unfreeze()
        await self._stack.aclose()
        self.engines = self.llm = None

    # ------------------------------------------------------------------------ loading

    async def _load(self) -> None:
        config = self.config
        store = self.store or make_store(config)
        context = EngineContext(self.host, store, offline=config.session.offline)
        blocks: dict[Stage, tuple[EngineBlock, ...]] = {
            "vad": (config.vad,),
            "turn": (config.turn,),
            "stt": config.stt,
            "llm": config.llm if self._uses_llm() else (),
            "tts": config.tts,
        }
        made = {
            stage: self._replaced(stage) or self._make(stage, chain, context)
            for stage, chain in blocks.items()
            if chain and (stage == "llm" or not self.text_only)
        }
        results = await asyncio.gather(*(self._enter(stage, made[stage]) for stage in made), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        self.llm = made.get("llm")
        if config.workflow.kind == "agent":
            await self._enter_agents()
            if self.llm is not None and config.speculation.prefill:
                await self._agents.warm(self.llm)
        if self.llm is not None:
            bridge_sdk()
        if self.text_only:
            return
        self._surroundings = await self._stack.enter_async_context(Surroundings(config, self.llm))
        detector = made["turn"]
        voices = config.tts[0].voices
        self.engines = Engines(
            vad=made["vad"],
            stt=made["stt"],
            tts=made["tts"],
            detector=detector if detector.policy.check_at_ms else None,
            policy=detector.policy,
            voices=voices or None,
            stt_local=made["stt"].capabilities.local,
            answer_local=all(made[stage].capabilities.local for stage in ("llm", "tts") if stage in made),
            cores_free=self.host.cores_free,
        )
        self._lines = await self._prepare_lines()

    def _replaced(self, stage: Stage) -> Any:
        engine = self.replacements.get(stage)
        return None if engine is None else metered(stage, engine, type(engine).__name__)

    def _uses_llm(self) -> bool:
        if self.needs_llm is not None:
            return self.needs_llm
        return workflow_uses_llm(self.config)

    async def _enter_agents(self) -> None:
        try:  # its library takes seconds to import: a server that loads a new configuration goes on talking meanwhile
            module = await asyncio.to_thread(importlib.import_module, "antiphon.pipeline.agent.runtime")
        except ModuleNotFoundError as error:
            raise WorkflowError(
                f"workflow.kind: agent needs the Python package {error.name}, which is not installed",
                hint='pip install "antiphon[agents]"',
            ) from error
        runtime = module.AgentRuntime(self.config.workflow, load_user_object, offline=self.config.session.offline)
        self._agents = await self._stack.enter_async_context(runtime)

    def _make(self, stage: Stage, chain: Sequence[EngineBlock], context: EngineContext) -> Any:
        session = self.config.session
        deadlines_s = {"stt": session.stt_deadline_s, "llm": session.answer_deadline_s, "tts": session.tts_deadline_s}
        return make_engine(
            chain,
            context,
            deadline_s=deadlines_s.get(stage),
            on_event=self._on_fallback,
            recovery_s=session.recovery_s,
        )

    def _on_fallback(self, event: FallbackEvent) -> None:
        if self.on_fallback is not None:
            self.on_fallback(event)

    async def _enter(self, stage: Stage, engine: Any) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            await self._stack.enter_async_context(engine)
        except AntiphonError:
            raise
        except Exception as error:
            raise EngineLoadFailed(
                f"the {stage} engine could not be loaded: {type(error).__name__}: {error}",
                stage=stage,
                hint="antiphon doctor tries each engine by itself and explains what it finds",
            ) from error
        self.load_s[stage] = loop.time() - began_s

    async def _prepare_lines(self) -> Lines:
        """Warms the TTS on the way."""
        assert self.engines is not None
        if "tts" in self.replacements:
            return {}
        settings = session_settings(self.config)
        return await spoken_lines(
            self.engines.tts,
            (settings.on_error, settings.on_overload, settings.errors_goodbye),
            output_hz=settings.output_hz,
            deadline_s=self.config.session.tts_deadline_s,
        )

    # ------------------------------------------------------------------------ sessions

    def workflow(self) -> Workflow:
        """A new workflow as configured, for one session.

        :raises WorkflowError: its dotted path cannot be imported, or is no workflow.
        """
        settings = self.config.workflow
        if settings.kind == "chat":
            assert self.llm is not None, "the assembly has not been entered"
            return ChatWorkflow(self.llm, settings.instructions)
        if settings.kind == "agent":
            assert self._agents is not None, "the assembly has not been entered"
            workflow: Workflow = self._agents.workflow(self.llm)
            return workflow
        return make_user_workflow(self.config, self.llm)

    def session(
        self,
        transport: Transport,
        *,
        workflow: Workflow | None = None,
        sinks: Sequence[EventSink] = (),
        conversation: Conversation | None = None,
        manual_turns: bool = False,
        adjust: Callable[[Assembly, dict[str, Any]], None] | None = None,
        person: str | None = None,
        resumed_from: str | None = None,
    ) -> Session:
        """A new session on these engines.

        :param transport: its input goes through the front end that the section `audio` asks for, and waits for the
            wake word, if there is one.
        :param manual_turns: the whole input is one turn.
        :param adjust: may change what the session is made of before it is made: the arguments of its
            :class:`~antiphon.pipeline.makings.Makings`, and its `sinks`.
        :param person: whose conversation this is, for the transcripts; None: as configured.
        :param resumed_from: the session that this one goes on with; give its :meth:`recalled` conversation.
        """
        assert self.engines is not None and self._surroundings is not None, "the assembly has not been entered"
        transport = wake_gated(echo_controlled(transport, self.config.audio), self.config.wake_word)
        if isinstance(transport, WakeGated):
            sinks = [*sinks, transport.on_event]
        arguments: dict[str, Any] = {
            "engines": self.engines,
            "transport": transport,
            "workflow": bound(workflow, self.llm) if workflow is not None else self.workflow(),
            "text": text_tools(self.config),
            "settings": session_settings(self.config, manual_turns=manual_turns),
            "sinks": sinks,
            "conversation": conversation,
            "prepared": self._lines,
        }
        if adjust is not None:
            adjust(self, arguments)
        ours = arguments["workflow"] if workflow is None else None
        return self._surroundings.session(arguments, ours, person=person, resumed_from=resumed_from)

    def text_session(
        self,
        *,
        workflow: Workflow | None = None,
        sinks: Sequence[EventSink] = (),
        conversation: Conversation | None = None,
        person: str | None = None,
        priority: Priority = Priority.COMMITTED,
    ) -> TextSession:
        """A conversation in text with all that stands around spoken ones; see :class:`TextSession`.

        :param priority: of what engines are asked for it; below COMMITTED, who speaks goes first.
        """
        assert self.engines is not None and self._surroundings is not None, "the assembly has not been entered"
        arguments: dict[str, Any] = {
            "engines": self.engines,
            "workflow": bound(workflow, self.llm) if workflow is not None else self.workflow(),
            "text": text_tools(self.config),
            "settings": session_settings(self.config),
            "sinks": sinks,
            "conversation": conversation,
        }
        ours = arguments["workflow"] if workflow is None else None
        return self._surroundings.text_session(arguments, ours, person=person, priority=priority)

    @property
    def transcripts(self) -> TranscriptStore | None:
        """The store of transcripts, for looking at them; None where none are kept."""
        return None if self._surroundings is None else self._surroundings.transcripts

    @property
    def desk(self) -> ApprovalDesk:
        """Where questions are decided that sessions ask."""
        assert self._surroundings is not None, "the assembly has not been entered"
        return self._surroundings.desk

    async def find_session(self, beginning: str) -> str:
        """The id of a recorded session, by its beginning; "last" is the newest one.

        :raises TranscriptError: no transcripts are kept, or there is no such session.
        """
        assert self._surroundings is not None, "the assembly has not been entered"
        return await self._surroundings.find(beginning)

    async def recalled(self, session: str) -> Conversation:
        """The conversation of an earlier session, for one that goes on with it.

        :raises TranscriptError: no transcripts are kept, or there is no such session.
        """
        assert self._surroundings is not None, "the assembly has not been entered"
        return await self._surroundings.recalled(session)


def return_free_memory() -> None:
    """Give the pages that loading needed and freed back to the system; glibc keeps them otherwise (80 MB of 660)."""
    with contextlib.suppress(OSError, AttributeError):  # another C library: it has its own ways
        ctypes.CDLL(None).malloc_trim(0)
