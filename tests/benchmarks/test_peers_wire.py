"""The wire between the benchmark and the peers' drivers; what drivers may import."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.benchmarks.peers.catalog import PEERS
from antiphon.benchmarks.peers.drivers.peer_wire import Unpacker, WireError, pack, pack_audio
from antiphon.benchmarks.peers.process import DRIVERS

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
messages = st.dictionaries(st.text(), scalars, max_size=4).map(lambda fields: {**fields, "type": "thing"})
audio = st.tuples(
    st.binary(max_size=400).map(lambda raw: raw[: len(raw) // 2 * 2]), st.sampled_from((8000, 16000, 22050, 48000))
)


def framed(item: dict[str, Any] | tuple[bytes, int]) -> bytes:
    return pack(item) if isinstance(item, dict) else pack_audio(*item)


@given(st.lists(messages | audio, max_size=6), st.data())
def test_frames_come_back_whole_however_they_are_cut(items: list[Any], data: st.DataObject) -> None:
    stream = b"".join(framed(item) for item in items)
    unpacker, got, at = Unpacker(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 50))
        got += unpacker.push(stream[at : at + size])
        at += size
    assert got == items


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        (b"GET / HTTP/1.1\r\n", "not a frame: kind b'G'"),
        (b"J\xff\xff\xff\x7f", "not a frame"),
        (b"J\x02\x00\x00\x00{]", "not JSON"),
        (b"J\x02\x00\x00\x00[]", "not a message"),
        (b'J\x0a\x00\x00\x00{"type":1}', "not a message"),
        (b"A\x02\x00\x00\x00ab", "not audio: 2 bytes"),
        (b"A\x05\x00\x00\x00" + (16000).to_bytes(4, "little") + b"x", "not audio: 5 bytes"),
        (b"A\x06\x00\x00\x00" + (3).to_bytes(4, "little") + b"xx", "not audio: 3 Hz"),
    ],
)
def test_what_is_no_frame_is_refused(stream: bytes, told: str) -> None:
    with pytest.raises(WireError, match=told.replace("(", r"\(")):
        Unpacker().push(stream)


def test_an_unfinished_frame_is_waited_for() -> None:
    unpacker = Unpacker()
    assert unpacker.push(pack({"type": "open"})[:-1]) == []
    assert unpacker.push(b"}") == [{"type": "open"}]


# ------------------------------------------------------------------------------------------- the drivers

BROUGHT = {
    "run_pipecat.py": {"pipecat": "pipecat-ai", "loguru": "pipecat-ai"},
    "run_livekit.py": {
        "livekit": "livekit-agents",
        "faster_whisper": "faster-whisper",
        "piper": "piper-tts",
        "numpy": "faster-whisper",
    },
    "run_agents.py": {
        "agents": "openai-agents",
        "openai": "openai-agents",
        "faster_whisper": "faster-whisper",
        "piper": "piper-tts",
        "soxr": "soxr",
        "numpy": "openai-agents",
    },
    "run_llm_server.py": {"llama_cpp": "llama-cpp-python", "uvicorn": "llama-cpp-python"},
    "peer_wire.py": {},
}
"""Modules that a driver may import, and the distribution that brings each."""


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("script", sorted(path.name for path in DRIVERS.glob("*.py")))
def test_a_driver_imports_what_its_peer_installs_and_never_antiphon(script: str) -> None:
    brought = BROUGHT[script]
    foreign = imports(DRIVERS / script) - set(sys.stdlib_module_names) - {"peer_wire"}
    assert foreign == set(brought), "the table says what each script needs"
    for spec in PEERS:
        if spec.script == script:
            asked = {
                requirement.partition("=")[0].partition(">")[0].partition("[")[0] for requirement in spec.requirements
            }
            assert set(brought.values()) <= asked


def test_every_peer_has_its_script_and_pinned_versions() -> None:
    for spec in PEERS:
        assert (DRIVERS / spec.script).is_file()
        assert "==" in spec.requirements[0] and spec.licence
