"""The engines of a server, and the conversations on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Protocol

from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config
from antiphon.pipeline.events import EventSink
from antiphon.pipeline.session import Session
from antiphon.pipeline.session_settings import Engines
from antiphon.pipeline.text_session import TextSession
from antiphon.pipeline.transports.base import Transport
from antiphon.server.access.access import Access
from antiphon.server.access.principal import Principal
from antiphon.server.names import resolve


class Refused(Exception):
    """A conversation that cannot begin now."""

    def __init__(self, code: str, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class Conversing(Protocol):
    """A conversation under way."""

    def close(self) -> None:
        """End it: what is being said is said to its end."""
        ...


class Service:
    """A context manager around an :class:`Assembly`. Before :meth:`load` is through, it is not ready."""

    def __init__(self, config: Config, assembly: Assembly | None = None) -> None:
        """
        :param assembly: engines to use; None: those of `config`.
        """
        self.config = config
        self.settings = config.server
        self.access = Access(config.server)
        self.assembly = assembly or Assembly(config)
        self.ready = False
        self.draining = False
        self._open: set[Conversing] = set()
        self._fewer = asyncio.Event()

    async def load(self) -> None:
        """Load the engines.

        :raises AntiphonError: one cannot be loaded.
        """
        await self.assembly.__aenter__()
        self.ready = True

    async def __aenter__(self) -> Service:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ready:
            self.ready = False
            await self.assembly.__aexit__(kind, error, trace)

    @property
    def sessions(self) -> int:
        """Conversations under way."""
        return len(self._open)

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

    def must_be_ready(self) -> None:
        """
        :raises Refused: requests are not answered now.
        """
        if self.draining:
            raise Refused("draining", "the server is shutting down", retry_after_s=30)
        if not self.ready:
            raise Refused("loading", "the engines are being loaded", retry_after_s=5)

    def admit(self) -> None:
        """
        :raises Refused: there can be no further conversation now.
        """
        self.must_be_ready()
        if self.sessions >= self.settings.max_sessions:
            raise Refused("full", f"{self.sessions} conversations are under way, no more are allowed", retry_after_s=10)

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

        :param protocol: through which front it came: "stream", "realtime", ...
        :param principal: whose it is.
        :param arguments: as for :meth:`Assembly.session <antiphon.pipeline.build.Assembly.session>`.
        """
        return self.assembly.session(transport, sinks=sinks, **arguments)

    def text_session(
        self, *, protocol: str, principal: Principal, sinks: Sequence[EventSink] = (), **arguments: Any
    ) -> TextSession:
        """The same for a client that writes and reads; see :meth:`Assembly.text_session
        <antiphon.pipeline.build.Assembly.text_session>`."""
        return self.assembly.text_session(sinks=sinks, **arguments)

    @asynccontextmanager
    async def conversation(self, one: Conversing) -> AsyncIterator[None]:
        """While inside, it counts, and is ended with the others."""
        self._open.add(one)
        try:
            yield
        finally:
            self._open.discard(one)
            self._fewer.set()

    async def drain(self) -> None:
        """Take no more conversations, and end those under way; at most `drain_s`."""
        self.draining = True
        for one in tuple(self._open):
            one.close()
        try:
            async with asyncio.timeout(self.settings.drain_s):
                while self._open:
                    self._fewer.clear()
                    await self._fewer.wait()
        except TimeoutError:
            pass
