"""`antiphon bench tools CONFIG`: how many spoken-style requests give exactly the right tool call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from antiphon.benchmarks import machine
from antiphon.benchmarks.result import ResultError, now
from antiphon.benchmarks.tools.measure import Outcome, Score, as_json, measure, score
from antiphon.benchmarks.tools.requests import (
    EXTRA,
    REQUESTS,
    BenchTool,
    ToolRequest,
    load_other,
    load_requests,
    load_tools,
    spread,
)
from antiphon.pipeline.cli.common import SetOption, explained
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.engine_making import engine_context, make_engine

_PLAIN = "llm.tool_help=none"


class SplitOption(StrEnum):
    """What `--split` takes."""

    tune = "tune"
    held_out = "held_out"
    both = "both"
    extra = "extra"
    other = "other"


@explained
def tools(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a packaged one.")],
    split: Annotated[
        SplitOption,
        typer.Option(
            help="The part of the set: settings are chosen on tune and extra, and reported on held_out; other has "
            "other tools, and compares no arguments."
        ),
    ] = SplitOption.held_out,
    plain: Annotated[
        bool, typer.Option("--plain", help="Without Antiphon's help for tool calls: llm.tool_help is none.")
    ] = False,
    kind: Annotated[list[str] | None, typer.Option(help="Only requests of this kind. May be repeated.")] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="At most N requests, spread evenly over the set.", min=1)
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all answers and scores as JSON.")] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="List the requests that went wrong.")] = False,
    as_json_text: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    overrides: SetOption = None,
) -> None:
    """Put spoken-style requests to the configured LLM, with seven tools, and count the exact calls.

    No audio; temperature 0; each request begins a conversation with the workflow's instructions.

    Exit codes: 0 measured; 1 the result cannot be written, or every request failed; 2 wrong usage or configuration;
    3 a package or a model is missing; 130 stopped with Ctrl-C.
    """
    loaded = load_config(config, overrides=[*(overrides or ()), *([_PLAIN] if plain else [])])
    known, chosen = _part(split.value)
    halves = list(dict.fromkeys(request.split for request in chosen))
    if unknown := sorted(set(kind or ()) - {request.kind for request in chosen}):
        names = ", ".join(dict.fromkeys(request.kind for request in chosen))
        raise typer.BadParameter(f"no requests of kind {', '.join(unknown)}; there are: {names}", param_hint="--kind")
    chosen = spread([request for request in chosen if not kind or request.kind in kind], limit)
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("loading", total=len(chosen))

        def done(outcome: Outcome) -> None:
            progress.update(task, advance=1, description=outcome.kind)

        async def run() -> list[Outcome]:
            async with engine_context(loaded) as context, make_engine(loaded.llm, context) as llm:
                return await measure(llm, chosen, known, loaded.workflow.instructions, on_outcome=done)

        outcomes = asyncio.run(run())
    scores = [score(half, [one for one in outcomes if one.split == half]) for half in halves]
    result = _result(config, loaded, overrides or (), plain, scores, outcomes)
    if out is not None:
        _write(out, result)
    if as_json_text:
        typer.echo(json.dumps(result, indent=1, ensure_ascii=False))
    else:
        _show(scores, outcomes if wrong else ())
    if outcomes and all(one.error for one in outcomes):
        typer.echo(f"error: every request failed: {outcomes[0].error}", err=True)
        raise typer.Exit(1)


def _part(split: str) -> tuple[dict[str, BenchTool], list[ToolRequest]]:
    """The tools and requests that `--split` names."""
    if split == "other":
        return load_other()
    known = load_tools()
    requests = load_requests(known, EXTRA if split == "extra" else REQUESTS)
    return known, [request for request in requests if split in (request.split, "both")]


def _result(
    source: str,
    config: Config,
    overrides: Sequence[str],
    plain: bool,
    scores: Sequence[Score],
    outcomes: Sequence[Outcome],
) -> dict[str, Any]:
    return {
        "created": now(),
        "config": Path(source).name,
        "set": list(overrides),
        "tool_help": not plain,
        "engine": config.llm[0].engine,
        "model": getattr(config.llm[0].options, "model", None),
        "machine": machine.machine_block(),
        "versions": machine.versions_block(),
        "commit": machine.commit(),
        "scores": [as_json(one) for one in scores],
        "outcomes": [as_json(one) for one in outcomes],
    }


def _write(path: Path, result: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise ResultError(f"{path}: cannot be written: {error.strerror}") from error


def _show(scores: Sequence[Score], outcomes: Sequence[Outcome]) -> None:
    console = Console(highlight=False)
    for one in scores:
        shown = Table(title=f"split: {one.split}", title_justify="left")
        for column in ("kind", "exact", "of", "%", "right tool", "any tool"):
            shown.add_column(column, justify="left" if column == "kind" else "right")
        for row in one.kinds:
            needs = row.kind != "none"
            shown.add_row(
                row.kind,
                str(row.right),
                str(row.requests),
                f"{100 * row.accuracy:.0f}",
                str(row.right_tool) if needs else "-",
                str(row.called),
            )
        console.print(shown)
        console.print(f"exact calls: {_share(one.exact, one.needing)} of the requests that need a tool")
        console.print(f"false triggers: {_share(one.false_triggers, one.not_needing)} of those that need none")
        console.print(
            f"to the call: p50 {_ms(one.call_ms_p50)}, longest {_ms(one.call_ms_max)}; "
            f"to the first words of an answer: p50 {_ms(one.first_words_ms_p50)}; errors: {one.errors}"
        )
    for outcome in outcomes:
        if not outcome.right:
            got = "; ".join(f"{name} {arguments}" for name, arguments in outcome.calls) or "no call"
            console.print(f"{outcome.id}: {outcome.said}\n    {got}", markup=False)


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole} ({100 * part / whole:.1f} %)" if whole else "none"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
