"""Traces: conversation > turn > stage, with the times that the events tell, and nothing that was said."""

from __future__ import annotations

import gzip
import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from network_clock import run_networked
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from operated import call, operating
from served import config

from antiphon.engines.errors import EngineFailed
from antiphon.engines.testing import run_virtual
from antiphon.pipeline.config import Config
from antiphon.pipeline.config.operating import TracingKeys
from antiphon.pipeline.errors import ConfigError
from antiphon.server.observing.tracing import Tracing, provider_for
from antiphon.server.service import Service


def spans_of(given: Config, **keys: Any) -> list[ReadableSpan]:
    """Of a conversation of two questions."""

    async def main() -> list[ReadableSpan]:
        exporter = InMemorySpanExporter()
        service = Service(given)
        service.tracing = Tracing(provider_for(TracingKeys(**keys), SimpleSpanProcessor(exporter)))
        async with operating(given, service):
            caller = await call(service)
            for _ in range(2):
                await caller.ask()
            await caller.hang_up()
        return list(exporter.get_finished_spans())

    return run_virtual(main())


def duration_s(span: ReadableSpan) -> float:
    assert span.start_time is not None and span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_a_conversation_is_a_tree_of_spans() -> None:
    spans = spans_of(config())
    (conversation,) = [span for span in spans if span.name == "conversation"]
    turns = [span for span in spans if span.name == "turn"]
    assert conversation.parent is None and len(turns) == 2
    assert conversation.attributes is not None and conversation.attributes["antiphon.turns"] == 2
    for turn in turns:
        assert turn.parent is not None and turn.parent.span_id == conversation.context.span_id
        assert turn.attributes is not None and turn.attributes["antiphon.status"] == "completed"
        inside = [span for span in spans if span.parent is not None and span.parent.span_id == turn.context.span_id]
        assert [span.name for span in inside] == ["endpointing", "stt", "llm", "tts", "play"]
        ends = max(span.end_time or 0 for span in inside)
        starts = min(span.start_time or 0 for span in inside)
        assert (turn.start_time or 0) <= starts and ends <= (turn.end_time or 0)
        ttfa_ms = turn.attributes["antiphon.ttfa_ms"]
        assert isinstance(ttfa_ms, float) and ttfa_ms == pytest.approx((ends - starts) / 1e6, abs=1)
    assert duration_s(conversation) == pytest.approx(6.0, abs=0.2)
    assert {span.context.trace_id for span in spans} == {conversation.context.trace_id}


def test_nothing_that_was_said_is_in_them() -> None:
    written = " ".join(span.to_json() for span in spans_of(config())).lower()
    assert "noon" not in written and "what time" not in written


def test_what_broke_is_told() -> None:
    spans = spans_of(config(stt=[EngineFailed("the model is gone")]))
    failed = next(span for span in spans if span.name == "turn")
    assert failed.status.status_code is StatusCode.ERROR
    assert [(one.name, dict(one.attributes or {})) for one in failed.events] == [
        ("error", {"antiphon.stage": "stt", "antiphon.code": "EngineFailed"})
    ]


def test_a_share_of_conversations_can_be_traced() -> None:
    assert spans_of(config(), sample=0.0) == []


def test_without_an_endpoint_nothing_of_it_is_even_imported() -> None:
    code = (
        "import sys; import antiphon.server.service as s\n"
        "from antiphon.pipeline.config.operating import TracingKeys\n"
        "assert s.Tracing.made(TracingKeys(), offline=True).conversation('s', protocol='p', key='k') is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_offline_traces_do_not_leave_the_machine() -> None:
    keys = TracingKeys(endpoint="http://collector.example:4318/v1/traces")
    with pytest.raises(ConfigError, match=r"server\.tracing\.endpoint: traces would leave this machine"):
        Tracing.made(keys, offline=True)


@contextmanager
def collector() -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    """A collector of traces on this machine: its port, and what was sent to it."""
    got: list[tuple[str, bytes]] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], got
        finally:
            server.shutdown()
            thread.join()


def test_spans_are_sent_to_the_collector_with_their_parents_and_times() -> None:
    async def main(port: int) -> None:
        given = config({"tracing": {"endpoint": f"http://127.0.0.1:{port}/v1/traces", "service_name": "desk"}})
        async with operating(given) as service:
            caller = await call(service)
            for _ in range(2):
                await caller.ask()
            await caller.hang_up()

    with collector() as (port, got):
        before_ns = time.time_ns()
        run_networked(main(port))
    assert {path for path, _ in got} == {"/v1/traces"}
    requests = [ExportTraceServiceRequest.FromString(body) for _, body in got]
    resources = [resource for request in requests for resource in request.resource_spans]
    names = {
        one.value.string_value for part in resources for one in part.resource.attributes if one.key == "service.name"
    }
    assert names == {"desk"}
    spans = {span.span_id: span for part in resources for scope in part.scope_spans for span in scope.spans}
    assert len({span.trace_id for span in spans.values()}) == 1
    (conversation,) = [span for span in spans.values() if not span.parent_span_id]
    assert conversation.name == "conversation" and conversation.start_time_unix_nano >= before_ns
    turns = [span for span in spans.values() if span.parent_span_id == conversation.span_id]
    assert [span.name for span in turns] == ["turn", "turn"]
    for turn in turns:
        stages = [span for span in spans.values() if span.parent_span_id == turn.span_id]
        assert {span.name for span in stages} == {"endpointing", "stt", "llm", "tts", "play"}
        for span in (turn, *stages):
            around = spans[span.parent_span_id]
            assert around.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= around.end_time_unix_nano
    assert turns[0].end_time_unix_nano <= turns[1].start_time_unix_nano
    assert len(spans) == 13
