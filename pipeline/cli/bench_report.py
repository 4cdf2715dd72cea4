"""`antiphon bench report RESULT`: the page of a result, made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antiphon.benchmarks.report import write_report
from antiphon.benchmarks.result import REPORT, read_result
from antiphon.pipeline.cli.common import explained


@explained
def report(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A result.json, or the folder that it lies in.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page. Without it: report.html beside the result."),
    ] = None,
) -> None:
    """Make report.html from a result.json: one page that needs no network.

    Exit codes: 0 made; 1 the result cannot be read, or the page not be written; 2 wrong usage.
    """
    data = read_result(result)
    folder = result if result.is_dir() else result.parent
    page = out or folder / REPORT
    write_report(data, page)
    typer.echo(str(page))
