"""A loaded Piper voice, as the engine host runs it: plain synchronous calls, no state of any one request."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.audio import Samples
from antiphon.engines.errors import EngineFailed, EngineLoadFailed
from antiphon.engines.onnx_session import make_session
from antiphon.engines.tts.piper_graph import SPEAKER_INPUT, CutFiles, NotCuttable, write_cut
from antiphon.engines.tts.piper_level import gain_for
from antiphon.engines.tts.piper_schedule import Pace, SliceSchedule
from antiphon.engines.tts.piper_text import Phonemizer, Utterance, next_piece
from antiphon.engines.tts.piper_voice import ENGINE, VoiceConfig

if TYPE_CHECKING:
    import onnxruntime

log = logging.getLogger(__name__)

Latent = NDArray[np.float32]
"""The decoder's input, shape (1, channels, frames)."""

_SAMPLE_TEXT = "1 2 3 4 5 6 7"
"""Every language of espeak-ng reads digits: for warming, and to hear how loud a voice is."""
_PACE_GUESS_S = 0.002
_WHOLE_SENTENCE_FRAMES = 500


@dataclass(frozen=True, slots=True)
class VoicePaths:
    """Where a voice's files are."""

    source: str
    """The published graph."""
    encoder: str
    decoder: str
    """Its two halves; made when they are not there."""


@dataclass(frozen=True, slots=True)
class Prosody:
    """What one request asks of the network."""

    length_scale: float
    noise_scale: float
    noise_w: float
    speaker: int | None


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a text has been taken up."""

    position: int = 0
    pending: tuple[Utterance, ...] = ()
    """Utterances before `position` that were phonemised and not yet begun."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A slice of an utterance."""

    samples: Samples
    stop: int
    """The frame after the slice's last."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """An utterance that has been begun."""

    utterance: Utterance
    latent: Latent | None
    """None where the voice could not be cut: then `first` is all of it."""
    frames: int
    durations: NDArray[np.float32] | None
    """Frames of each id, shape (ids,)."""
    gain: float
    """What brings this speaker to the common loudness."""
    first: Decoded
    cursor: Cursor
    """Where the text goes on."""


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """What an engine must know of its runtime."""

    sliced: bool
    """Whether the voice is cut, so that audio comes in slices."""
    word_times: bool
    hop_samples: int
    context_frames: int
    slice_cost_ms: float
    """How long the longest single call takes, about."""


class PiperRuntime:
    """The sessions of one voice.

    Its streams may be resumed in any order: nothing is kept between slices but by the stream itself.

    :param steps: see :class:`~antiphon.engines.tts.piper_schedule.SliceSchedule`.
    :param context_frames: frames of context for slices; None takes what the decoder's structure asks for.
    :raises EngineLoadFailed: the files are no Piper voice.
    """

    streams_at_once = 64
    items_a_turn = 1
    """Slices: the first one is what somebody waits for, the others are made well ahead of the ear."""

    def __init__(
        self, voice: VoiceConfig, paths: VoicePaths, threads: int, steps: tuple[int, ...], context_frames: int | None
    ) -> None:
        self._voice = voice
        self._threads = threads
        self._phonemizer = Phonemizer(voice)
        self._gains: dict[int | None, float] = {}
        self._pace = Pace(_PACE_GUESS_S)
        self._decoder: onnxruntime.InferenceSession | None = None
        self._encoder = self._load(paths)
        hop, reach = self._decoder_facts()
        if context_frames is not None and context_frames < reach:
            log.warning(
                "fewer context frames than the decoder needs: slices will differ from the whole",
                extra={"context_frames": context_frames, "needed": reach},
            )
        self._hop = hop
        self._schedule = SliceSchedule(steps, reach if context_frames is None else context_frames, hop / voice.rate_hz)

    # ------------------------------------------------------------------------------- calls

    def warm(self, prosody: Prosody) -> RuntimeFacts:
        """Run every common shape once, and measure pace and loudness."""
        ids = self._sample_ids()
        if ids:
            self._gain(prosody.speaker)
            latent, _ = self._encode(ids * 3, prosody)
            if self._decoder is not None:
                for frames in self._schedule.steps:
                    self._decode(latent, 0, min(frames, latent.shape[2]), prosody)
                self._pace = Pace(_PACE_GUESS_S / 100)  # the runs before were cold
                for start in (0, latent.shape[2] // 2):
                    self._decode(latent, start, min(self._schedule.steps[0], latent.shape[2] - start), prosody)
        return RuntimeFacts(
            sliced=self._decoder is not None,
            word_times=self._decoder is not None and len(self._encoder.get_outputs()) > 1,
            hop_samples=self._hop,
            context_frames=self._schedule.context_frames,
            slice_cost_ms=self._slice_cost_ms(),
        )

    def open(self, text: str, cursor: Cursor, prosody: Prosody, index: int, runs_dry_s: float | None) -> Opened | None:
        """Take up the next utterance of a text: phonemise, encode, and decode the first slice.

        :param text: as :func:`~antiphon.engines.tts.piper_text.clean` returned it.
        :param index: how many slices of the text came before.
        :param runs_dry_s: when (monotonic clock) the listener will have heard all that came before; None: nothing did.
        :returns: None when the text has nothing more to say.
        """
        upcoming = self._advance(text, cursor)
        if not upcoming.pending:
            return None
        utterance = upcoming.pending[0]
        rest = Cursor(upcoming.position, upcoming.pending[1:])
        gain = self._gain(prosody.speaker)
        latent, durations = self._encode(utterance.ids, prosody)
        if self._decoder is None:
            samples = latent.reshape(-1)
            frames = len(samples) // self._hop
            return Opened(utterance, None, frames, durations, gain, Decoded(samples, frames), rest)
        first = self.decode(latent, 0, prosody, index, runs_dry_s)
        return Opened(utterance, latent, latent.shape[2], durations, gain, first, rest)

    def decode(self, latent: Latent, start: int, prosody: Prosody, index: int, runs_dry_s: float | None) -> Decoded:
        """Decode the next slice of an utterance, from frame `start`; how long it is, is decided here and now."""
        remaining = latent.shape[2] - start
        if runs_dry_s is None:
            frames = self._schedule.first(remaining, self._pace.frame_s)
        else:
            ahead_s = runs_dry_s - time.monotonic()
            frames = self._schedule.following(index, remaining, self._pace.frame_s, ahead_s)
        return Decoded(self._decode(latent, start, frames, prosody), start + frames)

    # ------------------------------------------------------------------------------ inside

    def _advance(self, text: str, cursor: Cursor) -> Cursor:
        """Phonemise on until something is to be said, or the text ends."""
        position = cursor.position
        pending = cursor.pending
        while not pending and (piece := next_piece(text, position)):
            pending = self._phonemizer.utterances(text, *piece)
            position = piece[1]
        return Cursor(position, pending)

    def _encode(self, ids: tuple[int, ...], prosody: Prosody) -> tuple[Latent, NDArray[np.float32] | None]:
        feed: dict[str, Any] = {
            "input": np.array([ids], dtype=np.int64),
            "input_lengths": np.array([len(ids)], dtype=np.int64),
            "scales": np.array([prosody.noise_scale, prosody.length_scale, prosody.noise_w], dtype=np.float32),
        }
        results = self._run(self._encoder, feed, prosody)
        durations = results[1].reshape(-1) if len(results) > 1 else None
        if durations is not None and len(durations) != len(ids):
            durations = None
        return results[0], durations

    def _decode(self, latent: Latent, start: int, frames: int, prosody: Prosody) -> Samples:
        """The samples of `frames` frames from `start`, exactly as the whole utterance would have them."""
        assert self._decoder is not None
        context = self._schedule.context_frames
        begin, end = max(0, start - context), min(latent.shape[2], start + frames + context)
        began = time.perf_counter()
        feed = {self._decoder.get_inputs()[0].name: np.ascontiguousarray(latent[:, :, begin:end])}
        samples = self._run(self._decoder, feed, prosody)[0].reshape(-1)
        self._pace.note(time.perf_counter() - began, end - begin)
        return np.array(samples[(start - begin) * self._hop : (start - begin + frames) * self._hop])

    def _run(self, session: onnxruntime.InferenceSession, feed: dict[str, Any], prosody: Prosody) -> list[Any]:
        if any(given.name == SPEAKER_INPUT for given in session.get_inputs()):
            feed[SPEAKER_INPUT] = np.array([prosody.speaker or 0], dtype=np.int64)
        try:
            return list(session.run(None, feed))
        except Exception as error:  # ONNX Runtime's own exception types have no common public base
            raise EngineFailed(
                f"the piper voice '{self._voice.name}' failed at a sentence: {error}", stage="tts", engine=ENGINE
            ) from error

    def _gain(self, speaker: int | None) -> float:
        """The speaker's gain to the common loudness; measured once, without noise, on the same text."""
        if speaker not in self._gains:
            gain = 1.0
            if ids := self._sample_ids():
                prosody = Prosody(self._voice.length_scale, 0.0, 0.0, speaker)
                latent, _ = self._encode(ids, prosody)
                whole = self._decoder is None
                gain = gain_for(latent.reshape(-1) if whole else self._decode(latent, 0, latent.shape[2], prosody))
            self._gains[speaker] = gain
        return self._gains[speaker]

    def _sample_ids(self) -> tuple[int, ...]:
        found = self._phonemizer.utterances(_SAMPLE_TEXT, 0, len(_SAMPLE_TEXT))
        return found[0].ids if found else ()

    def _slice_cost_ms(self) -> float:
        frames = self._schedule.steps[-1] + 2 * self._schedule.context_frames
        return self._pace.frame_s * 1000 * (frames if self._decoder is not None else _WHOLE_SENTENCE_FRAMES)

    # ----------------------------------------------------------------------------- loading

    def _load(self, paths: VoicePaths) -> onnxruntime.InferenceSession:
        """The encoder half, or the whole graph of a voice that cannot be cut."""
        try:
            encoder, self._decoder = self._load_halves(paths.source, CutFiles(Path(paths.encoder), Path(paths.decoder)))
            return encoder
        except NotCuttable as reason:
            log.warning(
                "piper voice cannot be sliced: each sentence is decoded whole, without word times",
                extra={"voice": self._voice.name, "reason": str(reason)},
            )
            return self._session(paths.source)

    def _load_halves(self, source: str, files: CutFiles) -> tuple[onnxruntime.InferenceSession, ...]:
        if files.encoder.is_file() and files.decoder.is_file():
            try:
                return self._session(files.encoder), self._session(files.decoder)
            except EngineLoadFailed:
                log.warning("derived voice files are damaged: cut again", extra={"voice": self._voice.name})
        try:
            write_cut(source, files)
            return self._session(files.encoder), self._session(files.decoder)
        except OSError as error:
            log.warning("derived voice files cannot be kept", extra={"voice": self._voice.name, "error": str(error)})
        with tempfile.TemporaryDirectory(prefix="antiphon-") as folder:
            files = CutFiles(Path(folder) / "encoder.onnx", Path(folder) / "decoder.onnx")
            write_cut(source, files)
            return self._session(files.encoder), self._session(files.decoder)

    def _session(self, path: str | Path) -> onnxruntime.InferenceSession:
        return make_session(path, threads=self._threads, stage="tts", engine=ENGINE)

    def _decoder_facts(self) -> tuple[int, int]:
        """(samples a frame, frames of context needed)"""
        if self._decoder is None:
            return self._voice.hop_samples, 0
        facts = self._decoder.get_modelmeta().custom_metadata_map
        return int(facts["antiphon_hop_samples"]), int(facts["antiphon_context_frames"])
