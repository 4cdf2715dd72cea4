"""What the `openai` engines of all stages share: their options, the client, deadlines, retries, and errors in words.

A request is tried again only while nothing of its answer has arrived. What a server says about an error is quoted with
every secret of the options blotted out.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import logging
import math
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from pydantic import field_validator

from antiphon.engines.config import EngineOptions, option
from antiphon.engines.errors import (
    AntiphonError,
    EngineError,
    EngineFailed,
    EngineRequestInvalid,
    EngineTimeout,
    EngineUnavailable,
    OfflineForbidden,
)
from antiphon.engines.host import current_ticket
from antiphon.engines.lifecycle import Loadable
from antiphon.engines.net import is_loopback
from antiphon.engines.openai_errors import Explainer
from antiphon.engines.protocols import Stage

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from antiphon.engines.registry import EngineContext

VENDOR_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
NO_KEY = "none"

_KEEP_ALIVE_S = 120.0
"""People pause longer between turns than a client's usual 5 s; a fresh TLS handshake a turn would be heard."""
_FIRST_PAUSE_S = 0.2
"""Before the first retry, where the server names no time; doubles each time."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_END: Any = object()


class OpenAIOptions(EngineOptions):
    """The options that every `openai` engine has."""

    base_url: str = option(
        VENDOR_URL, "Where the API is, up to and including `/v1`.", examples=["http://127.0.0.1:8000/v1"]
    )
    api_key: str | None = option(
        None,
        f"Key of the API; without it the environment's {KEY_VARIABLE}; `{NO_KEY}` sends none. "
        "A server on this machine needs none unless it says so.",
        secret=True,
        repr=False,
    )
    organization: str | None = option(None, "Organisation to bill, for keys that belong to several.")
    project: str | None = option(None, "Project to bill, for keys that belong to several.")
    connect_timeout_s: float = option(5.0, "Longest wait for a connection.", unit="s", gt=0, le=120)
    timeout_s: float = option(
        20.0, "Longest wait for the answer to begin, retries included (stt: for the whole answer).", unit="s", gt=0
    )
    stall_timeout_s: float = option(10.0, "Longest pause inside a streamed answer.", unit="s", gt=0)
    max_retries: int = option(
        2, "How often a request is tried again after a refusal, a server error or a broken connection, "
        "as long as nothing of the answer has arrived.", ge=0, le=10
    )  # fmt: skip
    max_retry_wait_s: float = option(
        2.0, "Longest wait between two tries that a server may ask for (Retry-After); if it asks for more, "
        "the request fails at once.", unit="s", ge=0
    )  # fmt: skip
    extra_headers: Mapping[str, str] = option(
        {}, "Headers for every request (a gateway's own key, for example).", secret=True, repr=False
    )
    extra_body: Mapping[str, Any] = option({}, "Fields for the body of every request that the API has not.")
    warm_up: bool = option(True, "Whether to connect when the engine is loaded, with one GET of `/models`.")

    @field_validator("base_url")
    @classmethod
    def _is_http_url(cls, value: str) -> str:
        parts = urlsplit(value.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url must be like http://127.0.0.1:8000/v1 or https://host/v1")
        return value.strip()

    @property
    def is_vendor(self) -> bool:
        """Whether requests go to the vendor's own servers, whose models differ in what they accept."""
        host = urlsplit(self.base_url).hostname or ""
        return host == "openai.com" or host.endswith(".openai.com")


class Connection:
    """The client of one engine: entered and left with it, used by any number of requests at once."""

    def __init__(self, stage: Stage, options: OpenAIOptions, context: EngineContext) -> None:
        self.stage = stage
        self.options = options
        self._parts = urlsplit(options.base_url)
        self.local = is_loopback(options.base_url)
        """Whether requests stay on this machine."""
        self._offline = context.offline
        self._key = options.api_key or os.environ.get(KEY_VARIABLE) or (NO_KEY if self.local else "")
        secrets = [self._key, self._parts.password or "", self._parts.query, *options.extra_headers.values()]
        host = self._parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((self._parts.scheme, host, self._parts.path.rstrip("/"), "", ""))
        """The base URL without user, password and query: fit to be shown."""
        self.explain = Explainer(stage, self.url, [secret for secret in secrets if secret != NO_KEY])
        self._client: AsyncOpenAI | None = None

    @property
    def client(self) -> AsyncOpenAI:
        if self._client is None:
            raise EngineFailed(
                f"the {self.stage} engine 'openai' is not entered", stage=self.stage, engine="openai",
                hint="use it inside `async with engine:`", retryable=False,
            )  # fmt: skip
        return self._client

    async def open(self) -> None:
        """Make the client and, if wanted, the first connection.

        :raises OfflineForbidden: `offline` is on and the base URL is not on this machine.
        :raises EngineUnavailable: no key was given, or the package is missing.
        """
        if self._offline and not self.local:
            raise OfflineForbidden(
                f"the {self.stage} engine 'openai' would connect to {self.url}, and the session is offline",
                hint=f"set {self.stage}.base_url to a server on this machine (http://127.0.0.1:PORT/v1), "
                "or session.offline to false",
            )
        if not self._key:
            raise EngineUnavailable(
                f"the {self.stage} engine 'openai' has no key for {self.url}",
                stage=self.stage, engine="openai",
                hint=f"set the environment variable {KEY_VARIABLE}, or {self.stage}.api_key "
                f'("{NO_KEY}" for a server that needs none)',
            )  # fmt: skip
        self._client = await self._make_client()
        if self.options.warm_up:
            await self._warm_up()

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def call(self, send: Callable[[], Awaitable[_T]], *, model: str = "") -> _T:
        """Await one whole answer within `timeout_s` and the current ticket's, trying again where that may help.

        :raises EngineError: see :mod:`antiphon.engines.errors`.
        """
        patience = min(self.options.timeout_s, current_ticket.get().timeout_s or math.inf)
        return await self._persist(send, patience, model)

    def exchange(self, opener: Opener[_T], *, model: str = "") -> Exchange[_T]:
        """A streamed answer; `opener` sends the request."""
        return Exchange(self, opener, model)

    async def _make_client(self) -> AsyncOpenAI:
        try:
            openai = await asyncio.to_thread(importlib.import_module, "openai")  # takes about a second
        except ImportError as error:
            raise EngineUnavailable(
                f"the {self.stage} engine 'openai' needs the Python package openai",
                stage=self.stage, engine="openai", hint='pip install "antiphon[cloud]"',
            ) from error  # fmt: skip
        headers: dict[str, str] = {}
        if self._parts.username:
            user = f"{unquote(self._parts.username)}:{unquote(self._parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
        headers.update(self.options.extra_headers)
        keyless = self._key == NO_KEY and not any(name.lower() == "authorization" for name in headers)
        limits = openai.DEFAULT_CONNECTION_LIMITS
        http_client = openai.DefaultAsyncHttpxClient(
            timeout=openai.Timeout(None, connect=self.options.connect_timeout_s),
            limits=type(limits)(max_connections=limits.max_connections, keepalive_expiry=_KEEP_ALIVE_S),
            # Requests for this machine must not wander off it: not through a proxy, not by a redirect.
            trust_env=not self.local,
            # Without TLS there is no need to read all certificate authorities, which takes 90 ms.
            verify=self._parts.scheme == "https",
            follow_redirects=False,
            event_hooks={"request": [_drop_key]} if keyless else {},
        )
        client: AsyncOpenAI = openai.AsyncOpenAI(
            api_key=self._key,
            organization=self.options.organization,
            project=self.options.project,
            base_url=self.url,
            default_query=dict(parse_qsl(self._parts.query)),
            default_headers=headers,
            timeout=openai.Timeout(None, connect=self.options.connect_timeout_s),
            max_retries=0,  # ours know the deadline
            http_client=http_client,
        )
        return client

    async def _warm_up(self) -> None:
        """Connect now, so that the first turn does not wait for name, TCP and TLS. Whatever comes back will do."""
        try:
            async with asyncio.timeout(self.options.connect_timeout_s):
                await self.client.models.with_raw_response.list()
        except Exception as error:
            _log.debug("warm-up request failed", extra={"stage": self.stage, "reason": type(error).__name__})

    async def probe(self) -> None:
        """Ask once, with a short limit, whether the server is there: for chains, off the way of any request.

        An answer that refuses only this question will do: not every server has it, and not every key may ask it.

        :raises EngineError: no connection, no answer within `connect_timeout_s`, a wrong key, or a server in trouble.
        """
        try:
            async with asyncio.timeout(self.options.connect_timeout_s):
                await self.client.models.with_raw_response.list()
        except TimeoutError:
            raise self.timed_out(f"gave no answer within {self.options.connect_timeout_s:g} s") from None
        except AntiphonError:
            raise
        except Exception as error:
            if self.explain.refuses(error):
                return
            raise self.explain(error) from self.explain.cause(error)

    async def _persist(self, send: Callable[[], Awaitable[_T]], patience: float, model: str) -> _T:
        """Try `send` until it answers, the tries are used up, or the next pause would reach past `patience` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        for tried in range(self.options.max_retries + 1):
            try:
                async with asyncio.timeout_at(None if math.isinf(deadline) else deadline):
                    return await send()
            except TimeoutError:
                raise self.timed_out(f"gave no answer within {patience:g} s") from None
            except AntiphonError:
                raise
            except Exception as error:
                failure = self.explain(error, model)
                pause = self._pause(error, failure, tried)
                if pause is None or loop.time() + pause >= deadline:
                    raise failure from self.explain.cause(error)
            _log.info("trying a request again", extra={"stage": self.stage, "tried": tried + 1, "pause_s": pause})
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _pause(self, error: Exception, failure: EngineError, tried: int) -> float | None:
        """Seconds until the next try, or None: there will be none."""
        if tried >= self.options.max_retries or not self.explain.may_pass(error):
            return None
        asked = getattr(failure, "retry_after_s", None)
        if asked is not None:
            return asked if asked <= self.options.max_retry_wait_s else None
        # Jitter keeps many sessions from coming back in step.
        return float(_FIRST_PAUSE_S * 2**tried * random.uniform(0.75, 1.0))

    def timed_out(self, what: str) -> EngineTimeout:
        return EngineTimeout(
            f"{self.url} {what}", stage=self.stage, engine="openai",
            hint=f"see {self.stage}.timeout_s and {self.stage}.stall_timeout_s",
        )  # fmt: skip


Opener = Callable[[], Awaitable[tuple[AsyncIterator[_T], Callable[[], Awaitable[None]]]]]
"""Sends the request and returns (the answer's items, what closes the answer)."""


class Exchange(Generic[_T]):
    """One streamed answer: its items as they come, each within its deadline, the response closed on every way out."""

    def __init__(self, connection: Connection, opener: Opener[_T], model: str) -> None:
        self._connection = connection
        self._opener = opener
        self._model = model
        self.stall_timeout_s = connection.options.stall_timeout_s
        self.delivered = ""
        """What of the answer the caller has handed on, in words ("12 characters"); empty: nothing yet."""

    async def items(self) -> AsyncIterator[_T]:
        """:raises EngineError: "partial" in the message says that something was handed on before."""
        ticket_s = current_ticket.get().timeout_s or math.inf
        loop = asyncio.get_running_loop()
        asked = loop.time()
        patience = min(self._connection.options.timeout_s, ticket_s)
        source, close, item = await self._connection._persist(self._begin, patience, self._model)
        try:
            while item is not _END:
                yield item
                deadline = loop.time() + self.stall_timeout_s
                if not self.delivered:
                    deadline = min(deadline, asked + ticket_s)
                item = await self._next(source, deadline)
        finally:
            await close()

    async def _begin(self) -> tuple[AsyncIterator[_T], Callable[[], Awaitable[None]], _T]:
        source, close = await self._opener()
        try:
            return source, close, await anext(source, _END)
        except BaseException:
            await close()
            raise

    async def _next(self, source: AsyncIterator[_T], deadline: float) -> _T:
        try:
            async with asyncio.timeout_at(deadline):
                return await anext(source, _END)
        except TimeoutError:
            what = "stopped in the middle of its answer" if self.delivered else "gave no answer in time"
            raise self._connection.timed_out(f"{what}{self.partial}") from None
        except AntiphonError:
            raise
        except Exception as error:
            explain = self._connection.explain
            raise explain(error, self._model, after=self.partial, begun=True) from explain.cause(error)

    @property
    def partial(self) -> str:
        return f" (partial: {self.delivered} had been delivered)" if self.delivered else ""

    def broken(self, what: str) -> EngineFailed:
        """The error for an answer that came and cannot be used."""
        return EngineFailed(
            f"{self._connection.url} {what}{self.partial}", stage=self._connection.stage, engine="openai"
        )


class OpenAIEngine(Loadable):
    """Entering and leaving, the same for every stage."""

    engine = "openai"

    def __init__(self, stage: Stage, options: OpenAIOptions, context: EngineContext) -> None:
        self.stage = stage
        self._connection = Connection(stage, options, context)

    async def _load(self) -> None:
        await self._connection.open()

    async def _free(self) -> None:
        await self._connection.close()

    async def probe(self) -> None:
        """Whether the server is there again (see :mod:`antiphon.engines.chain`).

        :raises EngineError: it is not.
        """
        await self._connection.probe()


async def _drop_key(request: Any) -> None:
    """The client insists on a key; a server that needs none should not see a made-up one."""
    del request.headers["Authorization"]


def invalid(stage: Stage, message: str, hint: str = "") -> EngineRequestInvalid:
    return EngineRequestInvalid(message, stage=stage, engine="openai", hint=hint)
