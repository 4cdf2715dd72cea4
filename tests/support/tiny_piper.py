"""Generates a VITS-like Piper voice of a few kilobytes: the real engine runs it, nothing is downloaded.

It has what the engine looks for in a real voice: durations rounded up to whole frames, a latent multiplied by its mask,
a HiFi-GAN-like decoder, and a speaker embedding that the decoder uses where there are several speakers. No tensor has
the name that an exported voice would give it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 4
SYMBOLS = 256
HOP = 32
RATE_HZ = 8000
SPEAKERS = ("anna", "boris")
SILENT_IDS = (0, 1, 2)
"""Pad, start and end of a sentence sound like nothing."""

Defect = Literal["", "no_upsampling", "global_decoder", "mask_in_decoder", "no_durations"]


class _Builder:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def conv(self, source: str, inner: int, outer: int, kernel: int, dilation: int = 1) -> str:
        pad = (kernel - 1) * dilation // 2
        weight = self.weight((self.random.normal(size=(outer, inner, kernel)) * 0.4).astype(np.float32))
        return self.node(
            "Conv", source, weight, kernel_shape=[kernel], dilations=[dilation], pads=[pad, pad], strides=[1], group=1
        )

    def up(self, source: str, inner: int, outer: int, stride: int) -> str:
        kernel, pad = stride * 2, stride // 2
        weight = self.weight((self.random.normal(size=(inner, outer, kernel)) * 0.4).astype(np.float32))
        return self.node(
            "ConvTranspose", source, weight, kernel_shape=[kernel], dilations=[1], pads=[pad, pad], strides=[stride]
        )


def tiny_model(*, speakers: int = 1, seed: int = 0, defect: Defect = "") -> Any:
    """The graph, as an ONNX model."""
    b = _Builder(seed)
    speaker = _speaker(b, speakers)
    latent, mask = _encoder(b, speaker, defect)
    _decoder(b, latent, mask, speaker, defect)
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, None]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
    output = helper.make_tensor_value_info("wave", TensorProto.FLOAT, [1, 1, 1, None])
    graph = helper.make_graph(b.nodes, "tiny", inputs, [output], initializer=b.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _speaker(b: _Builder, speakers: int) -> str:
    if speakers == 1:
        return ""
    table = b.weight(b.random.normal(size=(speakers, CHANNELS)).astype(np.float32))
    return b.node("Unsqueeze", b.node("Gather", table, "sid"), b.weight(np.array([2])))  # (1, channels, 1)


def _encoder(b: _Builder, speaker: str, defect: Defect) -> tuple[str, str]:
    """(latent, mask), shapes (1, channels, frames) and (1, 1, frames)"""
    symbols = b.random.normal(size=(SYMBOLS, CHANNELS)).astype(np.float32)
    symbols[list(SILENT_IDS)] = 0
    lengths = b.random.uniform(2.0, 5.0, size=SYMBOLS).astype(np.float32)
    pick = [b.node("Gather", "scales", b.weight(np.array(i))) for i in range(3)]
    seconds = b.node("Mul", b.node("Gather", b.weight(lengths), "input"), pick[1])
    rounding = "Ceil" if defect != "no_durations" else "Round"
    frames = b.node(rounding, b.node("Unsqueeze", seconds, b.weight(np.array([1]))))  # (1, 1, ids)
    ends = b.node("CumSum", frames, b.weight(np.array(2)))
    total = b.node("Cast", b.node("ReduceSum", frames, keepdims=0), to=TensorProto.INT64)
    count = b.node("Range", b.weight(np.array(0)), total, b.weight(np.array(1)))
    clock = b.node("Reshape", b.node("Cast", count, to=TensorProto.FLOAT), b.weight(np.array([1, -1, 1])))
    begins = b.node("Sub", ends, frames)
    before_end = b.node("Cast", b.node("Less", clock, ends), to=TensorProto.FLOAT)
    before_begin = b.node("Cast", b.node("Less", clock, begins), to=TensorProto.FLOAT)
    path = b.node("Sub", before_end, before_begin)  # (1, frames, ids): which id a frame belongs to
    spread = b.node("MatMul", path, b.node("Gather", b.weight(symbols), "input"))
    mean = b.node("Transpose", spread, perm=[0, 2, 1])
    noise = b.node("Mul", b.node("RandomNormalLike", mean), pick[0])
    latent = b.node("Add", mean, noise)
    if speaker:
        latent = b.node("Mul", latent, b.node("Exp", b.node("Mul", speaker, b.weight(np.float32(0.1)))))
    ones = b.node("Mul", b.node("Transpose", clock, perm=[0, 2, 1]), b.weight(np.float32(0)))
    mask = b.node("Add", ones, b.weight(np.float32(1)))
    return b.node("Mul", latent, mask, out="anything_but_mul_7"), mask


def _decoder(b: _Builder, latent: str, mask: str, speaker: str, defect: Defect) -> None:
    signal = b.conv(latent, CHANNELS, CHANNELS, 7)
    if speaker:
        signal = b.node("Add", signal, b.conv(speaker, CHANNELS, CHANNELS, 1))
    if defect == "mask_in_decoder":
        signal = b.node("Mul", signal, mask)
    if defect == "no_upsampling":
        b.node("Unsqueeze", b.node("Tanh", signal), b.weight(np.array([1])), out="wave")
        return
    signal = b.up(b.node("LeakyRelu", signal, alpha=0.1), CHANNELS, CHANNELS, 8)
    if defect == "global_decoder":
        signal = b.node("Sub", signal, b.node("ReduceMean", signal, axes=[2], keepdims=1))
    for kernel, dilation in ((3, 1), (5, 3)):
        signal = b.node(
            "Add", signal, b.conv(b.node("LeakyRelu", signal, alpha=0.1), CHANNELS, CHANNELS, kernel, dilation)
        )
    signal = b.up(b.node("LeakyRelu", signal, alpha=0.1), CHANNELS, 2, 4)
    signal = b.conv(b.node("LeakyRelu", signal), 2, 1, 7)
    quieter = b.node("Mul", signal, b.weight(np.float32(0.3)))
    b.node("Unsqueeze", b.node("Tanh", quieter), b.weight(np.array([1])), out="wave")


def description(
    *, speakers: int = 1, rate_hz: int = RATE_HZ, kind: str = "espeak", language: str = "en"
) -> dict[str, Any]:
    """The voice's JSON."""
    from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

    return {
        "audio": {"sample_rate": rate_hz},
        "espeak": {"voice": {"en": "en-us"}.get(language, language)},
        "language": {"family": language},
        "phoneme_type": kind,
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_id_map": DEFAULT_PHONEME_ID_MAP,
        "num_symbols": SYMBOLS,
        "num_speakers": speakers,
        "speaker_id_map": {name: number for number, name in enumerate(SPEAKERS[:speakers])} if speakers > 1 else {},
        "hop_length": HOP,
    }


def save_voice(
    folder: Path,
    name: str = "tiny",
    *,
    speakers: int = 1,
    seed: int = 0,
    defect: Defect = "",
    rate_hz: int = RATE_HZ,
    kind: str = "espeak",
    language: str = "en",
) -> Path:
    """Write NAME.onnx and NAME.onnx.json; returns the path of the graph."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    onnx.save(tiny_model(speakers=speakers, seed=seed, defect=defect), str(path))
    facts = description(speakers=speakers, rate_hz=rate_hz, kind=kind, language=language)
    Path(f"{path}.json").write_text(json.dumps(facts), encoding="utf-8")
    return path
