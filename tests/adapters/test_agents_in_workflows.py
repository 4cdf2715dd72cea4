"""Workflows that run agents themselves, as those of `agents.voice` do: on the session's LLM, and only there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import agents.run
import pytest
from agents import Agent, Model, RunConfig, Runner, function_tool
from agents.models.multi_provider import MultiProvider
from agents.run import AgentRunner
from agents.tracing import get_trace_provider, trace
from scripted_config import Script, spoken_audio, texts

from antiphon import StreamedAudioInput, VoicePipeline, VoiceStreamEvent, VoiceWorkflowBase, VoiceWorkflowHelper
from antiphon.adapters.openai_agents import AntiphonModel, AntiphonModelProvider, SessionRunner, install_runner
from antiphon.engines.protocols import ToolCall
from antiphon.engines.testing import Heard, Reply, ScriptedLLM, run_virtual
from antiphon.pipeline.agents_sdk import OnSessionLLM, SessionLLM, sdk_in_use, session_llm
from antiphon.pipeline.workflow import as_workflow

pytestmark = pytest.mark.interop


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"The weather in {city} is sunny."


CALL = ToolCall("call_1", "get_weather", '{"city": "Paris"}')


class Desk(VoiceWorkflowBase):
    """The vendor's shape, word for word but for the imports."""

    def __init__(self, run_config: Any = None) -> None:
        self.history: list[Any] = []
        self.agent = Agent(name="Assistant", instructions="Be brief.", model="gpt-5.5", tools=[get_weather])
        self.run_config = run_config

    async def run(self, transcription: str) -> AsyncIterator[str]:
        self.history.append({"role": "user", "content": transcription})
        result = Runner.run_streamed(self.agent, self.history, run_config=self.run_config)
        async for text in VoiceWorkflowHelper.stream_text_from(result):
            yield text
        self.history = result.to_input_list()
        self.agent = result.last_agent


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def answered(workflow: Any, llm: Any, turns: int = 1, **session: Any) -> tuple[list[VoiceStreamEvent], Script]:
    script = Script(stt=[Heard("Weather in Paris?", 0.1)] * turns, llm=llm)

    async def main() -> list[VoiceStreamEvent]:
        async with script.pipeline(workflow=workflow) as pipeline:
            events: list[VoiceStreamEvent] = []
            for _ in range(turns):
                result = await pipeline.run(spoken_audio())
                events += [event async for event in result.stream()]
            return events

    return run_virtual(main()), script


def errors(events: list[VoiceStreamEvent]) -> list[str]:
    return [str(event.error) for event in events if event.type == "voice_stream_event_error"]


# ------------------------------------------------------------------------------------ inside a session


def test_the_vendors_shape_with_a_tool_runs_on_the_configured_llm() -> None:
    llm = [Reply(tool_calls=[CALL]), Reply.of("It is sunny in Paris."), Reply.of("As I said.")]
    events, script = answered(Desk(), llm, turns=2)
    assert errors(events) == []
    assert texts(events, "assistant") == ["It is sunny in Paris.", "As I said."]
    calls = script.llm_engine.calls
    assert [message.role for message in calls[1].messages] == ["system", "user", "assistant", "tool"]
    assert calls[1].messages[-1].content == "The weather in Paris is sunny."
    assert [message.content for message in calls[2].messages][-2:] == ["It is sunny in Paris.", "Weather in Paris?"]


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(workflow_name="mine", model="gpt-4o"),
        {"workflow_name": "mine", "model": "gpt-4o"},
        RunConfig(model_provider=MultiProvider()),
    ],
    ids=["object", "mapping", "the default provider"],
)
def test_a_run_config_without_a_provider_of_its_own_is_kept_otherwise(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[RunConfig] = []
    streamed = AgentRunner.run_streamed

    def watched(self: AgentRunner, agent: Any, given: Any, **options: Any) -> Any:
        seen.append(RunConfig(**found) if isinstance(found := options["run_config"], dict) else found)
        return streamed(self, agent, given, **options)

    monkeypatch.setattr(AgentRunner, "run_streamed", watched)
    events, _ = answered(Desk(config), [Reply.of("It is sunny.")])
    assert texts(events, "assistant") == ["It is sunny."]
    wanted = config["workflow_name"] if isinstance(config, dict) else config.workflow_name
    assert [(one.workflow_name, one.tracing_disabled) for one in seen] == [(wanted, True)]


@pytest.mark.parametrize("form", ["object", "mapping"])
def test_a_provider_of_ones_own_is_used(form: str) -> None:
    own = ScriptedLLM([Reply.of("From my own model.")])
    provider = AntiphonModelProvider(own)
    config: Any = RunConfig(model_provider=provider) if form == "object" else {"model_provider": provider}

    class WithOwn(Desk):
        async def run(self, transcription: str) -> AsyncIterator[str]:
            async with own:
                async for text in super().run(transcription):
                    yield text

    events, script = answered(WithOwn(config), [])
    assert texts(events, "assistant") == ["From my own model."] and script.llm_engine.calls == []


def test_a_provider_with_a_key_of_its_own_is_ones_own() -> None:
    from antiphon.adapters.openai_agents import _has_own_provider

    assert _has_own_provider(RunConfig(model_provider=MultiProvider(openai_api_key="sk-mine")))
    assert _has_own_provider(RunConfig(model_provider=MultiProvider(unknown_prefix_mode="model_id")))
    assert not _has_own_provider(RunConfig())
    assert not _has_own_provider(None)


def test_a_function_that_awaits_a_whole_run() -> None:
    async def ask(text: str) -> str:
        return str((await Runner.run(Agent(name="a", model="gpt-5.5"), text)).final_output)

    events, _ = answered(ask, [Reply.of("Sunny.")])
    assert (errors(events), texts(events, "assistant")) == ([], ["Sunny."])


def test_run_sync_in_a_thread_of_the_workflows() -> None:
    def in_thread(text: str) -> str:
        asyncio.set_event_loop(loop := asyncio.new_event_loop())  # or the SDK makes one and leaves it open
        try:
            return str(Runner.run_sync(Agent(name="a", model="gpt-5.5"), text).final_output)
        finally:
            loop.close()

    async def ask(text: str) -> str:
        return await asyncio.to_thread(in_thread, text)

    async def main() -> list[VoiceStreamEvent]:
        script = Script(stt=[Heard("Hi", 0.0)], llm=[Reply(["Sunny."])])
        async with script.pipeline(workflow=ask) as pipeline:
            result = await pipeline.run(spoken_audio())
            return [event async for event in result.stream()]

    events = asyncio.run(main())
    assert (errors(events), texts(events, "assistant")) == ([], ["Sunny."])


def test_the_greeting_may_run_an_agent() -> None:
    class Greeter(Desk):
        async def on_start(self) -> AsyncIterator[str]:
            result = Runner.run_streamed(self.agent, "Greet the caller.")
            async for text in VoiceWorkflowHelper.stream_text_from(result):
                yield text

    async def main() -> list[VoiceStreamEvent]:
        script = Script(speech=(), llm=[Reply.of("Good morning.")])
        async with script.pipeline(workflow=Greeter()) as pipeline:
            audio = StreamedAudioInput(frame_rate=16000)
            result = await pipeline.run(audio)
            await asyncio.sleep(2)
            await audio.add_audio(None)
            return [event async for event in result.stream()]

    events = run_virtual(main())
    spoken = [event.text for event in events if event.type == "voice_stream_event_spoken"]
    assert (errors(events), "".join(spoken)) == ([], "Good morning.")


def test_a_greeting_may_be_silent() -> None:
    class Silent(Desk):
        async def on_start(self) -> None:  # type: ignore[override]
            return None

    async def main() -> list[str]:
        async with ScriptedLLM([]) as llm:
            workflow: Any = OnSessionLLM(as_workflow(Silent()), llm)
            return [piece async for piece in workflow.on_start()]

    assert asyncio.run(main()) == []


def test_two_sessions_keep_their_own_llm_and_cache_key() -> None:
    seen: list[SessionLLM | None] = []

    async def look(text: str) -> AsyncIterator[str]:
        seen.append(session_llm.get())
        yield "a"
        seen.append(session_llm.get())

    async def main() -> None:
        async with ScriptedLLM([]) as one, ScriptedLLM([]) as other:
            first: Any = OnSessionLLM(as_workflow(look), one).respond(_Turn)  # type: ignore[arg-type]
            second: Any = OnSessionLLM(as_workflow(look), other).respond(_Turn)  # type: ignore[arg-type]
            assert [await anext(first), await anext(second)] == ["a", "a"]
            assert session_llm.get() is None  # between the steps, nobody else sees it
            assert [piece async for piece in first] == [piece async for piece in second] == []
            found = [value for value in seen if value is not None]
            assert [value.llm for value in found] == [one, other, one, other]
            assert found[0] == found[2] and found[0].key != found[1].key

    asyncio.run(main())


class _Turn:
    transcript = "hello"


def test_a_session_that_ends_in_the_middle_ends_the_run() -> None:
    class Watched(Desk):
        result: Any = None

        async def run(self, transcription: str) -> AsyncIterator[str]:
            self.result = Runner.run_streamed(self.agent, transcription)
            async for text in VoiceWorkflowHelper.stream_text_from(self.result):
                yield text

    workflow = Watched()

    async def main() -> None:
        script = Script(stt=[Heard("Hi", 0.1)], llm=[Reply(["One. "] * 50, delta_delay_s=1.0)])
        async with script.pipeline(workflow=workflow) as pipeline:
            result = await pipeline.run(spoken_audio())
            async for event in result.stream():
                if event.type == "voice_stream_event_spoken":
                    break
            await result.aclose()
            await asyncio.sleep(0.1)
            assert workflow.result.run_loop_task.done()

    run_virtual(main())


# ----------------------------------------------------------------------------------- outside a session


@pytest.fixture
def runner() -> Iterator[list[dict[str, Any]]]:
    """What reaches the runner that was the default before ours."""
    seen: list[dict[str, Any]] = []

    class Before(AgentRunner):
        async def run(self, starting_agent: Any, input: Any, **options: Any) -> Any:
            seen.append(options)
            return await super().run(starting_agent, input, **options)

    kept = agents.run.get_default_agent_runner()
    agents.run.set_default_agent_runner(Before())
    install_runner()
    yield seen
    agents.run.set_default_agent_runner(kept)


def test_outside_a_session_a_run_is_untouched(runner: list[dict[str, Any]]) -> None:
    async def main() -> None:
        async with ScriptedLLM([Reply(["Hello."])]) as llm:
            model: Model = AntiphonModel(llm)
            config = RunConfig(workflow_name="mine")
            result = await Runner.run(Agent(name="a", model=model), "Hi.", run_config=config, max_turns=3)
            assert result.final_output == "Hello."
            assert runner[0]["run_config"] is config and runner[0]["max_turns"] == 3
            with pytest.raises(Exception, match="api_key"):
                await Runner.run(Agent(name="a", model="gpt-5.5"), "Hi.")
            assert runner[1]["run_config"] is None

    asyncio.run(main())


def test_the_runner_is_installed_once(runner: list[dict[str, Any]]) -> None:
    ours = agents.run.get_default_agent_runner()
    install_runner()
    assert agents.run.get_default_agent_runner() is ours and isinstance(ours, SessionRunner)


def test_the_llm_is_loaded_only_where_agents_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async def echo(text: str) -> str:
        return text

    async def loads() -> bool:
        async with Script().pipeline(workflow=echo) as pipeline:
            assert isinstance(pipeline, VoicePipeline) and pipeline._assembly is not None
            return pipeline._assembly.llm is not None

    assert sdk_in_use() and run_virtual(loads())
    monkeypatch.delitem(sys.modules, "agents.run")
    assert not sdk_in_use() and not run_virtual(loads())


# --------------------------------------------------------------------------------------------- tracing


def test_nothing_is_traced_once_the_adapter_is_there() -> None:
    with trace("mine") as made:
        assert made.export() is None
    assert get_trace_provider().create_trace("more").export() is None


@pytest.mark.parametrize(("value", "traced"), [(None, False), ("true", False), ("false", True), ("0", True)])
def test_tracing_stays_only_where_it_was_asked_for(value: str | None, traced: bool) -> None:
    code = (
        "import antiphon.adapters.openai_agents\n"
        "from agents.tracing import get_trace_provider\n"
        "print(get_trace_provider().create_trace('t').export() is not None)\n"
    )
    environment = {**os.environ, "OPENAI_AGENTS_DISABLE_TRACING": value or ""}
    if value is None:
        del environment["OPENAI_AGENTS_DISABLE_TRACING"]
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(traced)
