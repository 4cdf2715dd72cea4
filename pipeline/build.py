"""From a configuration to running engines and sessions."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib.util
import logging
import math
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame, resample
from antiphon.engines.dotted import load_dotted
from antiphon.engines.errors import AntiphonError, EngineLoadFailed
from antiphon.engines.fallback import FallbackEvent, FallbackLLM, FallbackSTT, FallbackTTS, Link
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore, default_catalog
from antiphon.engines.net import forbid_network
from antiphon.engines.protocols import LLM, Stage
from antiphon.engines.registry import EngineContext
from antiphon.pipeline.agents_sdk import OnSessionLLM, bridge_sdk, sdk_in_use
from antiphon.pipeline.config import Config, EngineBlock
from antiphon.pipeline.config.model import WORKFLOW_KINDS
from antiphon.pipeline.conversation import Conversation, new_id
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.events import EventSink
from antiphon.pipeline.gate import GateSettings
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.interruption import InterruptionSettings
from antiphon.pipeline.policy import ApprovalDesk, Policy, SessionApprovals
from antiphon.pipeline.policy.make import make_approvals, make_desk, make_policy
from antiphon.pipeline.reply import ReplySettings
from antiphon.pipeline.session import Session
from antiphon.pipeline.session_settings import Engines, IdleSettings, SessionSettings, TextTools
from antiphon.pipeline.text import Lexicon, make_speakable, make_splitter
from antiphon.pipeline.text.completeness import judge
from antiphon.pipeline.transcript.errors import TranscriptError
from antiphon.pipeline.transcript.service import TranscriptService
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.transports.echo import echo_controlled
from antiphon.pipeline.transports.wake import WakeGated, wake_gated
from antiphon.pipeline.workflow import ChatWorkflow, Workflow, as_workflow

logger = logging.getLogger(__name__)

_CHAINS: dict[str, Callable[..., Any]] = {"stt": FallbackSTT, "llm": FallbackLLM, "tts": FallbackTTS}


def make_store(config: Config) -> ModelStore:
    """The model store that a configuration names."""
    return ModelStore(config.models.store, default_catalog(config.models.catalogs))


@asynccontextmanager
async def engine_context(config: Config) -> AsyncIterator[EngineContext]:
    """What a configuration's engines share, for use without a session: host, models, and the network shut if offline.

    Leave the engines first.
    """
    async with AsyncExitStack() as stack:
        if config.session.offline:
            stack.enter_context(forbid_network())
        host = EngineHost()
        stack.push_async_callback(host.close)
        yield EngineContext(host, make_store(config), offline=config.session.offline)


def make_engine(
    blocks: Sequence[EngineBlock],
    context: EngineContext,
    *,
    default_deadline_s: float | None = None,
    on_event: Callable[[FallbackEvent], None] | None = None,
    recovery_s: float = 30.0,
) -> Any:
    """The engine of a stage, or the chain of them, not yet entered.

    :param default_deadline_s: for the engines of a chain whose blocks name none; None: no limit.
    :param recovery_s: how long a chain leaves an engine that failed alone.
    """
    if len(blocks) == 1:
        return create_engine(blocks[0], context)
    links = [
        Link(f"{number}:{block.engine}", create_engine(block, context), block.deadline_s or default_deadline_s)
        for number, block in enumerate(blocks, 1)
    ]
    return _CHAINS[blocks[0].stage](links, on_event=on_event, recovery_s=recovery_s)


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
    _apology: tuple[AudioFrame, ...] = ()
    _transcripts: TranscriptService | None = None
    _policy: Policy | None = None
    _desk: ApprovalDesk | None = None
    """Made with the first session that may have to ask somebody."""
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
            await self._load()
        except BaseException:
            # With what went wrong, so that no engine's own complaint on the way out takes its place.
            await self._stack.__aexit__(*sys.exc_info())
            raise
        gc.collect()
        gc.freeze()  # what is loaded now stays: later collections need not look at it
        _return_free_memory()
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
            stage: self.replacements.get(stage) or self._make(stage, chain, context)
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
        if self.llm is not None:
            bridge_sdk()
        if self.text_only:
            return
        self._policy = make_policy(config.policy, load_user_object)
        self._policy.bind_llm(self.llm)
        if config.transcript.store != "none":
            service = TranscriptService(
                config.transcript,
                rate_hz=config.audio.output_hz,
                version=version("antiphon"),
                offline=config.session.offline,
            )
            self._transcripts = await self._stack.enter_async_context(service)
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
        self._apology = await self._make_apology()

    def _uses_llm(self) -> bool:
        if self.needs_llm is not None:
            return self.needs_llm
        return self.config.workflow.kind in WORKFLOW_KINDS or may_use_llm(_workflow_target(self.config))

    async def _enter_agents(self) -> None:
        try:
            from antiphon.pipeline.agent.runtime import AgentRuntime
        except ModuleNotFoundError as error:
            raise WorkflowError(
                f"workflow.kind: agent needs the Python package {error.name}, which is not installed",
                hint='pip install "antiphon[agents]"',
            ) from error
        runtime = AgentRuntime(self.config.workflow, load_user_object, offline=self.config.session.offline)
        self._agents = await self._stack.enter_async_context(runtime)

    def _make(self, stage: Stage, chain: Sequence[EngineBlock], context: EngineContext) -> Any:
        session = self.config.session
        deadline_s = session.stt_deadline_s if stage == "stt" else session.answer_deadline_s
        return make_engine(
            chain,
            context,
            default_deadline_s=deadline_s,
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

    async def _make_apology(self) -> tuple[AudioFrame, ...]:
        """The apology as audio, made while the TTS still works. Warms the TTS on the way."""
        text = self.config.session.on_error
        assert self.engines is not None
        if not text or "tts" in self.replacements:
            return ()
        frames: list[AudioFrame] = []
        try:
            async for chunk in self.engines.tts.synthesize(text):
                frames.append(chunk.frame)
        except AntiphonError as error:
            logger.warning("the apology could not be prepared", extra={"code": type(error).__name__})
            return ()
        if not frames:
            return ()
        joined = np.concatenate([frame.samples for frame in frames])
        output_hz = self.config.audio.output_hz
        return (AudioFrame(resample(joined, frames[0].rate_hz, output_hz), output_hz),)

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
        target = _workflow_target(self.config)
        if isinstance(target, type):
            try:
                target = target(**settings.options)
            except TypeError as error:
                raise WorkflowError(
                    f"workflow.kind: '{settings.kind}' cannot be made with workflow.options "
                    f"{sorted(settings.options)}: {error}"
                ) from error
        return self._bound(as_workflow(target))

    def _bound(self, workflow: Workflow) -> Workflow:
        """Give the LLM to a workflow that asks for it, and put it in reach of the agents that one runs."""
        bind = getattr(workflow, "bind_llm", None)
        if bind is not None:
            bind(self.llm)
        return workflow if self.llm is None else OnSessionLLM(workflow, self.llm)

    def settings(self, *, manual_turns: bool = False) -> SessionSettings:
        """The configuration as a session's settings."""
        config = self.config
        return SessionSettings(
            output_hz=config.audio.output_hz,
            gate=GateSettings(
                config.gate.start_ms, config.gate.start_window_ms, config.gate.pre_roll_ms, config.gate.stop_ms
            ),
            max_turn_s=float("inf") if manual_turns else config.session.max_turn_s,
            speculate=config.speculation.enabled,
            speculate_in_cloud=config.speculation.cloud,
            speculation_budget=config.speculation.budget,
            speculation_start_ms=config.speculation.start_ms,
            speculation_fading=config.speculation.fading,
            speculation_rerun_ms=config.speculation.rerun_ms,
            prefill=config.speculation.prefill,
            reopen_ms=config.speculation.reopen_ms,
            interruption=InterruptionSettings(
                enabled=config.interruption.enabled,
                min_speech_ms=config.interruption.min_speech_ms,
                min_words=config.interruption.min_words,
                thinking_min_speech_ms=config.interruption.thinking_min_speech_ms,
                backchannels=config.interruption.backchannels,
                mute_ms=config.interruption.mute_ms,
            ),
            manual_turns=manual_turns,
            on_error=config.session.on_error,
            greeting=config.session.greeting or "",
            idle=IdleSettings(
                after_s=config.session.idle_after_s or math.inf,
                prompts=config.session.idle_prompts,
                goodbye=config.session.idle_goodbye,
            ),
            history_turns=config.workflow.history_turns,
            history_tokens=config.workflow.max_history_tokens,
            reply=ReplySettings(
                output_hz=config.audio.output_hz,
                filler=config.session.filler,
                filler_after_s=config.session.filler_after_s,
                look_ahead=config.text.look_ahead_chunks,
                hurry_s=(config.text.first_clause_ms / 1000 or math.inf) if config.text.first_clause else math.inf,
                workflow_timeout_s=config.session.answer_deadline_s,
                tts_timeout_s=config.session.answer_deadline_s,
            ),
            stt_timeout_s=config.session.stt_deadline_s,
            detector_timeout_s=config.session.turn_deadline_s,
        )

    def text_tools(self) -> TextTools:
        text = self.config.text
        lexicon = Lexicon(text.lexicon)
        spoken = getattr(self.config.stt[0].options, "language", None)
        return TextTools(
            splitter=lambda language: make_splitter(language, first_clause=text.first_clause),
            speakable=lambda language: make_speakable(language, lexicon=lexicon, urls=text.speak_urls),
            cue=lambda heard, language: judge(heard, language or spoken).words,
        )

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
        :param adjust: may change the :class:`Session`'s keyword arguments before it is made.
        :param person: whose conversation this is, for the transcripts; None: as configured.
        :param resumed_from: the session that this one goes on with; give its :meth:`recalled` conversation.
        """
        assert self.engines is not None, "the assembly has not been entered"
        transport = wake_gated(echo_controlled(transport, self.config.audio), self.config.wake_word)
        if isinstance(transport, WakeGated):
            sinks = [*sinks, transport.on_event]
        arguments: dict[str, Any] = {
            "engines": self.engines,
            "transport": transport,
            "workflow": self._bound(workflow) if workflow is not None else self.workflow(),
            "text": self.text_tools(),
            "settings": self.settings(manual_turns=manual_turns),
            "sinks": sinks,
            "conversation": conversation,
            "apology": self._apology,
        }
        if adjust is not None:
            adjust(self, arguments)
        ours = arguments["workflow"] if workflow is None else None
        return self._guarded(arguments, ours, person=person, resumed_from=resumed_from)

    async def recalled(self, session: str) -> Conversation:
        """The conversation of an earlier session, for one that goes on with it.

        :raises TranscriptError: no transcripts are kept, or there is no such session.
        """
        if self._transcripts is None:
            raise TranscriptError("no transcripts are kept", hint="set transcript.store in the configuration")
        return await self._transcripts.conversation(session)

    def _guarded(
        self, arguments: dict[str, Any], ours: Workflow | None, *, person: str | None, resumed_from: str | None
    ) -> Session:
        """A session with the record and the policy of the configuration around it.

        :param ours: a workflow that was made for this session, and ends with it.
        """
        name = arguments.setdefault("session_id", new_id("sess"))
        warn, journal, closers = _Warnings(), None, []
        if self._transcripts is not None:
            begun = self._transcripts.begin(
                name, arguments["transport"], person=person, resumed_from=resumed_from, warn=warn
            )
            arguments["transport"], journal = begun.transport, begun.recorder
            arguments["sinks"] = [*arguments["sinks"], begun.recorder]
            closers.append(begun.aclose)
        approvals = self._approvals()
        policy = self._policy or Policy()
        if (close := getattr(ours, "aclose", None)) is not None:
            closers.insert(0, close)
        session = Session(**arguments, guarding=Guarding(journal, policy, approvals), closers=closers)
        warn.session = session
        if approvals is not None:
            approvals.bind(session.interject, session.tell_approval)
            workflow = arguments["workflow"]
            if hasattr(workflow, "approver"):
                workflow.approver = approvals
        if hasattr(arguments["workflow"], "desk"):
            arguments["workflow"].desk.announcer = session.say
        return session

    def _approvals(self) -> SessionApprovals | None:
        """Where questions are decided; None where none can be asked."""
        keys = self.config.approvals
        if not self._policy and self._agents is None:
            return None
        if self._desk is None:
            self._desk = make_desk(keys, load_user_object)
            self._stack.callback(self._desk.close)
        return make_approvals(keys, self._desk)


class _Warnings:
    """Hands warnings of what was made before the session to it."""

    session: Session | None = None

    def __call__(self, code: str, message: str) -> None:
        if self.session is not None:
            self.session.warn(code, message)


def create_engine(block: EngineBlock, context: EngineContext) -> Any:
    """The engine of a block; the voices that `tts.voices` names are loaded with it."""
    options = block.options
    more = getattr(options, "more_voices", None)
    if block.voices and more is not None:
        options = options.model_copy(update={"more_voices": tuple(dict.fromkeys([*more, *block.voices.values()]))})
    return block.spec.create(options, context)


def _return_free_memory() -> None:
    """Give the pages that loading needed and freed back to the system; glibc keeps them otherwise (80 MB of 660)."""
    with contextlib.suppress(OSError, AttributeError):  # another C library: it has its own ways
        ctypes.CDLL(None).malloc_trim(0)


def may_use_llm(workflow: Any) -> bool:
    """Whether a user's workflow needs the configured LLM: it asks for it, or may run agents of `openai-agents`."""
    return hasattr(workflow, "bind_llm") or sdk_in_use()


def _workflow_target(config: Config) -> Any:
    try:
        return load_user_object(config.workflow.kind)
    except ImportError as error:
        raise WorkflowError(
            f"workflow.kind: '{config.workflow.kind}' cannot be imported: {error}",
            hint="write 'module:Name'; modules in the current folder are found",
        ) from error


def load_user_object(path: str) -> Any:
    """Import a dotted path of the user's; the current folder counts, as for `python -m`.

    :raises ImportError: it does not exist.
    """
    folder = str(Path.cwd())
    module = path.partition(":")[0] if ":" in path else path.rpartition(".")[0]
    if folder not in sys.path and importlib.util.find_spec(module.partition(".")[0]) is None:
        sys.path.insert(0, folder)
    return load_dotted(path)
