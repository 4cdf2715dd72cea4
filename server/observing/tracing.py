"""Traces of conversations, for OpenTelemetry: conversation > turn > stage, with the times that the events tell.

Spans are made when a turn is over, from its timings; nothing is measured for them. Nothing that was said is in them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from antiphon.engines.errors import EngineUnavailable
from antiphon.engines.net import is_loopback
from antiphon.pipeline.config.operating import TracingKeys
from antiphon.pipeline.errors import ConfigError
from antiphon.pipeline.events import Committed, ErrorEvent, Event, Interrupted, Timings, TurnEnded

logger = logging.getLogger(__name__)

_SHUTDOWN_S = 5.0
_STAGES: tuple[tuple[str, str, str], ...] = (
    ("endpointing", "speech_end_s", "commit_s"),
    ("stt", "vad_stop_s", "stt_s"),
    ("llm", "stt_s", "first_clause_s"),
    ("tts", "first_clause_s", "first_audio_s"),
    ("play", "first_audio_s", "audible_s"),
)
"""Span of a stage: from one of the timings to another. With speculation they overlap: that is what it is for."""


class Tracing:
    """Makes a :class:`Trace` for each conversation, or none at all."""

    def __init__(self, provider: Any | None) -> None:
        """
        :param provider: of the SDK, with its exporters; None: nothing is traced.
        """
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("antiphon")

    @classmethod
    def made(cls, settings: TracingKeys, *, offline: bool) -> Tracing:
        """As configured. Exporters, and their thread, are made only where there is an endpoint.

        :raises ConfigError: the endpoint is on another machine, and `session.offline` forbids it.
        :raises EngineUnavailable: a package is missing.
        """
        if settings.endpoint is None:
            return cls(None)
        if offline and not is_loopback(settings.endpoint):
            raise ConfigError(
                "traces would leave this machine, and session.offline is true",
                key="server.tracing.endpoint",
                hint="run a collector on this machine, or set session.offline to false",
            )
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ModuleNotFoundError as error:
            raise EngineUnavailable(
                f"server.tracing needs the package {error.name}", hint='pip install "antiphon[telemetry]"'
            ) from None
        exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=_SHUTDOWN_S)
        return cls(provider_for(settings, BatchSpanProcessor(exporter)))

    def conversation(self, session: str, *, protocol: str, key: str) -> Trace | None:
        """Begin the span of a conversation; None: nothing is traced."""
        if self._tracer is None:
            return None
        return Trace(self._tracer, session, protocol=protocol, key=key)

    async def close(self) -> None:
        """Send what waits to be sent; it is given some seconds."""
        if self._provider is not None:
            await asyncio.to_thread(self._provider.shutdown)


def provider_for(settings: TracingKeys, processor: Any) -> Any:
    """A provider of tracers that hands its spans to `processor`."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample)),
        resource=Resource({"service.name": settings.service_name}),
        span_limits=SpanLimits(max_events=64, max_attributes=64),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    return provider


class Trace:
    """The spans of one conversation. An event sink."""

    def __init__(self, tracer: Any, session: str, *, protocol: str, key: str) -> None:
        from opentelemetry.trace import set_span_in_context

        self._tracer = tracer
        self._wall_ns = time.time_ns() - round(asyncio.get_running_loop().time() * 1e9)
        """What the event loop's clock began at, in nanoseconds since 1970."""
        attributes = {"antiphon.session": session, "antiphon.protocol": protocol, "antiphon.key": key}
        self._span = tracer.start_span("conversation", attributes=attributes, start_time=self._now_ns())
        self._inside = set_span_in_context(self._span)
        self._turns = 0
        self._reasons: dict[int, str] = {}
        self._failed: dict[int, list[tuple[float, str, str]]] = {}
        self._interrupted: dict[int, float] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case Committed():
                self._reasons[event.turn] = event.reason
            case ErrorEvent():
                self._failed.setdefault(event.turn, []).append((event.t_s, event.stage, event.code))
            case Interrupted(acknowledged=False):
                self._interrupted[event.turn] = event.t_s
            case TurnEnded():
                self._turns += 1
                self._turn(event)

    def close(self) -> None:
        """The conversation is over."""
        self._span.set_attribute("antiphon.turns", self._turns)
        self._span.end(self._now_ns())

    # ------------------------------------------------------------------------------ inside

    def _turn(self, event: TurnEnded) -> None:
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        times = event.timings
        known = [at_s for at_s in _times(times) if at_s is not None]
        span = self._tracer.start_span(
            "turn", context=self._inside, attributes=self._about(event), start_time=self._ns(min([event.t_s, *known]))
        )
        inside = set_span_in_context(span)
        for name, begins, ends in _STAGES:
            begin_s, end_s = getattr(times, begins), getattr(times, ends)
            if begin_s is None or end_s is None or end_s < begin_s:
                continue
            self._tracer.start_span(name, context=inside, start_time=self._ns(begin_s)).end(self._ns(end_s))
        for at_s, stage, code in self._failed.pop(event.turn, ()):
            span.add_event("error", {"antiphon.stage": stage, "antiphon.code": code}, self._ns(at_s))
        if event.turn in self._interrupted:
            span.add_event("interrupted", None, self._ns(self._interrupted.pop(event.turn)))
        if event.status == "failed":
            span.set_status(Status(StatusCode.ERROR))
        span.end(self._ns(event.t_s))

    def _about(self, event: TurnEnded) -> dict[str, Any]:
        times = event.timings
        about: dict[str, Any] = {
            "antiphon.turn": event.turn,
            "antiphon.status": event.status,
            "antiphon.committed_by": self._reasons.pop(event.turn, ""),
            "antiphon.input_tokens": event.input_tokens,
            "antiphon.output_tokens": event.output_tokens,
        }
        if event.speculation.hit is not None:
            about["antiphon.speculation_hit"] = event.speculation.hit
        if times.audible_s is not None and times.speech_end_s is not None:
            about["antiphon.ttfa_ms"] = round((times.audible_s - times.speech_end_s) * 1000, 1)
        return about

    def _ns(self, loop_s: float) -> int:
        return self._wall_ns + round(loop_s * 1e9)

    def _now_ns(self) -> int:
        return self._ns(asyncio.get_running_loop().time())


def _times(timings: Timings) -> tuple[float | None, ...]:
    return (timings.speech_end_s, timings.vad_stop_s, timings.commit_s, timings.stt_s)
