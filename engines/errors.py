"""What can go wrong in an engine or a model file.

AntiphonError
+-- EngineError                 carries stage, engine, retryable
|   +-- EngineUnavailable       a package or model that the engine needs is missing
|   +-- EngineLoadFailed        the engine could not be loaded or warmed
|   +-- EngineRequestInvalid    the request can never succeed as it stands
|   +-- EngineFailed            the engine broke while at work
|   +-- EngineTimeout           no answer within the deadline
|   +-- EngineOverloaded        the engine (or its vendor) refuses work for now
|   +-- EngineOutOfOrder        it is not asked for now: it has kept too many waiting in vain
|   +-- EngineCrashed           the engine's process died
+-- UnknownEngine               no engine of that name in that stage
+-- StaleRequest                the work was dropped before it began: a newer revision replaced it
+-- ModelError                  carries the model's name
|   +-- UnknownModel            no such name in the catalog
|   +-- ModelMissing            known, but not in the store
|   +-- ModelCorrupt            a file's size or SHA-256 is not the catalog's
|   +-- ModelSourceFailed       every source of the model failed
|   +-- StoreFull               the disk is full
|   +-- CatalogInvalid          a catalog file cannot be used
+-- OfflineForbidden            a connection was asked for while `offline: true`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

RequestPart = Literal["language", "length", "messages", "schema"]
"""What can be wrong with a request: the language, how long it is, the order of its messages, the form of the answer."""


class AntiphonError(Exception):
    """Base of every error that this package raises on purpose.

    `str(error)` says what is wrong; `hint` says what to do next and may be empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class EngineError(AntiphonError):
    """Raised when an engine cannot do what was asked."""

    retryable = False
    """Whether the same request may succeed later, or on another engine."""

    def __init__(
        self, message: str, *, stage: str = "", engine: str = "", hint: str = "", retryable: bool | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.stage = stage
        self.engine = engine
        if retryable is not None:
            self.retryable = retryable


class EngineUnavailable(EngineError):
    """Raised when a package or model file that an engine needs is not there; `hint` has the exact command."""


class EngineLoadFailed(EngineError):
    """Raised when an engine could not be loaded or warmed."""


class EngineRequestInvalid(EngineError):
    """Raised when a request can never succeed as it stands (text too long, language not spoken, bad schema)."""

    def __init__(
        self,
        message: str,
        *,
        stage: str = "",
        engine: str = "",
        hint: str = "",
        retryable: bool | None = None,
        about: RequestPart | None = None,
    ) -> None:
        """
        :param about: the part of the request that is wrong; None: it is not known which.
        """
        super().__init__(message, stage=stage, engine=engine, hint=hint, retryable=retryable)
        self.about = about


class EngineFailed(EngineError):
    """Raised when an engine breaks while at work."""

    retryable = True


class EngineTimeout(EngineError):
    """Raised when an engine gave no answer within its deadline."""

    retryable = True


class EngineOverloaded(EngineError):
    """Raised when an engine refuses work for now; `retry_after_s` is what it asked for, if it said."""

    retryable = True

    def __init__(
        self, message: str, *, stage: str = "", engine: str = "", hint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, stage=stage, engine=engine, hint=hint)
        self.retry_after_s = retry_after_s


class EngineOutOfOrder(EngineError):
    """Raised when an engine is not asked, because it has kept too many waiting in vain; `retry_after_s`: then it is."""

    retryable = True

    def __init__(
        self, message: str, *, stage: str = "", engine: str = "", hint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, stage=stage, engine=engine, hint=hint)
        self.retry_after_s = retry_after_s


class EngineCrashed(EngineError):
    """Raised when the process in which an engine runs has died; `signal_name` is "SIGSEGV" and the like, or ""."""

    retryable = True

    def __init__(
        self, message: str, *, stage: str = "", engine: str = "", hint: str = "", signal_name: str = ""
    ) -> None:
        super().__init__(message, stage=stage, engine=engine, hint=hint)
        self.signal_name = signal_name


class UnknownEngine(AntiphonError):
    """Raised when a stage has no engine of that name; the message lists the names it has."""


class StaleRequest(AntiphonError):
    """Raised when work was dropped before it began, because a newer revision of its turn replaced it."""


class ModelError(AntiphonError):
    """Raised when a model's files cannot be used."""

    def __init__(self, message: str, *, model: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.model = model


class UnknownModel(ModelError):
    """Raised when neither the catalog nor the user's own catalog has the name, and it is no path."""


class ModelMissing(ModelError):
    """Raised when a known model is not in the local store; `hint` has the pull command and the air-gapped way."""


class ModelCorrupt(ModelError):
    """Raised when a file's size or SHA-256 differs from the catalog's; a downloaded one has been removed."""


class ModelSourceFailed(ModelError):
    """Raised when every source of a model failed; `reasons` has one sentence for each, in order."""

    def __init__(self, message: str, *, model: str = "", hint: str = "", reasons: Sequence[str] = ()) -> None:
        super().__init__(message, model=model, hint=hint)
        self.reasons = tuple(reasons)


class StoreFull(ModelError):
    """Raised when the disk under the model store is full; nothing half-written is left."""


class CatalogInvalid(ModelError):
    """Raised when a catalog file cannot be read or does not have the right form; shows file, line and key."""


class OfflineForbidden(AntiphonError):
    """Raised when something asked for a non-loopback connection while `offline: true`."""
