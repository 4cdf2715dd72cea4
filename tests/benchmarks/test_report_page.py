"""The page: sound HTML, nothing from outside, nothing unescaped, and no TTFA without its company."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from bench_results import full_result, run_result
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from antiphon.benchmarks.report import ReportError, render_report, write_report
from antiphon.benchmarks.report.markup import VOID
from antiphon.benchmarks.result import to_dict
from antiphon.pipeline.cli import app

EVIL = "<script>alert('x')</script>\"&<img src=x onerror=alert(1)>"
NUMBERS = frozenset({"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "dx"})


@dataclass
class Node:
    """An element of the parsed page."""

    name: str
    attributes: dict[str, str | None]
    children: list[Node | str] = field(default_factory=list)

    def all(self, name: str = "", **wanted: str) -> list[Node]:
        """Elements inside by name and attributes; `class_` is one of several."""
        found: list[Node] = []
        for child in self.children:
            if isinstance(child, Node):
                if (not name or child.name == name) and all(child.has(key, value) for key, value in wanted.items()):
                    found.append(child)
                found += child.all(name, **wanted)
        return found

    def has(self, key: str, value: str) -> bool:
        if key == "class_":
            return value in (self.attributes.get("class") or "").split()
        return self.attributes.get(key.replace("_", "-")) == value

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children).replace(
            "\u00a0", " "
        )


class Tree(HTMLParser):
    """Builds the tree, and fails where tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} is written twice"
        node = Node(tag, dict(attrs))
        self._open[-1].children.append(node)
        if tag not in VOID:
            self._open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].name == tag, f"</{tag}> closes <{self._open[-1].name}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def parsed(page: str) -> Node:
    tree = Tree()
    tree.feed(page)
    tree.close()
    assert tree._open == [tree.root]
    return tree.root


def check(page: str) -> Node:
    """What holds for every report."""
    root = parsed(page)
    everything = root.all()
    ids = [node.attributes["id"] for node in everything if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in everything:
        assert node.name not in ("img", "iframe", "object", "embed", "link", "base", "foreignobject"), node.name
        assert "src" not in node.attributes and "srcset" not in node.attributes and "xlink:href" not in node.attributes
        assert not [name for name in node.attributes if name.startswith("on")]
        if "href" in node.attributes:
            assert (node.attributes["href"] or "").removeprefix("#") in ids
        if "aria-labelledby" in node.attributes:
            assert node.attributes["aria-labelledby"] in ids
        for name, value in node.attributes.items():
            if name in NUMBERS and node.name != "col":
                assert math.isfinite(float((value or "").removesuffix("%"))), (node.name, name, value)
        if node.name == "path":
            assert re.fullmatch(r"[MLHVv0-9. -]+", node.attributes["d"] or ""), node.attributes["d"]
    assert len(root.all("script")) == 1 and len(root.all("style")) == 1
    assert not re.search(r"url\(|@import|https?:", root.all("style")[0].text)
    policy = root.all("meta", http_equiv="Content-Security-Policy")[0].attributes["content"] or ""
    digest = base64.b64encode(hashlib.sha256(root.all("script")[0].text.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    return root


def as_json(value: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(value))
    return made


@pytest.fixture(scope="module")
def full() -> Node:
    return check(render_report(as_json(full_result())))


def sections(root: Node) -> list[str]:
    return [str(node.attributes["id"]) for node in root.all("section")]


def section(root: Node, name: str) -> Node:
    return root.all("section", id=name)[0]


def test_everything_measured_gives_every_section(full: Node) -> None:
    expected = ["summary", "times", "peers", "endpointing", "load", "levers", "turns", "clock", "origin"]
    assert sections(full) == expected
    assert [node.attributes["href"] for node in full.all("nav")[0].all("a")] == [f"#{name}" for name in expected]


@pytest.mark.parametrize(
    ("without", "gone"),
    [("peers", "peers"), ("sweep", "endpointing"), ("load", "load"), ("ablation", "levers")],
)
def test_a_section_without_data_is_left_out(full: Node, without: str, gone: str) -> None:
    result = as_json(full_result())
    result[without] = [] if without == "peers" else None
    if without != "peers":  # its points would be plain configurations now
        result["configs"] = result["configs"][:3]
        result = {**result, "sweep": None, "load": None, "ablation": None}
    assert gone not in sections(check(render_report(result)))
    assert gone in sections(full)


def test_an_empty_result_is_a_page_that_says_so() -> None:
    root = check(render_report({"schema_version": 1}))
    assert sections(root) == ["clock"]
    assert "No turn was answered" in root.text


def test_cards_show_ttfa_with_interval_n_and_its_company(full: Node) -> None:
    result = full_result()
    cards = full.all("article")
    assert len(cards) == 6
    first = result["configs"][0]
    text = cards[0].text
    low, high = first["ttfa_ms"]["p50_interval"]
    for said in (
        "tiny.yaml",
        f"{first['ttfa_ms']['p50']:.0f} ms",
        f"{low:.0f} to {high:.0f}",
        f"n = {first['ttfa_ms']['n']} ",
        f"{100 * first['false_cutoff_rate']:.1f} %",
        f"{100 * first['wer']:.1f} %",
        f"{100 * first['missed_rate']:.1f} %",
    ):
        assert said in text
    assert all("False cutoffs" in card.text and "WER" in card.text and "Missed" in card.text for card in cards)


def test_no_ttfa_stands_without_false_cutoffs_wer_and_misses(full: Node) -> None:
    company = ("false cutoffs", "WER", "missed")
    for table in full.all("table"):
        head = " ".join(cell.text for cell in table.all("thead")[0].all("th"))
        if table.has("class_", "falls"):
            continue  # single turns: their configuration's rates stand in the summary above them
        rows = [row for body in table.all("tbody") for row in body.all("tr")]
        if "TTFA" in head or "p50" in head or "audible" in head or "commit" in head:
            assert all(word in head for word in company) or all(
                all(word in row.text for word in company) for row in rows
            ), head
    for runs in full.all("details", class_="run"):
        assert all(word in runs.all("summary")[0].text for word in company)
    numbers = [row.all("th")[0].text for row in section(full, "summary").all("tr")]
    assert {"TTFA p50", "false cutoffs", "WER", "missed turns"} <= set(numbers)
    for drawn in full.all("svg", role="img"):
        label = drawn.attributes.get("aria-label") or ""
        assert "TTFA of" not in label or all(word in label.replace("\u00a0", " ") for word in company)
    for point in full.all("circle", class_="point"):
        text = "".join(title.text for title in point.all("title"))
        assert not re.search(r"TTFA|p50|p95", text) or all(word in text for word in company)


def test_what_nobody_measured_is_a_dash_with_a_reason(full: Node) -> None:
    rows = {row.all("th")[0].text: row for row in section(full, "summary").all("tr") if row.all("td")}
    assert [cell.text for cell in rows["stop time p50"].all("td")] == ["–"] * 6
    assert "antiphon bench run --barge-in N plays clips into replies" in section(full, "summary").text
    assert [cell.text for cell in rows["commit delay p50"].all("td")][3:] == ["–"] * 3


def test_every_turn_has_its_row_with_its_times(full: Node) -> None:
    result = full_result()
    runs = section(full, "turns").all("details", class_="run")
    shown = [*result["configs"][:3], *result["peers"]]
    assert [len(run.all("tbody")) for run in runs] == [len(config["turn_records"]) for config in shown]
    for run, config in zip(runs, shown, strict=True):
        for body, turn in zip(run.all("tbody"), config["turn_records"], strict=True):
            assert body.attributes["data-o"] == turn["outcome"]
            assert turn["clip"] in body.text
            if turn["ttfa_ms"] is not None:
                assert f"audible +{turn['ttfa_ms']:,.0f} ms" in body.all("svg")[0].all("title")[0].text


def test_a_cutoff_says_why_and_what_was_heard(full: Node) -> None:
    result = full_result()
    (turn, *_) = [turn for turn in result["configs"][2]["turn_records"] if turn["outcome"] == "cutoff"]
    body = next(body for body in full.all("tbody", data_o="cutoff") if turn["why"] in body.text)
    assert turn["reference"] in body.text and turn["heard"] in body.text
    assert body.all("rect", class_="s-early") and "commit −" in body.text


def test_work_before_the_end_of_speech_lies_left_of_zero(full: Node) -> None:
    def left(node: Node, name: str) -> float:
        return float(str(node.attributes[name]).removesuffix("%"))

    early = 0
    for body in section(full, "turns").all("tbody"):
        if body.attributes.get("data-o") != "answered":
            continue
        zero = [left(line, "x1") for line in body.all("line", class_="zero")]
        if "transcript −" in body.all("title")[0].text:
            early += 1
            assert left(body.all("circle", class_="t-stt")[0], "cx") < zero[0]
            assert left(body.all("rect", class_="s-wait")[0], "x") == zero[0]
    assert early > 5


def test_the_front_of_a_sweep_is_marked_in_chart_and_table(full: Node) -> None:
    part = section(full, "endpointing")
    panels = part.all("div", class_="plot")
    assert len(panels) == 2
    for panel in panels:
        assert len(panel.all("circle", class_="point")) == 12
        assert len(panel.all("path", class_="front")) == 1
    table = part.all("table")[0]
    marked = {row.all("th")[0].text.removesuffix("front") for row in table.all("tr", class_="front")}
    drawn = {
        point.all("title")[0].text.partition(":")[0] for panel in panels for point in panel.all("circle", class_="on")
    }
    assert marked == drawn
    assert "held out half" in table.text


def test_load_shows_where_it_breaks(full: Node) -> None:
    part = section(full, "load")
    assert "breaks at 7 sessions: p95 above 1500 ms" in part.text
    assert len(part.all("div", class_="plot")) == 3
    assert [row.all("th")[0].text for row in part.all("tbody")[0].all("tr")] == [str(count) for count in range(1, 9)]


def test_configurations_at_several_concurrencies_are_a_load_curve() -> None:
    result = as_json(to_dict(run_result(5, configs=3, peers=0)))
    for at, config in enumerate(result["configs"]):
        config.update(config="tiny.yaml", concurrency=2**at)
    part = section(check(render_report(result)), "load")
    assert [row.all("th")[0].text for row in part.all("tbody")[0].all("tr")] == ["1", "2", "4"]
    assert "loop" not in part.all("h3")[-1].text


def test_levers_show_the_difference_and_whether_it_is_one(full: Node) -> None:
    part = section(full, "levers")
    rows = part.all("table", class_="fig")[0].all("tbody")[0].all("tr")
    assert "all on" in rows[0].text
    assert "without speculation" in rows[1].text and rows[1].all("div", class_="hue0")
    table = part.all("table")[1]
    effect = {row.all("th")[0].text: "no effect" in row.text for row in table.all("tbody")[0].all("tr")}
    assert effect["without speculation"] is False and effect["without threadsno effect shown"] is True


def test_a_sweep_alone_is_about_its_front() -> None:
    result = as_json(full_result())
    moved = [{**point, "result": point["result"] - 3} for point in result["sweep"]["points"]]
    result = {**result, "configs": result["configs"][3:15], "peers": [], "load": None, "ablation": None}
    result["sweep"]["points"] = moved
    root = check(render_report(result))
    rates = [config["false_cutoff_rate"] for config in result["configs"]]
    assert "12 settings tried" in root.text
    assert f"{100 * min(rates):.1f} %" in root.all("article")[0].text
    assert 1 < len(root.all("article")) <= 8


def poisoned(result: dict[str, Any]) -> dict[str, Any]:
    """The same with markup in every text that comes from outside."""
    result = copy.deepcopy(result)
    for config in (*result["configs"], *result["peers"]):
        config.update(config=EVIL, settings={EVIL: EVIL}, notes=[EVIL])
        for turn in config["turn_records"]:
            for name in ("clip", "kind", "lang", "scenario", "dialogue", "why", "reference", "heard", "reply"):
                turn[name] = EVIL
    for point in (result["sweep"] or {}).get("points", ()):
        point["settings"] = {EVIL: str(point["settings"])}
    for row in (result["ablation"] or {}).get("levers", ()):
        row["lever"] = EVIL
    for step in (result["load"] or {}).get("steps", ()):
        step["broken"] = EVIL
    return {
        **result,
        "created": EVIL,
        "command": EVIL,
        "commit": EVIL,
        "machine": {EVIL: EVIL, "processor": EVIL},
        "versions": {EVIL: EVIL},
        "clips": {EVIL: [EVIL]},
        "load": {**result["load"], "config": EVIL},
    }


def test_texts_from_outside_stay_texts() -> None:
    root = check(render_report(poisoned(as_json(full_result()))))
    assert EVIL in section(root, "turns").text
    assert EVIL in section(root, "origin").text


@pytest.mark.parametrize("turns", [1, 2])
def test_hardly_any_turns(turns: int) -> None:
    check(render_report(as_json(to_dict(run_result(3, configs=1, peers=1, turns=turns, runs=1)))))


def test_many_turns_of_many_configurations() -> None:
    result = as_json(to_dict(run_result(2, configs=8, peers=3, turns=100, runs=1)))
    root = check(render_report(result))
    assert len(root.all("article")) == 11
    assert len(section(root, "turns").all("tbody", data_o="answered")) > 800


def test_no_turn_answered_leaves_out_the_times() -> None:
    result = as_json(to_dict(run_result(4, configs=2, peers=1, turns=6, runs=1)))
    for config in (*result["configs"], *result["peers"]):
        config.update(ttfa_ms={"n": 0}, ttfa_cold_ms={"n": 0}, commit_delay_ms={"n": 0}, stages_p50_ms={})
        config.update(compute_after_commit_ms={"n": 0}, answered=0, missed_rate=1.0, wer=None)
        for turn in config["turn_records"]:
            turn.update(outcome="missed", ttfa_ms=None, commit_delay_ms=None, compute_after_commit_ms=None, stages={})
    root = check(render_report(result))
    assert "times" not in sections(root)
    assert "No turn was answered" in root.text


def without_numbers(value: Any) -> Any:
    """The same with every number that may be missing missing."""
    if isinstance(value, dict):
        kept = ("schema_version", "result", "run", "sessions", "concurrency")
        return {
            key: without_numbers(item)
            for key, item in value.items()
            if key in kept or isinstance(item, bool) or not isinstance(item, int | float)
        }
    return [without_numbers(item) for item in value] if isinstance(value, list) else value


def test_nothing_but_nulls() -> None:
    check(render_report(without_numbers(as_json(full_result()))))


def test_numbers_that_are_none_count_as_not_measured() -> None:
    result = as_json(to_dict(run_result(6, configs=1, peers=0)))
    result["configs"][0]["ttfa_ms"]["p95"] = math.nan
    result["configs"][0]["turn_records"][3]["ttfa_ms"] = math.inf
    check(render_report(result))


times = st.none() | st.floats(-5000, 20000)
turns = st.fixed_dictionaries(
    {
        "clip": st.text(max_size=12),
        "kind": st.just("turn"),
        "lang": st.just("en"),
        "run": st.integers(0, 2),
        "outcome": st.sampled_from(("answered", "cutoff", "missed", "failed", "quiet", "false_start")),
        "heard": st.text(max_size=12),
        "why": st.text(max_size=12),
        "ttfa_ms": times,
        "commit_delay_ms": times,
        "compute_after_commit_ms": times,
        "cold": st.booleans(),
        "stages": st.fixed_dictionaries(
            {
                name: times
                for name in (
                    "vad_stop_ms",
                    "commit_ms",
                    "stt_ms",
                    "first_token_ms",
                    "first_clause_ms",
                    "first_audio_ms",
                    "audible_ms",
                )
            }
        ),
    }
)


@given(
    records=st.lists(turns, max_size=6),
    p50=times,
    p95=times,
    rate=st.none() | st.floats(0, 1),
    name=st.text(max_size=8),
)
def test_any_result_of_the_right_shape_is_a_sound_page(
    records: list[dict[str, Any]], p50: float | None, p95: float | None, rate: float | None, name: str
) -> None:
    config = {
        "config": name,
        "turns": len(records),
        "ttfa_ms": {"n": 1, "p50": p50, "p95": p95},
        "commit_delay_ms": {"n": 1, "p50": p95, "p95": p50},
        "false_cutoff_rate": rate,
        "turn_records": records,
    }
    check(
        render_report(
            {
                "schema_version": 1,
                "configs": [config] * 4,
                "peers": [config],
                "sweep": {"keys": ["a"], "points": [{"settings": {"a": 1}, "result": 1}]},
                "ablation": {"levers": [{"lever": "all on", "result": 2}, {"lever": name, "result": 1}]},
                "load": {"config": name, "steps": [{"sessions": 3, "result": 3}]},
            }
        )
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"configs": [{"config": "a", "turn_records": [{"clip": 3}]}]}, r"configs\.0\.turn_records\.0"),
        ({"configs": 3}, "configs: "),
        ({"sweep": {"points": [{"settings": {}, "result": 9}]}}, r"sweep\.points\.0\.result: there is no configs\[9\]"),
        ({"load": {"steps": [{"sessions": 1}]}}, r"load\.steps\.0\.result: there is no configs\[None\]"),
    ],
)
def test_a_wrong_result_is_refused_by_place(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ReportError, match=said):
        render_report({**as_json(to_dict(run_result(1, turns=2))), **change})


def test_the_same_result_gives_the_same_page(tmp_path: Path) -> None:
    result = as_json(full_result())
    write_report(result, tmp_path / "new" / "a.html")
    assert (tmp_path / "new" / "a.html").read_text("utf-8") == render_report(result)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.html"]


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot be written"):
        write_report({"schema_version": 1}, tmp_path / "file" / "report.html")


def test_the_command_makes_the_page_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(full_result()))
    done = CliRunner().invoke(app, ["bench", "report", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert done.output.strip() == str(tmp_path / "report.html")
    check((tmp_path / "report.html").read_text("utf-8"))
    other = tmp_path / "other.html"
    done = CliRunner().invoke(app, ["bench", "report", str(tmp_path / "result.json"), "--out", str(other)])
    assert done.exit_code == 0 and other.is_file()


def test_the_command_names_a_result_that_is_not_there(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "report", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "cannot be read" in done.output
