"""The page shows what the runs found; after a full run, every part of it."""

from __future__ import annotations

import os

from soak_report import BEGIN, END, PAGE, PARTS, commit, read, tables

FULL = os.environ.get("ANTIPHON_SOAK") == "full"


def test_the_page_shows_the_results() -> None:
    shown = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == tables(read()).strip(), "docs/soak.md and tests/soak/results.json differ: run make soak"


def test_every_part_was_run() -> None:
    results = read()
    assert sorted(results) == sorted(PARTS)
    assert all(one["missing"] == 0 for one in results.values() if "missing" in one)
    assert all(one["kb_per_100_turns"] < 1000 for one in results.values() if "kb_per_100_turns" in one)
    if FULL:
        assert {one["commit"] for one in results.values()} == {commit()}, "some parts are of another commit"
