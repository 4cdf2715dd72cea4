"""What the peers are to run: the models of a configuration, as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.engines.models.store import ModelStore
from antiphon.pipeline.config import Config
from antiphon.pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class PeerJob:
    """The same models, prompt and sampling as the configuration that the peers are compared with."""

    stt: Path
    """Folder of a CTranslate2 Whisper."""
    compute_type: str
    language: str | None
    llm: Path
    """A GGUF file."""
    llm_name: str
    voice: Path
    """A Piper voice's .onnx; its .json lies beside it."""
    instructions: str
    temperature: float
    max_tokens: int
    llm_threads: int = 2
    llm_context: int = 2048

    def for_driver(self, llm_url: str) -> dict[str, Any]:
        """The fields of the driver's "load" message."""
        return {
            "stt": str(self.stt),
            "compute_type": self.compute_type,
            "language": self.language,
            "voice": str(self.voice),
            "instructions": self.instructions,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "llm_name": self.llm_name,
            "llm_url": llm_url,
        }

    def for_llm_server(self) -> dict[str, Any]:
        return {
            "model": str(self.llm),
            "alias": self.llm_name,
            "threads": self.llm_threads,
            "context": self.llm_context,
        }


def peer_job(config: Config, store: ModelStore, *, name: str = "") -> PeerJob:
    """The peers' job out of a configuration with Whisper, llama.cpp and Piper, the engines that all peers can run.

    :param name: the configuration's, for messages.
    :raises ConfigError: it has other engines.
    :raises ModelError: a model is not in the store.
    """
    blocks = {"stt": config.stt[0], "llm": config.llm[0], "tts": config.tts[0]}
    for stage, engine in (("stt", "faster_whisper"), ("llm", "llama_cpp"), ("tts", "piper")):
        if blocks[stage].engine != engine:
            raise ConfigError(
                f"the peers cannot run the engine '{blocks[stage].engine}'",
                file=name,
                key=f"{stage}.engine",
                hint="Peers run on the models of a configuration with faster_whisper, llama_cpp and piper: name one "
                "with --peer-models, such as --peer-models tiny.yaml.",
            )
    stt: Any = blocks["stt"].options
    llm: Any = blocks["llm"].options
    tts: Any = blocks["tts"].options
    whisper = store.resolve(stt.model)
    gguf = next(path for file, path in store.resolve(llm.model).files.items() if file.endswith(".gguf"))
    voice = next(path for file, path in store.resolve(tts.voice).files.items() if file.endswith(".onnx"))
    return PeerJob(
        stt=Path(whisper.directory),
        compute_type=stt.compute_type,
        language=stt.language,
        llm=Path(gguf),
        llm_name=llm.model,
        voice=Path(voice),
        instructions=config.workflow.instructions,
        temperature=llm.temperature,
        max_tokens=llm.max_tokens,
    )
