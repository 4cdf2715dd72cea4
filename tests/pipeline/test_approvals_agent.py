"""An agent's tool that needs a yes: the run is stored with the question, and goes on after a restart."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("agents", reason="needs the package openai-agents")

from agents import Agent, function_tool
from agents_kit import Turns as AgentTurns
from agents_kit import called, results, spoken
from scripted_config import Script

from antiphon.engines.audio import AudioFrame
from antiphon.engines.testing import Heard, Reply, ScriptedTTS, run_virtual
from antiphon.pipeline.agent.workflow import AgentWorkflow
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config.model import ApprovalsConfig
from antiphon.pipeline.events import ApprovalEvent, Event
from antiphon.pipeline.policy import ApprovalDesk, SessionApprovals
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames

pytestmark = pytest.mark.interop

SEND = called("transfer", '{"amount": 5}')


class Bank:
    """The world outside: what was really done."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def agent(self) -> Agent[Any]:
        @function_tool(needs_approval=True)
        def transfer(amount: int) -> str:
            """Transfer money."""
            self.done.append(amount)
            return "Transferred."

        return Agent(name="Bank", instructions="Be brief.", tools=[transfer])


def turns_of(bank: Bank, desk: ApprovalDesk, *replies: Reply) -> AgentTurns:
    return AgentTurns(bank.agent(), list(replies), approver=SessionApprovals(desk))


async def open_question(desk: ApprovalDesk) -> str:
    while True:
        if found := await desk.find(states=("pending",)):
            return found[0].id
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("granted", [True, False])
def test_a_call_waits_for_the_desk(tmp_path: Path, granted: bool) -> None:
    async def check() -> None:
        bank, desk = Bank(), ApprovalDesk(tmp_path / "a.db", poll_s=0.02)
        turns = turns_of(bank, desk, SEND, Reply.of("There you are."))
        async with turns.llm:
            answering = asyncio.create_task(turns.ask("Send five."))
            approval_id = await open_question(desk)
            assert bank.done == []
            await desk.decide(approval_id, granted, by="ann")
            assert spoken(await answering) == "There you are."
            await turns.workflow.aclose()
        assert bank.done == ([5] if granted else [])
        desk.close()

    asyncio.run(check())


@pytest.mark.parametrize("granted", [True, False])
def test_a_run_goes_on_after_a_restart_and_acts_once(tmp_path: Path, granted: bool) -> None:
    bank = Bank()

    async def before() -> None:
        desk = ApprovalDesk(tmp_path / "a.db", poll_s=0.02)
        turns = turns_of(bank, desk, SEND)
        async with turns.llm:
            answering = asyncio.create_task(turns.ask("Send five."))
            await open_question(desk)
            answering.cancel()  # the process ends without a word to anybody
            await asyncio.wait([answering])
        desk.close()

    async def after() -> None:
        desk = ApprovalDesk(tmp_path / "a.db", poll_s=0.02)
        (left,) = await desk.unfinished("s")
        await desk.decide(left.id, granted, by="ann")
        decision = await SessionApprovals(desk).resume(left.id)
        assert decision.granted is granted
        turns = turns_of(bank, desk, Reply.of("Here it is."))
        async with turns.llm:
            going_on = turns.workflow.resume(
                turns.context("Send five."), json.loads(left.run_state), {left.call_id: decision.granted}
            )
            pieces = [piece async for piece in going_on]
            await turns.workflow.aclose()
        assert spoken(pieces) == "Here it is." and len(results(pieces)) == 1
        again = await SessionApprovals(desk).resume(left.id)
        assert not again.granted, "a yes is taken once"
        desk.close()

    asyncio.run(before())
    assert bank.done == []
    asyncio.run(after())
    assert bank.done == ([5] if granted else [])


def test_an_agent_of_the_callers_own_is_asked_about_at_the_desk_of_its_session(tmp_path: Path) -> None:
    bank, script = Bank(), Script(stt=[Heard("Send five.", 0.1)], llm=[SEND, Reply.of("Done.")], speech=[(0.2, 0.8)])
    script.tts_engine = ScriptedTTS(repeat=True)
    config = script.config(approvals=ApprovalsConfig(store=tmp_path / "a.db", poll_ms=20))
    states: list[str] = []

    async def main() -> None:
        deciding: list[asyncio.Task[Any]] = []

        def decide(event: Event) -> None:
            if isinstance(event, ApprovalEvent):
                states.append(event.state)
                if event.state == "pending":
                    deciding.append(asyncio.ensure_future(grant(event.approval_id)))

        async def grant(approval_id: str) -> None:
            desk = ApprovalDesk(tmp_path / "a.db")
            await desk.grant(approval_id, by="ann")
            desk.close()

        async with Assembly(config) as assembly:
            silence = AudioFrame(np.zeros(16000 * 5, dtype=np.float32), 16000)
            transport = RecordingTransport(recording_frames(silence, paced=True), paced=True)
            workflow = AgentWorkflow(bank.agent())
            await assembly.session(transport, workflow=workflow, sinks=[decide]).run()
            await asyncio.gather(*deciding)

    run_virtual(main())
    assert bank.done == [5] and states == ["pending", "granted"]
