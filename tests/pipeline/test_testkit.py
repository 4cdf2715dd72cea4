"""The kit for users' own tests: talks in text, expectations, scenarios, the pytest plugin, `antiphon test`."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted_engines import write_config
from typer.testing import CliRunner

from antiphon import pytest_plugin
from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import ToolCall, Usage
from antiphon.engines.testing import Reply, ScriptedLLM, run_virtual
from antiphon.pipeline.cli import app
from antiphon.pipeline.config.errors import InvalidConfig
from antiphon.pipeline.testkit.judge import judge
from antiphon.pipeline.testkit.scenario import SUFFIXES
from antiphon.pipeline.workflow import ToolResult, TurnContext
from antiphon.testing import TextTalk, Turn, Unexpected, load_scenario, run_scenario

pytest_plugins = ["pytester"]


class Bank:
    """A workflow with tools, one of which needs a yes."""

    speculative = True

    def __init__(self) -> None:
        self.approver: Any = None
        self.seen: list[tuple[str, int]] = []

    async def respond(self, turn: TurnContext) -> AsyncIterator[Any]:
        self.seen.append((turn.transcript, len(turn.history)))
        if "weather" in turn.transcript:
            yield ToolCall("1", "get_weather", '{"city": "Paris", "days": 2}')
            yield ToolResult("1", "get_weather", "sunny")
            yield "It is "
            await asyncio.sleep(0.5)
            yield "sunny in Paris."
            yield Usage(10, 5, 2)
        elif "send" in turn.transcript:
            call = SimpleNamespace(name="transfer", arguments='{"amount": 50, "to": "Anna"}')
            yield ToolCall("2", "transfer", call.arguments)
            yield "Done." if await self.approver.approve(call) else "I may not do that."
        elif "fail" in turn.transcript:
            yield "I begin"
            raise EngineFailed("no power", hint="plug it in")
        elif "hang" in turn.transcript:
            await asyncio.sleep(1000)
        else:
            yield f"You said {turn.transcript}."


# ------------------------------------------------------------------------------------------------ talks


def test_a_talk_shows_what_was_said_and_called() -> None:
    async def run() -> tuple[Turn, Turn, Bank]:
        bank = Bank()
        talk = TextTalk(bank)
        return await talk.say("Hello"), await talk.say("What is the weather?"), bank

    hello, turn, bank = run_virtual(run())
    assert bank.seen == [("Hello", 0), ("What is the weather?", 2)], "the history is the session's"
    assert hello.expect_no_calls().expect_no_approvals().text == "You said Hello."
    assert turn.text == "It is sunny in Paris."
    assert [str(call) for call in turn.calls] == ['get_weather({"city": "Paris", "days": 2}) -> sunny']
    assert (turn.first_ms, turn.total_ms) == (0, 500)
    assert turn.usage == Usage(10, 5, 2)
    turn.expect_ok().expect_text("SUNNY", "in  paris", excludes=("rain", "snow"), matches=r"sun\w+").expect_within(100)
    turn.expect_call("get_weather", city="paris", days=2.0).expect_call("get_weather", {"city": "/^par/"})
    turn.expect_no_calls("transfer")


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        (lambda turn: turn.expect_text("rain"), "expected an answer with 'rain'"),
        (lambda turn: turn.expect_text(excludes="sunny"), "expected an answer without 'sunny'"),
        (lambda turn: turn.expect_text(matches="^sun"), "expected an answer that matches /\\^sun/"),
        (lambda turn: turn.expect_call("set_timer"), "expected a call of set_timer"),
        (lambda turn: turn.expect_call("get_weather", city="Rome"), "city is 'Paris', not 'Rome'"),
        (lambda turn: turn.expect_call("get_weather", unit="C"), "unit is missing"),
        (lambda turn: turn.expect_call("get_weather", days="/3/"), "days is 2, not '/3/'"),
        (lambda turn: turn.expect_no_calls(), "expected no tool call"),
        (lambda turn: turn.expect_no_calls("get_weather"), "expected no call of get_weather"),
        (lambda turn: turn.expect_approval("transfer"), "expected that transfer has to be approved"),
        (lambda turn: turn.expect_heard("snow"), "expected to hear 'snow'"),
    ],
)
def test_a_failed_expectation_shows_the_turn(expectation: Any, message: str) -> None:
    turn = run_virtual(TextTalk(Bank()).say("What is the weather?"))
    with pytest.raises(Unexpected, match=message) as failure:
        expectation(turn)
    shown = str(failure.value)
    assert "turn 1\n  user:      What is the weather?\n  assistant: It is sunny in Paris." in shown
    assert 'call:      get_weather({"city": "Paris", "days": 2}) -> sunny' in shown


@pytest.mark.parametrize(
    ("verdict", "granted"),
    [
        (True, True),
        (False, False),
        ({"transfer": True}, True),
        ({"other": True}, False),
        (lambda name, arguments: name == "transfer" and arguments["amount"] < 100, True),
    ],
)
def test_approvals_are_answered_and_kept(verdict: Any, granted: bool) -> None:
    turn = run_virtual(TextTalk(Bank(), approve=verdict).say("Please send it"))
    turn.expect_approval("transfer", granted=granted).expect_text("Done" if granted else "may not")
    assert turn.approvals[0].arguments == {"amount": 50, "to": "Anna"}
    with pytest.raises(Unexpected, match="expected that transfer was"):
        turn.expect_approval("transfer", granted=not granted)
    with pytest.raises(Unexpected, match="nothing has to be approved"):
        turn.expect_no_approvals()


def test_an_approver_may_be_asynchronous_and_sits_inside_wrappers() -> None:
    async def later(name: str, arguments: dict[str, Any]) -> bool:
        await asyncio.sleep(1)
        return True

    bank = Bank()
    wrapper = SimpleNamespace(workflow=bank, speculative=True, respond=bank.respond)
    run_virtual(TextTalk(wrapper, approve=later).say("send")).expect_approval("transfer", granted=True)


def test_a_turn_that_fails_says_why_and_the_talk_goes_on() -> None:
    async def run() -> list[Turn]:
        talk = TextTalk(Bank(), timeout_s=5)
        return [await talk.say(text) for text in ("fail", "hang", "Hello")]

    broken, slow, hello = run_virtual(run())
    assert broken.error == "EngineFailed: no power\nplug it in"
    assert broken.text == "I begin"
    assert "no text for 5 s" in slow.error
    hello.expect_ok()
    with pytest.raises(Unexpected, match="without an error"):
        broken.expect_ok()
    with pytest.raises(Unexpected, match="begin within 100 ms"):
        slow.expect_within(100)


def test_any_function_can_be_talked_to() -> None:
    async def answer(text: str) -> str:
        return text.upper()

    assert run_virtual(TextTalk(answer).say("hello")).text == "HELLO"
    assert run_virtual(TextTalk(answer).on_start()) == ""


# ------------------------------------------------------------------------------------------------ judges


@pytest.mark.parametrize(
    ("said", "holds"), [("YES. It does.", True), ("  yes", True), ("No, yes.", False), ("", False)]
)
def test_a_judge_says_yes_first_or_means_no(said: str, holds: bool) -> None:
    async def run() -> Any:
        async with ScriptedLLM([Reply([said])]) as llm:
            verdict = await judge(llm, Turn(1, "Hi", "Hello there."), "The answer is a greeting.")
            assert "Assistant: Hello there.\nStatement: The answer is a greeting." in llm.calls[0].messages[1].content
            return verdict

    assert run_virtual(run()).holds == holds


# ------------------------------------------------------------------------------------------------ scenarios


def write(folder: Path, text: str, name: str = "bank.scenario.yaml") -> Path:
    write_config(folder)
    path = folder / name
    path.write_text(textwrap.dedent(text), "utf-8")
    return path


GOOD = """\
    config: scripted.yaml
    approve: {transfer: true}
    turns:
      - say: What is the weather?
        expect:
          contains: sunny
          excludes: [rain, snow]
          matches: paris
          calls:
            - name: get_weather
              arguments: {city: Paris, days: 2}
          no_calls: [transfer]
          within_ms: 60000
      - say: Please send it
        expect: {contains: done, approvals: [{name: transfer, granted: true}]}
      - say: 17
        expect: {contains: 17, no_calls: true}
"""


def run(path: Path, workflow: Any = None) -> Any:
    return asyncio.run(run_scenario(load_scenario(path), workflow=workflow or Bank()))


def test_a_scenario_passes(tmp_path: Path) -> None:
    result = run(write(tmp_path, GOOD))
    assert result.passed, str(result)
    assert result.scenario.name == "bank"
    assert [turn.text for turn in result.turns] == ["It is sunny in Paris.", "Done.", "You said 17."]


def test_each_failure_names_file_line_and_turn(tmp_path: Path) -> None:
    text = GOOD.replace("contains: sunny", "contains: [sunny, warm]").replace("granted: true", "granted: false")
    path = write(tmp_path, text)
    result = run(path)
    assert [failure.line for failure in result.failures] == [6, 15]
    assert str(result).startswith(
        f"{path}:6: expected an answer with 'warm'\nturn 1\n  user:      What is the weather?"
    )
    assert f"{path}:15: expected that transfer was refused" in str(result)


def test_a_turn_that_fails_ends_the_scenario_unless_it_has_to(tmp_path: Path) -> None:
    path = write(tmp_path, "config: scripted.yaml\nturns:\n  - say: please fail\n  - say: Hello\n")
    result = run(path)
    assert (len(result.turns), result.failures[0].line) == (1, 3)
    assert "EngineFailed: no power" in str(result)
    path.write_text(
        path.read_text("utf-8")
        .replace("please fail", "{say: please fail, expect: {error: true}}")
        .replace("- say: {", "- {"),
        "utf-8",
    )
    assert run(path).passed

    async def odd(text: str) -> str:
        raise LookupError("nothing there")

    path.write_text("config: scripted.yaml\nturns:\n  - say: Hello\n", "utf-8")
    assert "LookupError: nothing there" in str(run(path, odd))


def test_the_configured_workflow_is_used_and_the_pipeline_hears_audio(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        config: scripted.yaml
        set: [workflow.instructions=Be brief.]
        turns:
          - speak: Hello there.
            expect: {heard: hello there, contains: You said, within_ms: 60000}
          - say: And now?
            expect: {contains: "4 messages"}
        """,
    )
    result = asyncio.run(run_scenario(load_scenario(path)))
    assert result.passed, str(result)


def test_what_is_judged_needs_a_model_that_says_yes(tmp_path: Path) -> None:
    path = write(
        tmp_path, "config: scripted.yaml\nturns:\n  - say: Hello\n    expect:\n      judge:\n        - It is polite.\n"
    )
    result = run(path)
    assert [failure.line for failure in result.failures] == [6]
    assert "judged not to hold: It is polite." in str(result)
    assert "the judge: 2 messages." in str(result)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("turns: []", 1, "turns"),
        ("turns: 3", 1, "turns: Input should be a list"),
        ("name: x", 1, "turns: Field required"),
        ("turns:\n  - expect: {contains: x}\n", 2, "exactly one of: say, speak, wav"),
        ("turns:\n  - say: a\n    wav: b.wav\n", 2, "exactly one of: say, speak, wav"),
        ("turns:\n  - say: a\n    expect:\n      contian: x\n", 4, "turns.0.expect.contian"),
        ("turns:\n  - say: a\n    expect:\n      within_ms: -1\n", 4, "greater than 0"),
        ("turns: [\n", 2, "odd.scenario.yaml:2"),
        ("", None, "empty"),
    ],
)
def test_mistakes_are_placed(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    path = tmp_path / "odd.scenario.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(InvalidConfig, match=message) as error:
        load_scenario(path)
    assert error.value.line in (line, 1 if line is None else line)
    assert str(path) in str(error.value)


def test_a_scenario_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read"):
        load_scenario(tmp_path / "none.scenario.yaml")


# ------------------------------------------------------------------------------------------------ pytest, CLI


def test_pytest_runs_scenarios(pytester: pytest.Pytester) -> None:
    assert pytest_plugin.SUFFIXES == SUFFIXES
    write(
        pytester.path,
        "config: scripted.yaml\nturns:\n  - say: Hi\n    expect: {contains: You said}\n",
        "a.scenario.yaml",
    )
    write(pytester.path, "config: scripted.yaml\nturns:\n  - say: Hi\n    expect: {contains: Bye}\n", "b.scenario.yaml")
    write(pytester.path, "turns: 3\n", "c.scenario.yaml")
    write(pytester.path, "a: 1\n", "d.yaml")
    result = pytester.runpytest_inprocess("-p", "antiphon.pytest_plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*b.scenario.yaml:4: expected an answer with 'Bye'", "*c.scenario.yaml:1*"])
    assert "Traceback" not in result.stdout.str()


def test_the_command(tmp_path: Path) -> None:
    write(tmp_path, "config: scripted.yaml\nturns:\n  - say: Hi\n    expect: {contains: You said}\n", "a.scenario.yaml")
    runner = CliRunner()
    passed = runner.invoke(app, ["test", str(tmp_path)])
    assert (passed.exit_code, "passed a" in passed.output) == (0, True), passed.output

    write(tmp_path, "config: scripted.yaml\nturns:\n  - say: Hi\n    expect: {contains: Bye}\n", "b.scenario.yaml")
    failed = runner.invoke(app, ["test", str(tmp_path), "--json"])
    assert failed.exit_code == 1
    entries = json.loads(failed.stdout)
    assert [entry["passed"] for entry in entries] == [True, False]
    assert entries[1]["failures"][0]["line"] == 4
    assert "FAILED b" in failed.stderr

    (tmp_path / "c.scenario.yaml").write_text("turns: 3\n", "utf-8")
    assert runner.invoke(app, ["test", str(tmp_path)]).exit_code == 2
    assert runner.invoke(app, ["test", str(tmp_path / "none")]).exit_code == 2
