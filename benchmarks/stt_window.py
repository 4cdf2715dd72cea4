"""Which encoder window a Whisper bears: word errors and decode time, short windows against the full 30 s.

    python -m antiphon.benchmarks.stt_window --clips DIR --model whisper-tiny.en --threads 1 --threads 2

DIR holds recordings and an `index.tsv` with at least the columns `file`, `lang` and `transcript`. Every window is run
on every clip with a transcript; a clip's time is the best of `--repeats` (mel, encoder, decoder, retries, filter;
not reading the file). Word errors are counted after Whisper's English normaliser. Times of one run can be compared with
one another, and with nothing else.
"""

from __future__ import annotations

import csv
import json
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from antiphon.engines.audio import Samples
from antiphon.engines.models.store import ModelStore
from antiphon.engines.stt.whisper_runtime import WhisperRuntime
from antiphon.engines.stt.whisper_values import DecodeRequest, Piece
from antiphon.engines.stt.whisper_window import FULL_WINDOW_S, RATE_HZ, WindowPolicy, policy_for
from antiphon.pipeline.audio_file import read_audio

FULL = WindowPolicy(FULL_WINDOW_S)


@dataclass(frozen=True, slots=True)
class Clip:
    name: str
    samples: Samples
    """16 kHz mono."""
    transcript: str


@dataclass(frozen=True, slots=True)
class ClipScore:
    """One clip on one window."""

    name: str
    heard: str
    errors: int
    """Substitutions, deletions and insertions."""
    words: int
    """Words of the reference."""
    wall_s: float
    cpu_s: float
    """Processor time of all threads: what other programs on the machine disturb least."""
    attempts: int
    """Decodes done: more than 1 means that the loop guard stepped in."""
    rejected: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One window over all clips."""

    floor_s: float
    margin_s: float
    threads: int
    scores: tuple[ClipScore, ...]

    @property
    def errors(self) -> int:
        return sum(score.errors for score in self.scores)

    @property
    def words(self) -> int:
        return sum(score.words for score in self.scores)

    @property
    def wall_s(self) -> float:
        return sum(score.wall_s for score in self.scores)

    @property
    def cpu_s(self) -> float:
        return sum(score.cpu_s for score in self.scores)

    @property
    def retried(self) -> int:
        return sum(score.attempts > 1 for score in self.scores)

    @property
    def rejected(self) -> int:
        return sum(score.rejected for score in self.scores)


def load_clips(folder: Path, language: str = "en") -> list[Clip]:
    """The recordings of one language that have a transcript."""
    with (folder / "index.tsv").open(encoding="utf-8", newline="") as file:
        wanted = [row for row in csv.DictReader(file, delimiter="\t") if row["lang"] == language and row["transcript"]]
    return [Clip(row["file"], read_audio(folder / row["file"], RATE_HZ).samples, row["transcript"]) for row in wanted]


def word_errors(reference: str, heard: str) -> tuple[int, int]:
    """(errors, words of the reference), both texts brought to one form by Whisper's English normaliser."""
    import jiwer
    from whisper_normalizer.english import EnglishTextNormalizer

    normalise = EnglishTextNormalizer()
    result: Any = jiwer.process_words(normalise(reference), normalise(heard))
    return (
        result.substitutions + result.deletions + result.insertions,
        result.hits + result.substitutions + result.deletions,
    )


def score_window(
    runtime: WhisperRuntime, clips: Sequence[Clip], policy: WindowPolicy, threads: int, repeats: int, language: str
) -> Row:
    """Decode every clip on one window."""
    request = DecodeRequest(policy, language=language)
    scores = []
    for clip in clips:
        wall: list[float] = []
        cpu: list[float] = []
        for _ in range(repeats):
            wall_0, cpu_0 = time.perf_counter(), time.process_time()
            piece: Piece = runtime.decode(clip.samples, request)
            wall.append(time.perf_counter() - wall_0)
            cpu.append(time.process_time() - cpu_0)
        errors, words = word_errors(clip.transcript, piece.text)
        scores.append(
            ClipScore(
                clip.name, piece.text, errors, words, min(wall), min(cpu), piece.attempts, bool(piece.rejected_text)
            )
        )
    return Row(policy.floor_s, policy.margin_s, threads, tuple(scores))


def sweep(
    path: str,
    clips: Sequence[Clip],
    policies: Sequence[WindowPolicy],
    threads: Iterable[int],
    repeats: int = 1,
    language: str = "en",
    compute_type: str = "int8",
) -> list[Row]:
    """Every window at every thread count; the full window comes first for each thread count."""
    rows = []
    for count in threads:
        runtime = WhisperRuntime(path, "cpu", compute_type, count)
        runtime.warm((FULL_WINDOW_S,), language)
        try:
            for policy in (FULL, *policies):
                rows.append(score_window(runtime, clips, policy, count, repeats, language))
        finally:
            runtime.close()
    return rows


def table(rows: Sequence[Row]) -> str:
    """A Markdown table; speed is against the full window at the same thread count."""
    full = {row.threads: row for row in rows if row.floor_s >= FULL_WINDOW_S}
    lines = [
        "| floor s | margin s | threads | errors | WER | retried | rejected | time s | CPU s | faster (time, CPU) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.floor_s:g} | {row.margin_s:g} | {row.threads} | {row.errors} / {row.words} "
            f"| {100 * row.errors / max(1, row.words):.2f} % | {row.retried} | {row.rejected} "
            f"| {row.wall_s:.2f} | {row.cpu_s:.2f} "
            f"| {full[row.threads].wall_s / row.wall_s:.1f}x, {full[row.threads].cpu_s / row.cpu_s:.1f}x |"
        )
    return "\n".join(lines)


def differences(full: Row, short: Row) -> list[str]:
    """The clips whose number of word errors differs, one line each."""
    return [
        f"{a.name}: {a.errors} -> {b.errors} ({a.heard!r} -> {b.heard!r})"
        for a, b in zip(full.scores, short.scores, strict=True)
        if a.errors != b.errors
    ]


def _versions() -> str:
    from importlib.metadata import version

    named = ", ".join(f"{name} {version(name)}" for name in ("ctranslate2", "faster-whisper", "jiwer", "numpy"))
    return f"Python {platform.python_version()}, {named}"


def main(
    clips: Annotated[Path, typer.Option(help="Folder with recordings and index.tsv.", exists=True, file_okay=False)],
    model: Annotated[str, typer.Option(help="Catalog name or path.")] = "whisper-tiny.en",
    floor: Annotated[list[float] | None, typer.Option(help="Window floor in s; may be given again.")] = None,
    margin: Annotated[list[float] | None, typer.Option(help="Margin in s; may be given again.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="CPU threads; may be given again.")] = None,
    repeats: Annotated[int, typer.Option(help="Decodes of each clip; the best time counts.", min=1)] = 1,
    language: Annotated[str, typer.Option(help="Language of the clips to use.")] = "en",
    out: Annotated[Path | None, typer.Option(help="Write every clip's score to this JSON file.")] = None,
) -> None:
    """Sweep the encoder window of a Whisper model."""
    name = model if model.startswith(("whisper-", "hub:")) or "/" in model else f"whisper-{model}"
    files = ModelStore().resolve(name)
    wanted = load_clips(clips, language)
    retry = policy_for(name, files.metadata).retry_logprob
    policies = [WindowPolicy(f, m, retry) for f in floor or [3.0, 5.0, 8.0, 10.0] for m in margin or [0.64, 1.28, 2.56]]
    rows = sweep(files.directory, wanted, policies, threads or [1], repeats, language)
    typer.echo(f"{name}, {len(wanted)} clips, best of {repeats}; {_versions()}\n\n{table(rows)}")
    full = rows[0]
    for row in rows[1:]:
        if row.threads == full.threads and (lines := differences(full, row)):
            typer.echo(f"\nfloor {row.floor_s:g} s, margin {row.margin_s:g} s, against the full window:")
            typer.echo("\n".join(f"- {line}" for line in lines))
    if out is not None:
        out.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
