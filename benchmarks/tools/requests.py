"""The measured set: requests, what should come of each, and the tools that they are put to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from antiphon.engines.errors import AntiphonError
from antiphon.engines.protocols import ToolSpec

Split = Literal["tune", "held_out", "extra", "other"]
SPLITS: tuple[Split, ...] = ("tune", "held_out")
"""The halves of the measured set."""
REQUESTS = Path(__file__).with_name("requests.yaml")
TOOLS = Path(__file__).with_name("tools.yaml")
EXTRA = Path(__file__).with_name("extra.yaml")
"""More to tune on, in the same form."""
OTHER = Path(__file__).with_name("other.yaml")
"""Other tools, and requests for them."""


class ToolSetError(AntiphonError):
    """Raised when a set of requests or of tools cannot be read or contradicts itself."""


@dataclass(frozen=True, slots=True)
class BenchTool:
    """A tool, and how its arguments are compared."""

    spec: ToolSpec
    match: Mapping[str, str]
    """Parameter to the name of its rule in :data:`antiphon.benchmarks.tools.matching.RULES`."""


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """Something that is said, and the call that should come of it."""

    id: str
    kind: str
    split: Split
    say: str
    tool: str | None
    """None: no tool is needed."""
    accept: tuple[Mapping[str, Any], ...] = ()
    """Sets of arguments, any of which is right. A list among their values names alternatives; None: left out.

    Empty: the arguments are not compared."""


def load_tools(path: Path = TOOLS) -> dict[str, BenchTool]:
    """The tools by name, in the file's order.

    :raises ToolSetError: the file cannot be read.
    """
    try:
        entries = yaml.safe_load(path.read_text("utf-8"))["tools"]
        return {
            entry["name"]: BenchTool(
                ToolSpec(entry["name"], entry["description"], entry["parameters"]), dict(entry["match"])
            )
            for entry in entries
        }
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ToolSetError(f"{path.name}: is no list of tools: {error!r}") from error


def load_requests(
    tools: Mapping[str, BenchTool], path: Path = REQUESTS, split: Split | None = None
) -> list[ToolRequest]:
    """The requests in the file's order: of one part, or of all that are in it.

    :raises ToolSetError: the file cannot be read, or a request names a tool or an argument that does not exist.
    """
    try:
        kinds = yaml.safe_load(path.read_text("utf-8"))
        found = [
            _request(f"{kind}-{half}-{number}", kind, half, block["tool"], entry, tools)
            for kind, block in kinds.items()
            for half in (("extra",) if path == EXTRA else SPLITS)
            for number, entry in enumerate(block[half], 1)
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ToolSetError(f"{path.name}: is no set of requests: {error!r}") from error
    return [request for request in found if split in (None, request.split)]


def load_other(path: Path = OTHER) -> tuple[dict[str, BenchTool], list[ToolRequest]]:
    """Another set of tools, and its requests. Only the choice of the tool is compared.

    :raises ToolSetError: the file cannot be read.
    """
    try:
        block = yaml.safe_load(path.read_text("utf-8"))
        tools = {
            entry["name"]: BenchTool(ToolSpec(entry["name"], entry["description"], entry["parameters"]), {})
            for entry in block["tools"]
        }
        talk = [one.say for one in load_requests(load_tools(), EXTRA) if one.tool is None]
        said = {**block["requests"], "none": [say for say in talk if say not in block["not_talk"]]}
        return tools, [
            ToolRequest(f"{kind}-other-{number}", kind, "other", say, kind if kind in tools else None)
            for kind, texts in said.items()
            for number, say in enumerate(texts, 1)
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ToolSetError(f"{path.name}: is no set of other tools: {error!r}") from error


def spread(requests: Sequence[ToolRequest], limit: int | None) -> list[ToolRequest]:
    """At most `limit` requests, evenly over the set and so over its kinds."""
    if limit is None or limit >= len(requests):
        return list(requests)
    return [requests[int((at + 0.5) * len(requests) / limit)] for at in range(limit)]


def _request(
    name: str, kind: str, split: Split, tool: str | None, entry: Mapping[str, Any], tools: Mapping[str, BenchTool]
) -> ToolRequest:
    if tool is None:
        return ToolRequest(name, kind, split, entry["say"], None)
    if tool not in tools:
        raise ToolSetError(f"{name}: there is no tool '{tool}'")
    accept = (entry["arguments"], *entry.get("or", ()))
    unknown = sorted({key for arguments in accept for key in arguments} - set(tools[tool].match))
    if unknown:
        raise ToolSetError(f"{name}: '{tool}' has no argument {', '.join(unknown)}")
    return ToolRequest(name, kind, split, entry["say"], tool, accept)
