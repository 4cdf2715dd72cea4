"""How tools run: time limits, interruptions, background, late results; and the conversation as input items."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from agents import Agent, FunctionTool, function_tool
from agents_kit import Turns, called, results, run, spoken
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.engines.protocols import Message, ToolCall
from antiphon.engines.testing import Reply, run_virtual
from antiphon.pipeline.agent.desk import NO_TEXT, STARTED, ToolDesk, ToolFailed, as_text, failure_text
from antiphon.pipeline.agent.items import LATE, NO_RESULT, input_items, prompt_messages
from antiphon.pipeline.agent.rules import ToolRules
from antiphon.pipeline.workflow import ToolResult

pytestmark = pytest.mark.interop

CALL = ToolCall("c", "report", "{}")


def agent(*tools: Any) -> Agent[Any]:
    return Agent(name="Assistant", instructions="Be brief.", tools=list(tools))


class Job:
    """A tool that takes `seconds`, and knows what became of it."""

    def __init__(self, seconds: float, output: str = "42 pages") -> None:
        self.seconds = seconds
        self.output = output
        self.began = self.ended = self.cancelled = 0

    def tool(self) -> FunctionTool:
        @function_tool(name_override="report")
        async def report() -> str:
            """Write a report."""
            self.began += 1
            try:
                await asyncio.sleep(self.seconds)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            self.ended += 1
            return self.output

        return report


def test_a_tool_that_takes_too_long_is_ended_and_the_model_told() -> None:
    job = Job(100)
    turns = Turns(agent(job.tool()), [called("report"), Reply.of("Sorry.")])
    pieces = run(turns, turns.ask("Report."))
    assert "did not answer within 20 seconds" in results(pieces)[0][1]
    assert (job.cancelled, job.ended) == (1, 0) and spoken(pieces) == "Sorry."


def test_the_tools_own_time_limit_holds_unless_a_rule_says_otherwise() -> None:
    async def invoke(context: Any, arguments: str) -> str:
        await asyncio.sleep(30)
        return "done"

    def slow() -> FunctionTool:
        return FunctionTool("slow", "Slow.", {"type": "object", "properties": {}}, invoke, timeout_seconds=40)

    patient = Turns(agent(slow()), [called("slow"), Reply.of("Ok.")])
    assert results(run(patient, patient.ask("Go."))) == [("slow", "done")]
    hasty = Turns(agent(slow()), [called("slow"), Reply.of("Ok.")], rules={"slow": ToolRules(timeout_s=1)})
    assert "within 1 seconds" in results(run(hasty, hasty.ask("Go.")))[0][1]


async def interrupted(turns: Turns, text: str, after_s: float) -> list[Any]:
    """Ask, and break in while the tool runs. What was yielded before."""
    pieces: list[Any] = []
    answer: Any = turns.workflow.respond(turns.context(text))

    async def read() -> None:
        async for piece in answer:
            pieces.append(piece)

    reading = asyncio.create_task(read())
    await asyncio.sleep(after_s)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    turns.remember(text, pieces)
    return pieces


def test_an_interruption_cancels_a_tool() -> None:
    job = Job(10)
    turns = Turns(agent(job.tool()), [called("report"), Reply.of("What else?")])

    async def main() -> None:
        await interrupted(turns, "Report.", 2)
        assert (job.began, job.cancelled) == (1, 1) and turns.workflow.desk.running == ()
        await asyncio.sleep(20)
        await turns.ask("Stop!")

    run(turns, main())
    assert turns.llm.calls[1].messages[3].content == NO_RESULT


def test_a_tool_may_finish_after_an_interruption_and_the_next_turn_knows() -> None:
    job = Job(10)
    steps = [called("report"), Reply.of("It has 42 pages."), Reply.of("Yes.")]
    turns = Turns(agent(job.tool()), steps, rules={"report": ToolRules(on_interrupt="finish")})

    async def main() -> list[Any]:
        await interrupted(turns, "Report.", 2)
        assert [one.call.name for one in turns.workflow.desk.running] == ["report"]
        await asyncio.sleep(20)
        assert (job.ended, job.cancelled) == (1, 0)
        second = await turns.ask("Well?")
        await turns.ask("Really?")
        return second

    second = run(turns, main())
    assert second[0] == ToolResult("call_1", "report", "42 pages")
    with_late, after = turns.llm.calls[1].messages, turns.llm.calls[2].messages
    assert with_late[3].content == NO_RESULT
    assert [message.role for message in with_late[-3:]] == ["user", "assistant", "tool"]
    assert with_late[-1].content == f"{LATE}42 pages"
    assert after[: len(with_late)] == with_late, "the late result keeps its place"


def test_a_background_tool_answers_at_once_and_reports_later() -> None:
    job = Job(100)
    steps = [called("report"), Reply.of("Started."), Reply.of("Not yet."), Reply.of("It is done.")]
    turns = Turns(agent(job.tool()), steps, rules={"report": ToolRules(background=True)})

    async def main() -> list[list[Any]]:
        first = await turns.ask("Report.")
        second = await turns.ask("Done?")
        await asyncio.sleep(200)
        return [first, second, await turns.ask("Now?")]

    first, second, third = run(turns, main())
    assert results(first) == [("report", STARTED)] and results(second) == []
    assert results(third) == [("report", "42 pages")] and job.ended == 1


def test_a_late_result_is_announced_where_that_was_asked_for() -> None:
    said: list[str] = []
    job = Job(5)
    rules = {"report": ToolRules(background=True, announce="Your report is ready: {result}.")}
    turns = Turns(agent(job.tool()), [called("report"), Reply.of("Started.")], rules=rules, announcer=said.append)

    async def main() -> None:
        await turns.ask("Report.")
        assert said == []
        await asyncio.sleep(10)

    run(turns, main())
    assert said == ["Your report is ready: 42 pages."]


def test_a_turn_that_was_dropped_has_not_taken_the_late_results() -> None:
    job = Job(5)
    steps = [called("report"), Reply.of("Started."), Reply(["Done."], first_delay_s=5), Reply.of("Done.")]
    turns = Turns(agent(job.tool()), steps, rules={"report": ToolRules(background=True)})

    async def main() -> list[Any]:
        await turns.ask("Report.")
        await asyncio.sleep(10)
        dropped = turns.workflow.respond(turns.context("So?", committed=False))
        assert isinstance(await anext(dropped), ToolResult)
        reading = asyncio.ensure_future(anext(dropped))
        await asyncio.sleep(1)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return await turns.ask("So what?")

    assert results(run(turns, main())) == [("report", "42 pages")]


def test_the_end_of_a_session_gives_tools_a_few_seconds() -> None:
    async def main(seconds: float) -> tuple[int, int]:
        desk, job = ToolDesk(), Job(seconds)
        rules = ToolRules(background=True)

        async def wait() -> str:
            try:
                await asyncio.sleep(job.seconds)
            except asyncio.CancelledError:
                job.cancelled += 1
                raise
            job.ended += 1
            return ""

        await desk.run(CALL, rules, wait)
        await asyncio.sleep(0)
        await desk.close()
        assert desk.running == ()
        return job.ended, job.cancelled

    assert run_virtual(main(3)) == (1, 0)
    assert run_virtual(main(30)) == (0, 1)


def test_a_background_tool_that_fails_reports_that() -> None:
    async def main() -> tuple[ToolResult, ...]:
        desk = ToolDesk()

        async def work() -> str:
            raise ToolFailed("The printer is out of paper.")

        async def crash() -> str:
            raise RuntimeError("secret")

        await desk.run(CALL, ToolRules(background=True), work)
        await desk.run(CALL, ToolRules(background=True), crash)
        await asyncio.sleep(1)
        return desk.late

    first, second = run_virtual(main())
    assert first.output == "The printer is out of paper."
    assert second.output == "report failed. Tell the user that it did not work."


def test_a_tool_may_say_in_words_why_it_failed() -> None:
    @function_tool
    def pay() -> str:
        """Pay."""
        raise ToolFailed("The card has expired.")

    turns = Turns(agent(pay), [called("pay"), Reply.of("Expired.")])
    run(turns, turns.ask("Pay."))
    assert turns.llm.calls[1].messages[-1].content == "The card has expired."


def test_arguments_of_a_tool_that_does_not_check_them_are_checked() -> None:
    ran: list[str] = []

    async def invoke(context: Any, arguments: str) -> str:
        ran.append(arguments)
        return "ok"

    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    raw = FunctionTool("raw", "Raw.", schema, invoke, strict_json_schema=False)
    steps = [
        called("raw", '{"n": "x"}', "1"),
        called("raw", "{n", "2"),
        called("raw", '{"n": 1}', "3"),
        Reply.of("Ok."),
    ]
    turns = Turns(agent(raw), steps)
    pieces = run(turns, turns.ask("Go."))
    outputs = [output for _, output in results(pieces)]
    assert "at n: 'x' is not of type 'integer'" in outputs[0]
    assert "no JSON" in outputs[1] and outputs[2] == "ok" and ran == ['{"n": 1}']


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("a", "a"),
        ({"type": "text", "text": "b"}, "b"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "x"}], f"a\n{NO_TEXT}"),
        (5, "5"),
        ({"x": 1}, "{'x': 1}"),
    ],
)
def test_outputs_as_text(output: Any, text: str) -> None:
    assert as_text(output) == text


def test_failures_in_words() -> None:
    assert failure_text("pay", ToolFailed("No money.")) == "No money."
    assert "secret" not in failure_text("pay", ValueError("secret"))


# ------------------------------------------------------------------------------------------------- items

names = st.sampled_from(["a", "b"])
ids = st.sampled_from(["1", "2", "3"])
tool_calls = st.builds(ToolCall, ids, names, st.just("{}"))
texts = st.sampled_from(["", "x", "y z"])
any_message = st.one_of(
    st.builds(lambda text: Message("user", text or "u"), texts),
    st.builds(lambda text: Message("assistant", text or "s"), texts),
    st.builds(
        lambda text, calls: Message("assistant", text, tool_calls=tuple({call.id: call for call in calls}.values())),
        texts,
        st.lists(tool_calls, min_size=1, max_size=3),
    ),
    st.builds(lambda text, call_id: Message("tool", text, tool_call_id=call_id), texts, ids),
)


@given(st.lists(any_message, max_size=12))
@example(
    [Message("assistant", "", tool_calls=(ToolCall("1", "a", "{}"),)), *[Message("tool", "x", tool_call_id="1")] * 2]
)
def test_any_history_becomes_a_prompt_in_which_each_call_has_its_output(history: list[Message]) -> None:
    messages = prompt_messages("S", input_items(history))
    seen: set[str] = set()
    waiting: list[str] = []
    for message in messages[1:]:
        if message.role == "tool":
            assert message.tool_call_id == waiting.pop(0)
            continue
        assert waiting == [], "nothing comes between a call and its output"
        waiting = [call.id for call in message.tool_calls]
        assert not seen & set(waiting), "no id twice"
        seen |= set(waiting)
    assert waiting == []
    roles = [
        message.role
        for message in messages
        if message.role in ("user", "tool") or message.content or message.tool_calls
    ]
    assert all(pair != ("user", "user") for pair in itertools.pairwise(roles))
    assert sum(message.role == "tool" for message in messages) >= sum(m.role == "tool" for m in history)


@given(st.lists(any_message, max_size=8), st.lists(any_message, max_size=4))
def test_a_longer_history_begins_like_the_shorter(history: list[Message], more: list[Message]) -> None:
    """Where a turn ends: with the user's next words. (Outputs and words in a row belong to what they follow.)"""
    shorter = input_items([*history, Message("user", "next"), Message("assistant", "answer")])
    longer = input_items(
        [*history, Message("user", "next"), Message("assistant", "answer"), Message("user", "u"), *more]
    )
    assert longer[: len(shorter)] == shorter
