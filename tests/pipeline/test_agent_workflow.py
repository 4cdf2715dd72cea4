"""The workflow `agent` on a scripted LLM: text, tools, history, the barrier, handoffs, guardrails, approvals."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    RunContextWrapper,
    function_tool,
    handoff,
    input_guardrail,
    output_guardrail,
)
from agents_kit import Turns, called, calls, fillers, results, run, spoken

from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import Message, ToolCall, Usage
from antiphon.engines.testing import Reply
from antiphon.pipeline.agent.contracts import NOT_APPROVED, ApprovalNeeded
from antiphon.pipeline.agent.rules import ToolRules
from antiphon.pipeline.errors import WorkflowError

pytestmark = pytest.mark.interop


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"The weather in {city} is sunny."


def weather_agent(**more: Any) -> Agent[Any]:
    return Agent(name="Assistant", instructions="Be brief.", **{"tools": [get_weather], **more})


PARIS = called("get_weather", '{"city": "Paris"}')


# ------------------------------------------------------------------------------------------ text and tools


def test_text_flows_piece_by_piece() -> None:
    turns = Turns(weather_agent(), [Reply(["Hello ", "there."], usage=Usage(10, 3, 4))])
    pieces = run(turns, turns.ask("Hi"))
    assert pieces == ["Hello ", "there.", Usage(10, 3, 4)]
    assert [message.content for message in turns.llm.calls[0].messages] == ["Be brief.", "Hi"]
    assert turns.llm.calls[0].session_key == "s"


def test_a_tool_is_called_and_its_result_spoken() -> None:
    turns = Turns(weather_agent(), [PARIS, Reply.of("It is sunny.")])
    pieces = run(turns, turns.ask("Weather in Paris?"))
    assert calls(pieces) == [("get_weather", '{"city": "Paris"}')]
    assert results(pieces) == [("get_weather", "The weather in Paris is sunny.")]
    assert spoken(pieces) == "It is sunny."
    assert [type(piece).__name__ for piece in pieces[:2]] == ["ToolCall", "ToolResult"]


def test_parallel_calls_run_side_by_side() -> None:
    @function_tool
    async def slow(name: str) -> str:
        """Slow."""
        await asyncio.sleep(3)
        return name

    both = Reply(tool_calls=[ToolCall("1", "slow", '{"name": "a"}'), ToolCall("2", "slow", '{"name": "b"}')])
    turns = Turns(weather_agent(tools=[slow]), [both, Reply.of("Done.")])

    async def main() -> float:
        began = asyncio.get_running_loop().time()
        pieces = await turns.ask("Both.")
        assert results(pieces) == [("slow", "a"), ("slow", "b")]
        return asyncio.get_running_loop().time() - began

    assert run(turns, main()) == pytest.approx(3, abs=0.1)


def test_earlier_calls_and_results_are_in_later_prompts() -> None:
    turns = Turns(weather_agent(), [PARIS, Reply.of("Sunny."), Reply.of("As I said, sunny.")])

    async def main() -> None:
        await turns.ask("Weather in Paris?")
        await turns.ask("Again?")

    run(turns, main())
    second, third = turns.llm.calls[1].messages, turns.llm.calls[2].messages
    assert third[: len(second)] == second, "each prompt begins with the one before"
    assert [message.role for message in third] == ["system", "user", "assistant", "tool", "assistant", "user"]


def test_only_what_was_heard_is_in_the_prompt() -> None:
    turns = Turns(weather_agent(), [Reply.of("It is sunny and warm in Paris."), Reply.of("Yes.")])

    async def main() -> None:
        pieces = [piece async for piece in turns.workflow.respond(turns.context("Weather?"))]
        turns.remember("Weather?", pieces, heard="It is sunny")
        await turns.ask("Warm, too?")

    run(turns, main())
    assert turns.llm.calls[1].messages[2] == Message("assistant", "It is sunny")


def test_two_messages_of_one_answer_are_parted() -> None:
    first = Reply(["Let me look."], tool_calls=PARIS.tool_calls)
    turns = Turns(weather_agent(), [first, Reply.of("Sunny.")])
    assert spoken(run(turns, turns.ask("Weather?"))) == "Let me look. Sunny."


def test_the_last_step_must_speak() -> None:
    steps = [called("get_weather", f'{{"city": "{n}"}}', f"c{n}") for n in range(2)]
    turns = Turns(weather_agent(), [*steps, Reply.of("Enough.")], max_steps=2)
    pieces = run(turns, turns.ask("Weather everywhere?"))
    assert len(calls(pieces)) == 2 and spoken(pieces) == "Enough."
    assert [call.options.tool_choice for call in turns.llm.calls] == [None, None, "none"]


def test_a_tool_that_is_not_there_is_told_to_the_model() -> None:
    turns = Turns(weather_agent(), [called("fly"), Reply.of("I cannot fly.")])
    pieces = run(turns, turns.ask("Fly!"))
    assert spoken(pieces) == "I cannot fly."
    assert "fly" in turns.llm.calls[1].messages[-1].content


def test_wrong_arguments_are_told_to_the_model_in_words() -> None:
    turns = Turns(weather_agent(), [called("get_weather", '{"town": "Paris"}'), PARIS, Reply.of("Sunny.")])
    pieces = run(turns, turns.ask("Weather?"))
    told = turns.llm.calls[1].messages[-1].content
    assert told.startswith("The arguments of get_weather are wrong") and "'city' is a required property" in told
    assert spoken(pieces) == "Sunny."


def test_what_a_tool_raises_is_no_secret_of_the_model() -> None:
    @function_tool
    def broken() -> str:
        """Breaks."""
        raise RuntimeError("password=12345")

    turns = Turns(weather_agent(tools=[broken]), [called("broken"), Reply.of("Sorry.")])
    run(turns, turns.ask("Break it."))
    assert turns.llm.calls[1].messages[-1].content == "broken failed. Tell the user that it did not work."


def test_an_answer_without_a_word_is_an_error() -> None:
    turns = Turns(weather_agent(), [Reply(["  "])])
    with pytest.raises(WorkflowError, match="without a word"):
        run(turns, turns.ask("Hi"))


def test_an_agent_that_stops_at_its_tool_speaks_its_result() -> None:
    turns = Turns(weather_agent(tool_use_behavior="stop_on_first_tool"), [PARIS])
    assert spoken(run(turns, turns.ask("Weather?"))) == "The weather in Paris is sunny."


def test_an_engine_failure_comes_out_and_the_next_turn_works() -> None:
    turns = Turns(weather_agent(), [EngineFailed("broken"), Reply.of("Better.")])

    async def main() -> None:
        with pytest.raises(EngineFailed, match="broken"):
            await turns.ask("One?")
        assert spoken(await turns.ask("Two?")) == "Better."

    run(turns, main())


# ---------------------------------------------------------------------------------------------- barrier


def test_no_tool_runs_before_the_turn_is_sure() -> None:
    ran: list[str] = []

    @function_tool
    def order(what: str) -> str:
        """Order something."""
        ran.append(what)
        return "ordered"

    turns = Turns(weather_agent(tools=[order]), [called("order", '{"what": "tea"}'), Reply.of("Ordered.")])

    async def main() -> list[Any]:
        turn = turns.context("Tea, please.", committed=False)
        answer = turns.workflow.respond(turn)
        first = asyncio.ensure_future(anext(answer))
        await asyncio.sleep(2)
        assert len(turns.llm.calls) == 1 and not first.done() and ran == []
        turn._committed.set()
        return [await first, *[piece async for piece in answer]]

    pieces = run(turns, main())
    assert ran == ["tea"] and spoken(pieces) == "Ordered."


def test_a_dropped_turn_does_nothing_and_leaves_nothing() -> None:
    ran: list[str] = []

    @function_tool
    def order() -> str:
        """Order."""
        ran.append("x")
        return "ordered"

    turns = Turns(weather_agent(tools=[order]), [called("order")])

    async def main() -> set[str]:
        before = asyncio.all_tasks()
        answer = turns.workflow.respond(turns.context("Tea.", committed=False))
        reading = asyncio.ensure_future(anext(answer))
        await asyncio.sleep(1)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await answer.aclose()
        await asyncio.sleep(0)
        return {task.get_name() for task in asyncio.all_tasks() - before}

    assert run(turns, main()) == set() and ran == []


def test_no_handover_before_the_turn_is_sure() -> None:
    told: list[str] = []
    sales = Agent(name="Sales", instructions="You sell.")
    desk = Agent(
        name="Desk", instructions="Route.", handoffs=[handoff(sales, on_handoff=lambda context: told.append("sales"))]
    )
    turns = Turns(desk, [called("transfer_to_sales"), Reply.of("Sales here."), Reply.of("Yes.")])

    async def main() -> None:
        turn = turns.context("Sales!", committed=False)
        pieces: list[Any] = []

        async def read() -> None:
            pieces.extend([piece async for piece in turns.workflow.respond(turn)])

        reading = asyncio.create_task(read())
        await asyncio.sleep(1)
        assert told == [] and turns.workflow.current_agent == "Desk"
        turn._committed.set()
        await reading
        assert told == ["sales"] and spoken(pieces) == "Sales here."
        assert calls(pieces) == [("transfer_to_sales", "{}")] and len(results(pieces)) == 1
        turns.remember("Sales!", pieces)
        assert spoken(await turns.ask("Still there?")) == "Yes."

    run(turns, main())
    assert turns.workflow.current_agent == "Sales"
    assert turns.llm.calls[2].messages[0].content == "You sell."


def test_agents_may_hand_over_in_a_ring() -> None:
    one, two = Agent(name="One", instructions="1"), Agent(name="Two", instructions="2")
    one.handoffs, two.handoffs = [two], [one]
    turns = Turns(
        one, [called("transfer_to_two", call_id="a"), called("transfer_to_one", call_id="b"), Reply.of("Hi.")]
    )
    run(turns, turns.ask("Ring."))
    assert turns.workflow.current_agent == "One" and turns.llm.calls[2].messages[0].content == "1"
    assert one.handoffs == [two] and one.tools == [], "the user's agents are never changed"


# -------------------------------------------------------------------------------------------- guardrails


@input_guardrail
async def no_secrets(context: RunContextWrapper[Any], agent: Any, given: Any) -> GuardrailFunctionOutput:
    await asyncio.sleep(1)
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered="secret" in str(given))


@output_guardrail
async def no_prices(context: RunContextWrapper[Any], agent: Any, output: Any) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered="dollars" in str(output))


def test_no_word_leaves_before_the_input_guardrails_have_spoken() -> None:
    turns = Turns(weather_agent(input_guardrails=[no_secrets]), [Reply(["The secret is ", "x."])])
    assert run(turns, turns.ask("Tell me the secret.")) == ["Sorry, I can't help with that."]


def test_no_tool_runs_before_the_input_guardrails_have_spoken() -> None:
    turns = Turns(weather_agent(input_guardrails=[no_secrets]), [PARIS])
    pieces = run(turns, turns.ask("The secret weather?"))
    assert calls(pieces) == [] and spoken(pieces) == "Sorry, I can't help with that."


def test_an_input_guardrail_that_does_not_object_changes_nothing() -> None:
    turns = Turns(weather_agent(input_guardrails=[no_secrets]), [PARIS, Reply.of("Sunny.")])
    pieces = run(turns, turns.ask("Weather?"))
    assert spoken(pieces) == "Sunny." and len(results(pieces)) == 1


def test_an_answer_with_an_output_guardrail_is_held_until_it_has_spoken() -> None:
    turns = Turns(weather_agent(output_guardrails=[no_prices]), [Reply.of("Ten dollars."), Reply.of("Sunny.")])

    async def main() -> list[str]:
        return [spoken(await turns.ask("Price?")), spoken(await turns.ask("Weather?"))]

    assert run(turns, main()) == ["Sorry, I can't help with that.", "Sunny."]


# --------------------------------------------------------------------------------------------- approvals


class Decides:
    def __init__(self, answer: bool | Exception) -> None:
        self.answer = answer
        self.asked: list[ApprovalNeeded] = []

    async def approve(self, call: ApprovalNeeded) -> bool:
        self.asked.append(call)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@function_tool(needs_approval=True)
def transfer(amount: int) -> str:
    """Transfer money."""
    return f"{amount} transferred."


SEND = called("transfer", '{"amount": 5}')


def test_what_needs_a_yes_runs_after_a_yes() -> None:
    approver = Decides(True)
    turns = Turns(weather_agent(tools=[transfer]), [SEND, Reply.of("Done.")], approver=approver)
    pieces = run(turns, turns.ask("Send five."))
    assert calls(pieces) == [("transfer", '{"amount": 5}')] and results(pieces) == [("transfer", "5 transferred.")]
    call = approver.asked[0]
    assert (call.name, call.arguments, call.agent, call.session) == ("transfer", '{"amount": 5}', "Assistant", "s")


@pytest.mark.parametrize("answer", [False, RuntimeError("no connection")])
def test_without_a_yes_it_does_not_run_and_the_model_is_told(answer: bool | Exception) -> None:
    turns = Turns(weather_agent(tools=[transfer]), [SEND, Reply.of("Not done.")], approver=Decides(answer))
    pieces = run(turns, turns.ask("Send five."))
    assert results(pieces) == [("transfer", NOT_APPROVED)] and spoken(pieces) == "Not done."


def test_by_default_nobody_approves() -> None:
    turns = Turns(weather_agent(tools=[transfer]), [SEND, Reply.of("Not done.")])
    assert results(run(turns, turns.ask("Send five."))) == [("transfer", NOT_APPROVED)]


def test_nobody_is_asked_before_the_turn_is_sure_and_waiting_gives_signs_of_life() -> None:
    class Slow(Decides):
        async def approve(self, call: ApprovalNeeded) -> bool:
            self.asked.append(call)
            await asyncio.sleep(60)
            return True

    approver = Slow(True)
    rules = {"get_weather": ToolRules(needs_approval=True)}
    turns = Turns(weather_agent(), [PARIS, Reply.of("Sunny.")], approver=approver, rules=rules)

    async def main() -> list[Any]:
        turn = turns.context("Weather?", committed=False)
        answer = turns.workflow.respond(turn)
        first = asyncio.ensure_future(anext(answer))
        await asyncio.sleep(2)
        assert approver.asked == []
        turn._committed.set()
        return [await first, *[piece async for piece in answer]]

    pieces = run(turns, main())
    assert pieces.count("") >= 5 and spoken(pieces) == "Sunny."


# ------------------------------------------------------------------------------------------------ prefill


def test_prefill_is_the_exact_beginning_of_the_prompt() -> None:
    agent = weather_agent(handoffs=[Agent(name="Sales")])
    turns = Turns(agent, [PARIS, Reply.of("Sunny."), Reply.of("Yes.")])

    async def main() -> None:
        await turns.workflow.prepare(turns.context(""))
        await turns.ask("Weather in Paris?")
        await turns.workflow.prepare(turns.context("And is it"))
        await turns.ask("And is it warm?")

    run(turns, main())
    first, second = turns.llm.prefills
    assert first.messages == turns.llm.calls[0].messages[:1] and first.tools == turns.llm.calls[0].tools
    assert [tool.name for tool in first.tools or ()] == ["get_weather", "transfer_to_sales"]
    last = turns.llm.calls[2]
    assert second.messages[:-1] == last.messages[: len(second.messages) - 1] and second.tools == last.tools
    assert last.messages[-1].content.startswith(second.messages[-1].content)
    assert second.session_key == last.session_key


# ------------------------------------------------------------------------------------------------- others


def test_rules_for_a_tool_that_nobody_has_are_an_error() -> None:
    turns = Turns(weather_agent(), [], rules={"get_wether": ToolRules()})
    with pytest.raises(WorkflowError, match=r"rules for the tool 'get_wether'.*get_weather"):
        run(turns, turns.ask("Hi"))


def test_two_tools_of_one_name_are_an_error() -> None:
    turns = Turns(weather_agent(tools=[get_weather, get_weather]), [])
    with pytest.raises(WorkflowError, match="more than one tool named get_weather"):
        run(turns, turns.ask("Hi"))


def test_data_cannot_be_spoken() -> None:
    turns = Turns(weather_agent(output_type=dict[str, str]), [])
    with pytest.raises(WorkflowError, match="output_type"):
        run(turns, turns.ask("Hi"))


def test_a_filler_is_said_once_while_the_tool_runs_and_not_after_words() -> None:
    rules = {"get_weather": ToolRules(say="One moment.")}
    both = Reply(tool_calls=[PARIS.tool_calls[0], ToolCall("2", "get_weather", '{"city": "Rome"}')])
    talk = Reply(["Let me look."], tool_calls=PARIS.tool_calls)
    turns = Turns(weather_agent(), [both, Reply.of("Sunny."), talk, Reply.of("Still.")], rules=rules)

    async def main() -> list[Any]:
        return [await turns.ask("Paris and Rome?"), await turns.ask("And now?")]

    first, second = run(turns, main())
    assert fillers(first) == ["One moment. "] and fillers(second) == []
    assert [type(piece).__name__ for piece in first[:2]] == ["ToolCall", "Filler"]
    assert spoken(first) == "Sunny."


def test_a_run_that_waits_for_a_yes_can_go_on_in_another_process() -> None:
    stored: list[str] = []

    class Remembers(Decides):
        async def approve(self, call: ApprovalNeeded) -> bool:
            stored.append(json.dumps(call.state()))
            return await super().approve(call)

    def again(answer: str) -> Turns:
        return Turns(weather_agent(tools=[transfer]), [Reply.of(answer)])

    async def resumed(turns: Turns, decisions: dict[str, bool]) -> list[Any]:
        turn = turns.context("Send five.")
        return [piece async for piece in turns.workflow.resume(turn, json.loads(stored[0]), decisions)]

    first = Turns(weather_agent(tools=[transfer]), [SEND, Reply.of("Not done.")], approver=Remembers(False))
    run(first, first.ask("Send five."))
    granted = again("Done.")
    pieces = run(granted, resumed(granted, {"call_1": True}))
    assert results(pieces) == [("transfer", "5 transferred.")] and spoken(pieces) == "Done."
    assert [message.role for message in granted.llm.calls[0].messages] == ["system", "user", "assistant", "tool"]
    refused = again("No.")
    assert results(run(refused, resumed(refused, {"call_1": False}))) == [("transfer", NOT_APPROVED)]
    asked = again("No.")
    assert results(run(asked, resumed(asked, {}))) == [("transfer", NOT_APPROVED)], "nobody approves"


def test_what_is_no_stored_run() -> None:
    turns = Turns(weather_agent(), [])

    async def main() -> None:
        async for _ in turns.workflow.resume(turns.context("Go on."), {"no": "state"}, {}):
            pass

    with pytest.raises(WorkflowError, match="stored run cannot be gone on with"):
        run(turns, main())


def test_an_agent_may_be_a_tool_of_another() -> None:
    poet = Agent(name="Poet", instructions="Rhyme.")
    agent = weather_agent(tools=[poet.as_tool("poem", "Makes a poem.")])
    turns = Turns(agent, [called("poem", '{"input": "sun"}'), Reply.of("Fun in the sun."), Reply.of("Here: fun.")])
    pieces = run(turns, turns.ask("A poem!"))
    assert results(pieces) == [("poem", "Fun in the sun.")] and spoken(pieces) == "Here: fun."
    inner = turns.llm.calls[1]
    assert inner.messages[0].content == "Rhyme." and inner.options.tool_choice is None


def test_a_model_that_hangs_gives_no_sign_of_life() -> None:
    turns = Turns(weather_agent(), [Reply(["Late."], first_delay_s=60)])
    assert run(turns, turns.ask("Hi")) == ["Late."]


def test_closing_an_answer_ends_its_run() -> None:
    turns = Turns(weather_agent(), [Reply(["One. "] * 50, delta_delay_s=1)])

    async def main() -> str:
        before = asyncio.all_tasks()
        answer: Any = turns.workflow.respond(turns.context("Count."))
        await anext(answer)
        await answer.aclose()
        assert asyncio.all_tasks() == before
        return str(turns.llm.calls[0].outcome)

    assert run(turns, main()) == "cancelled"
