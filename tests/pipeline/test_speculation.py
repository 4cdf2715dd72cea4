"""What speculation weighs: texts that agree, the budget, the books."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.host import Meter
from antiphon.pipeline.speculation import Budget, Ledger, SpeculationReport, same_words, whole_words


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What time is it?", "what time is it", True),
        ("Turn it on, please.", "Turn it on please", True),
        ("I don't know", "I don\N{RIGHT SINGLE QUOTATION MARK}t know.", True),
        ("  two   people ", "Two people.", True),
        ("cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", True),
        ("turn it on", "turn it off", False),
        ("five", "five five", False),
        ("50%", "50", False),
        ("+5", "5", False),
        ("ten 30", "ten30", False),
        ("", "...", True),
    ],
)
def test_same_words(one: str, other: str, same: bool) -> None:
    assert same_words(one, other) is same_words(other, one) is same


@given(st.text())
def test_case_and_full_stops_are_nothing(text: str) -> None:
    assert same_words(text, f" {text} . ")
    assert same_words(text, text)


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        ("", ""),
        ("one", ""),
        ("one.", ""),
        ("How old is the Brook.", "How old is the"),
        ("What? Ti", "What"),
        ("one, two, three.", "one, two"),
    ],
)
def test_whole_words(text: str, likely: str) -> None:
    assert whole_words(text) == likely


def test_the_budget_is_what_the_user_speaks() -> None:
    budget = Budget(0.5, burst_s=2.0)
    assert budget.allows() and budget.allows(0.9) and not budget.allows(1.0)
    budget.waste(1.0)
    assert not budget.allows()
    budget.spoke(1.0)
    assert budget.allows()
    budget.waste(0.6)
    assert not budget.allows()
    budget.spoke(1000.0)  # no more than the burst is saved
    assert not budget.allows(1.0)
    budget.waste(1000.0)  # and no more is owed
    budget.spoke(2.1)
    assert budget.allows()


def test_no_budget_is_no_speculation() -> None:
    budget = Budget(0.0)
    budget.spoke(100.0)
    assert not budget.allows()


def meter(seconds: float) -> Meter:
    made = Meter()
    made.add(seconds)
    return made


def test_the_books() -> None:
    heard = meter(0.1)
    ledger = Ledger(started=2, dropped=1, hearings=[meter(0.2), heard], ahead=meter(0.05), wasted=[meter(0.4)])
    report = ledger.report(answer=meter(1.0), heard=heard, hit=True)
    assert report == SpeculationReport(
        started=2, dropped=1, reruns=1, hit=True, spent_s=pytest.approx(1.75), wasted_s=pytest.approx(0.6)
    )


def test_the_budget_does_not_pay_for_what_became_an_answer() -> None:
    ledger = Ledger(hearings=[meter(0.1), meter(0.2), meter(0.4)], ahead=meter(0.05), wasted=[meter(1.0)])
    assert ledger.cost_s() == pytest.approx(1.75)
    assert ledger.cost_s(pending=ledger.hearings[2]) == pytest.approx(1.35)
    ledger.used = ledger.hearings[2]
    assert ledger.cost_s() == pytest.approx(1.35)
