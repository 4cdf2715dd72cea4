"""The sections `policy` and `approvals`: what they make, and what is said of mistakes."""

import asyncio
import sys
import types
from pathlib import Path

import pytest

from antiphon.pipeline.config import Config, InvalidConfig, parse_config
from antiphon.pipeline.config.policy import CHECK_OPTIONS
from antiphon.pipeline.errors import PolicyError
from antiphon.pipeline.policy import Approval, ApprovalRequest, Rewrite, Subject
from antiphon.pipeline.policy.builtin import BUILT_IN
from antiphon.pipeline.policy.make import make_approvals, make_desk, make_policy
from antiphon.pipeline.policy.verdicts import GATES


def config_of(text: str) -> Config:
    return parse_config(f"extends: tiny.yaml\n{text}\n")


def problem_of(text: str) -> str:
    with pytest.raises(InvalidConfig) as caught:
        config_of(text)
    return str(caught.value)


def test_nothing_is_checked_by_default() -> None:
    policy = make_policy(config_of("").policy)
    assert not policy and policy.streams_words


def test_gates_from_yaml() -> None:
    policy = make_policy(
        config_of(
            """
policy:
  transcript:
    - pii
    - {check: max_length, words: 50, on_failure: open, timeout_s: 0.5, failure_line: Hm.}
  tool_call:
    - {check: approve, tools: [pay], question: "Pay {amount}?", by: voice, wait_s: 20}
  speech:
    hold: full
    checks:
      - check: pattern
        patterns: ['secret\\d+']
  turn:
    - {check: topic, deny: {medicine: illness and drugs}}
  blocked_line: No.
"""
        ).policy
    )
    assert [check.name for check in policy.all_checks()] == ["pii", "max_length", "approve", "pattern", "topic"]
    assert [check.on_failure for check in policy.all_checks()] == ["closed", "open", "closed", "closed", "open"]
    assert policy.transcript[1].timeout_s == 0.5 and policy.transcript[1].failure_line == "Hm."
    assert (policy.hold, policy.blocked_line, policy.uses_llm) == ("full", "No.", True)


def test_every_documented_check_can_be_made() -> None:
    assert BUILT_IN.keys() == CHECK_OPTIONS.keys()
    assert all(BUILT_IN[name][0] is CHECK_OPTIONS[name] for name in BUILT_IN)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("policy: {transcript: [pi]}", ["policy.transcript.0", "did you mean 'pii'"]),
        (
            "policy:\n  turn:\n    - pii\n    - {check: pii, card: true}",
            ["policy.turn.1", "'card'", "did you mean 'cards'"],
        ),
        ("policy: {transcript: [{check: pii, timeout_s: x}]}", ["policy.transcript.0.timeout_s", "'x'", "(s)"]),
        ("policy: {transcript: [{check: max_length}]}", ["policy.transcript.0", "needs 'chars' or 'words'"]),
        ("policy: {speech: {hold: word}}", ["policy.speech.hold", "sentence or full"]),
        ("policy: {speech: {checks: [{check: pattern, patterns: ['(']}]}}", ["policy.speech.checks.0", "pattern 0"]),
        ("policy: {turn: [{patterns: [a]}]}", ["policy.turn.0", "this key is missing"]),
        ("policy: {turn: pii}", ["policy.turn", "a list"]),
        ("policy: {turns: []}", ["policy.turns", "unknown key", "did you mean 'turn'"]),
        ("policy: {turn: [{check: topic}]}", ["policy.turn.0", "needs 'allow' or 'deny'"]),
        ("approvals: {timeout_s: 0}", ["approvals.timeout_s", "more than 0"]),
        ("approvals: {callback: foo}", ["approvals.callback", "foo"]),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, words: list[str]) -> None:
    problem = problem_of(text)
    assert all(word in problem for word in words), problem
    assert "<text>:" in problem


async def loud(subject: Subject) -> str:
    return subject.text.upper()


class Prefix:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    async def check(self, subject: Subject) -> Rewrite:
        return Rewrite(self.prefix + subject.text)


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("own_checks")
    module.__dict__.update(loud=loud, Prefix=Prefix, number=3)
    monkeypatch.setitem(sys.modules, "own_checks", module)


@pytest.mark.usefixtures("own_module")
def test_checks_of_the_users_own() -> None:
    text = "policy: {transcript: ['own_checks:loud', {check: 'own_checks:Prefix', prefix: '>'}]}"
    policy = make_policy(config_of(text).policy)
    assert [check.name for check in policy.transcript] == ["own_checks:loud", "own_checks:Prefix"]
    assert isinstance(policy.transcript[1].check, Prefix)


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("'own_checks:nope'", "cannot be imported"),
        ("'no_such_module_here:x'", "cannot be imported"),
        ("'own_checks:number'", "int is no check"),
        ("'own_checks:Prefix'", "cannot be made without arguments"),
        ("{check: 'own_checks:Prefix', prefixes: a}", "cannot be made with"),
        ("{check: 'own_checks:loud', prefix: a}", "it takes no options"),
        ("{check: pii, national: [xx.yy]}", "no number"),
    ],
)
def test_what_cannot_be_made_is_told_with_its_place(check: str, words: str) -> None:
    config = config_of(f"policy: {{speech: {{checks: [pii, {check}]}}}}")
    with pytest.raises(PolicyError, match=words) as caught:
        make_policy(config.policy)
    assert str(caught.value).startswith("policy.speech.checks.1: ")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(PolicyError, match="phonenumbers") as caught:
        make_policy(config_of("policy: {transcript: [pii]}").policy)
    assert caught.value.hint == 'pip install "antiphon[policy]"'


async def always(approval: Approval) -> bool:
    return approval.question == "Really?"


@pytest.mark.usefixtures("own_module")
def test_the_desk_and_a_sessions_way_to_it(tmp_path: Path) -> None:
    sys.modules["own_checks"].__dict__["always"] = always
    config = config_of(
        f"approvals: {{store: '{tmp_path}/own.db', callback: 'own_checks:always', waiting_line: W, timeout_s: 0.05}}"
    )
    spoken: list[str] = []

    async def speak(text: str) -> None:
        spoken.append(text)

    async def run() -> None:
        desk = make_desk(config.approvals)
        assert desk.path == tmp_path / "own.db"
        approvals = make_approvals(config.approvals, desk, speak=speak)
        assert (await approvals.ask(ApprovalRequest("s", 1, "Really?", by="desk"))).by == "callback"
        assert (await approvals.ask(ApprovalRequest("s", 1, "Other?"))).by == "callback"
        assert (await approvals.ask(ApprovalRequest("s", 1, "Aloud?", by="voice"))).by == "timeout"
        assert spoken == ["W", "Other?", "Aloud?"]
        desk.close()

    asyncio.run(run())


def test_a_callback_that_is_not_there_is_told() -> None:
    with pytest.raises(PolicyError, match=r"approvals\.callback"):
        make_desk(config_of("approvals: {callback: 'no_such_module_here:x'}").approvals)


def test_the_pages_example_is_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
    example = page.partition("```yaml\n")[2].partition("```")[0]
    policy = make_policy(config_of(example).policy)
    assert [len(policy.gate(gate)) for gate in GATES] == [2, 2, 2, 1]
