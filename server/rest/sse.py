"""Server-sent events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

EVENT_STREAM = "text/event-stream"
DONE = "data: [DONE]\n\n"


def event(data: Mapping[str, Any]) -> str:
    """One event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def comment(text: str) -> str:
    """Something that clients do not look at."""
    return f": {text}\n\n"
