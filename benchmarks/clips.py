"""Benchmark clips: a folder of 16 kHz mono WAVs with an `index.tsv` that tells what is said in them, and when.

The index is tab-separated with a header. Columns: `file`, `kind`, `lang`, `seconds`, `speech_start_s`, `speech_end_s`,
`pauses_ms` (comma-separated silences inside the speech), `transcript`, `licence`, `source`; and, where a set has them,
`scenario`, `split` ("tune" or "held_out") and `dialogue` (clips of one dialogue are one session, in the order of the
index). A clip without `speech_end_s` holds no speech: it must start no turn. In a row of the kind "machine-transcript"
the transcript is what a recogniser heard and nobody has checked: it counts for nothing until somebody has.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import soundfile

from antiphon.engines.audio import Samples
from antiphon.engines.errors import AntiphonError
from antiphon.engines.whole_file import whole_file

INDEX = "index.tsv"
RATE_HZ = 16000
COLUMNS = (
    "file",
    "kind",
    "lang",
    "seconds",
    "speech_start_s",
    "speech_end_s",
    "pauses_ms",
    "transcript",
    "licence",
    "source",
)
MORE_COLUMNS = ("scenario", "split", "dialogue")
SPLITS = ("", "tune", "held_out")
MACHINE_TRANSCRIPT = "machine-transcript"
"""The kind of a clip whose transcript was made by a recogniser and not checked."""

Row = dict[str, str]
"""One line of an index, by column."""


class ClipError(AntiphonError):
    """Raised when a folder of clips cannot be used."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and its ground truth."""

    path: Path
    kind: str
    lang: str
    """ISO 639-1, or "-"."""
    seconds: float
    speech_start_s: float | None
    speech_end_s: float | None
    """The last speech sample; None: there is no speech."""
    pauses_ms: tuple[float, ...] = ()
    """Silences inside the speech."""
    transcript: str = ""
    """Empty: unknown; such a clip is left out of word errors."""
    draft: str = ""
    """What a recogniser heard, where nobody has checked it (kind "machine-transcript"): no reference for anything."""
    licence: str = ""
    source: str = ""
    scenario: str = ""
    split: str = ""
    """"tune": settings may be chosen on it; "held_out": never; "": the set makes no difference."""
    dialogue: str = ""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def has_speech(self) -> bool:
        return self.speech_end_s is not None

    def samples(self) -> Samples:
        """The audio: float32, shape (n,), at :data:`RATE_HZ`.

        :raises ClipError: it is not a 16 kHz mono WAV.
        """
        try:
            samples, rate_hz = soundfile.read(self.path, dtype="float32")
        except (OSError, soundfile.SoundFileError) as error:
            raise ClipError(f"{self.path}: cannot be read: {error}") from error
        if rate_hz != RATE_HZ or samples.ndim != 1:
            channels = 1 if samples.ndim == 1 else samples.shape[1]
            raise ClipError(
                f"{self.path}: {channels} channel(s) at {rate_hz} Hz; benchmark clips are mono at {RATE_HZ} Hz",
                hint=f"convert it: sox {self.name} -c 1 -r {RATE_HZ} out.wav",
            )
        return np.asarray(samples, dtype=np.float32)


def load_clips(folder: Path, *, where: Sequence[str] = ()) -> list[Clip]:
    """The clips of a folder, in the order of its index.

    :param where: conditions that must all hold, such as "lang=en", "kind!=noise", "split=held_out", "file=*today*".
    :raises ClipError: there is no index, a row is wrong, a file is missing, or nothing is left.
    """
    wanted = [_condition(text) for text in where]
    index = folder / INDEX
    table = read_table(index)
    clips = [
        clip_of(row, folder, f"{index}:{number}")
        for number, row in enumerate(table.rows, 2)
        if all(test(row) for test in wanted)
    ]
    if not clips:
        raise ClipError(f"{index}: no clip" + (f" with {' and '.join(where)}" if where else ""))
    return clips


def write_index(folder: Path, clips: Iterable[Clip]) -> Path:
    """Write the index of a folder, whole or not at all; columns beyond the ten are written if a clip uses them.

    :raises ClipError: a file name with a tab or a line break in it.
    :raises OSError: it cannot be written.
    """
    clips = list(clips)
    more = [name for name in MORE_COLUMNS if any(getattr(clip, name) for clip in clips)]
    return write_table(folder / INDEX, Table((*COLUMNS, *more), [row_of(clip, folder) for clip in clips]))


@dataclass(slots=True)
class Table:
    """An index as text: what somebody wrote into it by hand, further columns included, is kept."""

    columns: tuple[str, ...] = COLUMNS
    rows: list[Row] = field(default_factory=list)


def read_table(index: Path) -> Table:
    """The lines of an index.

    :raises ClipError: there is none, it is no such table, or a column is missing.
    """
    if not index.is_file():
        raise ClipError(
            f"{index.parent}: no {index.name}",
            hint=f"make one for your own recordings: antiphon bench label {index.parent}",
        )
    try:
        with index.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, restval="", restkey=_TOO_MANY)
            rows = list(reader)
            columns = tuple(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ClipError(f"{index}: cannot be read as a table: {error}", hint="it must be UTF-8 text") from error
    if missing := [name for name in COLUMNS[:6] if name not in columns]:
        raise ClipError(
            f"{index}: no column {', '.join(missing)}", hint=f"columns, with tabs between: {', '.join(COLUMNS)}"
        )
    for number, row in enumerate(rows, 2):
        if _TOO_MANY in row:
            raise ClipError(f"{index}:{number}: more fields than columns", hint="is there a tab in a text?")
    return Table(columns, rows)


def write_table(index: Path, table: Table) -> Path:
    """Write an index, whole or not at all.

    :raises OSError: it cannot be written.
    """
    lines = ["\t".join(table.columns)]
    lines += ["\t".join(row.get(name, "") for name in table.columns) for row in table.rows]
    umask = os.umask(0)
    os.umask(umask)
    with whole_file(index, mode=0o666 & ~umask) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return index


def row_of(clip: Clip, folder: Path) -> Row:
    """A clip as a line of the index of `folder`.

    :raises ClipError: a file name with a tab or a line break in it.
    """
    file = clip.path.relative_to(folder) if clip.path.is_relative_to(folder) else Path(clip.path.name)
    if any(character in str(file) for character in "\t\r\n"):
        raise ClipError(f"{str(file)!r}: a file name with a tab or a line break has no place in an index")

    def seconds(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    texts = {
        "kind": clip.kind,
        "lang": clip.lang,
        "seconds": seconds(clip.seconds),
        "speech_start_s": seconds(clip.speech_start_s),
        "speech_end_s": seconds(clip.speech_end_s),
        "pauses_ms": ",".join(f"{pause:.1f}".removesuffix(".0") for pause in clip.pauses_ms),
        "transcript": clip.transcript or clip.draft,
        "licence": clip.licence,
        "source": clip.source,
        **{name: getattr(clip, name) for name in MORE_COLUMNS},
    }
    # a tab or line break inside a text would break the table
    return {"file": str(file), **{name: " ".join(text.split()) for name, text in texts.items()}}


def clip_of(row: Row, folder: Path, where: str) -> Clip:
    """A line of the index of `folder` as a clip.

    :param where: the line's place, for messages.
    :raises ClipError: the file is missing, or a field is wrong.
    """
    path = folder / row["file"]
    if not row["file"] or not path.is_file():
        raise ClipError(f"{where}: the file '{row['file']}' is not in {folder}")
    start_s, end_s = _number(row, "speech_start_s", where), _number(row, "speech_end_s", where)
    seconds = _number(row, "seconds", where)
    if seconds is None:
        seconds = _duration_s(path, where)
    if end_s is not None and not (start_s or 0.0) <= end_s <= seconds + 0.05:
        raise ClipError(
            f"{where}: speech from {start_s or 0.0:g} to {end_s:g} s does not lie in {seconds:g} s of audio"
        )
    if end_s is None and start_s is not None:
        raise ClipError(
            f"{where}: speech_start_s without speech_end_s", hint="fill both; leave both empty where nobody speaks"
        )
    texts = {name: row.get(name, "") for name in ("licence", "source", *MORE_COLUMNS)}
    if texts["split"] not in SPLITS:
        raise ClipError(f"{where}: split is '{texts['split']}'", hint="it is tune, held_out, or empty")
    words = "draft" if row["kind"] == MACHINE_TRANSCRIPT else "transcript"
    texts[words] = row.get("transcript", "")
    return Clip(path, row["kind"], row["lang"] or "-", seconds, start_s, end_s, _pauses(row, where), **texts)


# ------------------------------------------------------------------------------------------ inside

_TOO_MANY = "\t"
"""Where the reader puts fields without a column: no column can have this name."""


def _duration_s(path: Path, where: str) -> float:
    try:
        return float(soundfile.info(path).duration)
    except (OSError, soundfile.SoundFileError) as error:
        raise ClipError(f"{where}: {path.name} cannot be read: {error}") from error


def _pauses(row: Row, where: str) -> tuple[float, ...]:
    text = row.get("pauses_ms", "")
    try:
        pauses_ms = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        pauses_ms = (math.nan,)
    if not all(math.isfinite(pause) and pause >= 0 for pause in pauses_ms):
        raise ClipError(f"{where}: pauses_ms is '{text}', not numbers with commas between")
    return pauses_ms


def _number(row: Row, name: str, where: str) -> float | None:
    text = row.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ClipError(f"{where}: {name} is '{text}', not a number of seconds")
    return value


def _condition(text: str) -> Callable[[Row], bool]:
    """One condition of `--where`."""
    column, sign, value = text.partition("=")
    negated = column.endswith("!")
    column = column.removesuffix("!").strip()
    if not sign or column not in (*COLUMNS, *MORE_COLUMNS):
        raise ClipError(
            f"--where '{text}' is no condition",
            hint=f"write column=value or column!=value; columns: {', '.join((*COLUMNS, *MORE_COLUMNS))}",
        )
    return lambda row: fnmatchcase(row.get(column, ""), value.strip()) != negated
