"""The scenario set: its data keeps its promises, pauses are exact, and the same set comes out twice. No model here."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner
from voice_sounds import BuzzingTTS, buzz, silence

from antiphon.benchmarks import scenario_texts as texts
from antiphon.benchmarks.clips import INDEX, Clip, ClipError, load_clips, write_index
from antiphon.benchmarks.scenario_audio import (
    FLOOR_DB,
    NOISES,
    audible,
    in_room,
    noise,
    pauses_ms,
    pink,
    randomness,
    silences,
    stretched,
    truth,
    with_pause,
)
from antiphon.benchmarks.scenario_texts import Line
from antiphon.benchmarks.scenarios import SCENARIOS, Pause, Script, items, make_clips, make_scenarios, script
from antiphon.pipeline.cli import app

SPLITS = {"tune": texts.PAUSES_TUNE, "held_out": texts.PAUSES_HELD_OUT}


def spoken(line: Line) -> str:
    return script(line).text.replace(",", "").lower()


# ---------------------------------------------------------------------------------------- the data


def test_a_script_says_where_the_pauses_are() -> None:
    made = script(Line("I'd like to ~|400| book a table, |800| please."))
    assert made == Script(
        text="I'd like to, book a table, please.",
        transcript="I'd like to book a table, please.",
        pauses=(Pause(3, 400.0, True), Pause(6, 800.0, False)),
    )
    assert script(Line("Room seven.", "Room 7.")) == Script("Room seven.", "Room 7.", ())


def test_the_pause_set_is_large_and_its_halves_are_alike() -> None:
    lengths = {}
    for split, placed in SPLITS.items():
        pauses = [tuple(pause.length_ms for pause in script(line).pauses) for _, line in placed]
        lengths[split] = Counter(pauses)
        assert len(placed) == 42
        assert sum(max(pause) >= 400 for pause in pauses) >= 30
        assert {length for pause in pauses for length in pause} == {200.0, 400.0, 800.0}
        assert sum(len(pause) == 2 for pause in pauses) == 4
    assert lengths["tune"] == lengths["held_out"]
    places = [
        Counter((place, script(line).pauses[0].length_ms) for place, line in placed) for placed in SPLITS.values()
    ]
    assert places[0] == places[1]


def test_no_sentence_is_said_twice() -> None:
    everything = [item.line for item in items() if item.line is not None]
    assert max(Counter(spoken(line) for line in everything).values()) == 1
    openings = [{" ".join(spoken(line).split()[:4]) for _, line in placed} for placed in SPLITS.values()]
    assert not openings[0] & openings[1], "a sentence of one half that begins like one of the other is half known"


def test_every_pause_is_inside_its_sentence() -> None:
    for item in items():
        if item.line is None:
            continue
        made = script(item.line)
        words = made.text.split()
        assert all(0 < pause.after < len(words) for pause in made.pauses), item.name
        assert "|" not in made.text + made.transcript and "~" not in made.text + made.transcript, item.name
        assert bool(made.pauses) or item.scenario not in ("pause", "trailing"), item.name
        assert item.scenario != "question" or not made.pauses


def test_the_set_has_every_scenario_and_every_file_its_own_name() -> None:
    everything = items()
    assert {item.scenario for item in everything} == set(SCENARIOS)
    assert len({item.name for item in everything}) == len(everything)
    dialogues = Counter(item.dialogue for item in everything if item.dialogue)
    assert len(dialogues) >= 4 and set(dialogues.values()) <= {3, 4}
    names = [item.dialogue for item in everything if item.dialogue]
    assert [name for name, _ in itertools.groupby(names)] == list(dict.fromkeys(names)), "a dialogue is in one piece"


def test_only_chooses_by_name_in_one_or_many() -> None:
    assert {item.scenario for item in items(["pauses", "noise"])} == {"pause", "noise"}
    assert items(["pause"]) == items(["pauses"])
    with pytest.raises(ClipError, match="no scenario 'shouting'") as caught:
        items(["shouting"])
    assert "trailing" in caught.value.hint


# ---------------------------------------------------------------------------------------- the sound


def test_truth_is_the_first_and_the_last_sound() -> None:
    found = truth(np.concatenate([silence(0.1), buzz(0.3), silence(0.2), buzz(0.4), silence(0.1), buzz(0.2)]))
    assert found is not None
    assert abs(found.start - 1600) <= 40 and abs(found.end - 16000 * 1.3) <= 40
    (pause,) = found.pauses  # the shorter silence is none
    assert abs(pause[0] - 6400) <= 40 and abs(pause[1] - 9600) <= 40
    assert abs(pauses_ms(found.pauses)[0] - 200) <= 5


def test_nothing_to_hear_has_no_truth() -> None:
    assert truth(silence(0.5)) is None
    quiet = (10 ** ((FLOOR_DB + 3) / 20) * pink(8000, randomness("x"))).astype(np.float32)
    assert truth(quiet) is None


def length_of_pause(samples: np.ndarray) -> float:
    found = truth(samples)
    assert found is not None
    (pause,) = found.pauses
    return pauses_ms([pause])[0]


@given(
    gap_ms=st.integers(0, 700),
    wanted_ms=st.integers(160, 1200),
    off_ms=st.integers(-20, 20),
    factor=st.sampled_from([1.0, 1.6]),
)
@settings(deadline=None, max_examples=60)
def test_a_pause_has_exactly_the_length_wanted(gap_ms: int, wanted_ms: int, off_ms: int, factor: float) -> None:
    """Whatever silence the voice made there: none, a shorter one, a longer one."""
    speech = np.concatenate([silence(0.05), buzz(0.5), silence(gap_ms / 1000), buzz(0.5, hz=150), silence(0.05)])
    middle_s = 0.55 + gap_ms / 2000 + off_ms / 1000
    made = with_pause(speech, middle_s, wanted_ms, draw_out=factor)
    assert length_of_pause(made) == pytest.approx(wanted_ms, abs=0.2)


@pytest.mark.parametrize("gap_s", [0.0, 0.2])
def test_a_pause_leaves_the_words_whole(gap_s: float) -> None:
    speech = np.concatenate([silence(0.05), buzz(0.5), silence(gap_s), buzz(0.5, hz=150), silence(0.05)])
    made = with_pause(speech, 0.55 + gap_s / 2, 400)
    assert np.array_equal(made[: int(0.5 * 16000)], speech[: int(0.5 * 16000)])
    assert np.array_equal(made[-int(0.5 * 16000) :], speech[-int(0.5 * 16000) :])


def test_words_that_run_into_one_another_are_parted_softly() -> None:
    speech = np.concatenate([buzz(0.5), buzz(0.5)])
    made = with_pause(speech, 0.5, 400)
    pause = next(gap for gap in silences(audible(made)) if gap[1] - gap[0] > 3000)
    steps = np.abs(np.diff(made))
    assert steps[pause[0] - 60 : pause[1] + 60].max() <= steps.max() / 2


@given(factor=st.floats(1.0, 2.5), seconds=st.floats(0.05, 0.3))
@settings(deadline=None, max_examples=20)
def test_a_stretched_vowel_keeps_its_pitch_and_level(factor: float, seconds: float) -> None:
    vowel = buzz(seconds, hz=125.0)
    longer = stretched(vowel, factor)
    assert len(longer) == round(len(vowel) * factor) and longer.dtype == np.float32
    assert np.abs(longer).max() <= 1.05 * np.abs(vowel).max()
    assert np.sqrt(np.mean(longer**2)) == pytest.approx(np.sqrt(np.mean(vowel**2)), rel=0.25)
    if len(longer) >= 3200:
        spectrum = np.abs(np.fft.rfft(longer * np.hanning(len(longer))))
        assert np.fft.rfftfreq(len(longer), 1 / 16000)[spectrum.argmax()] == pytest.approx(125, abs=10)


def test_a_room_has_a_floor_and_the_speech_keeps_its_place() -> None:
    speech = buzz(0.5)
    clip, lead_s = in_room(speech, "one")
    assert 0.3 <= lead_s < 1.0
    lead = round(lead_s * 16000)
    assert 20 * np.log10(np.sqrt(np.mean(clip[:lead] ** 2))) == pytest.approx(FLOOR_DB, abs=2)
    assert np.abs(clip[lead : lead + len(speech)] - speech).max() < 0.01
    assert np.array_equal(clip, in_room(speech, "one")[0])
    assert in_room(speech, "two")[1] != lead_s


@pytest.mark.parametrize("name", NOISES)
def test_noises_are_audible_and_the_same_each_time(name: str) -> None:
    sound = noise(name, 2.0)
    assert sound.dtype == np.float32 and sound.shape == (32000,)
    assert 10 ** (-50 / 20) < np.abs(sound).max() < 1.0
    assert np.array_equal(sound, noise(name, 2.0))


# ------------------------------------------------------------------------------------------ the set

SOME = [item for item in items() if item.name in ("question_01", "trailing_01", "noise_hum", "dialogue_home_1")] + [
    item for item in items() if item.name.startswith(("pause_tune_08", "pause_held_out_39"))
]


def make(folder: Path, tts: BuzzingTTS | None = None) -> list[Clip]:
    return asyncio.run(make_clips(folder, SOME, tts or BuzzingTTS()))


def test_clips_say_where_their_speech_is(tmp_path: Path) -> None:
    tts = BuzzingTTS()
    made = make(tmp_path / "new", tts)
    assert [clip.scenario for clip in made] == ["question", "trailing", "noise", "dialogue", "pause", "pause"]
    assert "I'm looking for a, birthday present for my mother." in tts.said
    for clip, loaded in zip(made, load_clips(tmp_path / "new"), strict=True):
        assert (loaded.name, loaded.split, loaded.dialogue, loaded.pauses_ms) == (
            clip.name,
            clip.split,
            clip.dialogue,
            clip.pauses_ms,
        )
        samples = loaded.samples()
        assert len(samples) / 16000 == pytest.approx(loaded.seconds, abs=0.001)
        if not loaded.has_speech:
            assert (loaded.kind, loaded.lang, loaded.transcript) == ("noise", "-", "")
            continue
        assert loaded.speech_start_s is not None and loaded.speech_end_s is not None
        inside = np.flatnonzero(np.abs(samples) > 0.01) / 16000
        assert inside[0] == pytest.approx(loaded.speech_start_s, abs=0.006)
        assert inside[-1] == pytest.approx(loaded.speech_end_s, abs=0.006)
    pauses = {clip.name: clip.pauses_ms for clip in made}
    assert pauses["pause_tune_08_function_800.wav"] == (800.0,)
    assert pauses["pause_held_out_39_twice_400_800.wav"] == (400.0, 800.0)
    assert pauses["question_01.wav"] == ()


def test_the_same_set_comes_out_twice(tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "two")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert INDEX in files and len(files) == len(SOME) + 1
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("tts", "problem"),
    [
        (BuzzingTTS(languages=("de",)), "this voice speaks de"),
        (BuzzingTTS(word_times=False), "gave 0 word times"),
        (BuzzingTTS(mute=True), "nothing can be heard"),
    ],
)
def test_a_voice_that_will_not_do_is_refused(tmp_path: Path, tts: BuzzingTTS, problem: str) -> None:
    with pytest.raises(ClipError, match=problem):
        make(tmp_path, tts)
    assert not (tmp_path / INDEX).exists()


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    asyncio.run(
        make_clips(
            tmp_path, SOME[:2], BuzzingTTS(), on_clip=lambda clip, done, total: told.append((clip.name, done, total))
        )
    )
    assert told == [("question_01.wav", 1, 2), ("trailing_01.wav", 2, 2)]


def test_other_clips_are_not_overwritten(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "mine.wav", np.zeros(16000), 16000)
    write_index(tmp_path, [Clip(tmp_path / "mine.wav", "human", "en", 1.0, 0.1, 0.9)])
    with pytest.raises(ClipError, match=r"clips of another set, such as mine\.wav"):
        asyncio.run(make_scenarios(tmp_path))
    (tmp_path / INDEX).write_text("something else\n")
    with pytest.raises(ClipError, match="an index of its own"):
        asyncio.run(make_scenarios(tmp_path))


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClipError, match="cannot be written"):
        make(tmp_path / "file" / "folder")


# ----------------------------------------------------------------------------------------- command


def test_the_command_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "scenarios", str(tmp_path), "--only", "shouting"])
    assert result.exit_code == 2
    assert "no scenario 'shouting'" in " ".join(result.output.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def test_the_command_names_a_missing_voice(tmp_path: Path) -> None:
    missing = tmp_path / "none.onnx"
    result = CliRunner().invoke(app, ["bench", "scenarios", str(tmp_path / "out"), "--voice", str(missing)])
    assert result.exit_code == 3, result.output
    assert "none" in result.output
