"""The engines of a server, and the conversations on them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from antiphon.engines.host import EngineHost, Meter
from antiphon.engines.host_part import HostPart
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config
from antiphon.pipeline.config.model import ServerConfig
from antiphon.pipeline.events import EventSink
from antiphon.pipeline.session import Session
from antiphon.pipeline.session_settings import Engines
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.usage import usage_of
from antiphon.server.access.access import Access
from antiphon.server.access.principal import Principal
from antiphon.server.admission import Admission, Refused
from antiphon.server.capacity import Capacity
from antiphon.server.generation import Generation
from antiphon.server.names import resolve
from antiphon.server.observing.lag import watch_lag
from antiphon.server.observing.logs import set_level
from antiphon.server.observing.metrics import Metrics
from antiphon.server.observing.tracing import Tracing
from antiphon.server.reloading import Reloading
from antiphon.server.talks import Conversing, Talks
from antiphon.server.uses import Uses
from antiphon.server.watching import Later, Watching

if TYPE_CHECKING:
    from antiphon.pipeline.text_session import TextSession

__all__ = ["Conversing", "Refused", "Service"]

logger = logging.getLogger(__name__)

_LOOK_S = 1.0


class Service:
    """A context manager around engines and conversations. Before :meth:`load` is through, it is not ready.

    After a reload, `config`, `settings`, `assembly` and `engines` are the new ones: whoever begins something asks for
    them then, and does not keep them.
    """

    def __init__(
        self, config: Config, assembly: Assembly | None = None, *, source: Callable[[], Config] | None = None
    ) -> None:
        """
        :param assembly: engines to use; None: those of `config`.
        :param source: reads the configuration again, for a reload. Called on a thread.
        :raises ConfigError: the section `server` cannot be used.
        """
        self.config = config
        self.access = Access(config.server)
        self.host = EngineHost()
        self.metrics = Metrics(worker_stats=self._worker_stats)
        self.access.audit.on_lost = partial(self.metrics.count, "antiphon_audit_lines_lost_total")
        self.talks = Talks()
        self.watching = Watching(self)
        self.uses = Uses()
        self.admission = Admission(config.server, self.talks, self.metrics)
        self.tracing = Tracing.made(config.server.tracing, offline=config.session.offline)
        self.draining = False
        self._generation = Generation(config, assembly or self.new_assembly(config))
        self.reloading = Reloading(self, source)
        self.reloading.on_taken.append(lambda taken: self.access.reload(taken.server))
        self.reloading.on_taken.append(lambda taken: set_level(taken.server.log_level))
        self._tasks: list[asyncio.Task[None]] = []

    async def figures(self) -> tuple[bytes, str]:
        """The page of metrics, and its media type."""
        self.metrics.set("antiphon_sessions_live", self.live)
        self.metrics.set("antiphon_sessions_waiting", len(self.talks.waiting))
        self.metrics.set("antiphon_sessions_capacity", self.admission.carries)
        self.metrics.set("antiphon_event_loop_tasks", len(asyncio.all_tasks()))
        self.metrics.set("antiphon_ready", self.ready and not self.draining)
        self.metrics.set("antiphon_config_generations", self.ready + self.reloading.leaving)
        self.metrics.set("antiphon_config_last_reload_successful", not self.reloading.refused)
        self.metrics.set("antiphon_audit_in_order", not self.access.audit.failing)
        return await asyncio.to_thread(self.metrics.page)

    # ------------------------------------------------------------------------------ life

    async def load(self) -> None:
        """Load the engines.

        :raises AntiphonError: one cannot be loaded.
        """
        await self._generation.load()
        self.metrics.loaded(self.config)

    async def __aenter__(self) -> Service:
        self._tasks = [
            asyncio.create_task(watch_lag(self._on_lag), name="loop-lag"),
            asyncio.create_task(self._look(), name="admission"),
        ]
        self.reloading.listen_for_signal()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reloading.forget_signal()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        try:
            await self.reloading.close()
            await self._generation.leave()
        finally:
            await self.host.close()
            await self.tracing.close()

    def new_assembly(self, config: Config) -> Assembly:
        """Engines of a configuration, not yet loaded; models that are loaded already are shared."""
        assembly = Assembly(config, host=HostPart(self.host))
        assembly.on_fallback = self.metrics.fallback
        return assembly

    def replace(self, generation: Generation, capacity: Capacity | int | None) -> Generation:
        """Use other engines from now on. Returns those up to now, which somebody has to leave.

        :param capacity: what its settings say of the machine.
        """
        before, self._generation = self._generation, generation
        self.config = generation.config
        self.admission.change(generation.config.server, capacity)
        self.metrics.loaded(generation.config)
        return before

    async def drain(self) -> None:
        """Take no more, end the conversations that are under way, and wait for them and for the answers to requests; at
        most `drain_s`."""
        self.draining = True
        for talk in self.talks:
            try:
                talk.conversing.close()
            except Exception:  # the others must end all the same
                logger.exception("a conversation was not ended in order")
        try:
            async with asyncio.timeout(self.settings.drain_s):
                await asyncio.gather(self.talks.all_over(), self.uses.those_of_now())
        except TimeoutError:
            logger.warning(
                "conversations or requests were cut off at the end", extra={"conversations": len(self.talks)}
            )

    # ------------------------------------------------------------------------------ what there is

    @property
    def settings(self) -> ServerConfig:
        """The section `server` of the configuration."""
        return self.config.server

    @property
    def assembly(self) -> Assembly:
        """The engines, and what makes sessions of them."""
        return self._generation.assembly

    @property
    def ready(self) -> bool:
        """Whether the engines are there."""
        return self._generation.loaded

    @property
    def sessions(self) -> int:
        """Conversations under way."""
        return len(self.talks)

    @property
    def live(self) -> int:
        """Those in which something happened lately."""
        return self.talks.live(asyncio.get_running_loop().time())

    @property
    def engines(self) -> Engines:
        """The engines, once it is ready."""
        assert self.assembly.engines is not None, "the service is not ready"
        return self.assembly.engines

    @property
    def model_names(self) -> list[str]:
        """The configured models, each once, in the order of the chain, then the aliases."""
        config = self.config
        named = [
            str(model)
            for block in (*config.stt, *config.llm, *config.tts)
            if (model := getattr(block.options, "model", None) or getattr(block.options, "voice", None))
        ]
        return list(dict.fromkeys([*named, *(name for name in self.settings.aliases.models if name != "*")]))

    def check_model(self, wanted: str) -> None:
        """
        :raises UnknownName: it is no name of a model, and no alias.
        """
        resolve(wanted, self.model_names, self.settings.aliases.models)

    # ------------------------------------------------------------------------------ who may begin

    def must_be_ready(self) -> None:
        """
        :raises Refused: requests are not answered now.
        """
        if self.draining:
            raise Refused("draining", "the server is shutting down", retry_after_s=30)
        if not self.ready:
            raise Refused("loading", "the engines are being loaded", retry_after_s=5)
        self.must_be_on_record()

    def must_be_on_record(self) -> None:
        """
        :raises Refused: what is done now would not be on record, and the operator wants it to be.
        """
        if self.settings.audit_required and self.access.audit.failing:
            raise Refused("audit", "the audit log cannot be written", retry_after_s=10)

    def check(self) -> None:
        """
        :raises Refused: there can be no further conversation now.
        """
        self.must_be_ready()
        self.admission.check()

    def admit(self) -> None:
        """The same for somebody who wants one: a refusal is counted. Call :meth:`conversation` without an await.

        :raises Refused: there can be no further conversation now.
        """
        try:
            self.check()
        except Refused as why:
            self.metrics.count("antiphon_admission_refused_total", reason=why.code)
            raise

    # ------------------------------------------------------------------------------ conversations

    @asynccontextmanager
    async def conversation(self, one: Conversing) -> AsyncIterator[None]:
        """While inside, it counts, and is ended with the others; sessions that are made inside belong to it."""
        talk = self.talks.begin(one, waits=self.admission.place())
        self.uses.begin(talk)
        try:
            yield
        finally:
            self.watching.end(talk)
            self.talks.end(talk)
            self.uses.end(talk)
            self.admission.let_in()

    def session(
        self,
        transport: Transport,
        *,
        protocol: str,
        principal: Principal,
        sinks: Sequence[EventSink] = (),
        **arguments: Any,
    ) -> Session:
        """A session for a client. The one way to make it: whoever watches the server watches here.

        :param protocol: through which front it came: "stream", "realtime", ... A constant, nothing of the client's.
        :param principal: whose it is.
        :param arguments: as for :meth:`Assembly.session <antiphon.pipeline.build.Assembly.session>`.
        """
        adjust = arguments.pop("adjust", None)
        generation = self._generation

        def adjusted(assembly: Assembly, made: dict[str, Any]) -> None:
            generation.adjust(made)
            if adjust is not None:
                adjust(assembly, made)

        later = Later()
        session = generation.assembly.session(transport, sinks=[*sinks, later], adjust=adjusted, **arguments)
        self.watching.begin(session, later, protocol, principal)
        talk = self.talks.current
        if talk is not None and talk.place is not None:
            session.wait_for(talk.place)
        return session

    def text_session(
        self, *, protocol: str, principal: Principal, sinks: Sequence[EventSink] = (), **arguments: Any
    ) -> TextSession:
        """The same for a client that writes and reads; see :meth:`Assembly.text_session
        <antiphon.pipeline.build.Assembly.text_session>`."""
        later = Later()
        session = self.assembly.text_session(sinks=[*sinks, later], **arguments)
        self.watching.begin(session, later, protocol, principal)
        return session

    # ------------------------------------------------------------------------------ what is no conversation

    @contextmanager
    def using(self) -> Iterator[None]:
        """While inside, the engines of now stay, whatever is reloaded: for requests that are no conversation."""
        use = object()
        self.uses.begin(use)
        try:
            yield
        finally:
            self.uses.end(use)

    @contextmanager
    def usage(self, principal: Principal) -> Iterator[Meter]:
        """Counts for a key what engines use inside, where the meter is in the ticket of what is asked."""
        meter = Meter()
        try:
            yield meter
        finally:
            self.metrics.use(principal.counted_as, usage_of([meter]))

    # ------------------------------------------------------------------------------ inside

    def _worker_stats(self) -> Any:
        hosts = [self.host] if isinstance(self.assembly.host, HostPart) else [self.host, self.assembly.host]
        return {name: stats for host in hosts for name, stats in host.stats().items()}

    def _on_lag(self, lags: Sequence[float]) -> None:
        for lag_s in lags:
            self.metrics.observe("antiphon_event_loop_lag_seconds", lag_s)
        self.admission.lagged(lags[0])

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                self.admission.look()
            except Exception:  # who waits must not wait for ever because of one surprise
                logger.exception("it was not looked who may come in")
