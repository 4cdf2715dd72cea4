"""`antiphon approvals list | show | grant | refuse`."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from antiphon.pipeline.cli.common import JsonOption, explained
from antiphon.pipeline.policy.approval import STATES, Approval, State
from antiphon.pipeline.policy.desk import default_path, open_store

if TYPE_CHECKING:
    from antiphon.pipeline.policy.approval_store import ApprovalStore

EXIT_CODES = "Exit codes: 0 done; 1 no such question, or it was decided before; 2 wrong usage."

app = typer.Typer(
    help=f"Questions that wait for a yes: see them, and decide them.\n\n{EXIT_CODES}", no_args_is_help=True
)

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store", help="The file (`approvals.store`). Default: approvals.db in ANTIPHON_HOME.", dir_okay=False
    ),
]
ByOption = Annotated[str, typer.Option("--by", help="Who decides, for the record. Default: your user name.")]
NoteOption = Annotated[str, typer.Option("--note", help="Why, for the record.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `antiphon approvals list` shows it.")]

_STYLES: dict[State, str] = {"pending": "bold yellow", "granted": "green", "refused": "red", "cancelled": "dim"}


@app.command("list")
@explained
def list_approvals(
    every: Annotated[bool, typer.Option("--all", help="Also those that are decided.")] = False,
    session: Annotated[str | None, typer.Option(help="Of one session only.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the questions that are open, oldest first."""
    states = STATES if every else ("pending",)
    with _store(store) as opened:
        found = [] if opened is None else opened.find(states=states, session=session)
    if as_json:
        typer.echo(json.dumps([approval.to_dict() for approval in found], indent=2, ensure_ascii=False))
        return
    if not found:
        typer.echo("No question is open." if not every else "No question was ever asked here.")
        return
    table = Table(
        "id", "state", "left", "decides", "session", "question", box=None, pad_edge=False, header_style="bold"
    )
    for approval in found:
        state = Text(approval.state, _STYLES[approval.state])
        question = Text(f"{approval.question}\n{_call(approval)}" if approval.tool else approval.question)
        table.add_row(approval.id, state, _left(approval), approval.decides, approval.session, question)
    Console(highlight=False).print(table)


@app.command()
@explained
def show(approval_id: IdArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Print all that is known of a question."""
    with _required(store) as opened:
        approval = opened.get(approval_id)
    if as_json:
        typer.echo(json.dumps(approval.to_dict(), indent=2, ensure_ascii=False))
        return
    for name, value in approval.to_dict().items():
        if value not in ("", None):
            shown = _when(value) if name.endswith("_s") else value
            typer.echo(f"{name.removesuffix('_s'):<11}{shown}")


@app.command()
@explained
def grant(approval_id: IdArgument, by: ByOption = "", note: NoteOption = "", store: StoreOption = None) -> None:
    """Say yes. Only the first decision counts, and none that comes after the time is over."""
    _decide(approval_id, True, by, note, store)


@app.command()
@explained
def refuse(approval_id: IdArgument, by: ByOption = "", note: NoteOption = "", store: StoreOption = None) -> None:
    """Say no. Only the first decision counts."""
    _decide(approval_id, False, by, note, store)


def _decide(approval_id: str, granted: bool, by: str, note: str, path: Path | None) -> None:
    with _required(path) as opened:
        approval = opened.decide(approval_id, granted, by=by or _user(), channel="desk", note=note)
    typer.echo(f"{approval.id}: {approval.state} by {approval.decided_by}")


@contextmanager
def _store(path: Path | None) -> Iterator[ApprovalStore | None]:
    """None where no question was ever asked: looking makes no file."""
    if not (path or default_path()).exists():
        yield None
        return
    with _required(path) as opened:
        yield opened


@contextmanager
def _required(path: Path | None) -> Iterator[ApprovalStore]:
    opened = open_store(path)
    try:
        yield opened
    finally:
        opened.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user of that id
        return "desk"


def _call(approval: Approval) -> str:
    return f"{approval.tool} {approval.arguments}"


def _left(approval: Approval) -> str:
    if approval.state != "pending":
        return ""
    seconds = max(0, round(approval.expires_s - time.time()))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


def _when(seconds: object) -> str:
    assert isinstance(seconds, float)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
