"""The figures of a server, for Prometheus: counted from the events of its sessions, never by timers inside engines."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from antiphon.engines.chain import FallbackEvent
from antiphon.engines.errors import EngineOverloaded, EngineRequestInvalid, EngineUnavailable
from antiphon.engines.host import WorkerStats
from antiphon.pipeline.config import Config
from antiphon.pipeline.usage import EngineUsage
from antiphon.server.observing.catalogue import METRICS

MOST_KEYS = 200
MOST_CODES = 40
MOST_ENGINES = 100
OTHER = "other"


class Bounded:
    """Values of a label: after so many different ones, a new one is "other". So no client makes the server's memory."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._known:
            return value
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(value)
        return value


class Metrics:
    """One for a server. Its methods may be called from any thread.

    :raises EngineUnavailable: the package prometheus_client is missing.
    """

    def __init__(self, *, worker_stats: Callable[[], Mapping[str, WorkerStats]] = dict) -> None:
        """
        :param worker_stats: what each loaded model did so far; asked at each look.
        """
        try:
            import prometheus_client as client
            import prometheus_client.core
        except ModuleNotFoundError:
            raise EngineUnavailable(
                "antiphon serve needs the package prometheus_client", hint='pip install "antiphon[server]"'
            ) from None
        client.disable_created_metrics()  # type: ignore[no-untyped-call]  # half of the series, of no use here
        self._client = client
        self.registry = client.CollectorRegistry()
        kinds: dict[str, Any] = {"counter": client.Counter, "gauge": client.Gauge, "histogram": client.Histogram}
        self._metrics: dict[str, Any] = {}
        for metric in METRICS:
            if metric.name in _Workers.NAMES:
                continue
            more = {"buckets": metric.buckets} if metric.kind == "histogram" else {}
            self._metrics[metric.name] = kinds[metric.kind](
                metric.name, metric.meaning, tuple(metric.labels), registry=self.registry, **more
            )
        self.registry.register(_Workers(client, worker_stats))
        client.ProcessCollector(registry=self.registry)
        self.set("antiphon_build_info", 1, version=version("antiphon"), python=platform.python_version())
        self._keys, self._codes, self._warnings = Bounded(MOST_KEYS), Bounded(MOST_CODES), Bounded(MOST_CODES)
        self._engines = Bounded(MOST_ENGINES)
        self._configured: set[tuple[str, str]] = set()
        """Stages and engines of the configuration in force."""

    # ------------------------------------------------------------------------------ to count

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        self._child(name, labels).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._child(name, labels).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add to a histogram."""
        self._child(name, labels).observe(value)

    def _child(self, name: str, labels: Mapping[str, str]) -> Any:
        metric = self._metrics[name]
        return metric.labels(**labels) if labels else metric

    # ------------------------------------------------------------------------------ what is counted

    def begin(self, protocol: str) -> None:
        """A conversation begins."""
        self._child("antiphon_sessions_open", {"protocol": protocol}).inc()
        self.count("antiphon_sessions_total", protocol=protocol)

    def end(self, protocol: str, lasted_s: float) -> None:
        """It is over."""
        self._child("antiphon_sessions_open", {"protocol": protocol}).dec()
        self.observe("antiphon_session_seconds", lasted_s, protocol=protocol)

    def use(self, key: str, usage: Iterable[EngineUsage]) -> None:
        """Engines have worked for a key."""
        key = self._keys(key or "anyone")
        for one in usage:
            self.count("antiphon_usage_total", one.amount, key=key, stage=one.stage, unit=one.unit)
            if one.wasted:
                self.count("antiphon_usage_wasted_total", one.wasted, stage=one.stage, unit=one.unit)

    def error(self, stage: str, code: str) -> None:
        """A stage has failed."""
        self.count("antiphon_errors_total", stage=stage, code=self._codes(code))

    def warning(self, code: str) -> None:
        """A conversation was warned."""
        self.count("antiphon_warnings_total", code=self._warnings(code))

    def loaded(self, config: Config) -> None:
        """A configuration's engines are loaded: all are in order, and those of the one before are no longer told of."""
        self._metrics["antiphon_engine_in_order"].clear()
        self._configured.clear()
        for stage in ("stt", "llm", "tts"):
            blocks = getattr(config, stage)
            for number, block in enumerate(blocks, 1):
                name = block.engine if len(blocks) == 1 else f"{number}:{block.engine}"
                self._configured.add((stage, name))
                self.set("antiphon_engine_in_order", 1, stage=stage, engine=self._engines(name))

    def fallback(self, event: FallbackEvent) -> None:
        """Something changed in the engines of a stage."""
        labels = {"stage": event.stage, "engine": self._engines(event.engine)}
        self._child("antiphon_fallbacks_total", {"kind": event.kind, **labels}).inc()
        if self._configured and (event.stage, event.engine) not in self._configured:
            return  # of a configuration that was replaced: nobody would ever say that it is in order again
        if event.kind == "recovered":
            self._child("antiphon_engine_in_order", labels).set(1)
        elif _puts_out_of_order(event):
            self._child("antiphon_engine_in_order", labels).set(0)

    def page(self) -> tuple[bytes, str]:
        """What Prometheus is given, and its media type. Reads files of the system: not for the event loop."""
        return self._client.generate_latest(self.registry), self._client.CONTENT_TYPE_LATEST


def _puts_out_of_order(event: FallbackEvent) -> bool:
    """As the chain has it: a request that is at fault itself, and our own full queue, say nothing of the engine."""
    no_room = isinstance(event.error, EngineOverloaded) and event.error.retry_after_s is None
    return not no_room and not isinstance(event.error, EngineRequestInvalid)


class _Workers:
    """What the loaded models did, as they tell it themselves."""

    NAMES = frozenset(metric.name for metric in METRICS if "worker" in metric.labels)

    def __init__(self, client: Any, stats: Callable[[], Mapping[str, WorkerStats]]) -> None:
        self._client = client
        self._stats = stats
        self._meaning = {metric.name: metric.meaning for metric in METRICS}

    def describe(self) -> list[Any]:
        """For the registry: asks for nothing yet."""
        return []

    def collect(self) -> Iterator[Any]:
        stats = self._stats()
        yield self._gauge("antiphon_engine_queue_requests", {name: one.queued for name, one in stats.items()})
        requests = self._counter("antiphon_engine_requests_total", ("worker", "outcome"))
        for name, one in stats.items():
            for outcome in ("done", "failed", "dropped", "refused"):
                requests.add_metric((name, outcome), getattr(one, outcome))
        yield requests
        for metric, field in (
            ("antiphon_engine_busy_seconds_total", "busy_s"),
            ("antiphon_engine_crashes_total", "crashes"),
        ):
            family = self._counter(metric, ("worker",))
            for name, one in stats.items():
                family.add_metric((name,), getattr(one, field))
            yield family

    def _gauge(self, name: str, values: Mapping[str, float]) -> Any:
        family = self._client.core.GaugeMetricFamily(name, self._meaning[name], labels=("worker",))
        for worker, value in values.items():
            family.add_metric((worker,), value)
        return family

    def _counter(self, name: str, labels: tuple[str, ...]) -> Any:
        return self._client.core.CounterMetricFamily(name, self._meaning[name], labels=labels)
