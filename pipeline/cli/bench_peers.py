"""`antiphon bench peers`: other people's systems, installed for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from antiphon.benchmarks.fresh import FreshStart
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.benchmarks.peers.address import shown_url
from antiphon.benchmarks.peers.catalog import PEERS, PeerSpec, default_folder, find_peer
from antiphon.benchmarks.peers.choose import choose_peers
from antiphon.benchmarks.peers.install import install as install_peer
from antiphon.benchmarks.peers.install import installed
from antiphon.benchmarks.peers.job import PeerJob, peer_job
from antiphon.benchmarks.run import Entry, Options
from antiphon.engines.models.store import ModelStore
from antiphon.pipeline.cli.common import JsonOption, explained
from antiphon.pipeline.config import load_config

app = typer.Typer(help="Other people's systems, installed to be measured beside Antiphon.", no_args_is_help=True)

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="DIR", help="Where the peers are installed. Default: peers, in Antiphon's data folder."
    ),
]
PeerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--peer",
        metavar="NAME",
        help="Measure this beside the first configuration, clip by clip in turn: pipecat, livekit, agents.voice, or "
        "realtime=URL for any server that speaks OpenAI Realtime. May be repeated.",
    ),
]
PeersFolderOption = Annotated[
    Path | None, typer.Option("--peers-folder", metavar="DIR", help="Where `bench peers install` has put the peers.")
]
PeerModelsOption = Annotated[
    str | None,
    typer.Option(
        "--peer-models", metavar="CONFIG", help="Whose models the peers run. Default: the first configuration's."
    ),
]
AllowNetworkOption = Annotated[
    bool, typer.Option("--allow-network", help="Let a realtime=URL lead off this machine: the clips are sent there.")
]


def add_peers(
    first: Entry,
    names: Sequence[str],
    models: str,
    overrides: Sequence[str],
    folder: Path | None,
    options: Options,
    *,
    allow_network: bool,
) -> tuple[list[Entry], list[Entry]]:
    """What is measured turn about with the first configuration: more of Antiphon, and the peers.

    A peer that is given finished recordings is compared with Antiphon given finished recordings.
    """
    if options.concurrency != (1,):
        raise typer.BadParameter("peers hold one conversation at a time", param_hint="--concurrency")

    def job() -> PeerJob:
        return peer_job(load_config(models, overrides=overrides), ModelStore(), name=models)

    peers = choose_peers(names, job, folder=folder, allow_network=allow_network)
    subject = first.subject
    more: list[Entry] = []
    if any(peer.finished_recording for peer in peers) and isinstance(subject, AntiphonSubject):
        # Engines of its own: those of the live one would know the prompt of the clip that it has just heard.
        given = AntiphonSubject(subject.name, subject.config, finished_recording=True)
        start = replace(first.fresh, finished_recording=True) if isinstance(first.fresh, FreshStart) else None
        more.append(Entry(given, dict(first.settings), fresh=start))
    return more, [Entry(peer, peer.settings) for peer in peers]


def peer_words(names: Sequence[str], models: str | None) -> list[str]:
    """The options, as they stand in a result: of an address what may be shown."""
    words: list[str] = []
    for name in names:
        kind, sign, url = name.partition("=")
        words += ["--peer", f"{kind}={shown_url(url)}" if sign else name]
    return [*words, "--peer-models", Path(models).name] if models else words


@app.command()
@explained
def install(
    peers: Annotated[
        list[str] | None, typer.Argument(metavar="[PEER]...", help="pipecat, livekit, agents. Default: all.")
    ] = None,
    folder: FolderOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what was installed.")] = False,
) -> None:
    """Install peers, each in an environment of its own, in pinned versions. pip uses your own settings.

    What is installed already is left alone. The peers' models are Antiphon's: nothing else is downloaded.
    """
    console = Console(highlight=False)
    where = folder or default_folder()
    for spec in [find_peer(name) for name in peers] if peers else PEERS:
        console.print(f"{spec.name}: {spec.what} ({spec.licence})", soft_wrap=True)
        with console.status(f"installing {spec.name}") as status:

            def say(line: str, name: str = spec.name, status: Any = status) -> None:
                if quiet:
                    return
                if console.is_terminal:
                    status.update(f"{name}: {escape(line[:100])}")
                elif line and not line.startswith(("  ", "Requirement already")):
                    console.print(f"  {escape(line)}", soft_wrap=True)

            found = install_peer(spec, where, say)
        console.print(f"  {_versions(found.versions)}, in {escape(str(found.folder))}", soft_wrap=True)


@app.command("list")
@explained
def list_peers(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Which peers there are, and which are installed."""
    where = folder or default_folder()
    console = Console(highlight=False)
    if as_json:
        console.print_json(data=[_row(spec, where) for spec in PEERS])
        return
    table = Table("peer", "licence", "installed", box=None, pad_edge=False)
    for spec in PEERS:
        row = _row(spec, where)
        state = _versions(row["versions"]) if row["installed"] else "no"
        table.add_row(spec.name, spec.licence, state + (" (another version)" if row["outdated"] else ""))
    table.add_row("realtime=URL", "", "any server that speaks OpenAI Realtime over WebSocket")
    console.print(table)


def _row(spec: PeerSpec, folder: Path) -> dict[str, Any]:
    found = installed(spec, folder)
    return {
        "name": spec.name,
        "key": spec.key,
        "what": spec.what,
        "licence": spec.licence,
        "requirements": list(spec.requirements),
        "installed": found is not None,
        "outdated": found is not None and not found.current,
        "versions": found.versions if found else {},
        "folder": str(found.folder) if found else None,
    }


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
