"""`antiphon bench label`: folders of recordings, what is kept of an index, conversion, drafts, the command itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner
from voice_sounds import buzz, hiss, silence

from antiphon.benchmarks.clips import COLUMNS, INDEX, MACHINE_TRANSCRIPT, ClipError, load_clips
from antiphon.benchmarks.label_folder import Labelled, convert, label_folder, open_index
from antiphon.benchmarks.label_transcribe import transcribe
from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.protocols import STTOptions, Transcript
from antiphon.pipeline.cli import app

SPEECH: Sequence[Samples] = (silence(0.5), buzz(0.6), silence(0.3), buzz(0.4), silence(0.5))


def record(path: Path, pieces: Sequence[Samples] = SPEECH, *, rate_hz: int = 16000, channels: int = 1) -> None:
    samples = np.concatenate(pieces)
    samples = samples + hiss(len(samples) / 16000)[: len(samples)]
    if rate_hz != 16000:
        samples = np.repeat(samples, rate_hz // 16000)
    shaped = np.stack([samples] * channels, axis=1) if channels > 1 else samples
    soundfile.write(path, shaped, rate_hz)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record(tmp_path / "b.wav")
    record(tmp_path / "a.WAV", (silence(0.3), buzz(0.5), silence(0.4)))
    record(tmp_path / "hiss.wav", (silence(1.0),))
    (tmp_path / "notes.txt").write_text("not a recording")
    return tmp_path


def labelled(folder: Path, **options: object) -> Labelled:
    made = open_index(folder)
    label_folder(made, **options)  # type: ignore[arg-type]
    made.save()
    return made


# --------------------------------------------------------------------------------------- labelling


def test_every_wav_gets_a_row(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    made = labelled(folder, lang="en", on_file=lambda *one: told.append(one))
    clips = load_clips(folder)
    assert [clip.name for clip in clips] == ["a.WAV", "b.wav", "hiss.wav"]
    assert [(clip.kind, clip.lang) for clip in clips] == [("unreviewed", "en"), ("unreviewed", "en"), ("noise", "-")]
    assert clips[1].speech_start_s == pytest.approx(0.5, abs=0.03)
    assert clips[1].speech_end_s == pytest.approx(1.8, abs=0.03)
    assert clips[1].pauses_ms == (pytest.approx(300, abs=50),)
    assert clips[1].seconds == pytest.approx(2.3) and clips[1].transcript == ""
    assert not clips[2].has_speech
    assert made.new == [name for name, _, _ in told] and told[-1][1:] == (3, 3)


def test_what_somebody_wrote_is_kept_word_for_word(folder: Path) -> None:
    columns = "\t".join((*COLUMNS, "speaker"))
    mine = "b.wav\tmy kind\ten\t2.30\t.51\t1.80\t\tsaid by hand\t\t\tAnna"
    (folder / INDEX).write_text(f"{columns}\n{mine}\n", encoding="utf-8")
    made = labelled(folder)
    lines = (folder / INDEX).read_text(encoding="utf-8").splitlines()
    assert lines[:2] == [columns, mine]
    assert [line.split("\t")[0] for line in lines[2:]] == ["a.WAV", "hiss.wav"] == made.new
    assert labelled(folder).new == []
    assert (folder / INDEX).read_text(encoding="utf-8").splitlines() == lines


def test_force_labels_again_and_keeps_what_it_cannot_know(folder: Path) -> None:
    columns = "\t".join((*COLUMNS, "split", "speaker"))
    mine = [
        "b.wav\thuman\tfr\t2.3\t0.1\t2.2\t\tbonjour\tCC0\tme\ttune\tAnna",
        "hiss.wav\treviewed\t-\t1\t0.1\t0.2\t\tx",
    ]
    (folder / INDEX).write_text("\n".join([columns, *mine]) + "\n", encoding="utf-8")
    made = labelled(folder, force=True)
    clip, noise, _ = load_clips(folder)
    assert (clip.kind, clip.lang, clip.transcript, clip.licence, clip.source, clip.split) == (
        "human", "fr", "bonjour", "CC0", "me", "tune",
    )  # fmt: skip
    assert clip.speech_start_s == pytest.approx(0.5, abs=0.03)
    assert made.table.rows[0]["speaker"] == "Anna"
    assert (noise.kind, noise.has_speech) == ("noise", False)


def test_forcing_an_unchecked_transcript_leaves_it_unchecked(folder: Path) -> None:
    row = f"b.wav\t{MACHINE_TRANSCRIPT}\ten\t2.3\t0.1\t2.2\t\tmaybe"
    (folder / INDEX).write_text("\t".join(COLUMNS) + f"\n{row}\n", encoding="utf-8")
    labelled(folder, force=True)
    clip = load_clips(folder)[0]
    assert (clip.kind, clip.draft, clip.transcript) == (MACHINE_TRANSCRIPT, "maybe", "")


def test_a_table_with_few_columns_gets_the_others(folder: Path) -> None:
    (folder / INDEX).write_text("\t".join(COLUMNS[:6]) + "\n", encoding="utf-8")
    assert labelled(folder).table.columns == COLUMNS


# -------------------------------------------------------------------------------------- bad input


def test_other_formats_are_named_and_an_offer_is_made(folder: Path) -> None:
    for name in "cdef":
        record(folder / f"{name}.wav", rate_hz=48000, channels=2)
    with pytest.raises(ClipError, match=r"c\.wav \(48000 Hz, 2 channels\).*e\.wav.* and 1 more") as caught:
        labelled(folder)
    assert "--convert OUT" in caught.value.hint
    assert not (folder / INDEX).exists()


def test_a_file_that_is_no_audio_is_named(folder: Path) -> None:
    (folder / "z.wav").write_bytes(b"nothing")
    with pytest.raises(ClipError, match=r"z\.wav: cannot be read"):
        labelled(folder)


def test_folders_without_wavs(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="no such folder"):
        open_index(tmp_path / "none")
    with pytest.raises(ClipError, match="no WAV in it"):
        labelled(tmp_path)
    record(tmp_path / "a.flac")
    with pytest.raises(ClipError, match="no WAV in it") as caught:
        labelled(tmp_path)
    assert "--convert" in caught.value.hint


def test_an_index_that_cannot_be_written(folder: Path) -> None:
    made = open_index(folder, folder / "notes.txt" / INDEX)
    with pytest.raises(ClipError, match="cannot be written") as caught:
        made.save()
    assert "--out" in caught.value.hint


# ------------------------------------------------------------------------------------- conversion


def test_conversion_copies_everything_once(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    record(folder / "c.flac", rate_hz=48000, channels=2)
    assert convert(folder, out) == 4
    assert sorted(path.name for path in out.iterdir()) == ["a.wav", "b.wav", "c.wav", "hiss.wav"]
    for path in out.iterdir():
        assert (soundfile.info(path).samplerate, soundfile.info(path).channels) == (16000, 1)
    labelled(out)
    found = {clip.name: clip for clip in load_clips(out)}
    assert found["c.wav"].speech_end_s == pytest.approx(1.8, abs=0.03)
    assert convert(folder, out) == 0, "what is there may have been labelled"


def test_conversions_that_make_no_sense(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="the folder of the recordings itself"):
        convert(folder, folder / "." / ".." / folder.name)
    record(folder / "b.flac")
    with pytest.raises(ClipError, match=r"b\.flac and b\.wav would both become b\.wav"):
        convert(folder, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClipError, match="no recording in it"):
        convert(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ClipError, match="no such folder"):
        convert(tmp_path / "gone", tmp_path / "out")


# ----------------------------------------------------------------------------------------- drafts


class Hears:
    """A recogniser that hears one text in everything."""

    rate_hz = 8000

    def __init__(self, text: str = " some words ", language: str | None = "en") -> None:
        self.text, self.language = text, language
        self.asked: list[tuple[float, str | None]] = []

    async def transcribe(self, audio: AudioFrame, options: STTOptions) -> Transcript:
        assert audio.rate_hz == self.rate_hz
        self.asked.append((round(audio.duration_s, 2), options.language))
        return Transcript(self.text, language=self.language)


def draft(folder: Path, stt: Hears) -> int:
    made = open_index(folder)
    label_folder(made)
    count = asyncio.run(transcribe(made, stt))  # type: ignore[arg-type]
    made.save()
    return count


def test_drafts_are_no_references(folder: Path) -> None:
    stt = Hears()
    assert draft(folder, stt) == 2
    assert stt.asked == [(1.2, None), (2.3, None)], "not the noise"
    clips = load_clips(folder)
    assert [(clip.kind, clip.draft, clip.transcript, clip.lang) for clip in clips] == [
        (MACHINE_TRANSCRIPT, "some words", "", "en"),
        (MACHINE_TRANSCRIPT, "some words", "", "en"),
        ("noise", "", "", "-"),
    ]
    again = Hears("other words")
    assert draft(folder, again) == 0 and not again.asked


def test_drafts_leave_alone_what_a_person_did(folder: Path) -> None:
    rows = ["a.WAV\thuman\tde\t1.2\t0.3\t0.8\t\t", "b.wav\tunreviewed\tde\t2.3\t0.5\t1.8\t\tmy words"]
    (folder / INDEX).write_text("\n".join(["\t".join(COLUMNS), *rows]) + "\n", encoding="utf-8")
    stt = Hears()
    assert draft(folder, stt) == 0
    assert [line.rstrip("\t") for line in (folder / INDEX).read_text().splitlines()[1:3]] == [
        row.rstrip("\t") for row in rows
    ]


def test_nothing_heard_is_no_draft(folder: Path) -> None:
    assert draft(folder, Hears("  ", None)) == 0
    assert [clip.kind for clip in load_clips(folder)] == ["unreviewed", "unreviewed", "noise"]


def test_a_known_language_is_asked_for_and_kept(folder: Path) -> None:
    made = open_index(folder)
    label_folder(made, lang="nl")
    stt = Hears()
    asyncio.run(transcribe(made, stt))  # type: ignore[arg-type]
    assert {language for _, language in stt.asked} == {"nl"}
    assert made.table.rows[0]["lang"] == "nl"


# ---------------------------------------------------------------------------------------- command


def command(*arguments: str, typed: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(app, ["bench", "label", *arguments], input=typed)
    return result.exit_code, result.output


def test_the_command_writes_the_index_and_says_how_to_go_on(folder: Path) -> None:
    code, output = command(str(folder), "--lang", "en")
    assert code == 0, output
    assert "3 clips, 3 of them labelled now (2 unreviewed, 1 noise)" in output
    assert f"antiphon bench label {folder} --review" in output
    assert len(load_clips(folder, where=["lang=en"])) == 2


def test_the_command_writes_elsewhere(folder: Path, tmp_path: Path) -> None:
    code, output = command(str(folder), "--out", str(tmp_path / "other.tsv"))
    assert code == 0, output
    assert (tmp_path / "other.tsv").is_file() and not (folder / INDEX).exists()


def test_the_command_converts(folder: Path, tmp_path: Path) -> None:
    record(folder / "c.flac", rate_hz=48000)
    code, output = command(str(folder), "--convert", str(tmp_path / "out"))
    assert code == 0, output
    assert len(load_clips(tmp_path / "out")) == 4 and not (folder / INDEX).exists()


def test_the_command_does_not_review_without_a_terminal(folder: Path) -> None:
    code, output = command(str(folder), "--review", typed="n\n\n")
    assert code == 0 and "not reviewed: this is no terminal" in output
    assert load_clips(folder)[0].kind == "unreviewed"


def test_the_command_reviews_in_a_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(str(folder))
    answers = iter(["= the first words", "", "0.55 1.7", "", "q"])
    monkeypatch.setattr("antiphon.pipeline.cli.bench_label._is_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    code, output = command(str(folder), "--review")
    assert code == 0, output
    first, second, _ = load_clips(folder)
    assert (first.kind, first.transcript) == ("reviewed", "the first words")
    assert (second.kind, second.speech_start_s, second.speech_end_s) == ("reviewed", 0.55, 1.7)
    code, output = command(str(folder), "--review")
    assert code == 0 and "nothing to review" in output


def test_ctrl_c_keeps_what_was_reviewed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(prompt: str) -> str:
        if load_clips(folder)[0].kind == "reviewed":
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr("antiphon.pipeline.cli.bench_label._is_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", typed)
    code, _ = command(str(folder), "--review")
    assert code == 130
    assert [clip.kind for clip in load_clips(folder)] == ["reviewed", "unreviewed", "noise"]


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["nowhere"], 1, "no such folder"),
        (["nowhere", "--convert", "out"], 1, "no such folder"),
        ([".", "--transcribe", "nothing.yaml"], 2, "nothing.yaml"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], code: int, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exit_code, output = command(*arguments)
    assert (exit_code, problem in output) == (code, True), output
