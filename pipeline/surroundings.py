"""What a configuration puts around its sessions: the record, the policy, and who is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from typing import Any

from antiphon.engines.host import Meter, Priority
from antiphon.engines.protocols import LLM
from antiphon.pipeline.agent.contracts import NobodyApproves
from antiphon.pipeline.config import Config
from antiphon.pipeline.conversation import Conversation, new_id
from antiphon.pipeline.events import UsageEvent
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.policy import ApprovalDesk, SessionApprovals
from antiphon.pipeline.policy.desk import forget_sessions
from antiphon.pipeline.policy.make import make_approvals, make_desk, make_policy
from antiphon.pipeline.session import Session
from antiphon.pipeline.session_settings import SessionSettings
from antiphon.pipeline.text_session import TextSession
from antiphon.pipeline.transcript import Compactor, Recorder, TranscriptStore, llm_summariser
from antiphon.pipeline.transcript.errors import TranscriptError
from antiphon.pipeline.transcript.service import TranscriptService
from antiphon.pipeline.unfinished import Unfinished
from antiphon.pipeline.usage import usage_of
from antiphon.pipeline.user_code import load_user_object, unwrapped
from antiphon.pipeline.workflow import Workflow


class Surroundings:
    """One for an assembly, shared by its sessions. An async context manager; leave it after the last session."""

    def __init__(self, config: Config, llm: LLM | None) -> None:
        """
        :param llm: for checks that ask one, and for summaries.
        :raises PolicyError: a check cannot be made.
        """
        self._config = config
        self._llm = llm
        self._policy = make_policy(config.policy, load_user_object)
        self._policy.bind_llm(llm)
        self._transcripts: TranscriptService | None = None
        self._desk: ApprovalDesk | None = None
        """Made with the first session that may have to ask somebody."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Surroundings:
        """
        :raises AntiphonError: the transcript store cannot be opened.
        """
        config = self._config
        if config.transcript.store != "none":
            service = TranscriptService(
                config.transcript,
                rate_hz=config.audio.output_hz,
                version=version("antiphon"),
                offline=config.session.offline,
                on_removed=partial(forget_sessions, config.approvals.store),
            )
            self._transcripts = await self._stack.enter_async_context(service)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def transcripts(self) -> TranscriptStore | None:
        """The store of transcripts; None where none are kept."""
        return None if self._transcripts is None else self._transcripts.store

    @property
    def desk(self) -> ApprovalDesk:
        """Where questions are decided. Its file is opened with the first question, or the first look at them."""
        if self._desk is None:
            self._desk = make_desk(self._config.approvals, load_user_object)
            self._stack.callback(self._desk.close)
        return self._desk

    async def find(self, beginning: str) -> str:
        """The id of a recorded session, by its beginning; "last" is the newest one.

        :raises TranscriptError: no transcripts are kept, or there is no such session.
        """
        if self._transcripts is None:
            raise TranscriptError("no transcripts are kept", hint="set transcript.store in the configuration")
        return await self._transcripts.find(beginning)

    async def recalled(self, session: str) -> Conversation:
        """The conversation of an earlier session, for one that goes on with it.

        :raises TranscriptError: no transcripts are kept, or there is no such session.
        """
        if self._transcripts is None:
            raise TranscriptError("no transcripts are kept", hint="set transcript.store in the configuration")
        return await self._transcripts.conversation(session)

    def session(
        self, arguments: dict[str, Any], ours: Workflow | None, *, person: str | None, resumed_from: str | None
    ) -> Session:
        """A session with the record and the policy of the configuration around it.

        :param arguments: of its :class:`Makings`, but for what is made here; and its `sinks`.
        :param ours: a workflow that was made for this session, and ends with it.
        """
        warn = _Warnings()
        guarding, closers, workflow = self._around(arguments, ours, warn, person=person, resumed_from=resumed_from)
        sinks = arguments.pop("sinks")
        session = Session(Makings(**arguments, guarding=guarding), sinks=sinks, closers=closers)
        warn.session = session
        if guarding.approvals is not None:
            guarding.approvals.bind(session.interject, session.tell_approval)
        if hasattr(workflow, "desk"):
            workflow.desk.announcer = session.say
        return session

    def text_session(
        self, arguments: dict[str, Any], ours: Workflow | None, *, person: str | None, priority: Priority
    ) -> TextSession:
        """The same without sound: nobody can be asked by voice.

        :param arguments: of the :class:`TextSession`, but for what is made here.
        """
        warn = _Warnings()
        arguments["transport"] = None
        guarding, closers, _ = self._around(arguments, ours, warn, person=person)
        del arguments["transport"]
        session = TextSession(**arguments, guarding=guarding, closers=closers, priority=priority)
        warn.session = session
        if guarding.approvals is not None:
            guarding.approvals.bind(None, session.tell_approval)
        return session

    def _around(
        self,
        arguments: dict[str, Any],
        ours: Workflow | None,
        warn: _Warnings,
        *,
        person: str | None,
        resumed_from: str | None = None,
    ) -> tuple[Guarding, list[Callable[[], Awaitable[None]]], Any]:
        """What stands around a session's answers, what is awaited at its end, and its workflow as the user wrote it.

        Puts into `arguments` what belongs to the session: its name, a transport that is recorded, the recorder.
        """
        name = arguments.setdefault("session_id", new_id("sess"))
        journal: Recorder | None = None
        closers: list[Callable[[], Awaitable[None]]] = []
        if self._transcripts is not None:
            transport = arguments["transport"]
            begun = self._transcripts.begin(
                name, transport, person=person, resumed_from=resumed_from, warn=warn, audio=transport is not None
            )
            arguments["transport"], journal = begun.transport, begun.recorder
            arguments["sinks"] = [*arguments["sinks"], begun.recorder]
            closers.append(begun.aclose)
        workflow: Any = unwrapped(arguments["workflow"])
        approvals = self._approvals(workflow)
        if approvals is not None and isinstance(getattr(workflow, "approver", None), NobodyApproves | SessionApprovals):
            workflow.approver = approvals
        if (close := getattr(ours, "aclose", None)) is not None:
            closers.insert(0, close)
        if arguments.get("conversation") is None:
            arguments["conversation"] = Conversation()
        guarding = Guarding(
            journal,
            self._policy,
            approvals,
            self._unfinished(approvals, workflow, arguments["conversation"], resumed_from, warn),
            self._compactor(name, arguments["conversation"], arguments["settings"], journal, warn.tell_usage),
        )
        return guarding, closers, workflow

    def _unfinished(
        self,
        approvals: SessionApprovals | None,
        workflow: Any,
        conversation: Conversation,
        resumed_from: str | None,
        warn: Callable[[str, str], None],
    ) -> Unfinished | None:
        """What the sessions before this one have left waiting for a yes."""
        if approvals is None or self._desk is None or self._transcripts is None or resumed_from is None:
            return None
        chain = partial(self._transcripts.chain, resumed_from)
        return Unfinished(approvals, self._desk, workflow, conversation, chain, warn)

    def _compactor(
        self,
        name: str,
        conversation: Conversation,
        settings: SessionSettings,
        journal: Recorder | None,
        on_used: Callable[[Meter], None],
    ) -> Compactor | None:
        """Shortens the session's history; None where it is left out instead, or no LLM can do it."""
        if self._llm is None or not self._config.workflow.compaction:
            return None
        return Compactor(
            conversation,
            llm_summariser(self._llm, name, on_used=on_used),
            max_turns=settings.history_turns,
            max_tokens=settings.history_tokens,
            recorder=journal,
        )

    def _approvals(self, workflow: Any) -> SessionApprovals | None:
        """Where questions are decided; None where none can be asked."""
        keys = self._config.approvals
        if not self._policy and not hasattr(workflow, "approver"):
            return None
        return make_approvals(keys, self.desk)


class _Warnings:
    """Hands on to the session what those want to tell who were made before it."""

    session: Session | TextSession | None = None

    def __call__(self, code: str, message: str) -> None:
        if self.session is not None:
            self.session.warn(code, message)

    def tell_usage(self, meter: Meter) -> None:
        if self.session is not None and (usage := usage_of([meter])):
            self.session.send(self.session.event(UsageEvent, turn=0, revision=0, usage=usage))
