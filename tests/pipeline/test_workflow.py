"""Workflows: every form that is adapted, every form that is none, and the built-in chat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from agents import Agent

from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import LLMOptions, Message, Usage
from antiphon.engines.testing import Reply, ScriptedLLM, run_virtual
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.workflow import ChatWorkflow, TurnContext, VoiceWorkflowBase, Workflow, as_workflow, pieces


def turn(text: str = "hi", history: tuple[Message, ...] = ()) -> TurnContext:
    return TurnContext("s", 1, 0, text, history)


def answers(workflow: Workflow, context: TurnContext | None = None) -> list[Any]:
    async def main() -> list[Any]:
        return [piece async for piece in workflow.respond(context or turn())]

    return asyncio.run(main())


class Class(VoiceWorkflowBase):
    async def run(self, transcription: str) -> AsyncIterator[str]:
        yield transcription
        yield "!"


class PlainClass:
    """No base class: having `run` is enough."""

    async def run(self, text: str) -> str:
        return text + "!"


async def generator(text: str) -> AsyncIterator[str]:
    yield text
    yield "!"


async def coroutine(text: str) -> str:
    return text + "!"


async def coroutine_of_generator(text: str) -> AsyncIterator[str]:
    return generator(text)


class Future:
    def __call__(self, text: str) -> Any:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        future.set_result(text + "!")
        return future


class Iterator:
    """An async iterator that is no generator: it has no `aclose`."""

    def __init__(self, text: str) -> None:
        self.left = [text, "!"]

    def __aiter__(self) -> Iterator:
        return self

    async def __anext__(self) -> str:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)


FORMS: list[Any] = [
    Class,
    Class(),
    PlainClass,
    PlainClass(),
    generator,
    coroutine,
    coroutine_of_generator,
    Future(),
    lambda text: text + "!",
    lambda text: generator(text),
    lambda text: Iterator(text),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_answers(form: Any) -> None:
    workflow = as_workflow(form)
    assert isinstance(workflow, Workflow) and workflow.speculative is False
    assert "".join(answers(workflow)) == "hi!"


def test_a_full_workflow_is_taken_as_it_is() -> None:
    class Full:
        speculative = True

        async def respond(self, turn: TurnContext) -> AsyncIterator[str]:
            yield turn.transcript

    full = Full()
    assert as_workflow(full) is full
    assert isinstance(as_workflow(Full), Full)


def test_what_a_class_has_besides_run_is_kept() -> None:
    class Rich(Class):
        llm: Any = None

        async def on_start(self) -> AsyncIterator[str]:
            yield "Welcome."

        def bind_llm(self, llm: Any) -> None:
            self.llm = llm

    rich = Rich()
    workflow: Any = as_workflow(rich)
    workflow.bind_llm("engine")
    assert rich.llm == "engine"

    async def greeting() -> list[str]:
        return [text async for text in workflow.on_start()]

    assert asyncio.run(greeting()) == ["Welcome."]
    plain: Any = as_workflow(generator)
    assert plain.on_start is None and not hasattr(plain, "bind_llm")


def test_the_base_class_greets_with_nothing() -> None:
    async def main() -> list[str]:
        return [text async for text in Class().on_start()]

    assert asyncio.run(main()) == []
    with pytest.raises(TypeError, match="abstract"):
        VoiceWorkflowBase()  # type: ignore[abstract]


@pytest.mark.parametrize("thing", [None, 7, "chat", [], object()])
def test_what_is_no_workflow_is_refused(thing: Any) -> None:
    with pytest.raises(WorkflowError, match=rf"{type(thing).__name__} is no workflow\ngive a class with run"):
        as_workflow(thing)


def test_an_agent_is_no_workflow_and_the_hint_says_what_to_do() -> None:
    with pytest.raises(WorkflowError, match=r"Agent is no workflow\nwrap it: SingleAgentVoiceWorkflow\(agent\)"):
        as_workflow(Agent(name="a"))


def test_a_class_that_needs_arguments() -> None:
    class Needy(Class):
        def __init__(self, desk: str) -> None:
            self.desk = desk

    with pytest.raises(WorkflowError, match=r"Needy cannot be made without arguments: .*'desk'\ngive an object of it"):
        as_workflow(Needy)
    assert answers(as_workflow(Needy("a"))) == ["hi", "!"]


@pytest.mark.parametrize("value", [None, 7, b"bytes", ["a"], {"a": 1}])
def test_an_answer_that_is_no_text(value: Any) -> None:
    with pytest.raises(WorkflowError, match=rf"gave a {type(value).__name__}, not text"):
        answers(as_workflow(lambda text: value))

    async def given(text: str) -> Any:
        return value

    with pytest.raises(WorkflowError, match="not text"):
        answers(as_workflow(given))


def test_what_a_function_raises_comes_out_where_its_answer_would() -> None:
    def broken(text: str) -> str:
        raise LookupError("no such customer")

    async def main() -> None:
        source = pieces(lambda: broken("hi"))  # raises nothing yet
        with pytest.raises(LookupError, match="no such customer"):
            await anext(source)

    asyncio.run(main())


def test_closing_the_answer_closes_the_users_generator() -> None:
    closed: list[str] = []

    async def endless(text: str) -> AsyncIterator[str]:
        try:
            while True:
                yield text
        finally:
            closed.append(text)

    async def main() -> None:
        source: Any = as_workflow(endless).respond(turn())
        assert await anext(source) == "hi"
        await source.aclose()
        assert closed == ["hi"]

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------ chat


def chat(steps: list[Any], main: Callable[[ScriptedLLM], Any]) -> ScriptedLLM:
    async def run() -> ScriptedLLM:
        async with ScriptedLLM(steps) as llm:
            await main(llm)
        return llm

    return run_virtual(run())


def test_chat_gives_instructions_history_and_the_question() -> None:
    history = (Message("user", "One?"), Message("assistant", "First."))

    async def main(llm: ScriptedLLM) -> None:
        workflow = ChatWorkflow(llm, "Be brief.", options=LLMOptions(max_tokens=5))
        found = [piece async for piece in workflow.respond(turn("Two?", history))]
        assert found == ["Sec", "ond.", Usage(9, 2, 7)]

    llm = chat([Reply(["Sec", "ond."], usage=Usage(9, 2, 7))], main)
    call = llm.calls[0]
    assert [message.content for message in call.messages] == ["Be brief.", "One?", "First.", "Two?"]
    assert (call.options.max_tokens, call.session_key, call.tools) == (5, "s", ())


def test_chat_without_instructions_has_no_system_message() -> None:
    assert ChatWorkflow(ScriptedLLM(), "").prompt((), "Hi.") == [Message("user", "Hi.")]


def test_each_prompt_begins_with_the_one_before() -> None:
    workflow = ChatWorkflow(ScriptedLLM(), "Be brief.")
    history: list[Message] = []
    before: list[Message] = []
    for number in range(5):
        prompt = workflow.prompt(history, f"question {number}")
        assert prompt[: len(before)] == before
        before = prompt
        history += [Message("user", f"question {number}"), Message("assistant", f"answer {number}")]


def test_chat_stops_the_engine_when_it_is_closed() -> None:
    async def main(llm: ScriptedLLM) -> None:
        source: Any = ChatWorkflow(llm, "").respond(turn())
        assert await anext(source) == "a"
        await source.aclose()
        assert llm.calls[0].outcome == "cancelled"

    chat([Reply(["a", "b", "c"], delta_delay_s=1.0)], main)


def test_what_the_engine_raises_comes_out_of_chat() -> None:
    async def main(llm: ScriptedLLM) -> None:
        with pytest.raises(EngineFailed, match="broken"):
            _ = [piece async for piece in ChatWorkflow(llm, "").respond(turn())]

    chat([EngineFailed("broken")], main)


def test_a_turn_tells_when_it_is_sure() -> None:
    async def main() -> None:
        committed = asyncio.Event()
        context = TurnContext("s", 1, 0, "hi", (), None, committed)
        waiting = asyncio.create_task(context.committed())
        await asyncio.sleep(1)
        assert not context.is_committed and not waiting.done()
        committed.set()
        await waiting
        assert context.is_committed

    run_virtual(main())
