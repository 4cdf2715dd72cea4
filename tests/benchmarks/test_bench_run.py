"""Whole runs on scripted engines and a virtual clock: the same every time, to the byte."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from bench_clips import Made, made_clips
from hypothesis import given
from hypothesis import strategies as st
from scripted_config import Script

from antiphon.benchmarks.clips import Clip
from antiphon.benchmarks.drive import Patience
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.benchmarks.records import ConfigResult, StageTimes
from antiphon.benchmarks.run import Entry, Options, Progress, run_configs, run_deterministic, run_turn_about, spread
from antiphon.benchmarks.subject import Listener
from antiphon.benchmarks.words import normaliser
from antiphon.engines.audio import Samples
from antiphon.engines.errors import EngineFailed, EngineUnavailable
from antiphon.engines.testing import Answer, Heard, Reply, ScriptedTTS, ScriptedTurnDetector, run_virtual
from antiphon.pipeline.config import SpeculationConfig
from antiphon.pipeline.events import TranscriptEvent

LEAD_S = 0.32
"""When a clip begins on the stream clock."""
QUICK = Options(warmup=0, costs=False)


def script(**fields: Any) -> Script:
    """Speech from 0.2 to 1.0 s of the clip; commit after 400 ms of silence; every stage takes a known time."""
    given: dict[str, Any] = {
        "speech": [(LEAD_S + 0.2, LEAD_S + 1.0)],
        "stt": [Heard("what time is it", 0.1)],
        "llm": [Reply.of("It is noon.", first_delay_s=0.05, delta_delay_s=0.01)],
        "tts": ScriptedTTS(first_delay_s=0.03),
        "repeat": True,
    }
    return Script(**{**given, **fields})


def measured(made: Script, clips: Sequence[Clip], options: Options = QUICK, **sections: Any) -> ConfigResult:
    (result,) = run_deterministic([("scripted.yaml", made.config(**sections), {})], clips, options)
    return result


def unspeculated() -> dict[str, Any]:
    return {"speculation": SpeculationConfig(enabled=False)}


# ---------------------------------------------------------------------------------- the known schedule


def test_the_waterfall_of_a_known_schedule_without_speculation(tmp_path: Path) -> None:
    """The VAD's windows end at 1.312 s of the stream, 8 ms before the truth; 400 ms later the turn is committed."""
    result = measured(script(), made_clips(tmp_path), **unspeculated())
    (record,) = result.turn_records
    assert record.stages == StageTimes(
        vad_stop_ms=60.0,
        commit_ms=392.0,
        stt_ms=492.0,  # 100 after the commit
        first_token_ms=542.0,  # 50 after the transcript
        first_clause_ms=562.0,  # "It is noon." is there with its third word, two times 10 later
        first_audio_ms=592.0,  # 30 after the clause
        audible_ms=592.0,  # the scripted voice has no silence at its beginning
    )
    assert (record.ttfa_ms, record.commit_delay_ms, record.compute_after_commit_ms) == (592.0, 392.0, 200.0)
    assert (record.speculation_hit, record.speculations) == (None, 0)


def test_the_waterfall_of_the_same_schedule_with_speculation(tmp_path: Path) -> None:
    """Work begins with the first silent window; the answer is ready before the commit, and waits for it."""
    result = measured(script(), made_clips(tmp_path))
    (record,) = result.turn_records
    assert record.stages == StageTimes(
        vad_stop_ms=60.0,
        commit_ms=392.0,
        stt_ms=140.0,
        first_token_ms=190.0,
        first_clause_ms=210.0,
        first_audio_ms=240.0,
        audible_ms=392.0,
    )
    assert (record.ttfa_ms, record.compute_after_commit_ms) == (392.0, 0.0)
    assert (record.speculation_hit, record.speculations, record.underruns) == (True, 1, 0)
    assert (record.heard, record.reply, record.reply_s) == ("what time is it", "It is noon.", 0.66)


def test_a_run_repeats_to_the_byte(tmp_path: Path) -> None:
    clips = made_clips(
        tmp_path, Made("a.wav"), Made("b.wav", dialogue="d"), Made("c.wav", dialogue="d"), Made("n.wav", speech=None)
    )

    def records() -> str:
        result = measured(script(), clips, replace(QUICK, runs=2, warmup=2, concurrency=(1, 2)))
        return json.dumps([asdict(record) for record in result.turn_records], sort_keys=True)

    def both() -> str:
        results = run_deterministic(
            [("x", script().config(), {})], clips, replace(QUICK, runs=2, warmup=2, concurrency=(1, 2))
        )
        return json.dumps([asdict(result) for result in results])

    assert both() == both()


# ------------------------------------------------------------------------------------------ rules, live


def test_clips_of_one_dialogue_are_one_session_and_the_next_waits_for_the_reply(tmp_path: Path) -> None:
    clips = made_clips(tmp_path, Made("one.wav", dialogue="d"), Made("two.wav", dialogue="d"))
    # The second clip begins after the first reply (0.66 s from 1.712 s on) has been heard.
    made = script(speech=[(0.52, 1.32), (2.4 + 0.2, 2.4 + 1.0)])
    result = measured(made, clips, replace(QUICK, warmup=1))
    warm = [record for record in result.turn_records if not record.cold]
    assert [(record.clip, record.outcome) for record in warm] == [("one.wav", "answered"), ("two.wav", "answered")]
    seen = made.llm_engine.calls
    assert [len(call.messages) for call in seen] == [2, 2, 4], "the second turn of the dialogue knows the first"


def test_the_first_turn_is_cold_and_counts_apart(tmp_path: Path) -> None:
    result = measured(script(), made_clips(tmp_path, Made("a.wav"), Made("b.wav")), replace(QUICK, warmup=1, starts=3))
    assert [(record.clip, record.cold) for record in result.turn_records] == [
        ("b.wav", True),
        ("a.wav", True),
        ("b.wav", True),
        ("a.wav", False),
        ("b.wav", False),
    ]
    assert (result.turns, result.ttfa_ms.n, result.ttfa_cold_ms.n, result.cold_over_warm) == (2, 2, 3, 1.0)


def test_without_warm_up_the_first_clip_is_cold(tmp_path: Path) -> None:
    result = measured(script(), made_clips(tmp_path, Made("a.wav"), Made("b.wav")))
    assert [(record.clip, record.cold) for record in result.turn_records] == [("a.wav", True), ("b.wav", False)]


def test_noise_starts_no_turn_and_one_that_does_is_told(tmp_path: Path) -> None:
    clips = made_clips(tmp_path, Made("noise.wav", speech=None))
    quiet, loud = measured(script(speech=[]), clips), measured(script(), clips)
    assert (quiet.noise_clips, quiet.false_start_rate, quiet.turns) == (1, 0.0, 0)
    assert (loud.noise_clips, loud.false_start_rate) == (1, 1.0)


def test_a_pause_that_ends_the_turn_early_is_a_cutoff(tmp_path: Path) -> None:
    clips = made_clips(tmp_path, Made("pause.wav", speech=(0.2, 2.8), seconds=3.2, pauses_ms=(1400.0,)))
    made = script(
        speech=[(LEAD_S + 0.2, LEAD_S + 0.8), (LEAD_S + 2.2, LEAD_S + 2.8)],
        stt=[Heard("what time", 0.1), Heard("is it", 0.1)],
    )
    (record,) = measured(made, clips).turn_records
    assert (record.outcome, record.ttfa_ms, record.commit_delay_ms) == ("cutoff", None, None)
    assert (record.heard, record.word_errors) == ("what time is it", 0)


def test_a_turn_that_is_taken_back_before_a_sound_is_no_cutoff(tmp_path: Path) -> None:
    """The user goes on 200 ms after the commit, while the answer is still on its way."""
    clips = made_clips(tmp_path, Made("pause.wav", speech=(0.2, 2.0), seconds=2.5, pauses_ms=(600.0,)))
    made = script(
        speech=[(LEAD_S + 0.2, LEAD_S + 0.8), (LEAD_S + 1.4, LEAD_S + 2.0)],
        stt=[Heard("what time", 0.1), Heard("what time is it", 0.1)],
        llm=[Reply.of("It is noon.", first_delay_s=0.9)],
    )
    (record,) = measured(made, clips).turn_records
    assert (record.outcome, record.reopened, record.commits) == ("answered", 1, 1)
    assert record.heard == "what time is it"


def test_the_detectors_word_stands_in_the_record(tmp_path: Path) -> None:
    made = script()
    made.detector = ScriptedTurnDetector([Answer(0.83, 0.01)], repeat=True)
    (record,) = measured(made, made_clips(tmp_path)).turn_records
    assert (record.outcome, record.end_probability) == ("answered", 0.83)


def test_a_finished_recording_is_timed_from_its_hand_over(tmp_path: Path) -> None:
    made = script(speech=[(0.2, 1.0)])

    async def run() -> list[ConfigResult]:
        clips = made_clips(tmp_path)
        given = AntiphonSubject("x", script(speech=[(0.2, 1.0)]).config(), finished_recording=True)
        entries = [Entry(AntiphonSubject("x", made.config())), Entry(given)]
        await run_turn_about(entries, clips, replace(QUICK, warmup=1, starts=2))
        return [result for entry in entries for result in entry.results(clips)]

    live, given = run_virtual(run())
    assert [record.cold for record in live.turn_records] == [True, True, False]
    record = given.turn_records[-1]
    assert given.config == "x (finished recording)"
    # 100 (STT) + 50 (LLM) + 20 (two more words) + 30 (TTS): no endpointing, and no speculation either.
    assert (record.outcome, record.ttfa_ms, record.commit_delay_ms) == ("answered", 200.0, None)


def test_sessions_side_by_side_are_staggered_and_share_the_engines(tmp_path: Path) -> None:
    clips = made_clips(tmp_path, *(Made(f"{n}.wav") for n in range(4)))
    made = script()
    seen: list[Progress] = []

    async def run() -> list[ConfigResult]:
        options = replace(QUICK, warmup=1, concurrency=(1, 2))
        return await run_configs([("x", made.config(), {"a.b": "1"})], clips, options, seen.append)

    alone, together = run_virtual(run())
    assert (alone.concurrency, together.concurrency) == (1, 2)
    assert (alone.turns, together.turns, together.answered) == (4, 4, 4)
    assert together.settings == {"a.b": "1"}
    assert all(record.concurrency == 2 for record in together.turn_records)
    assert made.stt_engine.loads == 1
    begun = sorted(call.began_s for call in made.stt_engine.calls[-4:])
    assert begun[1] - begun[0] == pytest.approx(0.7, abs=0.02)
    assert [step.done for step in seen if step.concurrency == 2] == [1, 2, 3, 4]


def test_subjects_are_played_to_turn_about(tmp_path: Path) -> None:
    clips = made_clips(tmp_path, Made("a.wav"), Made("b.wav"))
    seen: list[tuple[str, str]] = []

    async def run() -> None:
        entries = [Entry(AntiphonSubject(name, script().config())) for name in ("one", "two")]
        await run_turn_about(
            entries, clips, replace(QUICK, warmup=1, runs=2), lambda step: seen.append((step.subject, step.record.clip))
        )

    run_virtual(run())
    cold = [("one", "b.wav"), ("two", "b.wav")]
    once = [("one", "a.wav"), ("two", "a.wav"), ("one", "b.wav"), ("two", "b.wav")]
    assert seen == [*cold, *once, *once]


@given(st.lists(st.sampled_from(["", "", "", "d", "e"]), min_size=1, max_size=30), st.integers(1, 30))
def test_a_choice_of_clips_is_spread_and_keeps_dialogues_whole(dialogues: list[str], limit: int) -> None:
    names = [Path(f"{number:02}.wav") for number in range(len(dialogues))]
    clips = [Clip(name, "made", "en", 1.0, 0.1, 0.9, dialogue=one) for name, one in zip(names, dialogues, strict=True)]
    chosen = spread(clips, limit)
    assert len(set(map(id, chosen))) == len(chosen) > 0
    for one in chosen:
        if one.dialogue:
            assert [clip for clip in clips if clip.dialogue == one.dialogue] == [
                clip for clip in chosen if clip.dialogue == one.dialogue
            ]
    if not any(dialogues):
        assert len(chosen) == min(limit, len(clips))
        assert chosen[0] is clips[0]
        assert limit == 1 or chosen[-1] is clips[-1]
        assert chosen == sorted(chosen, key=lambda clip: clip.name)


# ----------------------------------------------------------------------------------------------- faults


def test_an_engine_that_breaks_costs_its_turn_and_no_other(tmp_path: Path) -> None:
    clips = made_clips(tmp_path, *(Made(f"{n}.wav") for n in range(3)))
    replies = [Reply.of("Yes."), Reply(error_after=0), Reply.of("Yes.")]
    result = measured(script(llm=replies), clips)
    assert [record.outcome for record in result.turn_records] == ["answered", "failed", "answered"]
    assert result.turn_records[1].why == "llm: EngineFailed"
    assert result.failed == 1


def test_a_session_that_never_answers_is_given_up_and_the_run_goes_on(tmp_path: Path) -> None:
    clips = made_clips(tmp_path, *(Made(f"{n}.wav") for n in range(3)))
    replies = [Reply.of("Yes."), Reply.of("Yes.", first_delay_s=3000.0), Reply.of("Yes.")]
    patient = script(llm=replies, session={"on_error": "", "answer_deadline_s": 3600.0})
    result = measured(patient, clips, replace(QUICK, patience=Patience(answer_s=5.0)))
    assert [record.outcome for record in result.turn_records] == ["answered", "missed", "answered"]
    assert result.turn_records[1].why == "no audible answer in time"


class Fragile:
    """A subject of somebody else's that breaks in every way."""

    finished_recording = False
    tells_turns = False
    pids = None
    name = "fragile"

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0

    async def __aenter__(self) -> Fragile:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def open(self, listener: Listener) -> Any:
        self.opened += 1
        if self.opened == 1:
            raise ConnectionRefusedError("nobody there")
        return _Fragile(self, listener, self.opened)


class _Fragile:
    def __init__(self, subject: Fragile, listener: Listener, number: int) -> None:
        self._subject = subject
        self._listener = listener
        self._number = number
        self._chunks = 0

    async def hear(self, samples: Samples) -> None:
        self._chunks += 1
        if self._number == 2 and self._chunks == 30:
            raise EOFError("it hung up")
        if self._number == 3 and self._chunks == 90:
            self._listener.tell(TranscriptEvent, role="user", text="what time is it", final=True)
            self._listener.audio((0.2 * samples / max(1e-9, float(abs(samples).max()))) + 0.1, 16000)

    async def close(self) -> None:
        self._subject.closed += 1
        raise BrokenPipeError("already gone")


def test_a_subject_that_breaks_costs_only_its_own_turns(tmp_path: Path) -> None:
    clips = made_clips(tmp_path, *(Made(f"{n}.wav") for n in range(3)))
    fragile = Fragile()
    entries = [Entry(fragile), Entry(AntiphonSubject("x", script().config()))]
    run_virtual(run_turn_about(entries, clips, QUICK))
    (broken,), (sound,) = (entry.results(clips) for entry in entries)
    assert [record.outcome for record in broken.turn_records] == ["failed", "failed", "answered"]
    assert "nobody there" in broken.turn_records[0].why
    assert "it hung up" in broken.turn_records[1].why
    assert broken.turn_records[2].ttfa_ms is not None
    assert fragile.closed == 2
    assert sound.answered == 2


def test_what_was_measured_before_a_stop_is_kept(tmp_path: Path) -> None:
    clips = made_clips(tmp_path, *(Made(f"{n}.wav") for n in range(5)))
    entry = Entry(AntiphonSubject("x", script().config()))

    async def run() -> None:
        running = asyncio.create_task(
            run_turn_about([entry], clips, QUICK, lambda step: running.cancel() if step.done == 2 else None)
        )
        await asyncio.wait({running})
        assert running.cancelled()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, "nothing goes on behind it"

    run_virtual(run())
    (result,) = entry.results(clips)
    assert [record.clip for record in result.turn_records] == ["0.wav", "1.wav", "2.wav"]


@pytest.mark.parametrize("package", ["jiwer", "whisper_normalizer.english"])
def test_a_missing_package_is_told_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    made = script()
    normaliser.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineUnavailable) as caught:
        measured(made, made_clips(tmp_path))
    assert "antiphon[bench]" in caught.value.hint
    assert made.stt_engine.loads == 0


def test_an_engine_that_does_not_load_ends_the_run_with_its_error(tmp_path: Path) -> None:
    made = script(tts=ScriptedTTS(load_errors=[EngineFailed("no such voice", stage="tts")]))
    with pytest.raises(EngineFailed, match="no such voice"):
        measured(made, made_clips(tmp_path))
