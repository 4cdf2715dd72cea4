"""`result.json`: written, read back, and its JSON Schema."""

from __future__ import annotations

import dataclasses
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from antiphon.benchmarks.records import SCHEMA_VERSION, BenchResult
from antiphon.engines.errors import AntiphonError

RESULT = "result.json"
REPORT = "report.html"


class ResultError(AntiphonError):
    """Raised when a result cannot be read or written."""


def to_dict(result: BenchResult) -> dict[str, Any]:
    """JSON-ready; no NaN: what is not known is null."""
    return dataclasses.asdict(result)


def to_json(result: BenchResult) -> str:
    return json.dumps(to_dict(result), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_result(result: BenchResult, folder: Path) -> Path:
    """Write `result.json` into a folder, whole or not at all.

    :raises ResultError: the folder cannot be written to.
    """
    path = folder / RESULT
    part = path.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(to_json(result), "utf-8")
        os.replace(part, path)
    except OSError as error:
        raise ResultError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `result.json`."""
    import pydantic

    schema = pydantic.TypeAdapter(BenchResult).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "antiphon bench result", **schema}


def read_result(path: Path) -> dict[str, Any]:
    """A `result.json`, or the one in a folder, as a mapping.

    :raises ResultError: there is none, it is no result, or of another schema version.
    """
    if path.is_dir():
        path = path / RESULT
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ResultError(f"{path}: cannot be read: {error.strerror}", hint="make one: antiphon bench run") from error
    except ValueError as error:
        raise ResultError(f"{path}: is no JSON: {error}") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise ResultError(f"{path}: is no benchmark result of schema version {SCHEMA_VERSION} (it says {version!r})")
    return dict(data)
