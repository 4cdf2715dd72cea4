"""The dialogue in which a person corrects labels, without a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from voice_sounds import buzz, hiss, silence

from antiphon.benchmarks.clips import MACHINE_TRANSCRIPT, Clip
from antiphon.benchmarks.label import analyse
from antiphon.benchmarks.label_folder import label_clip
from antiphon.benchmarks.label_review import WIDTH, Edit, parse_edit, review, timeline


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    samples = np.concatenate([silence(0.5), buzz(0.6), silence(0.3), buzz(0.4), silence(0.5)]) + hiss(2.3)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    return label_clip(tmp_path / "a.wav", "en")


def run(clips: Sequence[Clip], *answers: str) -> tuple[dict[int, Clip], int, str]:
    """What was saved, how many were accepted, and what was shown."""
    typed = iter(answers)
    saved: dict[int, Clip] = {}
    shown: list[str] = []

    def ask(prompt: str) -> str:
        answer = next(typed, None)
        if answer is None:
            raise EOFError
        return answer

    accepted = review(list(enumerate(clips)), saved.__setitem__, ask, shown.append)
    assert next(typed, None) is None, "every answer was asked for"
    return saved, accepted, "\n".join(shown)


# -------------------------------------------------------------------------------------- what is typed


@pytest.mark.parametrize(
    ("typed", "edit"),
    [
        ("", Edit("accept")),
        ("  ", Edit("accept")),
        ("s", Edit("skip")),
        ("Q ", Edit("quit")),
        ("n", Edit("noise")),
        ("0.5 2", Edit("times", 0.5, 2.0)),
        (" 0.5,2.25 ", Edit("times", 0.5, 2.25)),
        ("- 2", Edit("times", None, 2.0)),
        ("1.5 -", Edit("times", 1.5, None)),
        ("= two  words ", Edit("text", text="two words")),
        ("=", Edit("text")),
        ("= q", Edit("text", text="q")),
    ],
)
def test_answers_are_understood(typed: str, edit: Edit) -> None:
    assert parse_edit(typed) == edit


@pytest.mark.parametrize("typed", ["x", "1", "1 2 3", "-1 2", "1 nan", "1 inf", "one two", "yes"])
def test_other_answers_are_refused_with_help(typed: str) -> None:
    with pytest.raises(ValueError, match=r"is not understood.*save and quit"):
        parse_edit(typed)


@given(st.text(max_size=12))
def test_no_answer_breaks_it(typed: str) -> None:
    try:
        edit = parse_edit(typed)
    except ValueError as error:
        assert "not understood" in str(error)
    else:
        assert edit.does in ("accept", "skip", "quit", "noise", "times", "text")


# ---------------------------------------------------------------------------------------- the dialogue


def test_enter_accepts(clip: Clip) -> None:
    saved, accepted, shown = run([clip], "")
    assert accepted == 1
    assert saved[0].kind == "reviewed"
    assert (saved[0].speech_start_s, saved[0].pauses_ms) == (clip.speech_start_s, clip.pauses_ms)
    assert "[1/1] a.wav" in shown and "no transcript" in shown and "of 2.30 s" in shown


def test_times_are_corrected_and_the_pauses_follow(clip: Clip) -> None:
    saved, _, shown = run([clip], "- 1.05", "0.45 -", "")
    assert (saved[0].speech_start_s, saved[0].speech_end_s, saved[0].pauses_ms) == (0.45, 1.05, ())
    assert "speech 0.45 - 1.05 of 2.30 s; pauses in ms: none" in shown
    assert run([clip], "0.2 2.3", "")[0][0].speech_end_s == 2.3


def test_a_transcript_is_typed(clip: Clip) -> None:
    saved, _, shown = run([clip], "= hello  there", "")
    assert (saved[0].transcript, saved[0].kind) == ("hello there", "reviewed")
    assert "transcript: hello there" in shown


def test_a_draft_becomes_a_reference_only_by_a_person(clip: Clip) -> None:
    from dataclasses import replace

    drafted = replace(clip, kind=MACHINE_TRANSCRIPT, draft="hollow there")
    saved, _, shown = run([drafted], "")
    assert (saved[0].transcript, saved[0].draft, saved[0].kind) == ("hollow there", "", "reviewed")
    assert "by a recogniser, not checked): hollow there" in shown
    assert run([drafted], "= hello there", "")[0][0].transcript == "hello there"
    cleared = run([drafted], "=", "")[0][0]
    assert (cleared.transcript, cleared.draft) == ("", "")
    assert run([drafted], "s")[0] == {}


def test_nobody_speaks_and_somebody_does_after_all(clip: Clip) -> None:
    saved, _, shown = run([clip], "= words", "n", "")
    assert (saved[0].kind, saved[0].has_speech, saved[0].transcript, saved[0].lang) == ("noise", False, "", "-")
    assert "nobody speaks in 2.30 s" in shown
    saved, _, shown = run([saved[0]], "1 -", "= x", "0.5 1.8", "= x", "")
    assert (saved[0].kind, saved[0].speech_end_s, saved[0].transcript) == ("reviewed", 1.8, "x")
    assert "give both" in shown and "give the times of the speech first" in shown
    assert len(saved[0].pauses_ms) == 1


def test_times_outside_the_clip_are_refused(clip: Clip) -> None:
    saved, _, shown = run([clip], "0.5 2.4", "1.5 1.5", "1.9 -", "what", "")
    assert shown.count("does not lie in a clip of 2.30 s") == 3
    assert "'what' is not understood" in shown
    assert saved[0].speech_end_s == clip.speech_end_s


@pytest.mark.parametrize(
    ("answers", "saved"), [(["", "s", ""], [0, 2]), (["", "q"], [0]), (["", "0.1 2"], [0]), (["s", "s", "s"], [])]
)
def test_skip_quit_and_the_end_of_input(clip: Clip, answers: list[str], saved: list[int]) -> None:
    """What was changed and not accepted is not saved."""
    done, accepted, _ = run([clip, clip, clip], *answers)
    assert (list(done), accepted) == (saved, len(saved))


# ---------------------------------------------------------------------------------------- the picture


def test_the_picture_shows_level_speech_and_pauses(clip: Clip) -> None:
    level, ruler = timeline(analyse(clip.samples()), clip).split("\n")
    assert len(level) == WIDTH + 2 and len(ruler) == WIDTH + 1
    bar, marks = level[1:-1], ruler[1:]
    assert marks.index("[") == int(0.5 / 2.3 * WIDTH) and marks.index("]") == int(1.8 / 2.3 * WIDTH)
    assert marks.index(".") == pytest.approx(1.1 / 2.3 * WIDTH, abs=2)
    assert bar[:10].strip() == "" and bar[marks.index("[") + 2] in "▆▇█"


@pytest.mark.parametrize("samples", [silence(1.0), hiss(0.01), buzz(0.2)])
def test_any_clip_has_a_picture(tmp_path: Path, samples: np.ndarray) -> None:
    soundfile.write(tmp_path / "b.wav", samples, 16000)
    made = label_clip(tmp_path / "b.wav")
    level, _ = timeline(analyse(samples), made).split("\n")
    assert len(level) == WIDTH + 2
