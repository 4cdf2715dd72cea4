"""The engines `none`: a stage with nobody in it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from contract import noise

from antiphon.engines.errors import EngineRequestInvalid
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import Message
from antiphon.engines.registry import EngineContext, find


@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
def test_nobody_is_there_and_says_so_at_once(stage: Any) -> None:
    async def ask(engine: Any) -> None:
        if stage == "stt":
            await engine.transcribe(noise(1.0))
        elif stage == "llm":
            await engine.prefill([Message("user", "Hello")])
            await anext(engine.stream([Message("user", "Hello")]))
        else:
            await anext(engine.synthesize("Hello"))

    async def main() -> None:
        spec = find(stage, "none")
        assert not spec.missing_packages()
        engine = spec.create(spec.options_class()(), EngineContext(EngineHost(), ModelStore()))
        async with engine:
            assert engine.capabilities.local
            with pytest.raises(EngineRequestInvalid, match=f"no {stage} engine") as caught:
                await ask(engine)
            assert f"{stage}.engine" in caught.value.hint

    asyncio.run(main())
