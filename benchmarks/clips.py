"""Benchmark clips: a folder of 16 kHz mono WAVs with an `index.tsv` that tells what is said in them, and when.

The index is tab-separated with a header. Columns: `file`, `kind`, `lang`, `seconds`, `speech_start_s`, `speech_end_s`,
`pauses_ms` (comma-separated silences inside the speech), `transcript`, `licence`, `source`; and, where a set has them,
`scenario`, `split` ("tune" or "held_out") and `dialogue` (clips of one dialogue are one session, in the order of the
index). A clip without `speech_end_s` holds no speech: it must start no turn.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import soundfile

from antiphon.engines.audio import Samples
from antiphon.engines.errors import AntiphonError

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
    index = folder / INDEX
    if not index.is_file():
        raise ClipError(
            f"{folder}: no {INDEX}", hint=f"make one for your own recordings: antiphon bench label {folder}"
        )
    wanted = [_condition(text) for text in where]
    with index.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = [name for name in COLUMNS[:6] if name not in (reader.fieldnames or ())]
        if missing:
            raise ClipError(f"{index}: no column {', '.join(missing)}", hint=f"columns: {', '.join(COLUMNS)}")
        rows = [(number, row) for number, row in enumerate(reader, 2)]
    clips = [_clip(folder, row, f"{index}:{number}") for number, row in rows if all(test(row) for test in wanted)]
    if not clips:
        raise ClipError(f"{index}: no clip" + (f" with {' and '.join(where)}" if where else ""))
    return clips


def write_index(folder: Path, clips: Iterable[Clip]) -> Path:
    """Write the index of a folder; columns beyond the ten are written if a clip uses them."""
    clips = list(clips)
    more = [name for name in MORE_COLUMNS if any(getattr(clip, name) for clip in clips)]
    path = folder / INDEX
    with path.open("w", encoding="utf-8", newline="") as out:
        out.write("\t".join((*COLUMNS, *more)) + "\n")
        for clip in clips:
            out.write("\t".join(_fields(clip, more)) + "\n")
    return path


# ------------------------------------------------------------------------------------------ inside


def _fields(clip: Clip, more: Sequence[str]) -> list[str]:
    def seconds(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    texts = [
        clip.path.name,
        clip.kind,
        clip.lang,
        seconds(clip.seconds),
        seconds(clip.speech_start_s),
        seconds(clip.speech_end_s),
        ",".join(f"{pause:g}" for pause in clip.pauses_ms),
        clip.transcript,
        clip.licence,
        clip.source,
        *(getattr(clip, name) for name in more),
    ]
    return [" ".join(text.split()) for text in texts]  # a tab or line break inside a text would break the table


def _clip(folder: Path, row: dict[str, str], where: str) -> Clip:
    path = folder / (row["file"] or "")
    if not row["file"] or not path.is_file():
        raise ClipError(f"{where}: the file '{row['file']}' is not in {folder}")
    start_s, end_s = _number(row, "speech_start_s", where), _number(row, "speech_end_s", where)
    seconds = _number(row, "seconds", where)
    if seconds is None:
        seconds = float(soundfile.info(path).duration)
    if end_s is not None and not (start_s or 0.0) <= end_s <= seconds + 0.05:
        raise ClipError(
            f"{where}: speech from {start_s or 0.0:g} to {end_s:g} s does not lie in {seconds:g} s of audio"
        )
    try:
        pauses_ms = tuple(float(text) for text in (row.get("pauses_ms") or "").split(",") if text.strip())
    except ValueError:
        raise ClipError(f"{where}: pauses_ms is '{row.get('pauses_ms')}', not numbers with commas between") from None
    texts = {name: row.get(name) or "" for name in ("transcript", "licence", "source", *MORE_COLUMNS)}
    return Clip(path, row["kind"] or "", row["lang"] or "-", seconds, start_s, end_s, pauses_ms, **texts)


def _number(row: dict[str, str], name: str, where: str) -> float | None:
    text = (row.get(name) or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ClipError(f"{where}: {name} is '{text}', not a number of seconds")
    return value


def _condition(text: str) -> Callable[[dict[str, str]], bool]:
    """One condition of `--where`."""
    column, sign, value = text.partition("=")
    negated = column.endswith("!")
    column = column.removesuffix("!").strip()
    if not sign or column not in (*COLUMNS, *MORE_COLUMNS):
        raise ClipError(
            f"--where '{text}' is no condition",
            hint=f"write column=value or column!=value; columns: {', '.join((*COLUMNS, *MORE_COLUMNS))}",
        )
    return lambda row: fnmatchcase(row.get(column) or "", value.strip()) != negated
