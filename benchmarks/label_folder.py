"""Makes the index of a folder of a user's own recordings, and keeps what somebody wrote into it.

Kinds of a row made here: "unreviewed" (nobody has looked at it), "machine-transcript" (besides, its transcript comes
from a recogniser), "reviewed", and "noise" (no speech). Any other kind is somebody's own and stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import soundfile

from antiphon.benchmarks.clips import (
    COLUMNS,
    INDEX,
    MACHINE_TRANSCRIPT,
    RATE_HZ,
    Clip,
    ClipError,
    Table,
    clip_of,
    read_table,
    row_of,
    write_table,
)
from antiphon.benchmarks.label import Speech, find_speech
from antiphon.pipeline.audio_file import read_audio
from antiphon.pipeline.wav_out import write_wav

UNREVIEWED, REVIEWED, NOISE = "unreviewed", "reviewed", "noise"
TO_REVIEW = (UNREVIEWED, MACHINE_TRANSCRIPT)
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

OnFile = Callable[[str, int, int], None]
"""(file, how many are done, of how many)"""


@dataclass(slots=True)
class Labelled:
    """An index being made."""

    folder: Path
    index: Path
    table: Table
    new: list[str] = field(default_factory=list)
    """Files labelled in this run, in the order of the index."""

    def save(self) -> None:
        """:raises ClipError: the index cannot be written."""
        try:
            write_table(self.index, self.table)
        except OSError as error:
            raise ClipError(f"{self.index}: cannot be written: {error}", hint="name another file with --out") from error

    def clips(self, files: Iterable[str]) -> Iterator[tuple[int, Clip]]:
        """The clips of these files, with their row numbers."""
        wanted = set(files)
        for number, row in enumerate(self.table.rows):
            if row["file"] in wanted:
                yield number, clip_of(row, self.folder, f"{self.index}:{number + 2}")

    def put(self, number: int, clip: Clip) -> None:
        """Write a clip into its row; columns of somebody's own stay as they are."""
        self.table.rows[number] |= row_of(clip, self.folder)

    def to_review(self) -> list[str]:
        """Files that nobody has looked at: rows that say so, and what this run found no speech in."""
        return [
            row["file"]
            for row in self.table.rows
            if row["kind"] in TO_REVIEW or (row["kind"] == NOISE and row["file"] in self.new)
        ]


def open_index(folder: Path, index: Path | None = None) -> Labelled:
    """The index of a folder as it is now; an empty one where there is none yet.

    :param index: where it is; None: `index.tsv` in the folder.
    :raises ClipError: no such folder, or an index that cannot be read.
    """
    _require(folder)
    index = index or folder / INDEX
    table = read_table(index) if index.is_file() else Table()
    table.columns += tuple(name for name in COLUMNS if name not in table.columns)
    return Labelled(folder, index, table)


def label_folder(labelled: Labelled, *, lang: str = "-", force: bool = False, on_file: OnFile | None = None) -> None:
    """Label the folder's WAVs that have no row yet.

    :param lang: the language spoken, for new rows.
    :param force: label again also those that have a row; their transcript, licence and source are kept.
    :raises ClipError: no WAV in the folder, or one that is not mono at 16 kHz.
    """
    files = wavs(labelled.folder)
    rows = {row["file"]: number for number, row in enumerate(labelled.table.rows)}
    todo = [path for path in files if force or path.name not in rows]
    check_format(todo)
    for done, path in enumerate(todo, 1):
        clip = label_clip(path, lang)
        number = rows.get(path.name)
        if number is None:
            labelled.table.rows.append(dict(row_of(clip, labelled.folder)))
        else:
            labelled.put(number, _relabelled(labelled.table.rows[number], clip))
        labelled.new.append(path.name)
        if on_file is not None:
            on_file(path.name, done, len(todo))


def label_clip(path: Path, lang: str = "-") -> Clip:
    """A recording with what was found in it.

    :raises ClipError: it is not a 16 kHz mono WAV.
    """
    blank = Clip(path, UNREVIEWED, lang, 0.0, None, None, source="own recording")
    samples = blank.samples()
    return with_speech(replace(blank, seconds=len(samples) / RATE_HZ), find_speech(samples) if len(samples) else None)


def with_speech(clip: Clip, speech: Speech | None) -> Clip:
    """The clip with this speech in it; its kind follows where somebody speaks or nobody does."""
    if speech is None:
        return replace(
            clip, kind=NOISE, lang="-", speech_start_s=None, speech_end_s=None, pauses_ms=(), transcript="", draft=""
        )
    kind = UNREVIEWED if clip.kind == NOISE else clip.kind
    return replace(
        clip, kind=kind, speech_start_s=speech.start_s, speech_end_s=speech.end_s, pauses_ms=speech.pauses_ms
    )


def wavs(folder: Path) -> list[Path]:
    """The WAVs of a folder, by name.

    :raises ClipError: there is none.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".wav" and path.is_file())
    if not found:
        others = sum(path.suffix.lower() in AUDIO_SUFFIXES for path in folder.iterdir())
        raise ClipError(
            f"{folder}: no WAV in it",
            hint=f"{others} other recordings are: convert them with --convert OUT"
            if others
            else "name the folder that holds your recordings",
        )
    return found


def check_format(paths: Sequence[Path]) -> None:
    """:raises ClipError: some of these are not mono at 16 kHz; the message names them and offers to convert them."""
    wrong = []
    for path in paths:
        try:
            info = soundfile.info(path)
        except (OSError, soundfile.SoundFileError) as error:
            raise ClipError(f"{path}: cannot be read: {error}", hint="remove it from the folder") from error
        if (info.samplerate, info.channels) != (RATE_HZ, 1):
            wrong.append(f"{path.name} ({info.samplerate} Hz, {info.channels} channel{'s' * (info.channels > 1)})")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ClipError(
            f"benchmark clips are mono at {RATE_HZ} Hz; these are not: {', '.join(wrong[:3])}{more}",
            hint="have copies made of all recordings, and labelled there: --convert OUT",
        )


def convert(folder: Path, out: Path, *, on_file: OnFile | None = None) -> int:
    """Copy all recordings of a folder to another one as 16 kHz mono WAVs; those that are there already are kept.

    :returns: how many were made.
    :raises ClipError: `out` is the folder itself, two recordings would get one name, or there is no recording.
    :raises AudioInputError: a recording cannot be read, or a copy not be written.
    """
    _require(folder)
    if out.resolve() == folder.resolve():
        raise ClipError("--convert names the folder of the recordings itself", hint="name another folder")
    sources = sorted(path for path in folder.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    if not sources:
        raise ClipError(f"{folder}: no recording in it ({', '.join(AUDIO_SUFFIXES)})")
    targets: dict[str, Path] = {}
    for path in sources:
        if (other := targets.setdefault(f"{path.stem}.wav", path)) != path:
            raise ClipError(f"{other.name} and {path.name} would both become {path.stem}.wav", hint="rename one")
    todo = [(out / name, path) for name, path in targets.items() if not (out / name).exists()]
    for done, (target, path) in enumerate(todo, 1):
        write_wav(target, read_audio(path, RATE_HZ).samples, RATE_HZ)
        if on_file is not None:
            on_file(path.name, done, len(todo))
    return len(todo)


def _require(folder: Path) -> None:
    if not folder.is_dir():
        raise ClipError(f"{folder}: no such folder", hint="name the folder that holds your recordings")


def _relabelled(row: dict[str, str], clip: Clip) -> Clip:
    """A new label for a row that was there: what the labeller does not know is kept."""
    kept = replace(
        clip,
        transcript=row.get("transcript", ""),
        licence=row.get("licence", ""),
        source=row.get("source", "") or clip.source,
        scenario=row.get("scenario", ""),
        split=row.get("split", ""),
        dialogue=row.get("dialogue", ""),
    )
    if not clip.has_speech:
        return kept
    if row["kind"] == MACHINE_TRANSCRIPT:
        kept = replace(kept, transcript="", draft=kept.transcript)
    if row["kind"] not in ("", UNREVIEWED, REVIEWED, NOISE):
        kept = replace(kept, kind=row["kind"])
    return replace(kept, lang=row["lang"]) if clip.lang == "-" and row["lang"] else kept
