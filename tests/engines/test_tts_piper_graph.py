"""Cutting a VITS graph in two: found by structure, exact, and refused where it would not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_piper import HOP, SILENT_IDS, Defect, save_voice, tiny_model

from antiphon.engines.errors import EngineLoadFailed, EngineUnavailable
from antiphon.engines.tts.piper_graph import CutFiles, NotCuttable, find_cut, split, write_cut

IDS = (1, 0, 20, 0, 61, 0, 33, 0, 8, 0, 27, 0, 59, 0, 31, 0, 2)


def session(model: Any) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def feed(noise: float = 0.0, speaker: int | None = None) -> dict[str, Any]:
    given: dict[str, Any] = {
        "input": np.array([IDS], dtype=np.int64),
        "input_lengths": np.array([len(IDS)], dtype=np.int64),
        "scales": np.array([noise, 1.0, 0.0], dtype=np.float32),
    }
    return given if speaker is None else given | {"sid": np.array([speaker], dtype=np.int64)}


def decode(decoder: onnxruntime.InferenceSession, latent: Any, speaker: int | None = None) -> Any:
    given = {decoder.get_inputs()[0].name: latent}
    if speaker is not None:
        given["sid"] = np.array([speaker], dtype=np.int64)
    return decoder.run(None, given)[0].reshape(-1)


def test_the_cut_is_found_by_structure() -> None:
    cut = find_cut(tiny_model())
    assert cut.latent == "anything_but_mul_7"
    assert cut.hop_samples == HOP
    assert cut.decoder_inputs == ()
    assert cut.durations is not None
    # by hand: 3 of the first convolution, then (16 - 1 - 4) / 8, (1 + 2 * 3) / 8, (8 - 1 - 2) / 32, 3 / 32
    assert cut.context_frames == int(np.ceil(3 + 11 / 8 + 7 / 8 + 5 / 32 + 3 / 32))


@pytest.mark.parametrize("speaker", [None, 0, 1])
def test_the_halves_make_the_whole(speaker: int | None) -> None:
    model = tiny_model(speakers=1 if speaker is None else 2)
    whole = session(model).run(None, feed(speaker=speaker))[0].reshape(-1)
    cut = find_cut(model)
    encoder, decoder = (session(half) for half in split(model, cut))
    latent, durations = encoder.run(None, feed(speaker=speaker))
    assert np.array_equal(decode(decoder, latent, speaker), whole)
    assert durations.reshape(-1).sum() == latent.shape[2] == len(whole) / HOP
    assert durations.size == len(IDS)


def test_a_decoder_that_knows_its_speaker_gets_the_speaker() -> None:
    model = tiny_model(speakers=2)
    cut = find_cut(model)
    assert cut.decoder_inputs == ("sid",)
    encoder, decoder = (session(half) for half in split(model, cut))
    latent = encoder.run(None, feed(speaker=0))[0]
    assert not np.allclose(decode(decoder, latent, 0), decode(decoder, latent, 1))


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_slices_with_their_context_are_the_whole(noise: float) -> None:
    model = tiny_model()
    cut = find_cut(model)
    encoder, decoder = (session(half) for half in split(model, cut))
    latent = encoder.run(None, feed(noise))[0]
    whole = decode(decoder, latent)

    def sliced(context: int, frames: int) -> Any:
        parts = []
        for start in range(0, latent.shape[2], frames):
            begin, end = max(0, start - context), min(latent.shape[2], start + frames + context)
            samples = decode(decoder, latent[:, :, begin:end])
            parts.append(samples[(start - begin) * HOP :][: min(frames, latent.shape[2] - start) * HOP])
        return np.concatenate(parts)

    for frames in (1, 5, 16):
        assert np.abs(sliced(cut.context_frames, frames) - whole).max() < 1e-6
    assert np.abs(sliced(cut.context_frames - 3, 5) - whole).max() > 1e-4


@pytest.mark.parametrize(
    ("defect", "reason"),
    [
        ("no_upsampling", "no transposed convolution"),
        ("global_decoder", "ReduceMean"),
        ("mask_in_decoder", "Mul stands before"),
    ],
)
def test_what_cannot_be_sliced_is_not_cut(defect: Defect, reason: str) -> None:
    with pytest.raises(NotCuttable, match=reason):
        find_cut(tiny_model(defect=defect))


def test_without_a_ceil_there_are_no_durations() -> None:
    assert find_cut(tiny_model(defect="no_durations")).durations is None


def test_a_cut_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_voice(tmp_path / "voice")
    files = CutFiles(tmp_path / "encoder.onnx", tmp_path / "decoder.onnx")
    real_save = onnx.save

    def full_disk(model: Any, path: str) -> None:
        real_save(model, path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_cut(source, files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["voice"]

    monkeypatch.setattr(onnx, "save", real_save)
    cut = write_cut(source, files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["decoder.onnx", "encoder.onnx", "voice"]
    facts = {prop.key: prop.value for prop in onnx.load(str(files.decoder)).metadata_props}
    assert facts == {
        "antiphon_hop_samples": str(cut.hop_samples),
        "antiphon_context_frames": str(cut.context_frames),
    }


def test_what_is_no_voice_is_refused(tmp_path: Path) -> None:
    files = CutFiles(tmp_path / "e.onnx", tmp_path / "d.onnx")
    noise = tmp_path / "noise.onnx"
    noise.write_bytes(b"\xff\x00not an onnx file" * 50)
    with pytest.raises(EngineLoadFailed, match=r"noise\.onnx' is no Piper voice"):
        write_cut(noise, files)
    value = onnx.helper.make_tensor_value_info("audio", onnx.TensorProto.FLOAT, [1])
    other = onnx.helper.make_graph([onnx.helper.make_node("Abs", ["audio"], ["y"])], "g", [value], [])
    onnx.save(onnx.helper.make_model(other), str(noise))
    with pytest.raises(EngineLoadFailed, match="its inputs are audio"):
        write_cut(noise, files)
    with pytest.raises(EngineUnavailable, match="is not there"):
        write_cut(tmp_path / "absent.onnx", files)


def test_silence_is_silent_in_the_tiny_voice() -> None:
    """What other tests of the tiny voice rely on."""
    ids = np.array([[*SILENT_IDS] * 3], dtype=np.int64)
    samples = session(tiny_model()).run(None, feed() | {"input": ids, "input_lengths": np.array([9])})[0]
    assert np.abs(samples).max() == 0.0
