"""Agents in whole sessions: what the session is told, the examples, the SDK's own sessions, the packaged file."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from agents import Agent, RunConfig, Runner, SQLiteSession, function_tool
from scripted_config import Script, spoken_audio, texts

from antiphon import load_config
from antiphon.adapters.openai_agents import AgentWorkflow, AntiphonModelProvider, ToolRules
from antiphon.engines.protocols import ToolCall
from antiphon.engines.testing import Heard, Reply, ScriptedLLM, run_virtual
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.events import Event

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"The weather in {city} is sunny."


def weather_agent() -> Agent[Any]:
    return Agent(name="Assistant", instructions="Be brief.", tools=[get_weather])


PARIS = ToolCall("1", "get_weather", '{"city": "Paris"}')


def test_the_session_tells_of_calls_results_and_usage() -> None:
    script = Script(stt=[Heard("Weather in Paris?", 0.1)], llm=[Reply(tool_calls=[PARIS]), Reply.of("It is sunny.")])
    seen: list[Event] = []

    async def main() -> Any:
        async with script.pipeline(workflow=AgentWorkflow(weather_agent())) as pipeline:
            result = await pipeline.run(spoken_audio())
            on_event = result._on_event
            result._on_event = lambda event: (seen.append(event), on_event(event))  # type: ignore[method-assign, func-returns-value]
            return [event async for event in result.stream()]

    events = run_virtual(main())
    assert texts(events, "assistant") == ["It is sunny."]
    kinds = [event.type for event in seen]
    assert kinds.index("committed") < kinds.index("tool_call") < kinds.index("tool_result") < kinds.index("spoken")


def test_a_filler_is_spoken_while_the_tool_runs() -> None:
    @function_tool
    async def slow() -> str:
        """Slow."""
        await asyncio.sleep(3)
        return "42"

    call = ToolCall("1", "slow", "{}")
    script = Script(stt=[Heard("Go.", 0.1)], llm=[Reply(tool_calls=[call]), Reply.of("It is 42.")])
    workflow = AgentWorkflow(Agent(name="a", tools=[slow]), rules={"slow": ToolRules(say="One moment.")})

    async def main() -> list[str]:
        async with script.pipeline(workflow=workflow) as pipeline:
            result = await pipeline.run(spoken_audio())
            return [event.text async for event in result.stream() if event.type == "voice_stream_event_spoken"]

    spoken = run_virtual(main())
    assert [piece.strip() for piece in spoken] == ["One moment.", "It is 42."]
    first, second = [call.began_s for call in script.tts_engine.calls if call.text in ("One moment.", "It is 42.")]
    assert second - first >= 2.5, "said while the tool was at work"


def test_the_sdks_own_sessions_work_on_our_engines() -> None:
    async def main() -> list[str]:
        async with ScriptedLLM([Reply.of("Hello Ann."), Reply.of("Ann.")]) as llm:
            config = RunConfig(model_provider=AntiphonModelProvider(llm), tracing_disabled=True)
            session = SQLiteSession("s")
            agent = Agent(name="a", instructions="Be brief.")
            await Runner.run(agent, "I am Ann.", session=session, run_config=config)
            await Runner.run(agent, "Who am I?", session=session, run_config=config)
            session.close()
            return [message.content for message in llm.calls[1].messages]

    assert asyncio.run(main()) == ["Be brief.", "I am Ann.", "Hello Ann.", "Who am I?"]


def test_a_configuration_with_an_agent_makes_a_workflow_for_each_session() -> None:
    script = Script(llm=[Reply(tool_calls=[ToolCall("1", "weather", '{"city": "Rome"}')]), Reply.of("Sunny.")])
    script.workflow = {"kind": "agent", "tools": {"weather": {"function": "agent_parts:get_weather"}}}
    script.stt_engine = type(script.stt_engine)([Heard("Weather?", 0.1)])

    async def main() -> Any:
        async with script.pipeline() as pipeline:
            result = await pipeline.run(spoken_audio())
            assembly = pipeline._assembly
            assert assembly is not None
            assert assembly.workflow() is not assembly.workflow()
            return [event async for event in result.stream()]

    assert texts(run_virtual(main()), "assistant") == ["Sunny."]


def test_the_packaged_agent_is_valid_and_its_tools_are_there() -> None:
    config = load_config("agent.yaml")
    assert config.workflow.kind == "agent"

    async def main() -> list[str]:
        llm = ScriptedLLM([])
        async with Assembly(config, replacements={"llm": llm}, text_only=True) as assembly:
            # Instructions and tools are evaluated before anybody speaks.
            (ahead,) = llm.prefills
            assert [message.role for message in ahead.messages] == ["system"] and len(ahead.tools or ()) == 3
            workflow: Any = assembly.workflow()
            await workflow._ready()
            return sorted(workflow._graph._tools)

    assert asyncio.run(main()) == ["calculate", "current_time", "set_timer"]


def test_the_sdk_is_imported_beside_the_event_loop() -> None:
    code = (
        "import asyncio, sys, threading\n"
        "from antiphon.pipeline.build import Assembly\n"
        "from antiphon import load_config\n"
        "from antiphon.engines.testing import ScriptedLLM\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'agents': print(threading.current_thread() is threading.main_thread())\n"
        "async def main():\n"
        "    sys.meta_path.insert(0, Finder())\n"
        "    llm = ScriptedLLM([])\n"
        "    async with Assembly(load_config('agent.yaml'), replacements={'llm': llm}, text_only=True): pass\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr


def test_without_the_sdk_the_kind_says_what_to_install() -> None:
    code = (
        "import sys, asyncio\n"
        "sys.modules['agents'] = None\n"
        "from antiphon.pipeline.build import Assembly\n"
        "from antiphon import load_config\n"
        "async def main():\n"
        "    async with Assembly(load_config('agent.yaml'), replacements={'llm': Llm()}, text_only=True): pass\n"
        "class Llm:\n"
        "    async def __aenter__(self): return self\n"
        "    async def __aexit__(self, *_): pass\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "antiphon[agents]"' in done.stderr and "workflow.kind: agent needs" in done.stderr


# --------------------------------------------------------------------------------------------- examples


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recording(folder: Path, name: str) -> str:
    path = folder / f"{name}.wav"
    soundfile.write(path, np.zeros(19200, dtype=np.float32), 16000)
    return str(path)


def run_scripted(name: str, script: Script, *files: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = example(name)
    monkeypatch.setattr(
        module.VoicePipeline, "from_config", lambda config, workflow: script.pipeline(workflow=workflow)
    )
    asyncio.run(module.main(*files))


def test_the_support_line_hands_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    script = Script(
        stt=[Heard("My invoice 1002, is it paid?"), Heard("My router is broken, too.")],
        llm=[
            Reply(tool_calls=[ToolCall("1", "transfer_to_billing", "{}")]),
            Reply(tool_calls=[ToolCall("2", "invoice_state", '{"number": "1002"}')]),
            Reply.of("It is open, and due on Friday."),
            Reply(tool_calls=[ToolCall("3", "transfer_to_technical", "{}")]),
            Reply.of("I can restart it."),
        ],
    )
    files = (recording(tmp_path, "one"), recording(tmp_path, "two"))
    run_scripted("support_handoff", script, *files, monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert "Billing: " in printed and "It is open, and due on Friday." in printed
    assert "Technical: I can restart it." in printed
    assert "One moment, I'll look that up." in [call.text for call in script.tts_engine.calls]


def test_the_agent_with_an_mcp_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    script = Script(
        stt=[Heard("Put milk on my list."), Heard("What is on my list?")],
        llm=[
            Reply(tool_calls=[ToolCall("1", "add_item", '{"item": "milk"}')]),
            Reply.of("Milk is on it."),
            Reply(tool_calls=[ToolCall("2", "read_list", "{}")]),
            Reply.of("Milk."),
        ],
    )
    files = (recording(tmp_path, "one"), recording(tmp_path, "two"))
    run_scripted("mcp_agent", script, *files, monkeypatch=monkeypatch)
    assert capsys.readouterr().out.splitlines() == [
        "user: Put milk on my list.",
        "assistant: Milk is on it.",
        "user: What is on my list?",
        "assistant: Milk.",
    ]
    outputs = [call.messages[-1].content for call in script.llm_engine.calls if call.messages[-1].role == "tool"]
    assert outputs == ["milk is on the list.", "milk"]


# ----------------------------------------------------------------------------------------- real engines


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Spoken requests, by the packaged voice."""
    folder = tmp_path_factory.mktemp("spoken")
    texts = {"weather": "What is the weather in Paris?", "sum": "What is twelve times seven?"}

    async def main() -> dict[str, Path]:
        found: dict[str, Path] = {}
        async with Assembly(load_config("tiny.yaml"), needs_llm=False) as assembly:
            assert assembly.engines is not None
            tts = assembly.engines.tts
            for name, text in texts.items():
                pieces = [chunk.frame.samples async for chunk in tts.synthesize(text)]
                silence = np.zeros(tts.rate_hz // 2, dtype=np.float32)
                found[name] = folder / f"{name}.wav"
                soundfile.write(found[name], np.concatenate([silence, *pieces, silence]), tts.rate_hz)
        return found

    return asyncio.run(main())


def installed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False, env={**os.environ})


@pytest.mark.real
@pytest.mark.timeout(900)
def test_the_vendors_example_runs_offline_on_the_local_engines(questions: dict[str, Path], tmp_path: Path) -> None:
    patient = tmp_path / "patient.yaml"  # a machine that is busy with other tests is not broken
    patient.write_text("extends: local.yaml\nsession: {answer_deadline_s: 200}\n", "utf-8")
    example = str(ROOT / "examples" / "weather_agent.py")
    done = installed(sys.executable, example, str(questions["weather"]), str(patient))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert "weather in paris" in lines["user"].lower()
    assert "sunny" in lines["assistant"].lower(), "the tool was called, and its result spoken"


@pytest.mark.real
@pytest.mark.timeout(900)
def test_the_packaged_agent_calls_its_tool_and_speaks_its_result(questions: dict[str, Path], tmp_path: Path) -> None:
    out, events = tmp_path / "answer.wav", tmp_path / "events.jsonl"
    antiphon = str(Path(sys.executable).with_name("antiphon"))
    arguments = (
        "run",
        "agent.yaml",
        "--in",
        str(questions["sum"]),
        "--out",
        str(out),
        "--events",
        str(events),
        "--fast",
        "--set",
        "session.answer_deadline_s=200",
    )
    done = installed(antiphon, *arguments)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in events.read_text("utf-8").splitlines()]
    calls = [event for event in told if event["type"] == "tool_call"]
    assert [event["name"] for event in calls] == ["calculate"]
    (result,) = [event for event in told if event["type"] == "tool_result"]
    assert "84" in result["output"]
    said = "".join(event["text"] for event in told if event["type"] == "spoken")
    assert "84" in said and soundfile.info(out).duration > 0.5
