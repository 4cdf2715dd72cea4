"""`tts.voices`: a voice by detected language, by catalog name or by path."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import TTSOptions
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import load_config

pytestmark = pytest.mark.real


def test_a_voice_by_path_is_loaded_with_the_pipeline_and_can_be_asked_for(tmp_path: Path) -> None:
    files = ModelStore().resolve("en_US-joe-medium").files
    for name, path in files.items():
        shutil.copy(path, tmp_path / name.replace("joe", "copy"))
    voice = str(tmp_path / "en_US-copy-medium.onnx")
    config = load_config("tiny.yaml", overrides=[f"tts.voices={{en: en_US-joe-medium, de: {voice}}}"])

    async def main() -> None:
        async with Assembly(config, needs_llm=False) as assembly:
            assert assembly.engines is not None
            tts = assembly.engines.tts
            assert voice in tts.capabilities.voices
            chunks = [chunk async for chunk in tts.synthesize("Hello.", TTSOptions(voice=voice))]
            assert sum(len(chunk.frame.samples) for chunk in chunks) > 1000

    asyncio.run(main())
