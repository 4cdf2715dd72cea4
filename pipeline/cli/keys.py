"""`antiphon keys create | list | revoke`."""

from __future__ import annotations

import getpass
import importlib.util
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from antiphon.engines.errors import EngineUnavailable
from antiphon.pipeline.cli.common import JsonOption, explained
from antiphon.pipeline.config.transcript import span

if TYPE_CHECKING:
    from antiphon.server.access.keys import Key

EXIT_CODES = "Exit codes: 0 done; 2 wrong usage, no such key, or a file that cannot be used; 3 a package is missing."

app = typer.Typer(
    help="API keys of `antiphon serve`: who may use it from other programs and machines. A running server takes every "
    f"change up within seconds.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)

USUAL_SCOPES = ("realtime", "audio", "chat")

FileOption = Annotated[
    Path | None,
    typer.Option("--file", help="The file (`server.keys_file`). Default: keys.json in ANTIPHON_HOME.", dir_okay=False),
]

_STYLES = {"valid": "green", "expired": "yellow", "revoked": "dim"}


@app.command()
@explained
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose or what for: letters, digits, . _ @ and -.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            help="What it opens: realtime, audio, chat, transcripts, approvals, metrics, admin, or all. Repeatable. "
            "Default: realtime, audio and chat.",
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="SPAN", help="For how long it is good: 12h, 30d, 1y. Default: until revoked.")
    ] = None,
    environment: Annotated[
        bool,
        typer.Option(
            "--environment", help="Store nothing: print an entry for ANTIPHON_API_KEYS too, with the key's hash."
        ),
    ] = False,
    file: FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is printed to standard output this once: what is kept is a hash."""
    _needs_server()
    from antiphon.server.access.key_file import add_key, keys_path
    from antiphon.server.access.keys import environment_entry, is_name, new_key, shown

    if not is_name(name):
        raise typer.BadParameter("at most 64 of A-Z a-z 0-9 . _ @ -, beginning with a letter or digit")
    now_s = time.time()
    ends_s = None if expires is None else now_s + _seconds(expires)
    token, key = new_key(name, _scopes(scope or USUAL_SCOPES), now_s=now_s, expires_s=ends_s, by=_user())
    entry = environment_entry(key) if environment else None
    path = keys_path(file)
    if not environment:
        add_key(path, key)
    if as_json:
        more: dict[str, Any] = {"environment": entry} if entry else {"file": str(path)}
        typer.echo(json.dumps({"key": token, **shown(key), **more}, indent=2))
        return
    typer.echo(token)
    kept = f"an entry for ANTIPHON_API_KEYS:\n{entry}" if entry else f"in {path}: its hash"
    typer.echo(f"{key.name} ({key.id}) opens {', '.join(sorted(key.scopes))}, {_until(key)}; {kept}", err=True)
    typer.echo("The key above is not shown again.", err=True)


@app.command("list")
@explained
def list_keys(
    every: Annotated[bool, typer.Option("--all", help="Also those that are revoked.")] = False,
    file: FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the keys of the file. The keys themselves are not in it."""
    _needs_server()
    from antiphon.server.access.key_file import keys_path, read_keys
    from antiphon.server.access.keys import shown

    now_s = time.time()
    keys = [key for key in read_keys(keys_path(file)) if every or key.revoked_s is None]
    if as_json:
        found = [{**shown(key), "state": key.condition(now_s)} for key in keys]
        typer.echo(json.dumps(found, indent=2))
        return
    if not keys:
        typer.echo("There are no keys. antiphon keys create NAME makes one.")
        return
    table = Table("name", "id", "ends in", "scopes", "made", "good", box=None, pad_edge=False, header_style="bold")
    for key in keys:
        state = key.condition(now_s)
        good = Text(state if state == "revoked" else _until(key), _STYLES[state])
        table.add_row(key.name, key.id, f"...{key.last4}", ", ".join(sorted(key.scopes)), _day(key.created_s), good)
    Console(highlight=False).print(table)


@app.command()
@explained
def revoke(
    which: Annotated[str, typer.Argument(metavar="KEY", help="Its name or its id, as `antiphon keys list` shows it.")],
    file: FileOption = None,
) -> None:
    """Take a key back. Conversations that were begun with it end; so do the ephemeral keys made with it."""
    _needs_server()
    from antiphon.server.access.key_file import keys_path, revoke_key

    key = revoke_key(keys_path(file), which, now_s=time.time())
    typer.echo(f"{key.name} ({key.id}): revoked")


def _needs_server() -> None:
    if importlib.util.find_spec("starlette") is None:
        raise EngineUnavailable("antiphon keys needs the package starlette", hint='pip install "antiphon[server]"')


def _scopes(names: list[str] | tuple[str, ...]) -> Any:
    from antiphon.server.access.principal import SCOPES

    if "all" in names:
        return SCOPES
    if unknown := sorted(set(names) - SCOPES):
        raise typer.BadParameter(f"'{unknown[0]}' is no scope; there are: {', '.join(sorted(SCOPES))}, all")
    return frozenset(names)


def _seconds(text: str) -> float:
    try:
        return span(text).total_seconds()
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error)) from None


def _until(key: Key) -> str:
    return "until it is revoked" if key.expires_s is None else f"until {_day(key.expires_s)}"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _user() -> str:
    try:
        return re.sub(r"[^\x20-\x7e]", "?", getpass.getuser())[:200]
    except (OSError, KeyError):  # a container without a user of that id
        return ""
