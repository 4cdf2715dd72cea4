"""When B is worse than A, and what of them can be compared at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from antiphon.benchmarks.compare import compare, differences, load_result
from antiphon.benchmarks.metrics import summarise
from antiphon.benchmarks.records import BenchResult, ConfigResult, TurnRecord
from antiphon.benchmarks.report import ReportError
from antiphon.benchmarks.result import ResultError, to_dict, write_result

Change = Callable[[dict[str, Any], int], None]


def turn(number: int, change: Change | None) -> TurnRecord:
    fields: dict[str, Any] = {
        "clip": f"{number:02}.wav",
        "kind": "turn",
        "lang": "en",
        "run": 0,
        "outcome": "answered",
        "ttfa_ms": 300.0 + 40 * (number % 7),
        "commit_delay_ms": 250.0,
        "compute_after_commit_ms": 50.0 + 40 * (number % 7),
        "cpu_s": 0.5,
        "words": 8,
        "word_errors": number % 3 == 0,
        "commits": 1,
    }
    if change is not None:
        change(fields, number)
    return TurnRecord(**fields)


def config(name: str = "x.yaml", *, change: Change | None = None, turns: int = 20, **more: Any) -> ConfigResult:
    return summarise(name, [turn(number, change) for number in range(turns)], **more)


def result(*configs: ConfigResult, **fields: Any) -> BenchResult:
    return BenchResult(**{"configs": configs, "clips": {"index_sha256": "ab"}, "machine": {"cores": 2}, **fields})


def slower(by: float, every: int = 1) -> Change:
    def change(fields: dict[str, Any], number: int) -> None:
        if number % every == 0:
            fields["ttfa_ms"] *= by

    return change


def outcome(name: str, count: int) -> Change:
    def change(fields: dict[str, Any], number: int) -> None:
        if number < count:
            fields |= {"outcome": name, "ttfa_ms": None, "compute_after_commit_ms": None}

    return change


def worse(change: Change | None, threshold: float = 1.1, **more: Any) -> list[str]:
    (found,), alone = compare(result(config(**more)), result(config(change=change, **more)))
    assert alone == []
    return found.worse(threshold)


def test_a_result_is_not_worse_than_itself() -> None:
    (found,), _ = compare(result(config()), result(config()))
    assert found.worse(1.0) == []
    assert found.ratio is not None
    assert (found.ratio.value, found.ratio.interval) == (1.0, (1.0, 1.0))
    assert (found.pairs, found.only_a, found.only_b, found.undecided) == (20, (), (), False)


def test_slower_than_the_threshold_is_worse_and_up_to_it_is_not() -> None:
    (why,) = worse(slower(1.3))
    assert "1.30 times" in why
    assert worse(slower(1.3), threshold=1.3) == []
    assert worse(slower(1.05)) == []
    assert worse(slower(0.5)) == []


def test_an_interval_that_reaches_below_the_threshold_is_no_proof() -> None:
    """Half of the turns are slower: the median may be of either kind."""
    (found,), _ = compare(result(config()), result(config(change=slower(1.5, every=2))))
    assert found.ratio is not None
    assert found.ratio.interval is not None
    assert found.ratio.interval[0] <= 1.1 < found.ratio.interval[1]
    assert found.worse(1.1) == []


def test_with_few_clips_nothing_is_proved_and_that_is_told() -> None:
    (found,), _ = compare(result(config(turns=4)), result(config(turns=4, change=slower(3))))
    assert found.undecided
    assert found.worse(1.1) == []


@pytest.mark.parametrize(
    ("name", "told"), [("cutoff", "cut off"), ("missed", "missed"), ("failed", "missed or failed")]
)
def test_turns_that_are_lost_count_from_five_clips_on(name: str, told: str) -> None:
    assert worse(outcome(name, 4)) == []
    (why,) = worse(outcome(name, 5))
    assert told in why
    assert "0 before, 5 now, of 20" in why


def test_what_was_as_bad_before_is_not_worse() -> None:
    (found,), _ = compare(result(config(change=outcome("cutoff", 6))), result(config(change=outcome("cutoff", 8))))
    assert (found.cutoffs.a, found.cutoffs.b) == (6, 8)
    assert found.worse(1.1) == []


def test_missed_and_failed_turns_are_one_kind() -> None:
    def change(fields: dict[str, Any], number: int) -> None:
        outcome("missed" if number % 2 else "failed", 6)(fields, number)

    (why,) = worse(change)
    assert "missed or failed: 0 before, 6 now" in why


def test_noise_that_is_answered_is_worse_and_is_no_turn() -> None:
    def noise(name: str) -> Change:
        return lambda fields, number: fields.update(outcome=name, ttfa_ms=None, words=None, word_errors=None)

    (found,), _ = compare(
        result(config(change=noise("quiet"), turns=6)), result(config(change=noise("false_start"), turns=6))
    )
    assert (found.false_starts.a, found.false_starts.b, found.cutoffs.turns) == (0, 6, 0)
    (why,) = found.worse(1.1)
    assert "false starts" in why


def test_more_word_errors_are_worse_if_the_whole_interval_says_so() -> None:
    def deaf(count: int) -> Change:
        def change(fields: dict[str, Any], number: int) -> None:
            if number < count:
                fields["word_errors"] += 2

        return change

    assert worse(deaf(1)) == []
    (why,) = worse(deaf(15))
    assert "18.8 points" in why


def test_costs_and_delays_are_differences_pair_by_pair() -> None:
    def change(fields: dict[str, Any], number: int) -> None:
        fields["cpu_s"] += 0.25
        fields["commit_delay_ms"] -= 30
        fields["compute_after_commit_ms"] += 5

    (found,), _ = compare(result(config()), result(config(change=change)), metric="cpu_s")
    assert found.ratio is not None
    assert (found.a, found.b, found.ratio.value) == (0.5, 0.75, 1.5)
    for estimate, value in (
        (found.cpu_s, 0.25),
        (found.commit_delay_ms, -30.0),
        (found.compute_after_commit_ms, 5.0),
    ):
        assert estimate is not None
        assert estimate.value == pytest.approx(value)


def test_only_turns_that_both_answered_are_timed() -> None:
    (found,), _ = compare(result(config()), result(config(change=outcome("cutoff", 3))))
    assert found.ratio is not None
    assert (found.pairs, found.ratio.pairs) == (20, 17)


def test_turns_and_configurations_without_a_partner_are_named() -> None:
    a = result(config(turns=6), config("only_a.yaml"))
    b = result(config(turns=8), config("only_b.yaml"))
    (found,), alone = compare(a, b)
    assert (found.pairs, found.only_a, found.only_b) == (6, (), (("06.wav", 0, 0), ("07.wav", 0, 0)))
    assert alone == ["only_a.yaml (only in A)", "only_b.yaml (only in B)"]


def test_the_same_file_with_other_settings_is_compared_and_the_settings_are_told() -> None:
    a, b = config(settings={"turn.preset": "fast"}), config(settings={"turn.preset": "careful"})
    (found,), alone = compare(result(a), result(b))
    assert (found.label, alone) == ("x.yaml", [])
    assert "fast" in found.settings.partition("; B is")[0]
    assert "careful" in found.settings.partition("; B is")[2]
    same, alone = compare(result(a, b), result(b, a))
    assert [one.settings for one in same] == ["", ""], "the same settings belong together, whatever the order"
    with pytest.raises(ResultError, match="no configuration is in both"):
        compare(result(a, b), result(config(settings={"turn.preset": "balanced"})))


def test_one_configuration_can_be_chosen_and_peers_are_compared_too() -> None:
    a = result(config("x.yaml"), config("y.yaml"), peers=(config("Peer 1.0"),))
    assert [one.label for one in compare(a, a)[0]] == ["x.yaml", "y.yaml", "Peer 1.0"]
    assert [one.label for one in compare(a, a, config="y.yaml")[0]] == ["y.yaml"]
    with pytest.raises(ResultError, match=r"'z\.yaml'") as caught:
        compare(a, a, config="z.yaml")
    assert "y.yaml" in caught.value.hint


def test_results_over_other_clips_cannot_be_compared() -> None:
    def renamed(fields: dict[str, Any], number: int) -> None:
        fields["clip"] = f"other {number}.wav"

    with pytest.raises(ResultError, match="no turn is in both"):
        compare(result(config()), result(config(change=renamed)))


def test_another_machine_or_other_clips_are_told() -> None:
    a = result(config())
    assert differences(a, a) == []
    (machine,) = differences(a, replace(a, machine={"cores": 8}))
    assert "cores: 2 / 8" in machine
    (clips,) = differences(a, replace(a, clips={"index_sha256": "cd"}))
    assert "clips" in clips


# ------------------------------------------------------------------------------------------ reading


def test_a_result_is_read_from_its_file_or_folder(tmp_path: Path) -> None:
    made = result(config())
    write_result(made, tmp_path)
    for path in (tmp_path, tmp_path / "result.json"):
        read, said = load_result(path)
        assert (read, said) == (made, [])


def test_a_result_that_was_stopped_or_is_of_another_version_is_read_with_a_warning(tmp_path: Path) -> None:
    data = {**to_dict(result(config())), "schema_version": 7, "complete": False, "news": 1}
    (tmp_path / "result.json").write_text(json.dumps(data))
    read, said = load_result(tmp_path)
    assert read.configs[0].turns == 20
    assert ["version 7" in said[0], "stopped" in said[1]] == [True, True]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": "1"}', "nonsense"])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ResultError, match=r"result\.json"):
        load_result(tmp_path)


def test_a_wrong_field_is_named(tmp_path: Path) -> None:
    data = to_dict(result(config()))
    data["configs"][0]["turns"] = "many"
    (tmp_path / "result.json").write_text(json.dumps(data))
    with pytest.raises(ReportError, match=r"configs\.0\.turns"):
        load_result(tmp_path)
