"""What can go wrong in a pipeline, above the engines.

AntiphonError
+-- ConfigError        the YAML cannot be used; carries file, line, key path
+-- AudioInputError    an input file or stream cannot be read as audio
+-- WorkflowError      the agent's code failed; carries what it raised as __cause__
+-- SessionClosed      the session has ended
+-- PolicyError        a policy cannot be made as it is written
+-- ApprovalError      a question cannot be opened or decided
|   +-- UnknownApproval    no question of that id
|   +-- AlreadyDecided     somebody was first; carries how it was decided
+-- StageError         a stage ended a turn; carries the stage and the cause
+-- TooManyErrors      too many turns in a row have failed
"""

from __future__ import annotations

from antiphon.engines.errors import AntiphonError, EngineOutOfOrder, EngineOverloaded


class ConfigError(AntiphonError):
    """Raised when a configuration cannot be used. Shows file, line and key path; never a secret."""

    def __init__(self, message: str, *, file: str = "", line: int | None = None, key: str = "", hint: str = "") -> None:
        place = file + (f":{line}" if line is not None else "")
        where = ": ".join(part for part in (place, key) if part)
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.file = file
        self.line = line
        self.key = key
        self.problem = message


class AudioInputError(AntiphonError):
    """Raised when an input file or stream cannot be read as audio."""


class WorkflowError(AntiphonError):
    """Raised when a workflow's own code failed; `__cause__` is what it raised."""


class SessionClosed(AntiphonError):
    """Raised when something is asked of a session that has ended."""


class PolicyError(AntiphonError):
    """Raised when a policy cannot be made as it is written: an unknown check, a wrong option, a missing package."""


class ApprovalError(AntiphonError):
    """Raised when a question cannot be opened or decided: its store cannot be used, or it is not open."""


class UnknownApproval(ApprovalError):
    """Raised when there is no question of that id."""


class AlreadyDecided(ApprovalError):
    """Raised when a question has been decided before; `state` says how."""

    def __init__(self, message: str, *, state: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.state = state


class StageError(AntiphonError):
    """Raised when a stage ended a turn: carries `stage` and, as `__cause__`, what went wrong."""

    def __init__(self, stage: str, cause: BaseException) -> None:
        text = str(cause) or type(cause).__name__
        super().__init__(text)
        self.stage = stage
        self.code = type(cause).__name__
        self.__cause__ = cause


class TooManyErrors(AntiphonError):
    """Why a session ends whose turns fail one after the other (`session.max_errors`)."""


def had_no_time(error: BaseException | None) -> bool:
    """Whether an engine did not take a guess that it may take soon, once it is sure: it had no room, or was not asked.

    Not where a vendor asked for a pause.
    """
    return isinstance(error, EngineOutOfOrder) or (isinstance(error, EngineOverloaded) and error.retry_after_s is None)
