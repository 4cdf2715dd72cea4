"""What a front adds to the pipeline's own time to the first audio: the same clips, turn about, one clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from antiphon.benchmarks import paired
from antiphon.benchmarks.paired import Estimate
from antiphon.benchmarks.peers.realtime import RealtimePeer
from antiphon.benchmarks.records import ConfigResult
from antiphon.benchmarks.server.process import ServerProcess
from antiphon.benchmarks.server.stream import StreamSubject
from antiphon.benchmarks.server.way_out import Timed
from antiphon.benchmarks.server.webrtc import WebRtcSubject
from antiphon.benchmarks.subject import Subject
from antiphon.pipeline.config import Config

Front = Literal["stream", "realtime", "webrtc"]
MOST_ADDED_MS: dict[Front, float] = {"stream": 20.0, "realtime": 20.0, "webrtc": 120.0}
"""What is asked of each."""
LAG_LIMIT_S = 0.02


@dataclass(frozen=True, slots=True)
class Added:
    """What a front adds, in ms; None: no turn was answered both ways."""

    front: Front
    ttfa_ms: Estimate | None
    way_out_ms: float | None = None
    """See :mod:`antiphon.benchmarks.server.way_out`; None: the front does not tell."""

    @property
    def holds(self) -> bool | None:
        """Whether it is within what is asked; None: unknown."""
        return None if self.ttfa_ms is None else self.ttfa_ms.value <= MOST_ADDED_MS[self.front]

    def block(self) -> dict[str, Any]:
        """For `result.json`."""
        known = None if self.ttfa_ms is None else asdict(self.ttfa_ms)
        limit_ms = MOST_ADDED_MS[self.front]
        return {
            "front": self.front,
            "ttfa_ms": known,
            "way_out_ms": self.way_out_ms,
            "limit_ms": limit_ms,
            "holds": self.holds,
        }


def subject_for(front: Front, server: ServerProcess, config: Config) -> Timed:
    """The client of a front, with a watch."""
    return Timed(_client_of(front, server, config))


def _client_of(front: Front, server: ServerProcess, config: Config) -> Subject:
    """A client of a server, as a system under test. It leaves the end of a turn to the configured detector."""
    pids = (server.pid,)
    match front:
        case "stream":
            return StreamSubject("stream", server.url, pids)
        case "realtime":
            url = server.url.replace("http", "ws", 1) + "/v1/realtime?model=default"
            subject = RealtimePeer(url, instructions=config.workflow.instructions, turn_detection="semantic_vad")
            subject.name = "realtime"
            return subject
        case "webrtc":
            return WebRtcSubject("webrtc", server.url, pids)


def added(front: Front, own: ConfigResult, over: ConfigResult, way_out_ms: float | None = None) -> Added:
    """The median difference of the turns that were answered both ways, with its 95 % interval."""
    pairs = [(a, b) for a, b in paired.same_turns(own, over) if a.outcome == b.outcome == "answered"]
    found = paired.difference(paired.by_clip((a.clip, a.ttfa_ms, b.ttfa_ms) for a, b in pairs))
    return Added(front, found, way_out_ms)


def lag_between(before: dict[str, float], after: dict[str, float]) -> dict[str, float | None]:
    """What a server's event loop did between two looks at its metrics: share of wake-ups that were later than 20 ms,
    and the bound below which 99.9 % of them were, in ms (None: above the largest)."""
    name = "antiphon_event_loop_lag_seconds"
    count = after[f"{name}_count"] - before.get(f"{name}_count", 0.0)
    bounds: list[tuple[float, float]] = []
    for series, value in after.items():
        if series.startswith(f"{name}_bucket"):
            bound = float(series.split('le="')[1].split('"')[0])
            bounds.append((bound, value - before.get(series, 0.0)))
    bounds.sort()
    within = next((below for bound, below in bounds if bound >= LAG_LIMIT_S), count)
    p999 = next((bound for bound, below in bounds if count and below / count >= 0.999), float("inf"))
    return {
        "wake_ups": count,
        "later_than_20_ms": round(1 - within / count, 6) if count else None,
        "p999_below_ms": None if p999 == float("inf") else round(p999 * 1000, 3),
    }


def named(results: Sequence[ConfigResult], name: str) -> ConfigResult | None:
    """The result of a subject."""
    return next((one for one in results if one.config == name), None)
