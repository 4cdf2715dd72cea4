"""Runs a scenario: its turns on the configured workflow, in text or as audio, against what is expected."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import LLM
from antiphon.pipeline.audio_file import read_audio_file
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config, load_config, packaged_names
from antiphon.pipeline.events import Event
from antiphon.pipeline.testkit.judge import judge
from antiphon.pipeline.testkit.scenario import Scenario, TurnSpec
from antiphon.pipeline.testkit.talk import TextTalk, add_call, add_output
from antiphon.pipeline.testkit.turn import Turn, Unexpected
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames
from antiphon.pipeline.user_code import may_use_llm


@dataclass(frozen=True, slots=True)
class ScenarioFailure:
    """One expectation that was not met."""

    line: int
    """In the scenario's file."""
    message: str
    """What was expected, and the turn as it was."""


@dataclass(slots=True)
class ScenarioResult:
    """What became of a scenario."""

    scenario: Scenario
    turns: list[Turn] = field(default_factory=list)
    failures: list[ScenarioFailure] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.failures

    def __str__(self) -> str:
        """Every failure under its place in the file."""
        return "\n".join(f"{self.scenario.path}:{failure.line}: {failure.message}" for failure in self.failures)


async def run_scenario(scenario: Scenario, *, workflow: Any = None, config: Config | None = None) -> ScenarioResult:
    """Run it. After a turn that fails unexpectedly, the turns after it are not tried.

    :param workflow: in place of the configured one.
    :param config: in place of the scenario's.
    :raises AntiphonError: an engine cannot be loaded, or a configuration or recording is not usable.
    """
    spec = scenario.spec
    source = _config_source(scenario, spec.config)
    loaded = config or load_config(source, overrides=spec.overrides)
    _make_importable(scenario.path.parent, *([source.parent] if isinstance(source, Path) else []))
    result = ScenarioResult(scenario)
    text_only = not any(turn.is_audio for turn in spec.turns)
    async with AsyncExitStack() as stack:
        judges_here = _judges(scenario) and spec.judge_config is None
        needs_llm = True if judges_here else None if workflow is None else may_use_llm(workflow)
        assembly = await stack.enter_async_context(Assembly(loaded, text_only=text_only, needs_llm=needs_llm))
        judging = assembly.llm
        if spec.judge_config is not None and _judges(scenario):
            judges = load_config(_config_source(scenario, spec.judge_config))
            judging = (await stack.enter_async_context(Assembly(judges, text_only=True, needs_llm=True))).llm
        if (bind := getattr(workflow, "bind_llm", None)) is not None:
            bind(assembly.llm)
        talk = TextTalk(
            workflow if workflow is not None else assembly.workflow(),
            approve=spec.approve,
            history_turns=loaded.workflow.history_turns,
            history_tokens=loaded.workflow.max_history_tokens,
            timeout_s=loaded.session.answer_deadline_s,
        )
        for number, wanted in enumerate(spec.turns):
            turn = await _take_turn(talk, wanted, scenario, assembly)
            result.turns.append(turn)
            result.failures += [failure async for failure in _check(scenario, number, wanted, turn, judging)]
            if turn.error and not wanted.expect.error:
                break
    return result


def _config_source(scenario: Scenario, name: str | None) -> str | Path | None:
    """A path counts from the scenario; a name that is packaged is that one, unless such a file lies beside."""
    if name is None:
        return None
    beside = scenario.path.parent / name
    return name if name in packaged_names() and not beside.exists() else beside


def _make_importable(*folders: Path) -> None:
    """What lies beside a scenario or its configuration can be named by dotted path, as in the current folder."""
    for folder in folders:
        if (path := str(folder.resolve())) not in sys.path:
            sys.path.append(path)


def _judges(scenario: Scenario) -> bool:
    return any(turn.expect.judge for turn in scenario.spec.turns)


# ------------------------------------------------------------------------------------------------ turns


async def _take_turn(talk: TextTalk, wanted: TurnSpec, scenario: Scenario, assembly: Assembly) -> Turn:
    try:
        if wanted.say is not None:
            return await talk.say(wanted.say)
        if wanted.wav is not None:
            audio = read_audio_file(str(scenario.path.parent / wanted.wav), assembly.config.audio.input_hz).frame
        else:
            audio = await _spoken(assembly, wanted.speak or "")
        return await _hear(talk, audio, assembly)
    except Exception as error:  # the workflow is the user's code, and raises what it likes: that is a failed turn
        if not talk.turns or talk.turns[-1].error:
            raise
        turn = talk.turns[-1]
        turn.error = f"{type(error).__name__}: {error}"
        return turn


async def _spoken(assembly: Assembly, text: str) -> AudioFrame:
    assert assembly.engines is not None
    tts = assembly.engines.tts
    pieces = [chunk.frame.samples async for chunk in tts.synthesize(text)]
    silence = np.zeros(tts.rate_hz // 5, dtype=np.float32)
    return AudioFrame(np.concatenate([silence, *pieces, silence]), tts.rate_hz)


async def _hear(talk: TextTalk, audio: AudioFrame, assembly: Assembly) -> Turn:
    """One turn through the whole pipeline, as fast as the engines go; the recording's end ends the turn."""
    turn = Turn(len(talk.turns) + 1, "")
    talk.turns.append(turn)
    asked = len(talk.approvals.asked)
    session = assembly.session(
        RecordingTransport(recording_frames(audio, paced=False), paced=False),
        workflow=talk.workflow,
        conversation=talk.conversation,
        manual_turns=True,
        sinks=[_Reader(turn)],
    )
    began_s = asyncio.get_running_loop().time()
    await session.run()
    turn.total_ms = 1000 * (asyncio.get_running_loop().time() - began_s)
    turn.approvals = talk.approvals.asked[asked:]
    return turn


class _Reader:
    """An event sink that fills in a turn."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._committed_s: float | None = None

    def __call__(self, event: Event) -> None:
        data, turn = event.to_dict(), self._turn
        match event.type:
            case "transcript" if data["role"] == "user" and data["final"]:
                turn.user = data["text"]
            case "text_delta":
                turn.text += data["text"]
            case "committed":
                self._committed_s = event.t_s
            case "audio_started" if turn.first_ms is None and self._committed_s is not None:
                turn.first_ms = 1000 * (event.t_s - self._committed_s)
            case "tool_call":
                add_call(turn, data["call_id"], data["name"], data["arguments"])
            case "tool_result":
                add_output(turn, data["call_id"], data["name"], data["output"])
            case "error":
                turn.error = f"{data['code']}: {data['message']}"


# ------------------------------------------------------------------------------------------------ checks


async def _check(
    scenario: Scenario, number: int, wanted: TurnSpec, turn: Turn, llm: LLM | None
) -> AsyncIterator[ScenarioFailure]:
    """Every expectation that is not met, with its line."""
    expect = wanted.expect
    if turn.error and not expect.error:
        yield ScenarioFailure(scenario.line("turns", number), f"expected a turn without an error\n{turn}")
        return
    for keys, test in _tests(wanted, turn):
        try:
            test()
        except Unexpected as error:
            yield ScenarioFailure(scenario.line("turns", number, "expect", *keys), str(error))
    for index, statement in enumerate(expect.judge):
        line = scenario.line("turns", number, "expect", "judge", index)
        if llm is None:
            yield ScenarioFailure(line, "there is no LLM that could judge: set judge_config")
        elif not (verdict := await judge(llm, turn, statement)).holds:
            yield ScenarioFailure(line, f"judged not to hold: {statement}\n  the judge: {verdict.said}\n{turn}")


def _tests(wanted: TurnSpec, turn: Turn) -> Iterator[tuple[tuple[str | int, ...], Callable[[], object]]]:
    """Each expectation: its place below `expect`, and what raises if it is not met."""
    expect = wanted.expect
    if expect.error:
        yield ("error",), partial(_failed, turn)
    for index, words in enumerate(expect.contains):
        yield ("contains", index), partial(turn.expect_text, words)
    for index, words in enumerate(expect.excludes):
        yield ("excludes", index), partial(turn.expect_text, excludes=words)
    if expect.matches:
        yield ("matches",), partial(turn.expect_text, matches=expect.matches)
    for index, words in enumerate(expect.heard):
        yield ("heard", index), partial(turn.expect_heard, words)
    for index, call in enumerate(expect.calls):
        yield ("calls", index), partial(turn.expect_call, call.name, call.arguments)
    if expect.no_calls:
        names = () if isinstance(expect.no_calls, bool) else expect.no_calls
        yield ("no_calls",), partial(turn.expect_no_calls, *names)
    for index, asked in enumerate(expect.approvals):
        yield ("approvals", index), partial(turn.expect_approval, asked.name, granted=asked.granted)
    if expect.within_ms is not None:
        yield ("within_ms",), partial(turn.expect_within, expect.within_ms)


def _failed(turn: Turn) -> None:
    if not turn.error:
        raise Unexpected(f"expected the turn to fail\n{turn}")
