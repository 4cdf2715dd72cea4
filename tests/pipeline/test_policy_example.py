"""The example `bank_transfer`: no transfer without the caller's yes and then the desk's."""

import asyncio
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.dotted import load_dotted
from antiphon.pipeline.config import load_config
from antiphon.pipeline.policy import Outcome, PolicyDecision, TurnGuard
from antiphon.pipeline.policy.make import make_approvals, make_desk, make_policy

EXAMPLES = Path(__file__).parents[2] / "examples"
CALL = json.dumps({"amount": 100, "to": "Anna"})


async def call_tool(folder: Path, caller: str, supervisor: bool | None) -> tuple[Outcome, list[PolicyDecision], Any]:
    """What comes of a transfer that the caller and the supervisor answer so."""
    config = load_config(
        EXAMPLES / "bank_transfer.yaml", overrides=[f"approvals.store={folder / 'a.db'}", "approvals.poll_ms=20"]
    )
    spoken: asyncio.Queue[str] = asyncio.Queue()
    told: list[PolicyDecision] = []
    desk = make_desk(config.approvals)
    approvals = make_approvals(config.approvals, desk, speak=spoken.put)
    guard = TurnGuard(make_policy(config.policy), "s", 1, told.append, approvals)
    judging = asyncio.create_task(guard.tool_call("make_transfer", CALL, "c1"))
    assert await spoken.get() == "Shall I transfer 100 euros to Anna?"
    assert await approvals.hear(caller)
    if supervisor is not None:
        assert await spoken.get() == "One moment please, I have to ask for approval."
        (open_,) = await desk.find(states=("pending",))
        assert (open_.question, open_.arguments) == ("Transfer of 100 euros to Anna", CALL)
        await desk.decide(open_.id, supervisor, by="ann")
    outcome = await asyncio.wait_for(judging, 60)
    desk.close()
    return outcome, told, config


@pytest.mark.parametrize(
    ("caller", "supervisor", "allowed"), [("Yes, please.", True, True), ("Yes.", False, False), ("No!", None, False)]
)
def test_both_have_to_say_yes(tmp_path: Path, caller: str, supervisor: bool | None, allowed: bool) -> None:
    outcome, told, _ = asyncio.run(call_tool(tmp_path, caller, supervisor))
    assert outcome.allowed is allowed and outcome.text == CALL
    answers = [(d.verdict, d.reason) for d in told if d.verdict != "ask"]
    expected = {
        "Yes, please.": [("granted", "voice"), ("granted", "ann")],
        "Yes.": [("granted", "voice"), ("refused", "ann")],
        "No!": [("refused", "voice")],
    }
    assert answers == expected[caller]


def test_the_balance_needs_no_yes_and_a_card_number_goes() -> None:
    async def check() -> None:
        policy = make_policy(load_config(EXAMPLES / "bank_transfer.yaml").policy)
        guard = TurnGuard(policy, "s", 1, [].append)
        assert (await guard.tool_call("account_balance", "{}")).allowed
        assert (await guard.transcript("My card is 4111 1111 1111 1111.")).text == "My card is [card number]."
        assert not (await guard.tool_call("make_transfer", CALL)).allowed  # nobody can be asked

    asyncio.run(check())


def test_the_agent_has_the_banks_tools_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = pytest.importorskip("antiphon.pipeline.agent.runtime", reason="needs the package openai-agents")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    config = load_config(EXAMPLES / "bank_transfer.yaml")

    async def tools() -> list[str]:
        async with runtime.AgentRuntime(config.workflow, load_dotted, offline=True) as agents:
            return [tool.name for tool in agents.workflow(None).agent.tools]

    assert asyncio.run(tools()) == ["account_balance", "make_transfer"]


def test_the_tools_are_a_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    bank_transfer = importlib.import_module("bank_transfer")
    monkeypatch.setattr(bank_transfer, "bank", bank_transfer.Bank())
    assert bank_transfer.make_transfer(100, "Anna") == "100 euros are on their way to Anna."
    assert "400 euros" in bank_transfer.make_transfer(500, "Anna")
    assert bank_transfer.account_balance() == "400 euros"
    assert bank_transfer.bank.transfers == [(100, "Anna")]
