"""What all `openai` engines share: who may be asked, with which key, how long, how often, and what errors say."""

from __future__ import annotations

import asyncio
import email.utils
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from openai_standin import OpenAIStandin
from pydantic import ValidationError

from antiphon.engines.errors import (
    EngineFailed,
    EngineOverloaded,
    EngineRequestInvalid,
    EngineTimeout,
    EngineUnavailable,
    OfflineForbidden,
)
from antiphon.engines.host import EngineHost, Ticket, current_ticket
from antiphon.engines.llm.openai import OpenAILLM, OpenAILLMOptions
from antiphon.engines.models.store import ModelStore
from antiphon.engines.net import forbid_network
from antiphon.engines.openai_client import OpenAIOptions
from antiphon.engines.openai_errors import retry_after
from antiphon.engines.protocols import Message, TextDelta
from antiphon.engines.registry import EngineContext, find

KEY = "sk-secret-5f3a9"
HELLO = [Message("user", "Hello")]


@pytest.fixture(autouse=True)
def no_key_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def context(*, offline: bool = True) -> EngineContext:
    return EngineContext(EngineHost(), ModelStore(), offline=offline)


def options(server: OpenAIStandin | None = None, **values: Any) -> OpenAILLMOptions:
    values = {"base_url": server.base_url if server else "http://127.0.0.1:9/v1", "warm_up": False, **values}
    return OpenAILLMOptions(**values)


def ask(settings: OpenAILLMOptions, *, offline: bool = True, ticket: Ticket | None = None) -> str:
    """The text of one answer."""

    async def main() -> str:
        if ticket is not None:
            current_ticket.set(ticket)
        async with OpenAILLM(settings, context(offline=offline)) as llm:
            return "".join([event.text async for event in llm.stream(HELLO) if isinstance(event, TextDelta)])

    return asyncio.run(main())


def enter(settings: OpenAIOptions, *, offline: bool = True) -> None:
    async def main() -> None:
        async with OpenAILLM(settings, context(offline=offline)):  # type: ignore[arg-type]
            pass

    asyncio.run(main())


# ---------------------------------------------------------------------------------------- who may be asked


@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
def test_is_registered_and_described(stage: Any) -> None:
    spec = find(stage, "openai")
    fields = spec.options_class().model_fields
    assert all(field.description for field in fields.values())
    assert fields["api_key"].json_schema_extra == {"secret": True}
    assert fields["extra_headers"].json_schema_extra == {"secret": True}


@pytest.mark.parametrize(
    "url", ["https://api.openai.com/v1", "http://192.168.1.5:8000/v1", "http://localhost.evil.example/v1"]
)
def test_offline_refuses_whoever_is_elsewhere(url: str) -> None:
    with pytest.raises(OfflineForbidden, match="session is offline"):
        enter(options(base_url=url, api_key="x"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://localhost:9/v1", "http://[::1]:9/v1"])
def test_offline_allows_this_machine(url: str) -> None:
    enter(options(base_url=url))
    assert OpenAILLM(options(base_url=url), context()).capabilities.local


def test_elsewhere_is_not_local() -> None:
    assert not OpenAILLM(options(base_url="https://api.openai.com/v1"), context()).capabilities.local


def test_works_under_the_offline_guard_and_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with OpenAIStandin() as server, forbid_network():
        assert ask(options(server)) == "Hello there."


@pytest.mark.parametrize("url", ["", "ftp://x/v1", "127.0.0.1:8000", "http://"])
def test_base_url_must_be_http(url: str) -> None:
    with pytest.raises(ValidationError, match="base_url must be like"):
        options(base_url=url)


def test_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="modle"):
        options(modle="x")


# ------------------------------------------------------------------------------------------------- keys


def test_a_server_elsewhere_needs_a_key() -> None:
    with pytest.raises(EngineUnavailable) as caught:
        enter(options(base_url="https://api.example.invalid/v1"), offline=False)
    assert "OPENAI_API_KEY" in caught.value.hint and "llm.api_key" in caught.value.hint


def test_key_comes_from_the_option_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    with OpenAIStandin() as server:
        ask(options(server))
        ask(options(server, api_key="from-option"))
        ask(options(server, api_key="none"))
        sent = [request.headers.get("authorization") for request in server.requests]
    assert sent == ["Bearer from-environment", "Bearer from-option", None]


def test_no_key_is_made_up_for_this_machine() -> None:
    with OpenAIStandin() as server:
        ask(options(server))
        assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize("quoted", ["401", "403", "400", "429", "500"])
def test_key_is_never_shown(quoted: str) -> None:
    with OpenAIStandin() as server:
        server.fail_next(quoted, message=f"Incorrect API key provided: {KEY}, gateway hush-hush")
        settings = options(server, api_key=KEY, extra_headers={"x-gateway": "hush-hush"}, max_retries=0)
        with pytest.raises((EngineRequestInvalid, EngineOverloaded, EngineFailed)) as caught:
            ask(settings)
    assert "Incorrect API key provided: ***, gateway ***" in str(caught.value)
    shown = str(caught.value) + repr(caught.value) + repr(settings) + str(settings)
    assert KEY not in shown and "hush-hush" not in shown
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_refused_key_says_where_it_is_set() -> None:
    with OpenAIStandin(api_key="right") as server, pytest.raises(EngineFailed) as caught:
        ask(options(server, api_key=KEY))
    assert caught.value.stage == "llm" and caught.value.engine == "openai" and not caught.value.retryable
    assert "401" in caught.value.message and KEY not in str(caught.value)
    assert "llm.api_key" in caught.value.hint and "OPENAI_API_KEY" in caught.value.hint


def test_headers_organisation_and_url_parts_are_sent() -> None:
    with OpenAIStandin() as server:
        url = server.base_url.replace("127.0.0.1", "user:p%40ss@127.0.0.1") + "?api-version=7"
        settings = options(base_url=url, extra_headers={"x-a": "b"}, organization="org", project="proj")
        assert ask(settings) == "Hello there."
        headers = server.requests[0].headers
    assert (headers["x-a"], headers["openai-organization"], headers["openai-project"]) == ("b", "org", "proj")
    assert headers["authorization"] == "Basic dXNlcjpwQHNz"  # user:p@ss


def test_errors_name_the_url_without_its_secrets() -> None:
    url = f"http://user:{KEY}@127.0.0.1:{closed_port()}/v1?key=query-secret"
    with pytest.raises(EngineFailed) as caught:
        ask(options(base_url=url, max_retries=0))
    assert KEY not in str(caught.value) and "query-secret" not in str(caught.value)
    assert "http://127.0.0.1:" in caught.value.message


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ----------------------------------------------------------------------------------------------- errors


def test_nobody_listens() -> None:
    port = closed_port()
    with pytest.raises(EngineFailed) as caught:
        ask(options(base_url=f"http://127.0.0.1:{port}/v1", max_retries=1))
    assert f"no connection to http://127.0.0.1:{port}/v1" in caught.value.message
    assert "llm.base_url" in caught.value.hint and caught.value.retryable


@pytest.mark.parametrize(
    ("status", "kind", "retryable", "hint"),
    [
        ("400", EngineRequestInvalid, False, ""),
        ("422", EngineRequestInvalid, False, ""),
        ("404", EngineFailed, False, "the model 'gpt-5.4-mini'"),
        ("413", EngineRequestInvalid, False, "too large"),
        ("307", EngineFailed, False, "http://elsewhere.invalid/v1/x"),
        ("408", EngineTimeout, True, ""),
        ("429", EngineOverloaded, True, ""),
        ("500", EngineFailed, True, ""),
        ("502", EngineFailed, True, ""),
    ],
)
def test_statuses(status: str, kind: type, retryable: bool, hint: str) -> None:
    with OpenAIStandin() as server:
        server.fail_next(status, message="so it is")
        with pytest.raises(kind) as caught:
            ask(options(server, max_retries=0))
    assert status in str(caught.value) and "so it is" in str(caught.value)
    assert getattr(caught.value, "retryable") is retryable  # noqa: B009
    assert hint in getattr(caught.value, "hint")  # noqa: B009
    assert "token=abc" not in str(caught.value)


def test_busy_with_a_time_is_overload() -> None:
    with OpenAIStandin() as server:
        server.fail_next("503", retry_after=60)
        with pytest.raises(EngineOverloaded) as caught:
            ask(options(server))
        assert caught.value.retry_after_s == 60 and len(server.requests) == 1


# ---------------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("kind", ["429", "500", "503", "408", "409", "drop"])
def test_tries_again_before_the_first_byte(kind: str) -> None:
    with OpenAIStandin() as server:
        server.fail_next(kind, retry_after=0.01)
        assert ask(options(server)) == "Hello there."
        assert len(server.requests) == 2


def test_waits_as_long_as_the_server_asks() -> None:
    with OpenAIStandin() as server:
        server.fail_next("429", retry_after=0.3)
        ask(options(server))
        first, second = (request.t_s for request in server.requests)
    assert second - first >= 0.3


@pytest.mark.parametrize("kind", ["400", "401", "404", "413", "garbage", "no_finish"])
def test_does_not_repeat_what_cannot_succeed(kind: str) -> None:
    with OpenAIStandin() as server:
        server.fail_next(kind)
        with pytest.raises((EngineRequestInvalid, EngineFailed)):
            ask(options(server))
        assert len(server.requests) == 1


def test_gives_up_after_max_retries() -> None:
    with OpenAIStandin() as server:
        server.fail_next("429", times=3, retry_after=0.01)
        with pytest.raises(EngineOverloaded) as caught:
            ask(options(server, max_retries=2))
        assert len(server.requests) == 3 and caught.value.retry_after_s == 0.01


@pytest.mark.parametrize("values", [{"max_retry_wait_s": 1.0}, {"timeout_s": 1.0, "max_retry_wait_s": 60.0}])
def test_does_not_wait_longer_than_allowed(values: dict[str, float]) -> None:
    with OpenAIStandin() as server:
        server.fail_next("429", retry_after=30)
        with pytest.raises(EngineOverloaded) as caught:
            ask(options(server, **values))
        assert caught.value.retry_after_s == 30 and len(server.requests) == 1


def test_a_used_up_quota_is_not_asked_again() -> None:
    with OpenAIStandin() as server:
        server.fail_next("429", code="insufficient_quota")
        with pytest.raises(EngineOverloaded) as caught:
            ask(options(server))
        assert "quota" in caught.value.hint and len(server.requests) == 1


def test_retry_after_in_every_form() -> None:
    assert retry_after({"retry-after": "1.5"}) == 1.5
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    seconds = retry_after({"retry-after": date})
    assert seconds is not None and 90 < seconds <= 100
    assert retry_after({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}) == 0
    for odd in ({}, {"retry-after": "soon"}, {"retry-after": "-1"}, {"retry-after": "nan"}, {"retry-after": "inf"}):
        assert retry_after(odd) is None


# ---------------------------------------------------------------------------------------------- waiting


def test_hang_ends_at_the_engines_timeout_and_the_request_with_it() -> None:
    with OpenAIStandin() as server:
        for timeout_s in (0.8, 5, 40):  # on a busy machine the request may not arrive within the first
            server.fail_next("hang")
            with pytest.raises(EngineTimeout, match=rf"within {timeout_s:g} s"):
                ask(options(server, timeout_s=timeout_s))
            if server.requests:
                break
        assert server.requests[0].left_early.wait(60)


def test_hang_ends_at_the_tickets_timeout() -> None:
    with OpenAIStandin() as server:
        server.fail_next("hang")
        with pytest.raises(EngineTimeout, match=r"within 0\.2 s"):
            ask(options(server), ticket=Ticket(timeout_s=0.2))


def test_a_begun_answer_may_outlast_the_tickets_timeout() -> None:
    text = "one two three four five six seven eight nine ten"
    with OpenAIStandin(replies=[text], delay_s=0.25) as server:
        assert ask(options(server), ticket=Ticket(timeout_s=2.2)) == text


def test_nobody_accepts() -> None:
    """A full backlog: connecting itself hangs."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        with pytest.raises(EngineTimeout):
            ask(options(base_url=url, connect_timeout_s=0.2, timeout_s=60, max_retries=0))


# -------------------------------------------------------------------------------------------- lifecycle


def run(work: Callable[[OpenAILLM], Awaitable[None]], settings: OpenAILLMOptions) -> None:
    asyncio.run(work(OpenAILLM(settings, context())))  # type: ignore[arg-type]


def test_must_be_entered_first_and_once() -> None:
    async def main(llm: OpenAILLM) -> None:
        with pytest.raises(EngineFailed, match="not entered"):
            await anext(llm.stream(HELLO))
        async with llm:
            with pytest.raises(EngineFailed, match="entered already"):
                await llm.__aenter__()
        with pytest.raises(EngineFailed, match="not entered"):
            await anext(llm.stream(HELLO))
        async with llm:  # again, after it was left
            pass

    run(main, options())


def test_warm_up_connects_and_does_not_mind_a_refusal() -> None:
    with OpenAIStandin() as server:
        enter(options(server, warm_up=True))
        server.fail_next("500", path="/models")
        enter(options(server, warm_up=True))
        assert [request.path for request in server.requests] == ["/models", "/models"]
    enter(options(warm_up=True, connect_timeout_s=0.5))  # nobody listens


def test_leaves_no_task_behind() -> None:
    async def main(llm: OpenAILLM) -> None:
        async with llm:
            stream = llm.stream(HELLO)
            await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(60):
            while asyncio.all_tasks() != {asyncio.current_task()}:  # noqa: ASYNC110  # nobody tells when a task is gone
                await asyncio.sleep(0.005)

    with OpenAIStandin(delay_s=0.02) as server:
        run(main, options(server))


# ---------------------------------------------------------------------------------------- whether it is there


def probe(settings: OpenAILLMOptions) -> None:
    async def main() -> None:
        async with OpenAILLM(settings, context()) as llm:
            await llm.probe()

    asyncio.run(main())


def test_a_probe_asks_once_and_costs_nothing() -> None:
    with OpenAIStandin() as server:
        probe(options(server))
        assert [one.path for one in server.requests] == ["/models"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_server_that_refuses_only_the_probe_is_there(status: int) -> None:
    with OpenAIStandin() as server:
        server.fail_next(str(status), path="/models")
        probe(options(server))


@pytest.mark.parametrize(("status", "kind"), [(401, EngineFailed), (429, EngineOverloaded), (500, EngineFailed)])
def test_a_probe_tells_of_a_wrong_key_and_of_a_server_in_trouble(status: int, kind: type[Exception]) -> None:
    with OpenAIStandin() as server:
        server.fail_next(str(status), path="/models")
        with pytest.raises(kind):
            probe(options(server))
        assert len(server.requests) == 1, "a probe is not tried again"


def test_a_probe_of_nobody_fails() -> None:
    with pytest.raises(EngineFailed, match="no connection"):
        probe(options())
