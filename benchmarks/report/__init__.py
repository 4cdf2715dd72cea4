"""`report.html`: one self-contained page from a `result.json`.

It loads nothing, works without its script, follows the reader's light or dark setting, prints, and has a table behind
every chart. Sections for which a result has no data are left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.benchmarks.report.page import page
from antiphon.benchmarks.report.reading import ReportError, configurations, peers, read_result
from antiphon.benchmarks.report.sections import Report

__all__ = ["ReportError", "render_report", "write_report"]


def render_report(result: Mapping[str, Any]) -> str:
    """The page for a result as it is in `result.json`.

    :raises ReportError: the result has another schema version, or a field is wrong.
    """
    read = read_result(result)
    return page(Report(result=read, configs=configurations(read), peers=peers(read)))


def write_report(result: Mapping[str, Any], path: Path) -> None:
    """Write the page for a result, whole or not at all.

    :raises ReportError: the result has another schema version or a field is wrong, or the file cannot be written.
    """
    text = render_report(result)
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, "utf-8")
        os.replace(part, path)
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror}") from error
