"""After `kill -9` at any point nothing that was heard or done is missing. In full: `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest
from transcript_child import STAGES
from transcript_kills import Kills


def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    kills = Kills(tmp_path).run(range(20))
    assert kills.missing == []
    assert sum(kills.stages.values()) >= 15 and len(kills.stages) >= len(STAGES) - 3
    assert kills.did["tool_ran"] and kills.did["played"] and kills.did["acted"]


def test_kills_of_real_sessions_lose_nothing(tmp_path: Path) -> None:
    kills = Kills(tmp_path).run(range(100, 115), kind="real")
    assert kills.missing == []
    assert sum(kills.stages.values()) >= 8
    assert kills.did["tool_ran"] and kills.did["played"] and kills.did["acted"]


@pytest.mark.parametrize("kind", ["stand_in", "real"])
def test_without_the_barriers_the_same_kills_find_what_is_missing(tmp_path: Path, kind: str) -> None:
    kills = Kills(tmp_path).run(range(4, 12), barriers=False, lazy_ms=30, kind=kind)
    assert any("played" in one or "ran" in one or "did something" in one for one in kills.missing), kills.missing
