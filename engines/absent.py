"""The engine `none` of a stage: there is nobody. For servers that offer one stage of the chain alone.

It loads at once and refuses every request, so that what needs the stage says so instead of waiting.
"""

from __future__ import annotations

from antiphon.engines.errors import EngineRequestInvalid
from antiphon.engines.lifecycle import Loadable


class Absent(Loadable):
    """What the `none` engines of all stages share."""

    engine = "none"

    def refusal(self) -> EngineRequestInvalid:
        return EngineRequestInvalid(
            f"this configuration has no {self.stage} engine", stage=self.stage, engine=self.engine,
            hint=f"{self.stage}.engine is 'none': name one that can do it",
        )  # fmt: skip
