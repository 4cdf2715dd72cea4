"""What `/metrics` says of conversations, and that it says no more than its page."""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request
from typing import Any

import openai
import pytest
from hypothesis import given as example
from hypothesis import strategies as st
from network_clock import run_networked
from operated import call, figures, operating
from served import config, serving
from websockets.asyncio.client import connect

from antiphon.engines.chain import FallbackEvent
from antiphon.engines.errors import EngineFailed, EngineOverloaded, EngineRequestInvalid
from antiphon.engines.testing import Reply, run_virtual
from antiphon.pipeline.events import (
    AudioStarted,
    Committed,
    Dropped,
    ErrorEvent,
    Event,
    Interrupted,
    SpeechStarted,
    TurnEnded,
)
from antiphon.pipeline.usage import EngineUsage
from antiphon.server.access.principal import ANYONE, SCOPES, Principal
from antiphon.server.client_audio import ClientTransport
from antiphon.server.observing.catalogue import METRICS, PROCESS_METRICS, exposed_names
from antiphon.server.observing.metrics import MOST_CODES, MOST_KEYS, Bounded, Metrics
from antiphon.server.observing.watch import SPOKE_ON_S, Watch


def after(*events: Event, key: str = "k1") -> dict[str, float]:
    """What the metrics say after a conversation of these events."""

    async def main() -> dict[str, float]:
        watched = Watched()
        watch = Watch(watched.metrics, session="s", protocol="stream", key=key)
        for one in events:
            watch(one)
        watch.close()
        watch.close()
        return figures(watched)  # type: ignore[arg-type]

    return run_virtual(main())


class Watched:
    def __init__(self) -> None:
        self.metrics = Metrics()


def event(kind: type[Any], t_s: float, turn: int = 1, **fields: Any) -> Any:
    return kind(t_s=t_s, audio_s=t_s, session="s", turn=turn, **fields)


def test_a_conversation_in_figures() -> None:
    async def main() -> dict[str, float]:
        async with operating(config()) as service:
            caller = await call(service, Principal("key-1", SCOPES))
            await caller.ask()
            during = figures(service)
            assert during["antiphon_sessions_open{protocol=stream}"] == 1
            await caller.hang_up()
            assert caller.texts("agent") == ["It is noon."]
            return figures(service)

    seen = run_virtual(main())
    assert seen["antiphon_sessions_open{protocol=stream}"] == 0
    assert seen["antiphon_sessions_total{protocol=stream}"] == 1
    assert seen["antiphon_session_seconds_count{protocol=stream}"] == 1
    assert seen["antiphon_turns_total{protocol=stream,status=completed}"] == 1
    assert seen["antiphon_ttfa_seconds_count{protocol=stream}"] == 1
    assert 0.1 < seen["antiphon_ttfa_seconds_sum{protocol=stream}"] < 2
    steps = [value for name, value in seen.items() if name.startswith("antiphon_stage_seconds_sum")]
    assert sum(steps) == pytest.approx(seen["antiphon_ttfa_seconds_sum{protocol=stream}"])
    assert seen["antiphon_commit_delay_seconds_count"] == 1
    assert seen["antiphon_usage_total{key=key-1,stage=tts,unit=characters}"] == len("It is noon.")
    assert seen["antiphon_usage_total{key=key-1,stage=stt,unit=audio_s}"] > 0.9
    assert seen["antiphon_engine_in_order{engine=scripted_config:given,stage=stt}"] == 1


def test_nothing_but_the_catalogue_is_exposed_and_all_of_it_is() -> None:
    async def main() -> set[str]:
        async with serving(config()) as (address, service):
            async with connect(f"ws://{address}/v1/stream"):
                page, media_type = await service.figures()
                assert media_type.startswith("text/plain")
                assert {name.partition("{")[0] for name in figures(service)} <= exposed_names()
            return {line.split()[2] for line in page.decode().splitlines() if line.startswith("# TYPE")}

    announced = run_networked(main())
    assert {metric.name for metric in (*METRICS, *PROCESS_METRICS)} <= announced


def test_the_page_is_answered_and_requests_are_counted_by_route() -> None:
    async def main() -> str:
        async with serving(config({"aliases": {"models": {}}})) as (address, _):
            for path in ("/v1/models/nobody", "/nowhere", "/v1/models/else", "/metrics", "/metrics"):
                page = await asyncio.to_thread(fetch, f"http://{address}{path}")
            return page

    page = run_networked(main())
    assert 'antiphon_http_requests_total{method="GET",route="/metrics",status="200"} 1.0' in page
    assert re.search(r'route="/v1/models/\{[^"]*",status="404"\} 2.0', page)
    assert 'route="unknown",status="404"} 1.0' in page
    assert "nowhere" not in page and "process_resident_memory_bytes" in page


def test_what_requests_use_is_booked_to_their_key() -> None:
    async def main() -> dict[str, float]:
        async with serving(config()) as (address, service):
            async with openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key="any", max_retries=0) as client:
                wanted: Any = {"model": "any", "voice": "any", "input": "It is noon.", "response_format": "wav"}
                voice = (await client.audio.speech.create(**wanted)).read()
                await client.audio.transcriptions.create(model="any", file=("a.wav", voice))
                async for _ in await client.chat.completions.create(
                    model="any", messages=[{"role": "user", "content": "Hello"}], stream=True
                ):
                    pass
            return figures(service)

    seen = run_networked(main())
    used = {name: value for name, value in seen.items() if name.startswith("antiphon_usage_total")}
    assert used["antiphon_usage_total{key=anyone,stage=tts,unit=characters}"] == len("It is noon.")
    assert used["antiphon_usage_total{key=anyone,stage=stt,unit=audio_s}"] == pytest.approx(0.66, abs=0.1)
    assert any("stage=llm" in name and value > 0 for name, value in used.items())


def fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=300) as answer:
            return str(answer.read(), "utf-8")
    except urllib.error.HTTPError as error:
        return error.read().decode()


# ------------------------------------------------------------------------------------ from events


def test_interruptions_and_errors_are_counted() -> None:
    seen = after(
        event(Interrupted, 1.0, heard="It is", unheard="noon."),
        event(Interrupted, 1.2, heard="It", unheard="is noon.", acknowledged=True),
        event(ErrorEvent, 2.0, stage="llm", code="EngineTimeout", message="no answer"),
        event(TurnEnded, 3.0, status="interrupted"),
    )
    assert seen["antiphon_interruptions_total"] == 1
    assert seen["antiphon_errors_total{code=EngineTimeout,stage=llm}"] == 1
    assert seen["antiphon_turns_total{protocol=stream,status=interrupted}"] == 1


SPOKE_ON = "antiphon_false_cutoffs_estimated_total{sign=spoke_on}"


@pytest.mark.parametrize(
    ("events", "counted"),
    [
        ([event(SpeechStarted, 1.0 + SPOKE_ON_S, 2, at_s=0), event(TurnEnded, 5, 2, status="completed")], True),
        ([event(SpeechStarted, 1.1 + SPOKE_ON_S, 2, at_s=0), event(TurnEnded, 5, 2, status="completed")], False),
        ([event(SpeechStarted, 1.5, 2, at_s=0), event(TurnEnded, 5, 2, status="no_speech")], False),
        ([event(SpeechStarted, 1.5, 2, at_s=0), event(TurnEnded, 5, 2, status="dismissed")], False),
        ([event(AudioStarted, 1.4), event(SpeechStarted, 1.5, 2, at_s=0), event(TurnEnded, 5, 2, status="completed")],
         False),
        ([event(SpeechStarted, 1.5, 1, at_s=0), event(TurnEnded, 5, 1, status="completed")], False),
    ],
)  # fmt: skip
def test_who_speaks_on_before_any_answer_was_probably_cut_off(events: list[Event], counted: bool) -> None:
    seen = after(event(Committed, 1.0, reason="silence"), *events)
    assert seen.get(SPOKE_ON, 0) == counted


def test_a_client_that_commits_cuts_nobody_off_and_a_reopened_turn_was() -> None:
    ends = [event(SpeechStarted, 1.2, 2, at_s=0), event(TurnEnded, 5, 2, status="completed")]
    assert SPOKE_ON not in after(event(Committed, 1.0, reason="manual"), *ends)
    seen = after(event(Committed, 1.0, reason="silence"), event(Dropped, 1.2, reason="reopened"))
    assert seen["antiphon_false_cutoffs_estimated_total{sign=reopened}"] == 1


def test_fallbacks_and_what_is_out_of_order() -> None:
    watched = Watched()
    given = config()
    watched.metrics.loaded(given)
    name = given.stt[0].engine
    order = f"antiphon_engine_in_order{{engine={name},stage=stt}}"

    def tell(kind: Any, error: Any = None) -> float:
        watched.metrics.fallback(FallbackEvent(kind, "stt", name, None, error, 0.0))
        return figures(watched)[order]  # type: ignore[arg-type]

    assert tell("switched", EngineFailed("broken")) == 0
    assert tell("recovered") == 1
    assert tell("switched", EngineRequestInvalid("too long")) == 1
    assert tell("switched", EngineOverloaded("no room")) == 1
    assert tell("failed", EngineOverloaded("the vendor's", retry_after_s=3.0)) == 0


def test_engines_of_a_configuration_that_was_replaced_raise_no_alert_for_ever() -> None:
    watched = Watched()
    before = config()
    watched.metrics.loaded(before)
    one = before.stt[0]
    broken = FallbackEvent("failed", "stt", one.engine, None, EngineFailed("broken"), 0.0)
    watched.metrics.fallback(broken)
    after = before.model_copy(update={"stt": (one, one)})
    watched.metrics.loaded(after)
    watched.metrics.fallback(broken)  # a conversation that still has the engines of before
    found = figures(watched)  # type: ignore[arg-type]
    assert {name: value for name, value in found.items() if "in_order{" in name and "stage=stt" in name} == {
        f"antiphon_engine_in_order{{engine={number}:{one.engine},stage=stt}}": 1 for number in (1, 2)
    }
    assert found[f"antiphon_fallbacks_total{{engine={one.engine},kind=failed,stage=stt}}"] == 2


def test_usage_adds_up_by_key_and_says_what_was_in_vain() -> None:
    used = EngineUsage(stage="llm", engine="a", unit="input_tokens", amount=12.0, wasted=5.0)
    seen = after(event(TurnEnded, 1.0, status="completed", usage=(used, used)), key="")
    assert seen["antiphon_usage_total{key=anyone,stage=llm,unit=input_tokens}"] == 24
    assert seen["antiphon_usage_wasted_total{stage=llm,unit=input_tokens}"] == 10


# -------------------------------------------------------------------------------------- bounds


@example(st.lists(st.text(max_size=8), max_size=200), st.integers(1, 20))
def test_a_label_has_so_many_values_and_one_more(values: list[str], most: int) -> None:
    bounded = Bounded(most)
    seen = [bounded(value) for value in values]
    assert len(set(seen)) <= most + 1
    known = list(dict.fromkeys(values))[:most]
    assert all(shown == (value if value in known else "other") for value, shown in zip(values, seen, strict=True))


def test_no_client_makes_the_memory_grow() -> None:
    watched = Watched()
    for number in range(3 * MOST_KEYS):
        used = EngineUsage(stage="llm", engine="a", unit="input_tokens", amount=1.0)
        watched.metrics.use(f"key-{number}", [used])
        watched.metrics.error("workflow", f"Error{number}")
    seen = figures(watched)  # type: ignore[arg-type]
    assert sum(name.startswith("antiphon_usage_total") for name in seen) == MOST_KEYS + 1
    assert sum(name.startswith("antiphon_errors_total") for name in seen) == MOST_CODES + 1
    assert seen["antiphon_usage_total{key=other,stage=llm,unit=input_tokens}"] == 2 * MOST_KEYS


def test_a_refusal_is_counted_and_a_probe_is_not() -> None:
    async def main() -> dict[str, float]:
        async with operating(config({"max_sessions": 1}, llm=[Reply.of("Yes.")])) as service:
            caller = await call(service)
            for _ in range(2):
                with pytest.raises(Exception, match="conversations under way: 1"):
                    await call(service)
            with pytest.raises(Exception, match="conversations under way: 1"):
                service.check()
            await caller.hang_up()
            return figures(service)

    assert run_virtual(main())["antiphon_admission_refused_total{reason=full}"] == 2


class Deaf:
    """The way to a client who takes nothing."""

    def audio(self, frame: Any) -> None: ...

    def flush(self) -> None: ...

    def drop(self) -> None: ...

    async def room(self) -> None: ...


def test_sessions_that_follow_one_another_in_a_conversation_do_not_pile_up() -> None:
    class Satellite:
        def close(self) -> None: ...

    async def main() -> dict[str, float]:
        async with operating(config()) as service:
            async with service.conversation(Satellite()):
                for _ in range(3):
                    transport = ClientTransport(Deaf(), rate_hz=16000)
                    session = service.session(transport, protocol="wyoming", principal=ANYONE)
                    transport.end()
                    await session.run()
                    (talk,) = service.talks
                    assert talk.sessions == {}
                await asyncio.sleep(5)
                assert talk.active_s >= talk.began_s and service.live == 1
            return figures(service)

    seen = run_virtual(main())
    assert seen["antiphon_sessions_total{protocol=wyoming}"] == 3
    assert seen["antiphon_sessions_open{protocol=wyoming}"] == 0
