"""The index of a folder of clips: what is written is what is read, and what is wrong is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.benchmarks.clips import (
    COLUMNS,
    INDEX,
    MACHINE_TRANSCRIPT,
    MORE_COLUMNS,
    Clip,
    ClipError,
    load_clips,
    read_table,
    write_index,
    write_table,
)


def wav(path: Path, seconds: float = 1.0, *, rate_hz: int = 16000, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (int(seconds * rate_hz), channels) if channels > 1 else int(seconds * rate_hz)
    soundfile.write(path, np.full(shape, 0.25), rate_hz, subtype="PCM_16")
    return path


def index(folder: Path, *lines: str, columns: str = "\t".join(COLUMNS)) -> Path:
    (folder / INDEX).write_text("\n".join([columns, *lines]) + "\n", encoding="utf-8")
    return folder


ROW = "a.wav\thuman\ten\t1.0\t0.1\t0.9\t200,150.5\thello there\tCC0\tme"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    wav(tmp_path / "a.wav")
    return tmp_path


# ------------------------------------------------------------------------------------------ reading


def test_a_row_becomes_a_clip(folder: Path) -> None:
    (clip,) = load_clips(index(folder, ROW))
    assert clip == Clip(
        folder / "a.wav", "human", "en", 1.0, 0.1, 0.9, (200.0, 150.5), "hello there", licence="CC0", source="me"
    )
    assert (clip.name, clip.has_speech) == ("a.wav", True)


def test_six_columns_are_enough(folder: Path) -> None:
    columns = "\t".join(COLUMNS[:6])
    (clip,) = load_clips(index(folder, "a.wav\tnoise\t-\t\t\t", columns=columns))
    assert (clip.seconds, clip.has_speech, clip.transcript, clip.pauses_ms) == (1.0, False, "", ())


def test_order_of_columns_line_ends_and_marks_of_spreadsheets_do_not_matter(folder: Path) -> None:
    columns = ("speech_end_s", "note", *(name for name in COLUMNS if name != "speech_end_s"))
    text = "\t".join(columns) + "\r\n" + '0.9\tmine\ta.wav\thuman\ten\t1.0\t0.1\t\t"hi" she said\t\t\r\n'
    (folder / INDEX).write_bytes(b"\xef\xbb\xbf" + text.encode())
    (clip,) = load_clips(folder)
    assert (clip.speech_end_s, clip.transcript) == (0.9, '"hi" she said')


def test_short_rows_have_empty_fields(folder: Path) -> None:
    (clip,) = load_clips(index(folder, "a.wav\tnoise\t-\t1.0"))
    assert clip.transcript == "" and not clip.has_speech


@pytest.mark.parametrize(
    ("where", "files"),
    [
        ([], "abn"),
        (["lang=en"], "a"),
        (["lang!=en"], "bn"),
        (["kind=noise"], "n"),
        (["kind!=noise", "file=b*"], "b"),
        (["scenario="], "abn"),
        (["transcript=*there"], "a"),
        ([" lang = de "], "b"),
    ],
)
def test_where_chooses(folder: Path, where: list[str], files: str) -> None:
    wav(folder / "b.wav")
    wav(folder / "n.wav")
    index(folder, ROW, "b.wav\thuman\tde\t1\t0\t1\t\thallo", "n.wav\tnoise\t-\t1")
    assert [clip.name for clip in load_clips(folder, where=where)] == [f"{name}.wav" for name in files]


@pytest.mark.parametrize("where", ["lang", "colour=red", "=en", "lang>en"])
def test_a_condition_that_is_none_is_refused(folder: Path, where: str) -> None:
    with pytest.raises(ClipError, match="is no condition") as caught:
        load_clips(index(folder, ROW), where=[where])
    assert "speech_end_s" in caught.value.hint


def test_nothing_left_is_an_error(folder: Path) -> None:
    with pytest.raises(ClipError, match="no clip with lang=fr and kind=x"):
        load_clips(index(folder, ROW), where=["lang=fr", "kind=x"])
    with pytest.raises(ClipError, match=r"no clip$"):
        load_clips(index(folder))


def test_without_an_index_the_way_to_make_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"no index\.tsv") as caught:
        load_clips(tmp_path)
    assert "antiphon bench label" in caught.value.hint


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("\thuman\ten\t1\t0\t1", r":2: the file '' is not in"),
        ("gone.wav\thuman\ten\t1\t0\t1", r":2: the file 'gone.wav' is not in"),
        ("a.wav\thuman\ten\t1\tx\t1", "speech_start_s is 'x', not a number"),
        ("a.wav\thuman\ten\t1\t0\tnan", "speech_end_s is 'nan'"),
        ("a.wav\thuman\ten\t-1\t0\t1", "seconds is '-1'"),
        ("a.wav\thuman\ten\t1\t0.9\t0.4", "speech from 0.9 to 0.4 s does not lie in 1 s"),
        ("a.wav\thuman\ten\t1\t0\t1.2", "speech from 0 to 1.2 s does not lie in 1 s"),
        ("a.wav\thuman\ten\t1\t0.5\t", "speech_start_s without speech_end_s"),
        ("a.wav\thuman\ten\t1\t0\t1\t200;300", "pauses_ms is '200;300'"),
        ("a.wav\thuman\ten\t1\t0\t1\t-200", "pauses_ms is '-200'"),
        (ROW + "\tmore", ":2: more fields than columns"),
    ],
)
def test_a_wrong_row_is_named(folder: Path, row: str, problem: str) -> None:
    with pytest.raises(ClipError, match=problem):
        load_clips(index(folder, row))


def test_a_split_must_be_one_that_is_known(folder: Path) -> None:
    columns = "\t".join((*COLUMNS, "split"))
    with pytest.raises(ClipError, match="split is 'heldout'") as caught:
        load_clips(index(folder, ROW + "\theldout", columns=columns))
    assert "held_out" in caught.value.hint


def test_missing_columns_are_named(folder: Path) -> None:
    with pytest.raises(ClipError, match="no column lang, speech_end_s"):
        load_clips(index(folder, columns="file\tkind\tseconds\tspeech_start_s"))


def test_what_is_no_text_is_no_index(folder: Path) -> None:
    (folder / INDEX).write_bytes(b"file\tkind\xff\xfe\n")
    with pytest.raises(ClipError, match="cannot be read as a table"):
        load_clips(folder)


def test_a_file_without_a_length_must_be_audio(folder: Path) -> None:
    (folder / "b.wav").write_bytes(b"no audio")
    with pytest.raises(ClipError, match=r"b\.wav cannot be read"):
        load_clips(index(folder, "b.wav\tnoise\t-"))


# -------------------------------------------------------------------------------------------- audio


def test_samples_are_float32_mono(folder: Path) -> None:
    samples = load_clips(index(folder, ROW))[0].samples()
    assert samples.dtype == np.float32 and samples.shape == (16000,)
    assert np.allclose(samples, 0.25, atol=1e-4)


@pytest.mark.parametrize(("rate_hz", "channels"), [(44100, 1), (16000, 2)])
def test_another_format_is_refused(tmp_path: Path, rate_hz: int, channels: int) -> None:
    clip = Clip(wav(tmp_path / "b.wav", rate_hz=rate_hz, channels=channels), "x", "en", 1.0, 0.0, 1.0)
    with pytest.raises(ClipError, match=rf"b\.wav: {channels} channel\(s\) at {rate_hz} Hz") as caught:
        clip.samples()
    assert "convert" in caught.value.hint


def test_no_audio_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    with pytest.raises(ClipError, match="cannot be read"):
        Clip(tmp_path / "b.wav", "x", "en", 1.0, 0.0, 1.0).samples()


# ------------------------------------------------------------------------------------------ writing

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"]), max_size=12)
KINDS = TEXTS.filter(lambda text: text != MACHINE_TRANSCRIPT)


@st.composite
def clips(draw: st.DrawFn, folder: Path, name: str) -> Clip:
    seconds = draw(st.integers(0, 60_000)) / 1000
    start, end = sorted(draw(st.lists(st.integers(0, int(seconds * 1000)), min_size=2, max_size=2)))
    speaks = draw(st.booleans())
    checked = draw(st.booleans())
    words = " ".join(draw(st.lists(TEXTS.filter(bool), max_size=4)))
    return Clip(
        path=folder / name,
        kind=draw(KINDS) if checked else MACHINE_TRANSCRIPT,
        lang=draw(st.sampled_from(["en", "de", "-"])),
        seconds=seconds,
        speech_start_s=start / 1000 if speaks else None,
        speech_end_s=end / 1000 if speaks else None,
        pauses_ms=tuple(tenths / 10 for tenths in draw(st.lists(st.integers(0, 100_000), max_size=3))),
        transcript=words if checked else "",
        draft="" if checked else words,
        licence=draw(TEXTS),
        source=draw(TEXTS),
        scenario=draw(TEXTS),
        split=draw(st.sampled_from(["", "tune", "held_out"])),
        dialogue=draw(TEXTS),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_what_is_written_is_read(folder: Path, data: st.DataObject) -> None:
    wav(folder / "more" / "b  b.wav")
    made = [data.draw(clips(folder, "a.wav")), data.draw(clips(folder, "more/b  b.wav"))]
    write_index(folder, made)
    assert load_clips(folder) == made
    before = (folder / INDEX).read_bytes()
    write_table(folder / INDEX, read_table(folder / INDEX))
    assert (folder / INDEX).read_bytes() == before


def test_tabs_and_line_breaks_in_texts_become_spaces(folder: Path) -> None:
    write_index(folder, [Clip(folder / "a.wav", "x", "en", 1.0, 0.0, 1.0, transcript="one\ttwo\r\nthree ")])
    assert load_clips(folder)[0].transcript == "one two three"


def test_a_file_name_that_would_break_the_table_is_refused(folder: Path) -> None:
    with pytest.raises(ClipError, match="tab or a line break"):
        write_index(folder, [Clip(folder / "a\tb.wav", "x", "en", 1.0, 0.0, 1.0)])


def test_further_columns_are_written_only_when_used(folder: Path) -> None:
    clip = Clip(folder / "a.wav", "x", "en", 1.0, 0.0, 1.0)
    write_index(folder, [clip])
    assert read_table(folder / INDEX).columns == COLUMNS
    write_index(folder, [Clip(folder / "a.wav", "x", "en", 1.0, 0.0, 1.0, split="tune", dialogue="d")])
    assert read_table(folder / INDEX).columns == (*COLUMNS, *MORE_COLUMNS[1:])


def test_an_unchecked_transcript_is_no_reference(folder: Path) -> None:
    index(folder, ROW.replace("human", MACHINE_TRANSCRIPT))
    (clip,) = load_clips(folder)
    assert (clip.transcript, clip.draft) == ("", "hello there")
    write_index(folder, [clip])
    assert load_clips(folder) == [clip]


def test_an_index_is_written_whole_or_not_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index(folder, ROW)
    before = (folder / INDEX).read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space"):
        write_index(folder, load_clips(folder))
    assert (folder / INDEX).read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["a.wav", INDEX]
