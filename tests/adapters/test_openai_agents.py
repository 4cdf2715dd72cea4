"""The Agents SDK's own classes on our LLM contract, on scripted engines."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agents import Agent, RunConfig, Runner, function_tool, handoff
from agents.exceptions import ModelBehaviorError
from pydantic import BaseModel

from antiphon import SingleAgentVoiceWorkflow, SingleAgentWorkflowCallbacks
from antiphon.adapters.openai_agents import AntiphonModelProvider
from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import ToolCall, Usage
from antiphon.engines.testing import Reply, ScriptedLLM, run_virtual
from antiphon.pipeline.errors import WorkflowError

pytestmark = pytest.mark.interop


def ask(workflow: SingleAgentVoiceWorkflow, *questions: str) -> list[str]:
    async def main() -> list[str]:
        return ["".join([piece async for piece in workflow.run(question)]) for question in questions]

    return run_virtual(main())


def bound(agent: Agent[Any], steps: list[Any], **options: Any) -> tuple[SingleAgentVoiceWorkflow, ScriptedLLM]:
    llm = ScriptedLLM(steps)
    workflow = SingleAgentVoiceWorkflow(agent, **options)
    workflow.bind_llm(llm)
    asyncio.run(llm.__aenter__())
    return workflow, llm


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"The weather in {city} is sunny."


def test_text_streams_and_history_goes_on() -> None:
    agent = Agent(name="a", instructions="Be brief.", model="gpt-5.5")
    workflow, llm = bound(agent, [Reply(["Hel", "lo."]), Reply(["Fine."])])
    assert ask(workflow, "Hi.", "How are you?") == ["Hello.", "Fine."]
    assert [(message.role, message.content) for message in llm.calls[1].messages] == [
        ("system", "Be brief."),
        ("user", "Hi."),
        ("assistant", "Hello."),
        ("user", "How are you?"),
    ]


def test_a_tool_is_called_and_its_result_spoken() -> None:
    agent = Agent(name="a", instructions="Use tools.", tools=[get_weather])
    call = ToolCall("call_1", "get_weather", '{"city": "Paris"}')
    workflow, llm = bound(agent, [Reply(tool_calls=[call]), Reply(["It is sunny in Paris."])])
    assert ask(workflow, "Weather in Paris?") == ["It is sunny in Paris."]
    assert [tool.name for tool in llm.calls[0].tools] == ["get_weather"]
    assert llm.calls[1].messages[-1].content == "The weather in Paris is sunny."
    assert llm.calls[1].messages[-2].tool_calls == (call,)


def test_parallel_calls_keep_their_ids() -> None:
    agent = Agent(name="a", tools=[get_weather])
    calls = [ToolCall(f"call_{city}", "get_weather", f'{{"city": "{city}"}}') for city in ("Rome", "Oslo")]
    workflow, llm = bound(agent, [Reply(tool_calls=calls), Reply(["Both sunny."])])
    assert ask(workflow, "Rome and Oslo?") == ["Both sunny."]
    answers = {message.tool_call_id: message.content for message in llm.calls[1].messages if message.role == "tool"}
    assert answers["call_Oslo"] == "The weather in Oslo is sunny." and set(answers) == {"call_Rome", "call_Oslo"}


def test_a_call_that_has_its_result_is_not_made_again() -> None:
    def call(identity: str) -> ToolCall:
        return ToolCall(identity, "get_weather", '{"city":  "Paris"}')

    agent = Agent(name="a", tools=[get_weather])
    workflow, llm = bound(
        agent, [Reply(tool_calls=[call("c1")]), Reply(tool_calls=[call("c2")]), Reply(["It is sunny."])]
    )
    assert ask(workflow, "Weather in Paris?") == ["It is sunny."]
    assert [len(one.tools) for one in llm.calls] == [1, 1, 0]
    assert llm.calls[2].messages[-1].content.endswith("Use this result: The weather in Paris is sunny.")


def test_the_same_call_in_the_next_turn_is_made() -> None:
    call = ToolCall("c1", "get_weather", '{"city": "Paris"}')
    again = ToolCall("c2", "get_weather", '{"city": "Paris"}')
    steps = [Reply(tool_calls=[call]), Reply(["Sunny."]), Reply(tool_calls=[again]), Reply(["Still sunny."])]
    workflow, llm = bound(Agent(name="a", tools=[get_weather]), steps)
    assert ask(workflow, "Weather in Paris?", "And now?") == ["Sunny.", "Still sunny."]
    assert {one.options.tool_choice for one in llm.calls} == {None}


def test_an_answer_without_a_word_is_an_error() -> None:
    workflow, _ = bound(Agent(name="a"), [Reply([" "])])
    with pytest.raises(WorkflowError, match="without a word"):
        ask(workflow, "Hi?")


def test_an_agent_that_stops_at_its_first_tool_says_the_result() -> None:
    agent = Agent(name="a", tools=[get_weather], tool_use_behavior="stop_on_first_tool")
    workflow, _ = bound(agent, [Reply(tool_calls=[ToolCall("c1", "get_weather", '{"city": "Rome"}')])])
    assert ask(workflow, "Weather?") == ["The weather in Rome is sunny."]


def test_a_handoff_lasts() -> None:
    sales = Agent(name="sales", instructions="You sell.")
    first = Agent(name="first", instructions="You greet.", handoffs=[handoff(sales)])
    workflow, llm = bound(
        first, [Reply(tool_calls=[ToolCall("c1", "transfer_to_sales", "{}")]), Reply(["Sales here."]), Reply(["Yes."])]
    )
    assert ask(workflow, "Sales, please.", "Still there?") == ["Sales here.", "Yes."]
    assert llm.calls[2].messages[0].content == "You sell."


def test_structured_output_and_usage() -> None:
    class City(BaseModel):
        name: str

    llm = ScriptedLLM([Reply(['{"name": "Paris"}'], usage=Usage(10, 5, 4))])

    async def main() -> Any:
        async with llm:
            agent = Agent(name="a", output_type=City)
            config = RunConfig(model_provider=AntiphonModelProvider(llm), tracing_disabled=True)
            return await Runner.run(agent, "Capital of France?", run_config=config)

    result = run_virtual(main())
    assert result.final_output == City(name="Paris")
    schema = llm.calls[0].options.json_schema
    assert schema is not None and "name" in schema["properties"]
    usage = result.context_wrapper.usage
    assert (usage.input_tokens, usage.output_tokens, usage.input_tokens_details.cached_tokens) == (10, 5, 4)


def test_callbacks_and_context() -> None:
    seen: list[str] = []

    class Callbacks(SingleAgentWorkflowCallbacks):
        def on_run(self, workflow: SingleAgentVoiceWorkflow, transcription: str) -> None:
            seen.append(transcription)

    workflow, _ = bound(Agent(name="a"), [Reply(["Hi."])], callbacks=Callbacks(), context={"user": "x"})
    ask(workflow, "Hello.")
    assert seen == ["Hello."]


def test_errors_come_out_and_the_next_question_works() -> None:
    workflow, _ = bound(Agent(name="a"), [EngineFailed("broken"), Reply(["Better."])])
    with pytest.raises((EngineFailed, ModelBehaviorError), match="broken"):
        ask(workflow, "One?")
    assert ask(workflow, "Two?") == ["Better."]


def test_without_a_pipeline_it_says_so() -> None:
    with pytest.raises(WorkflowError, match="no LLM"):
        ask(SingleAgentVoiceWorkflow(Agent(name="a")), "Hi.")
