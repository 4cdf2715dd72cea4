"""What the JSON file beside a Piper voice says, checked once at loading."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antiphon.engines.errors import EngineLoadFailed, EngineRequestInvalid, EngineUnavailable

ENGINE = "piper"
PHONEME_TYPES = ("espeak", "text")
DEFAULT_HOP_SAMPLES = 256


@dataclass(frozen=True, slots=True)
class VoiceConfig:
    """The facts of one voice."""

    name: str
    rate_hz: int
    phoneme_type: str
    """"espeak" (IPA by espeak-ng) or "text" (the text's own characters)."""
    espeak_voice: str
    """espeak-ng's name of the language or dialect."""
    language: str
    """ISO 639 code."""
    id_map: Mapping[str, tuple[int, ...]]
    """Phoneme to the ids that stand for it."""
    length_scale: float = 1.0
    """The voice's own pace; larger is slower."""
    noise_scale: float = 0.667
    noise_w: float = 0.8
    hop_samples: int = DEFAULT_HOP_SAMPLES
    """Samples that one frame of the decoder makes."""
    speakers: Mapping[str, int] = field(default_factory=dict)
    """Speaker name to id; the names are digits where the voice has none."""
    default_speaker: int = 0
    vowel_clusters: tuple[tuple[str, ...], ...] = ()
    """Runs of phonemes that the voice knows as one."""

    @property
    def multi_speaker(self) -> bool:
        return bool(self.speakers)

    def speaker_id(self, speaker: int | str | None) -> int | None:
        """The id of a speaker named or numbered; None for a voice with one speaker.

        :raises EngineRequestInvalid: the voice has no such speaker.
        """
        if not self.speakers:
            if speaker in (None, 0, "0"):
                return None
            raise self._no_speaker(speaker, "it has one speaker only; leave `speaker` out")
        if speaker is None:
            return self.default_speaker
        if isinstance(speaker, str) and speaker in self.speakers:
            return self.speakers[speaker]
        number = int(speaker) if isinstance(speaker, int) or speaker.isdecimal() else -1
        if number in self.speakers.values():
            return number
        shown = ", ".join(list(self.speakers)[:12]) + (", ..." if len(self.speakers) > 12 else "")
        raise self._no_speaker(speaker, f"its speakers are: {shown}")

    def _no_speaker(self, speaker: int | str | None, hint: str) -> EngineRequestInvalid:
        message = f"the piper voice '{self.name}' has no speaker '{speaker}'"
        return EngineRequestInvalid(message, stage="tts", engine=ENGINE, hint=hint)


def read_voice_config(path: str | Path, *, name: str) -> VoiceConfig:
    """Read a voice's `.onnx.json`.

    :raises EngineUnavailable: the file is not there.
    :raises EngineLoadFailed: it is no voice description, or one of a kind that is not spoken here.
    """
    file = Path(path)
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineUnavailable(
            f"the piper voice '{name}' has no description '{file}'",
            stage="tts",
            engine=ENGINE,
            hint="a voice is two files, NAME.onnx and NAME.onnx.json, in one folder; fetch both",
        ) from None
    except (OSError, ValueError) as error:
        raise _unusable(file, f"is not readable as JSON: {error}") from error
    if not isinstance(data, Mapping):
        raise _unusable(file, "is not a JSON object")
    try:
        return _parse(data, name)
    except KeyError as error:
        raise _unusable(file, f"lacks the key {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise _unusable(file, f"has a wrong value: {error}") from error


def _parse(data: Mapping[str, Any], name: str) -> VoiceConfig:
    phoneme_type = str(data.get("phoneme_type") or "espeak")
    if phoneme_type not in PHONEME_TYPES:
        kinds = ", ".join(PHONEME_TYPES)
        raise ValueError(f"phoneme_type is '{phoneme_type}'; this engine speaks voices of type {kinds}")
    espeak_voice = str(data["espeak"]["voice"]) if phoneme_type == "espeak" else ""
    inference = data.get("inference") or {}
    id_map = {str(key): _ids(key, ids) for key, ids in data["phoneme_id_map"].items()}
    for needed in ("_", "^", "$"):
        if not id_map.get(needed):
            raise ValueError(f"phoneme_id_map has no '{needed}' (pad, start or end of a sentence)")
    language = data.get("language") or {}
    return VoiceConfig(
        name=name,
        rate_hz=_positive("audio.sample_rate", data["audio"]["sample_rate"]),
        phoneme_type=phoneme_type,
        espeak_voice=espeak_voice,
        language=str(language.get("family") or espeak_voice.partition("-")[0] or "und").lower(),
        id_map=id_map,
        length_scale=float(inference.get("length_scale", 1.0)),
        noise_scale=float(inference.get("noise_scale", 0.667)),
        noise_w=float(inference.get("noise_w", 0.8)),
        hop_samples=_positive("hop_length", data.get("hop_length", DEFAULT_HOP_SAMPLES)),
        speakers=_speakers(data),
        default_speaker=int(data.get("default_speaker_id", 0)),
        vowel_clusters=tuple(tuple(map(str, cluster)) for cluster in data.get("vowel_clusters") or ()),
    )


def _speakers(data: Mapping[str, Any]) -> dict[str, int]:
    count = int(data.get("num_speakers", 1))
    if count <= 1:
        return {}
    named = {str(name): int(number) for name, number in (data.get("speaker_id_map") or {}).items()}
    return named or {str(number): number for number in range(count)}


def _ids(key: object, ids: Sequence[int]) -> tuple[int, ...]:
    if isinstance(ids, str) or not all(isinstance(one, int) and one >= 0 for one in ids):
        raise ValueError(f"phoneme_id_map[{key!r}] is {ids!r}, not a list of ids")
    return tuple(ids)


def _positive(key: str, value: Any) -> int:
    number = int(value)
    if number <= 0:
        raise ValueError(f"{key} is {value!r}, not a positive number")
    return number


def _unusable(file: Path, problem: str) -> EngineLoadFailed:
    return EngineLoadFailed(
        f"the voice description '{file}' {problem}",
        stage="tts",
        engine=ENGINE,
        hint="fetch the voice again: NAME.onnx.json must be the file that its publisher put beside NAME.onnx",
    )
