"""`antiphon transcripts list | show | export | replay | erase | prune | upgrade`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from antiphon.engines.whole_file import whole_file
from antiphon.pipeline.cli.common import ConfigArgument, JsonOption, SetOption, explained
from antiphon.pipeline.cli.transcripts_replay import run_replay
from antiphon.pipeline.cli.transcripts_show import print_session
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.config.transcript import span
from antiphon.pipeline.policy.desk import forget_sessions
from antiphon.pipeline.transcript import (
    RecordingKey,
    SessionInfo,
    TranscriptError,
    TranscriptStore,
    open_store,
    read_recording,
)
from antiphon.pipeline.transcript.export import header, to_jsonl, to_markdown, to_vtt
from antiphon.pipeline.wav_out import write_wav

EXIT_CODES = (
    "Exit codes: 0 done; 1 it cannot be done: no such session, a store that cannot be used; 2 wrong usage or "
    "configuration; 3 a package is missing."
)

app = typer.Typer(
    help="Conversations that were kept (`transcript.store` in a configuration): look at them, export them, run them "
    f"again, erase them.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="CONFIG",
        help="The configuration whose transcripts these are. Without it: the SQLite file at its usual place.",
    ),
]
DatabaseOption = Annotated[
    Path | None, typer.Option("--db", metavar="FILE", help="An SQLite file, whatever the configuration says.")
]
SessionArgument = Annotated[
    str, typer.Argument(metavar="SESSION", help="A session's id, the beginning of one, or `last`.")
]


def _open(
    config: str | None, database: Path | None, *, must_exist: bool = True
) -> tuple[TranscriptStore, Config | None]:
    """The store that the options name."""
    if config is None:
        return open_store(path=database, must_exist=must_exist), None
    loaded = load_config(config)
    keys = loaded.transcript
    store = "sqlite" if database is not None or keys.store == "none" else keys.store
    opened = open_store(
        store,
        path=database or keys.path,
        recordings=keys.recordings,
        durability=keys.durability,
        must_exist=must_exist,
    )
    return opened, loaded


def _key(config: Config | None) -> RecordingKey:
    return RecordingKey.load(None if config is None else config.transcript.key_file)


@app.command("list")
@explained
def list_sessions(
    config: ConfigOption = None,
    database: DatabaseOption = None,
    person: Annotated[str | None, typer.Option(metavar="NAME", help="Only sessions with this label.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List recorded sessions, newest first."""
    store, _ = _open(config, database)
    with store:
        found = store.sessions(person=person, limit=limit)
        doubtful = {call.session for call in store.in_doubt()}
    if as_json:
        typer.echo(json.dumps([header(info) | {"in_doubt": info.id in doubtful} for info in found], indent=2))
        return
    if not found:
        typer.echo("no sessions")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("session", "started", "turns", "person", ""):
        table.add_column(name, justify="right" if name == "turns" else "left", no_wrap=name in ("session", "started"))
    for info in found:
        marks = [mark for mark, on in _marks(info, doubtful).items() if on]
        started = f"{info.started_at.astimezone():%Y-%m-%d %H:%M:%S}"
        table.add_row(
            Text(info.id), started, str(info.turns), Text(info.person or ""), Text(", ".join(marks), "yellow")
        )
    Console(highlight=False).print(table)


def _marks(info: SessionInfo, doubtful: set[str]) -> dict[str, bool]:
    return {"not ended": not info.ended, "audio": bool(info.audio_files), "a tool is in doubt": info.id in doubtful}


@app.command()
@explained
def show(
    session: SessionArgument,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    times: Annotated[bool, typer.Option("--times", help="Also each turn's waterfall, and what it used.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print a conversation: what was said, what of it was not heard, which tools ran, how fast it answered, what the
    engines used."""
    store, _ = _open(config, database)
    with store:
        info = store.find(session)
        if as_json:
            typer.echo(to_jsonl(info, store.records(info.id)), nl=False)
            return
        usage = store.usage(info.id)
        print_session(Console(highlight=False), info, store.turns(info.id), times=times, usage=usage)


@app.command()
@explained
def export(
    session: SessionArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where to; `-` for standard output.")],
    kind: Annotated[
        Literal["jsonl", "vtt", "md", "wav"] | None,
        typer.Option("--format", help="Without it: by the ending of --out.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
) -> None:
    """Write a conversation to a file: JSONL (every record), WebVTT, Markdown, or WAV (its recording, in stereo)."""
    chosen = kind or out.suffix.lower().removeprefix(".")
    if chosen not in ("jsonl", "vtt", "md", "wav"):
        raise typer.BadParameter("name the format by --format, or by the ending of --out: jsonl, vtt, md, wav")
    store, loaded = _open(config, database)
    with store:
        info = store.find(session)
        if chosen == "wav":
            if str(out) == "-":
                raise typer.BadParameter("a WAV file needs a name")
            _export_wav(store, info, loaded, out)
        elif chosen == "jsonl":
            _write(out, to_jsonl(info, store.records(info.id)))
        else:
            turns = store.turns(info.id)
            _write(out, to_vtt(turns) if chosen == "vtt" else to_markdown(info, turns))


def _write(out: Path, text: str) -> None:
    if str(out) == "-":
        typer.echo(text, nl=False)
        return
    try:
        with whole_file(out, mode=0o600) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TranscriptError(f"{out}: cannot be written: {error.strerror}") from error
    typer.echo(f"wrote {out}", err=True)


def _export_wav(store: TranscriptStore, info: SessionInfo, config: Config | None, out: Path) -> None:
    audio = read_recording(store.recordings / _only_file(info), lambda: _key(config))
    if not audio.complete:
        typer.echo("the recording was cut off: its last moments may be missing", err=True)
    write_wav(out, audio.samples, audio.rate_hz)
    typer.echo(f"wrote {out}", err=True)


def _only_file(info: SessionInfo) -> str:
    if not info.audio_files:
        raise TranscriptError(
            f"the session {info.id} has no recording",
            hint="sessions are recorded where transcript.record_audio is true",
        )
    return info.audio_files[0]


@app.command()
@explained
def replay(
    session: SessionArgument,
    through: ConfigArgument = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Do not play in real time; how fast it answers then means nothing.")
    ] = False,
    run_tools: Annotated[
        bool, typer.Option("--run-tools", help="Let the workflow call its tools. They run once more, for real.")
    ] = False,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run what the user said once more through CONFIG, and compare turn by turn.

    Needs the session's recording. The replies are heard by nobody, and nothing of the run is kept. Tools do not run
    unless --run-tools says so.
    """
    target = load_config(through, overrides=overrides or ())
    store, loaded = _open(config, database)
    with store:
        info = store.find(session)
        audio = read_recording(store.recordings / _only_file(info), lambda: _key(loaded))
        recorded = store.turns(info.id)
    run_replay(target, audio, recorded, fast=fast, run_tools=run_tools, as_json=as_json)


@app.command()
@explained
def erase(
    session: Annotated[str | None, typer.Option(metavar="ID", help="One session, by its whole id.")] = None,
    person: Annotated[str | None, typer.Option(metavar="NAME", help="All sessions with this label.")] = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove sessions for good: text, audio, and their questions in the file of approvals. What is left of each is its
    id, and when it was erased.

    Copies that were made of them (exports, backups, logs of a database server) are not found by this.
    """
    if (session is None) == (person is None):
        raise typer.BadParameter("give either --session or --person")
    store, loaded = _open(config, database)
    with store:
        ids = [store.session(session).id] if session is not None else [i.id for i in store.sessions(person=person)]
        if not ids:
            raise TranscriptError(f"no session has the label '{person}'", hint="antiphon transcripts list")
        followers = [info.id for info in store.sessions() if info.resumed_from in ids and info.id not in ids]
        if not yes and not typer.confirm(f"Erase {len(ids)} session(s) for good?"):
            raise typer.Exit(1)
        done = store.erase(session=session, person=person)
    questions = forget_sessions(None if loaded is None else loaded.approvals.store, done.sessions)
    more = f", {questions} question(s) of approvals" if questions else ""
    typer.echo(f"erased {len(done.sessions)} session(s): {done.rows} rows, {done.files} recording(s){more}")
    if followers:
        typer.echo(f"these went on from there and are kept: {', '.join(followers)}")
    if done.left:
        raise TranscriptError("some recordings could not be deleted: " + "; ".join(done.left))


@app.command()
@explained
def prune(
    config: ConfigOption = None,
    database: DatabaseOption = None,
    keep: Annotated[
        str | None, typer.Option(metavar="SPAN", help="For example 30d. Without it: what the configuration says.")
    ] = None,
    audio_only: Annotated[bool, typer.Option("--audio", help="Only the recordings.")] = False,
) -> None:
    """Remove sessions that are older than `transcript.keep`, and recordings older than `transcript.keep_audio`.

    A running server does this by itself.
    """
    store, loaded = _open(config, database)
    wanted = {audio_only: keep}
    if keep is None and loaded is not None:
        wanted = {True: loaded.transcript.keep_audio}
        if not audio_only:
            wanted[False] = loaded.transcript.keep
    with store:
        spans = {only: text for only, text in wanted.items() if text is not None}
        if not spans:
            raise typer.BadParameter("give --keep, or a configuration with transcript.keep")
        for only, text in spans.items():
            try:
                done = store.prune(span(text), audio_only=only)
            except ValueError as error:
                raise typer.BadParameter(str(error)) from None
            what = f"the recordings of {len(done.sessions)}" if only else f"{len(done.sessions)}"
            if not only:
                forget_sessions(None if loaded is None else loaded.approvals.store, done.sessions)
            typer.echo(f"removed {what} session(s) older than {text}: {done.rows} rows, {done.files} recording(s)")
            if done.left:
                raise TranscriptError("some recordings could not be deleted: " + "; ".join(done.left))


@app.command()
@explained
def upgrade(config: ConfigOption = None, database: DatabaseOption = None) -> None:
    """Bring a store's tables up to date. Opening it does the same; this says so, and lets one choose the moment."""
    store, _ = _open(config, database)
    with store:
        typer.echo(f"{store.database.place}: schema {store.database.version()}, up to date")
