"""Where the numbers come from and what they mean: machine, versions, clips, and the clock."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.markup import Child, Html, join, number, tag
from antiphon.benchmarks.report.reading import setting
from antiphon.benchmarks.report.sections import Report, Section, note

SHA256_CHARS = 64

TERMS = (
    (
        "Time zero",
        "The last speech sample of the clip, from its ground truth. Never from the voice activity detector under test.",
    ),
    (
        "Time to first audio (TTFA)",
        "From time zero to the first audible sample of the answer at the sink: above 1 % of full scale. The clip is "
        "given in real time, and the clip's own noise floor or silence follows it; nothing tells the system that the "
        "input has ended.",
    ),
    (
        "Commit delay",
        "From time zero to the event that ends the user's turn. It is part of TTFA: the time that is spent on being "
        "sure.",
    ),
    (
        "Compute not hidden",
        "TTFA less the commit delay: what was not ready yet when the turn ended. Medians of parts need not add up to "
        "the median of the whole.",
    ),
    (
        "False cutoff",
        "The turn was split, sound came before the user had finished, or the answer is to a part of what was said. "
        "Such a turn has no TTFA.",
    ),
    (
        "Missed",
        "No audible answer in time, or one that is opened by no more than a filler, a click or a breath. No TTFA.",
    ),
    (
        "WER, CER",
        "Word and character errors of the final transcript against the clip's reference, both normalised, over the "
        "same turns. Clips without a reference are left out.",
    ),
    (
        "Cold and warm",
        "Cold is the first turn after the engines were loaded. Percentiles are of warm turns; cold ones are counted "
        "apart.",
    ),
    (
        "Speculation hit",
        "The answer was begun before the turn was committed, and kept. Of turns said in one breath.",
    ),
    (
        "Intervals",
        "95 %. Percentiles by bootstrap over turns, differences and ratios by bootstrap over clips in pairs, rates by "
        "Wilson's score.",
    ),
)


def definitions(report: Report) -> Section:
    return Section(
        id="clock",
        title="How the numbers are defined",
        short="Definitions",
        body=join(
            _clock(),
            tag(
                "dl",
                (join(tag("dt", term), tag("dd", meaning)) for term, meaning in TERMS),
                class_="facts terms",
            ),
            note(
                "TTFA is shown only beside the false-cutoff rate and the word errors of the same run: each can be "
                "bought with the others."
            ),
        ),
    )


def provenance(report: Report) -> Section | None:
    result = report.result
    facts: list[tuple[str, Child]] = [
        ("created", texts.when(result.created)),
        ("command", tag("code", result.command) if result.command else ""),
        ("commit", tag("code", result.commit) if result.commit else ""),
    ]
    notes = [(entry.label, text) for entry in (*report.configs, *report.peers) for text in entry.result.notes]
    parts: list[Html] = []
    for title, values in (("Machine", result.machine), ("Clips", result.clips), ("Versions", result.versions)):
        flat = _flat(values)
        if flat:
            parts.append(tag("div", tag("h3", title), _facts(flat)))
    if notes:
        rows = (tag("li", tag("b", who), f": {text}") for who, text in notes)
        parts.append(tag("div", tag("h3", "Notes"), tag("ul", rows)))
    first = _facts([fact for fact in facts if fact[1]])
    if first is None and not parts:
        return None
    return Section(
        id="origin",
        title="Where the numbers come from",
        short="Origin",
        body=join(first, tag("div", parts, class_="two")),
    )


def _facts(rows: list[tuple[str, Child]]) -> Html | None:
    if not rows:
        return None
    return tag("dl", (join(tag("dt", name), tag("dd", value)) for name, value in rows), class_="facts")


def _flat(values: Mapping[str, object], prefix: str = "") -> list[tuple[str, Child]]:
    """Nested facts as one list: {"cpu": {"cores": 2}} is "cpu cores: 2"."""
    rows: list[tuple[str, Child]] = []
    for key, value in values.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name} ")
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(setting(item) for item in value)))
        elif value is not None and value != "":
            text = setting(value)
            rows.append((name, tag("code", f"{text[:16]}…") if len(text) == SHA256_CHARS else text))
    return rows


def _clock() -> Html:
    """A drawing of the clock: speech up to zero, the commit, the first audible sample. Times are of no run."""
    wave = []
    for step in range(76):
        x = 20 + step * 3.6
        word = abs(((step * 0.151) % 1.0) - 0.5) * 2
        half = 2 + 17 * (1 - word**2) * (0.55 + 0.45 * ((step * 37) % 11) / 10)
        wave.append(f"M{number(x)} {number(58 - half)}V{number(58 + half)}")
    reply = []
    for step in range(34):
        half = 4 + 13 * (0.4 + 0.6 * ((step * 29) % 13) / 12) * min(1.0, (step + 1) / 4)
        reply.append(f"M{number(582 + step * 3.6)} {number(58 - half)}V{number(58 + half)}")
    parts = (
        tag("path", d="".join(wave), stroke="var(--hue0)", stroke_width="2", fill="none"),
        tag("path", d="".join(reply), stroke="var(--compute)", stroke_width="2", fill="none"),
        tag("line", x1=20, x2=720, y1=58, y2=58, class_="g zero"),
        *(tag("line", x1=x, x2=x, y1=26, y2=132, class_="g zero") for x in (292, 500, 580)),
        tag("text", "the user speaks", x=156, y=22, text_anchor="middle", class_="tick"),
        tag("text", "0: last speech sample", x=298, y=20, class_="mark"),
        tag("text", "commit", x=500, y=20, text_anchor="middle", class_="mark"),
        tag("text", "first audible sample", x=586, y=22, class_="tick"),
        tag("rect", x=292, y=92, width=208, height=9, class_="s-wait"),
        tag("rect", x=500, y=92, width=80, height=9, class_="s-compute"),
        tag("text", "commit delay", x=298, y=88, class_="tick"),
        tag("text", "compute not hidden", x=586, y=101, class_="tick"),
        tag("path", d="M292 118H580M292 114v8M580 114v8", stroke="var(--ink)", fill="none"),
        tag("text", "TTFA", x=436, y=133, text_anchor="middle", class_="mark"),
    )
    drawing = tag(
        "svg",
        parts,
        viewBox="0 0 740 140",
        width="100%",
        style="max-width:740px;min-width:560px",
        class_="pic",
        role="img",
        aria_label="Zero is the last speech sample. The commit delay runs from there to the commit, compute that is "
        "not hidden from the commit to the first audible sample; TTFA is both.",
    )
    return tag("div", drawing, class_="scroll")
