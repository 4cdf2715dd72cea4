"""Every metric of `/metrics`, with its meaning. The reference page is made from this table, and so are the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

ANSWER_S = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
STAGE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
LAG_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
SESSION_S = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_PROTOCOL = "the front: `stream`, `realtime`, `webrtc`, `wyoming`, ..."
_KEY = (
    "id of the key, never the key; where the protocol knows none, the front and the entry of its list of addresses "
    "(`wyoming:192.168.1.0/24`, `audiosocket:loopback`, `wyoming:satellite`), or `signed`; `anyone` where no key is "
    "asked for"
)
_STAGE = "`vad`, `turn`, `stt`, `llm`, `tts`, `workflow`, ..."
_ENGINE = "as the configuration names it; in a chain with its place before it (`1:faster_whisper`)"
_UNIT = "`audio_s` (seconds), `input_tokens`, `output_tokens`, `cached_tokens`, `output_pieces`, `characters`"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as it is exposed."""

    name: str
    kind: Kind
    meaning: str
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What each label tells."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in its unit."""


METRICS: tuple[Metric, ...] = (
    # ------------------------------------------------------------------------------ answers
    Metric(
        "antiphon_ttfa_seconds",
        "histogram",
        "From the user's last speech sample (as the VAD estimates it) to the first audible sample of the answer at "
        "the server's sink: the way over the network is not in it.",
        {"protocol": _PROTOCOL},
        ANSWER_S,
    ),
    Metric(
        "antiphon_commit_delay_seconds",
        "histogram",
        "From the user's last speech sample to the decision that the turn is over.",
        {},
        ANSWER_S,
    ),
    Metric(
        "antiphon_stage_seconds",
        "histogram",
        "What each step adds to the time to the first audio: the part that nothing before it in the chain had covered. "
        "0 where speculation had hidden it. The steps of a turn sum to its TTFA.",
        {
            "step": "`vad_stop`, `commit`, `stt`, `first_token`, `first_clause`, `first_audio`, `audible`, as in the "
            "`timings` of a `turn_ended` event"
        },
        STAGE_S,
    ),
    Metric(
        "antiphon_turns_total",
        "counter",
        "Turns that are over.",
        {
            "protocol": _PROTOCOL,
            "status": "`completed`, `interrupted`, `failed`, `dismissed` (a back-channel or a noise into a reply), "
            "`no_speech`, `text_only`, `cancelled`",
        },
    ),
    Metric("antiphon_interruptions_total", "counter", "Replies that were stopped by the user's voice, or by a client."),
    Metric(
        "antiphon_false_cutoffs_estimated_total",
        "counter",
        "Turns that were probably taken for finished too early. An estimate: nobody can tell for sure without "
        "listening.",
        {
            "sign": "`reopened`: the user went on so soon (`speculation.reopen_ms`) that the answer was taken back; "
            "`spoke_on`: the user spoke within a second after silence had ended the turn, before any of the answer was "
            "audible, and that was a turn with words"
        },
    ),
    Metric(
        "antiphon_speculated_answers_total",
        "counter",
        "Answers by whether they had been begun before the turn was sure to be over.",
        {"outcome": "`hit` or `miss`"},
    ),
    # ------------------------------------------------------------------------------ what goes wrong
    Metric(
        "antiphon_errors_total",
        "counter",
        "Failures of a stage that a conversation was told of.",
        {"stage": _STAGE, "code": "class of the error; `other` after the first 40 different ones"},
    ),
    Metric(
        "antiphon_warnings_total",
        "counter",
        "Warnings that a conversation was told of.",
        {"code": "stable code of the warning; `other` after the first 40 different ones"},
    ),
    Metric(
        "antiphon_fallbacks_total",
        "counter",
        "Changes in the engines of a stage.",
        {
            "stage": _STAGE,
            "engine": _ENGINE,
            "kind": "`switched` (to the next engine of the chain), `failed` (and there was none to go on to), "
            "`load_failed`, `recovered`",
        },
    ),
    Metric(
        "antiphon_engine_in_order",
        "gauge",
        "1: the engine is asked; 0: it is out of order (its breaker is open), or could not be loaded.",
        {"stage": _STAGE, "engine": _ENGINE},
    ),
    # ------------------------------------------------------------------------------ engines
    Metric(
        "antiphon_engine_queue_requests",
        "gauge",
        "Requests that wait for a loaded model.",
        {"worker": "the model's worker"},
    ),
    Metric(
        "antiphon_engine_requests_total",
        "counter",
        "Requests to a loaded model.",
        {
            "worker": "the model's worker",
            "outcome": "`done`, `failed`, `dropped` (given up before it began), `refused` (too many waited)",
        },
    ),
    Metric(
        "antiphon_engine_busy_seconds_total",
        "counter",
        "Time that a loaded model worked. Its rate is the share of the time that it was busy.",
        {"worker": "the model's worker"},
    ),
    Metric(
        "antiphon_engine_crashes_total",
        "counter",
        "Deaths of the process of a model (`isolation: process`); each was started again.",
        {"worker": "the model's worker"},
    ),
    # ------------------------------------------------------------------------------ conversations
    Metric("antiphon_sessions_open", "gauge", "Conversations under way.", {"protocol": _PROTOCOL}),
    Metric("antiphon_sessions_total", "counter", "Conversations that have begun.", {"protocol": _PROTOCOL}),
    Metric(
        "antiphon_session_seconds",
        "histogram",
        "How long conversations lasted.",
        {"protocol": _PROTOCOL},
        SESSION_S,
    ),
    Metric("antiphon_sessions_live", "gauge", "Conversations in which something was said in the last half minute."),
    Metric("antiphon_sessions_waiting", "gauge", "Callers who wait for a place (`server.when_full: wait`)."),
    Metric(
        "antiphon_sessions_capacity",
        "gauge",
        "Live conversations that the server takes now: `server.max_sessions`, what was measured, and less while "
        "answers come too late.",
    ),
    Metric(
        "antiphon_admission_refused_total",
        "counter",
        "Conversations and requests that were refused.",
        {
            "reason": "`loading`, `draining`, `full` (`max_sessions`), `busy` (the machine carries no more), `waited` "
            "(for too long), `audit` (the audit log cannot be written)"
        },
    ),
    # ------------------------------------------------------------------------------ the door
    Metric(
        "antiphon_requests_refused_total",
        "counter",
        "Requests and WebSockets that were turned away before anything was done for them.",
        {
            "reason": "`missing_api_key`, `invalid_api_key`, `expired_api_key`, `revoked_api_key`, "
            "`insufficient_permissions`, `rate_limit_exceeded`, `too_many_wrong_keys`, `address`, `host`, `origin`, "
            "`too_large` (the head), `audit`"
        },
    ),
    Metric(
        "antiphon_connections_refused_total",
        "counter",
        "Connections that were closed as soon as they were there.",
        {
            "front": "`http`, `wyoming`, `audiosocket`",
            "reason": "`full`, `address_full` (enough of that address), `address` (on no list)",
        },
    ),
    Metric(
        "antiphon_audit_lines_lost_total",
        "counter",
        "Lines of the audit log that could not be written, and are gone.",
    ),
    Metric("antiphon_audit_in_order", "gauge", "1: the audit log is written, or is off; 0: it cannot be written."),
    # ------------------------------------------------------------------------------ usage
    Metric(
        "antiphon_usage_total",
        "counter",
        "What engines used, speculation included.",
        {"key": f"{_KEY}; `other` after the first 200 different ones", "stage": _STAGE, "unit": _UNIT},
    ),
    Metric(
        "antiphon_usage_wasted_total",
        "counter",
        "The part of that which no answer was made from.",
        {"stage": _STAGE, "unit": _UNIT},
    ),
    # ------------------------------------------------------------------------------ the process
    Metric(
        "antiphon_http_requests_total",
        "counter",
        "HTTP requests.",
        {
            "method": "`GET`, `POST`, ...; `other`",
            "route": "the path as the server declares it, such as `/v1/sessions/{session_id}`; `unknown`: no such path",
            "status": "of the answer",
        },
    ),
    Metric(
        "antiphon_http_request_seconds",
        "histogram",
        "From an HTTP request to the end of its answer.",
        {"route": "as above"},
        REQUEST_S,
    ),
    Metric(
        "antiphon_event_loop_lag_seconds",
        "histogram",
        "How much later than it wanted a task was woken up (looked at 20 times a second): the time for which something "
        "held up everybody.",
        {},
        LAG_S,
    ),
    Metric("antiphon_event_loop_tasks", "gauge", "Tasks of the event loop: a number that only rises is a leak."),
    Metric("antiphon_ready", "gauge", "1: conversations are taken (if there is room); 0: loading, or draining."),
    Metric(
        "antiphon_reloads_total",
        "counter",
        "Reloads of the configuration.",
        {"outcome": "`taken`, or `refused` (the old configuration stayed)"},
    ),
    Metric(
        "antiphon_config_last_reload_successful",
        "gauge",
        "0: the configuration that was read last was refused, and the one before it is in force; 1: it was taken, or "
        "none was read since the start.",
    ),
    Metric(
        "antiphon_config_generations",
        "gauge",
        "Configurations whose engines are loaded: 1, and more while conversations of an older one go on.",
    ),
    Metric("antiphon_build_info", "gauge", "1.", {"version": "of Antiphon", "python": "of Python"}),
)

PROCESS_METRICS: tuple[Metric, ...] = (
    Metric("process_resident_memory_bytes", "gauge", "Memory in use, engines in the server's own process included."),
    Metric("process_virtual_memory_bytes", "gauge", "Virtual memory."),
    Metric("process_cpu_seconds_total", "counter", "Processor time."),
    Metric("process_open_fds", "gauge", "Open file descriptors."),
    Metric("process_max_fds", "gauge", "How many there may be."),
    Metric("process_start_time_seconds", "gauge", "When the process began, in seconds since 1970."),
)
"""Of the Prometheus client library (on Linux)."""


def exposed_names() -> frozenset[str]:
    """Every name of a time series: those of a histogram with their endings."""
    names: set[str] = set()
    for metric in (*METRICS, *PROCESS_METRICS):
        ends = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        names.update(metric.name + end for end in ends)
    return frozenset(names)
