"""The peers: what is installed for each, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from antiphon.benchmarks.peers.errors import PeerInvalid
from antiphon.engines.models.store import antiphon_home


@dataclass(frozen=True, slots=True)
class PeerSpec:
    """A system that the benchmark can run beside Antiphon."""

    name: str
    """In results."""
    key: str
    """In commands: `bench peers install KEY`, and its environment's folder."""
    what: str
    licence: str
    requirements: tuple[str, ...]
    """For pip. The versions are pinned: results are only comparable between equal ones."""
    script: str
    """Its driver, in `drivers/`."""
    finished_recording: bool = False


_ENGINES = ("faster-whisper==1.2.1", "piper-tts==1.8.0")

PEERS: tuple[PeerSpec, ...] = (
    PeerSpec(
        "pipecat",
        "pipecat",
        "Pipecat 1.14.0, headless: Silero VAD, Smart Turn v3, Whisper, an OpenAI-protocol LLM, Piper",
        "BSD-2-Clause",
        ("pipecat-ai[openai,piper,silero,whisper]==1.14.0", *_ENGINES),
        "run_pipecat.py",
    ),
    PeerSpec(
        "livekit",
        "livekit",
        "LiveKit Agents 1.8.9, headless: its own VAD and turn detector, Whisper, an OpenAI-protocol LLM, Piper",
        "Apache-2.0; its turn detector's model under the LiveKit Model Licence",
        ("livekit-agents==1.8.9", "livekit-plugins-openai==1.8.9", *_ENGINES),
        "run_livekit.py",
    ),
    PeerSpec(
        "agents.voice",
        "agents",
        "agents.voice.VoicePipeline of openai-agents 0.24.0, given finished recordings",
        "MIT",
        ("openai-agents[voice]==0.24.0", "soxr>=0.5", *_ENGINES),
        "run_agents.py",
        finished_recording=True,
    ),
)


def find_peer(name: str) -> PeerSpec:
    """A peer by either of its names.

    :raises PeerInvalid: there is none of that name.
    """
    for spec in PEERS:
        if name in (spec.name, spec.key):
            return spec
    known = ", ".join(spec.name for spec in PEERS)
    raise PeerInvalid(f"no peer '{name}'", peer=name, hint=f"peers: {known}, realtime=URL")


def default_folder() -> Path:
    """Where the peers' environments lie: `peers` beside the models."""
    return antiphon_home() / "peers"
