"""The page: head, navigation, sections in their order."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence

from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.about import definitions, provenance
from antiphon.benchmarks.report.distributions import distributions
from antiphon.benchmarks.report.endpointing import endpointing
from antiphon.benchmarks.report.headline import cards, lead, summary
from antiphon.benchmarks.report.levers import levers
from antiphon.benchmarks.report.load import load
from antiphon.benchmarks.report.markup import Html, join, tag
from antiphon.benchmarks.report.peers import beside
from antiphon.benchmarks.report.script import SCRIPT
from antiphon.benchmarks.report.sections import Report, Section, framed
from antiphon.benchmarks.report.style import stylesheet
from antiphon.benchmarks.report.waterfall import waterfall

SECTIONS: Sequence[Callable[[Report], Section | None]] = (
    summary,
    distributions,
    beside,
    endpointing,
    load,
    levers,
    waterfall,
    definitions,
    provenance,
)


def page(report: Report) -> str:
    """The whole report as HTML."""
    parts = [part for make in SECTIONS if (part := make(report)) is not None]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        _policy(),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="generator", content="antiphon bench"),
        tag("title", _title(report)),
        tag("style", Html(stylesheet())),
    )
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", "How fast it answers, and at what price"),
            lead(report),
            tag("p", _origin(report), class_="meta"),
            class_="top",
        ),
        _navigation(parts),
        tag("main", cards(report), (framed(part) for part in parts)),
        tag("footer", tag("div", "Made by antiphon bench from result.json. ", class_="top")),
        tag("script", Html(SCRIPT)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _policy() -> Html:
    """The page may load nothing and run this one script: what a transcript might smuggle in stays text."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    rules = (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return tag("meta", http_equiv="Content-Security-Policy", content="; ".join(rules))


def _title(report: Report) -> str:
    names = ", ".join(entry.label for entry in report.configs[:3])
    return f"Antiphon benchmark: {names}" if names else "Antiphon benchmark"


def _origin(report: Report) -> Html:
    result = report.result
    clips = result.clips.get("clips")
    facts = (
        texts.when(result.created),
        str(result.machine.get("processor") or ""),
        texts.count(clips, "clip") if isinstance(clips, int) else "",
        f"commit {result.commit[:10]}" if result.commit else "",
    )
    return join(" · ".join(fact for fact in facts if fact))


def _navigation(parts: Sequence[Section]) -> Html:
    links = (tag("li", tag("a", part.short, href=f"#{part.id}")) for part in parts)
    button = tag(
        "button", "Dark", id="theme", type="button", class_="js", hidden=True, aria_label="Switch light and dark"
    )
    return tag("nav", tag("ul", links, tag("li", button)), aria_label="Sections")
