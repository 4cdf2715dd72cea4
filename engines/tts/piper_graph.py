"""Cuts a VITS graph in two at its decoder's input, so that audio can begin before all of it is decoded.

Encoder half: phoneme ids to latent frames (`z * y_mask`) and the frames that each id lasts. Decoder half (HiFi-GAN):
latent frames to samples; it is local in time, so a slice of frames with enough neighbours on either side decodes to
exactly the samples that the whole would have there. The cut is found by the graph's structure, not by names: the input
of the convolution that feeds the first transposed convolution. How many neighbours are enough (the receptive field) is
computed from the kernels, strides and dilations on the way.
"""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.engines.errors import EngineLoadFailed, EngineUnavailable
from antiphon.engines.tts.piper_voice import ENGINE
from antiphon.engines.whole_file import whole_file

log = logging.getLogger(__name__)

CUT_VERSION = 1
"""Part of the derived files' names: raise it whenever a cut would come out differently."""
PHONEME_INPUTS = ("input", "input_lengths", "scales")
SPEAKER_INPUT = "sid"
_POINTWISE = frozenset(
    "Add Sub Mul Div Pow Neg Abs Exp Sqrt Sin Cos Erf Tanh Sigmoid Relu LeakyRelu PRelu Elu Clip Cast Identity "
    "Unsqueeze Squeeze Dropout Softplus".split()
)


class NotCuttable(Exception):
    """Raised when a graph has no decoder that can be cut off and sliced; the message says why."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a graph is cut and what its decoder is like."""

    latent: str
    """Name of the tensor that is the decoder's input, shape (1, channels, frames)."""
    durations: str | None
    """Name of the tensor with the frames of each phoneme id, shape (1, 1, ids)."""
    decoder_inputs: tuple[str, ...]
    """Graph inputs that the decoder needs besides the latent (the speaker id of a multi-speaker voice)."""
    hop_samples: int
    """Samples that one frame decodes to."""
    context_frames: int
    """Frames on each side of a slice that its samples depend on."""


class _Graph:
    """Who makes and who uses which tensor."""

    def __init__(self, model: Any) -> None:
        self.nodes = list(model.graph.node)
        self.producer = {name: node for node in self.nodes for name in node.output if name}
        self.inputs = [value.name for value in model.graph.input]
        self.output = model.graph.output[0].name
        self.spoken = self._reached_from("input")

    def _reached_from(self, name: str) -> set[str]:
        """All tensors that depend on a graph input (nodes come in topological order, as ONNX demands)."""
        reached = {name}
        for node in self.nodes:
            if not reached.isdisjoint(node.input):
                reached.update(node.output)
        return reached

    def needed_for(self, name: str, stop: str) -> tuple[list[Any], set[str]]:
        """The nodes that make a tensor, going back no further than `stop`, and the tensors they start from."""
        seen: set[str] = set()
        roots: set[str] = set()
        waiting = [name]
        while waiting:
            tensor = waiting.pop()
            if tensor in seen or tensor == stop or not tensor:
                continue
            seen.add(tensor)
            node = self.producer.get(tensor)
            if node is None:
                roots.add(tensor)
            else:
                waiting.extend(node.input)
        return [node for node in self.nodes if not seen.isdisjoint(node.output)], roots


def find_cut(model: Any) -> Cut:
    """Find the cut of a loaded ONNX model.

    :raises NotCuttable: there is none.
    """
    graph = _Graph(model)
    latent = _decoder_input(graph)
    nodes, roots = graph.needed_for(graph.output, stop=latent)
    if leaked := sorted(roots.intersection(PHONEME_INPUTS)):
        raise NotCuttable(f"its decoder also depends on {', '.join(leaked)}")
    hop, context = _receptive_field(nodes, latent, graph.output)
    return Cut(
        latent=latent,
        durations=_durations(graph, latent),
        decoder_inputs=tuple(name for name in graph.inputs if name in roots),
        hop_samples=hop,
        context_frames=context,
    )


def _decoder_input(graph: _Graph) -> str:
    ups = [node for node in graph.nodes if node.op_type == "ConvTranspose" and node.input[0] in graph.spoken]
    if not ups:
        raise NotCuttable("it has no transposed convolution")
    tensor = ups[0].input[0]  # the first in topological order: nothing upsamples before it
    while True:
        node = graph.producer.get(tensor)
        if node is None:
            raise NotCuttable("no convolution comes before its first transposed convolution")
        if node.op_type == "Conv":
            return str(node.input[0])
        sources = [name for name in node.input if name in graph.spoken]
        if node.op_type not in _POINTWISE or len(sources) != 1:
            raise NotCuttable(f"a {node.op_type} stands before its first transposed convolution")
        tensor = sources[0]


def _durations(graph: _Graph, latent: str) -> str | None:
    """VITS rounds each id's length up to whole frames: the one Ceil on the way to the latent."""
    nodes, _ = graph.needed_for(latent, stop="")
    found = [node.output[0] for node in nodes if node.op_type == "Ceil" and node.input[0] in graph.spoken]
    return found[0] if len(found) == 1 else None


def _receptive_field(nodes: list[Any], latent: str, output: str) -> tuple[int, int]:
    """(samples per frame, frames of context on each side) of the decoder."""
    reach: dict[str, tuple[float, float, float]] = {latent: (1.0, 0.0, 0.0)}  # samples a frame, frames left, right
    for node in nodes:
        sources = [reach[name] for name in node.input if name in reach]
        if not sources:
            continue  # made of constants and the speaker alone: the same at every instant
        if len({scale for scale, _, _ in sources}) > 1:
            raise NotCuttable(f"a {node.op_type} of its decoder joins signals of different rates")
        scale = sources[0][0]
        left, right = max(one[1] for one in sources), max(one[2] for one in sources)
        reach[node.output[0]] = _through(node, scale, left, right)
    scale, left, right = reach[output]
    return round(scale), math.ceil(max(left, right))


def _through(node: Any, scale: float, left: float, right: float) -> tuple[float, float, float]:
    """What a node adds to the reach of the signal that passes it."""
    if node.op_type in _POINTWISE or (node.op_type == "Concat" and _attribute(node, "axis", 0) == 1):
        return scale, left, right
    if node.op_type not in ("Conv", "ConvTranspose"):
        raise NotCuttable(f"its decoder has a {node.op_type}, which may look at all frames at once")
    kernel = _attribute(node, "kernel_shape", [0])
    if len(kernel) != 1 or not kernel[0] or _attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        raise NotCuttable(f"a {node.op_type} of its decoder does not state a kernel along time and its padding")
    stride, dilation = _attribute(node, "strides", [1])[0], _attribute(node, "dilations", [1])[0]
    before, after = _attribute(node, "pads", [0, 0])
    extent = (kernel[0] - 1) * dilation
    if node.op_type == "Conv":
        if stride != 1 or before + after != extent:
            raise NotCuttable("a convolution of its decoder changes the length of the signal")
        return scale, left + before / scale, right + after / scale
    if extent + 1 - before - after + _attribute(node, "output_padding", [0])[0] != stride:
        raise NotCuttable("a transposed convolution of its decoder does not upsample by its stride")
    return scale * stride, left + (extent - before) / stride / scale, right + before / stride / scale


def _attribute(node: Any, name: str, default: Any) -> Any:
    import onnx

    for attribute in node.attribute:
        if attribute.name == name:
            value = onnx.helper.get_attribute_value(attribute)
            return list(value) if isinstance(default, list) else value
    return default


# ------------------------------------------------------------------------------------------ files


@dataclass(frozen=True, slots=True)
class CutFiles:
    """The two halves on disk."""

    encoder: Path
    decoder: Path


def derived_names() -> tuple[str, str]:
    """File names of the encoder and the decoder half among the files derived from one voice."""
    return f"piper-cut{CUT_VERSION}-encoder.onnx", f"piper-cut{CUT_VERSION}-decoder.onnx"


def write_cut(source: str | Path, files: CutFiles) -> Cut:
    """Cut a voice and write both halves, each by a rename, so that no one ever sees half a file.

    :raises NotCuttable: the voice cannot be cut.
    :raises EngineLoadFailed: the file is no Piper voice.
    :raises OSError: a half cannot be written.
    """
    import onnx

    model = read_voice(source)
    cut = find_cut(model)
    encoder, decoder = split(model, cut)
    for half, path in ((encoder, files.encoder), (decoder, files.decoder)):
        with whole_file(path) as temporary:
            onnx.save(half, str(temporary))
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
    log.info("piper voice cut", extra={"context_frames": cut.context_frames, "hop_samples": cut.hop_samples})
    return cut


def read_voice(source: str | Path) -> Any:
    """Load a voice's graph as an ONNX model.

    :raises EngineLoadFailed: the file is no ONNX graph, or its inputs are not those of a Piper voice.
    """
    import onnx

    if not Path(source).is_file():
        raise EngineUnavailable(
            f"the voice file '{source}' is not there",
            stage="tts",
            engine=ENGINE,
            hint="set `voice` to a catalog name or to the path of a NAME.onnx, or fetch one: antiphon models pull NAME",
        )
    try:
        model = onnx.load(str(source))
        inputs = [value.name for value in model.graph.input]
    except Exception as error:  # protobuf's DecodeError is no public name of onnx
        raise _no_voice(source, f"it cannot be read as ONNX: {error}") from error
    if not set(PHONEME_INPUTS) <= set(inputs) or not set(inputs) <= {*PHONEME_INPUTS, SPEAKER_INPUT}:
        raise _no_voice(source, f"its inputs are {', '.join(inputs) or 'none'}, not {', '.join(PHONEME_INPUTS)}")
    return model


def _no_voice(source: str | Path, problem: str) -> EngineLoadFailed:
    return EngineLoadFailed(
        f"'{source}' is no Piper voice: {problem}",
        stage="tts",
        engine=ENGINE,
        hint="a Piper voice is a VITS network exported to ONNX by Piper; the file may also be damaged: fetch it again",
    )


def split(model: Any, cut: Cut) -> tuple[Any, Any]:
    """The encoder and the decoder half of a model; the decoder's metadata carry hop and context."""
    import onnx

    known = {value.name for value in model.graph.value_info}
    for name, shape in ((cut.latent, [1, None, None]), (cut.durations, [1, 1, None])):
        if name and name not in known:  # exporters may leave the types of inner tensors out
            model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    extractor = onnx.utils.Extractor(model)
    inputs = [value.name for value in model.graph.input]
    outputs = [cut.latent] + ([cut.durations] if cut.durations else [])
    encoder = extractor.extract_model(inputs, outputs)
    decoder = extractor.extract_model([cut.latent, *cut.decoder_inputs], [model.graph.output[0].name])
    facts = {"antiphon_hop_samples": cut.hop_samples, "antiphon_context_frames": cut.context_frames}
    onnx.helper.set_model_props(decoder, {key: str(value) for key, value in facts.items()})
    return encoder, decoder
