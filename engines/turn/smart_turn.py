"""Smart Turn v3 (ONNX): hears from the last 8 s of a turn whether the speaker has finished.

A small Whisper encoder with a classifier on top; it takes log-mel features and gives a probability.
https://github.com/pipecat-ai/smart-turn
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.config import option
from antiphon.engines.errors import EngineFailed, EngineLoadFailed, EngineRequestInvalid
from antiphon.engines.lifecycle import Hosted
from antiphon.engines.onnx_session import make_session, onnx_file
from antiphon.engines.protocols import EndpointPolicy, Stage
from antiphon.engines.turn import features
from antiphon.engines.turn.presets import PatienceOptions

if TYPE_CHECKING:
    from antiphon.engines.registry import EngineContext

ENGINE = "smart_turn"

_INPUT = "input_features"


class SmartTurnOptions(PatienceOptions):
    """Options of the `smart_turn` engine."""

    model: str = option(
        "smart-turn-v3.2-cpu", "Catalog name or path of the ONNX file (interface of version 3).", model=True
    )
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = option(
        "auto", "Threads of one call; `auto`: as the machine's plan says.", unit="threads"
    )


class SmartTurnRuntime:
    """The loaded network. Lives on the engine host's worker.

    :raises EngineError: the file cannot be used.
    """

    def __init__(self, path: str, threads: int) -> None:
        session = make_session(path, threads=threads, stage="turn", engine=ENGINE)
        wanted = (features.MELS, features.FRAMES)
        inputs = {node.name: tuple(node.shape) for node in session.get_inputs()}
        if list(inputs) != [_INPUT] or inputs[_INPUT][1:] != wanted:
            raise EngineLoadFailed(
                f"'{path}' is no Smart Turn of version 3: its inputs are {inputs}, "
                f"not {_INPUT} of shape (batch, {wanted[0]}, {wanted[1]})",
                stage="turn",
                engine=ENGINE,
                hint="use the catalog's smart-turn-v3.2-cpu, or another file with that interface",
            )
        self._session: Any = session
        try:
            self.probability(np.zeros(features.SAMPLES, dtype=np.float32))
        except EngineFailed as error:
            raise EngineLoadFailed(
                f"'{path}' loads but cannot run: {error.message}", stage="turn", engine=ENGINE
            ) from error

    def probability(self, samples: Samples) -> float:
        """End probability after audio of any length, float32 mono at 16 kHz, shape (n,).

        :raises EngineFailed: the network broke, or gave what is no probability.
        """
        mel = features.log_mel(features.normalised(features.last_seconds(samples)))
        try:
            (output,) = self._session.run(None, {_INPUT: mel[np.newaxis]})
            probability = float(np.asarray(output).item())
        except Exception as error:  # ONNX Runtime's own exception types have no common public base
            raise EngineFailed(f"the turn engine '{ENGINE}' failed: {error}", stage="turn", engine=ENGINE) from error
        if not 0.0 <= probability <= 1.0:
            raise EngineFailed(
                f"the turn engine '{ENGINE}' gave {probability:g}, which is no probability",
                stage="turn",
                engine=ENGINE,
                retryable=False,
            )
        return probability

    def close(self) -> None:
        self._session = None


class SmartTurnDetector(Hosted):
    """The `smart_turn` engine."""

    stage: Stage = "turn"
    engine = ENGINE

    def __init__(self, options: SmartTurnOptions, context: EngineContext) -> None:
        super().__init__(context.host)
        self._options = options
        self._models = context.models
        self._threads = context.plan.turn if options.threads == "auto" else options.threads
        self._policy = options.policy()

    @property
    def policy(self) -> EndpointPolicy:
        return self._policy

    async def end_probability(self, audio: AudioFrame, text: str | None) -> float:
        """Probability in [0, 1] that the speaker has finished; `text` is not looked at.

        :param audio: the turn so far, silence included, float32 mono at 16 kHz; the last 8 s count.
        :raises EngineRequestInvalid: no audio, another rate or shape, or samples that are no numbers.
        :raises EngineFailed: the engine is not entered, or broke.
        """
        return float(await self._loaded().call("probability", _checked_tail(audio)))

    async def _load(self) -> None:
        model = await asyncio.to_thread(self._models.resolve, self._options.model)
        path = onnx_file(model, stage="turn", engine=ENGINE)
        self._worker = await self._host.acquire(
            ("turn", ENGINE, path, self._threads),
            partial(SmartTurnRuntime, path, self._threads),
            name=f"turn {ENGINE}",
        )


def _checked_tail(audio: AudioFrame) -> Samples:
    """A copy of the last 8 s, so that the caller may go on filling its buffer."""
    samples = audio.samples
    problem = ""
    if audio.rate_hz != features.RATE_HZ:
        problem = f"audio at {features.RATE_HZ} Hz, not at {audio.rate_hz} Hz"
    elif samples.dtype != np.float32 or samples.ndim != 1:
        problem = f"float32 mono samples of shape (n,), not {samples.dtype} of shape {samples.shape}"
    elif not len(samples):
        problem = "audio: this piece has no samples"
    if problem:
        raise EngineRequestInvalid(f"the turn engine '{ENGINE}' needs {problem}", stage="turn", engine=ENGINE)
    tail = samples[-features.SAMPLES :].copy()
    if not np.isfinite(tail).all():
        raise EngineRequestInvalid(
            f"the turn engine '{ENGINE}' got audio with {int((~np.isfinite(tail)).sum())} samples that are no numbers",
            stage="turn",
            engine=ENGINE,
            hint="bring audio in through antiphon.engines.audio.to_mono_float32, which clears them",
        )
    return tail


def create(options: SmartTurnOptions, context: EngineContext) -> SmartTurnDetector:
    """Make the engine, not yet entered."""
    return SmartTurnDetector(options, context)
