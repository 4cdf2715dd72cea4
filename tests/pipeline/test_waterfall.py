"""The waterfall: its parts sum to the whole, whatever the times."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.pipeline.events import Timings
from antiphon.pipeline.waterfall import STEPS, render, total_ms, waterfall

TIMES = st.integers(-5_000_000, 120_000_000).map(lambda micros: micros / 1e6)
RANDOM = st.fixed_dictionaries({}, optional={key: st.none() | TIMES for key, _ in STEPS})
USUAL = {
    "speech_end_s": 10.0,
    "vad_stop_s": 10.1,
    "commit_s": 10.4,
    "stt_s": 10.15,
    "first_token_s": 10.3,
    "first_clause_s": 10.5,
    "first_audio_s": 10.56,
    "audible_s": 10.6,
}


def test_the_steps_are_the_timings_of_an_event() -> None:
    fields = {name for name in Timings.__dataclass_fields__}
    assert {key for key, _ in STEPS} | {"speech_end_s"} == fields


def test_work_that_another_step_covers_is_hidden() -> None:
    parts = {step.name: round(step.part_ms) for step in waterfall(USUAL)}
    assert parts == {
        "VAD stop": 100,
        "commit": 300,
        "STT": 0,
        "first token": 0,
        "first clause": 100,
        "first audio": 60,
        "audible": 40,
    }
    assert total_ms(waterfall(USUAL)) == pytest.approx(600)


@given(RANDOM, TIMES)
def test_the_parts_sum_to_the_whole(times: dict[str, float | None], zero_s: float) -> None:
    steps = waterfall({**times, "speech_end_s": zero_s})
    last_ms = max((step.done_ms for step in steps), default=0.0)
    assert total_ms(steps) == pytest.approx(max(0.0, last_ms), abs=1e-6)
    assert all(step.part_ms >= 0 for step in steps)
    assert len(steps) == sum(1 for at_s in times.values() if at_s is not None)
    # bars that count neither overlap nor leave a gap
    edges = [(step.start_ms, step.done_ms) for step in steps if step.part_ms > 0]
    assert all(after[0] == pytest.approx(before[1], abs=1e-6) for before, after in pairwise(edges))


def test_nothing_without_the_end_of_speech() -> None:
    assert waterfall({}) == waterfall({**USUAL, "speech_end_s": None}) == []
    assert render([]) == []
    assert render(waterfall({"speech_end_s": 1.0, "commit_s": 0.5})) == [], "all before the end of speech"


@given(RANDOM, TIMES, st.integers(1, 120))
def test_the_printed_parts_sum_to_the_printed_whole(times: dict[str, float | None], zero_s: float, width: int) -> None:
    lines = render(waterfall({**times, "speech_end_s": zero_s}), width)
    printed = [int(found.group(1)) for line in lines if (found := re.search(r"(\d+) ms", line))]
    assert sum(printed[:-1]) == (printed[-1] if printed else 0)
    assert all(len(line) == 15 + width + 10 for line in lines[:-1])
    assert sum(line.count("█") for line in lines) <= width + len(lines), "a part that can be seen has a bar"


def test_it_looks_like_a_waterfall() -> None:
    lines = render(waterfall(USUAL), 30)
    assert [line.split()[0] for line in lines] == ["VAD", "commit", "STT", "first", "first", "first", "audible", "sum"]
    assert lines[0] == "  VAD stop     █████                             100 ms"
    assert lines[1] == "  commit            ███████████████              300 ms"
    assert lines[2].endswith("hidden") and lines[-1].endswith(" 600 ms")
