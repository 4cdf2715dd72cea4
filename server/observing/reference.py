"""The page docs/reference/metrics.md, from the catalogue."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.server.observing.catalogue import METRICS, PROCESS_METRICS, Metric

_INTRO = """\
# Metrics reference

What `GET /metrics` of a server says (scope `metrics`), for Prometheus. Times are in seconds. A name that ends in
`_total` is a counter: look at its `rate()`. A histogram `x` has the series `x_bucket`, `x_sum` and `x_count`.

Labels have few values: fronts, steps, names of engines, ids of keys. Nothing that a client writes becomes one, and
nothing that was said is in any of them. How they are used: [Operating a server](../operating.md).
"""

_PROCESS = """\
## The process

From the Prometheus client library, on Linux.
"""


def page() -> str:
    """The text of the page, without its first line."""
    return "\n".join([_INTRO, *map(_section, METRICS), _PROCESS, _table(PROCESS_METRICS)])


def _section(metric: Metric) -> str:
    lines = [f"## `{metric.name}`\n", f"{metric.kind.capitalize()}. {metric.meaning}\n"]
    if metric.labels:
        rows = ["| label | value |", "|---|---|", *(f"| `{name}` | {told} |" for name, told in metric.labels.items())]
        lines.append("\n".join(rows) + "\n")
    if metric.buckets:
        lines.append(f"Buckets up to: {', '.join(f'{bound:g}' for bound in metric.buckets)} s.\n")
    return "\n".join(lines)


def _table(metrics: Sequence[Metric]) -> str:
    rows = [f"| `{metric.name}` | {metric.kind} | {metric.meaning} |" for metric in metrics]
    return "\n".join(["| name | kind | meaning |", "|---|---|---|", *rows]) + "\n"
