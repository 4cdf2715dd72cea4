"""What the tests of the pipeline share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_agents_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not imported `openai-agents`, whichever tests ran before in this one."""
    monkeypatch.setattr("antiphon.pipeline.user_code.sdk_in_use", lambda: False)
