"""The local model store: where verified files live."""

from __future__ import annotations

from pathlib import Path

from antiphon.engines.protocols import ModelFiles


class ModelStore:
    """Interface fixed for engines; the implementation is being written."""

    def resolve(self, reference: str) -> ModelFiles:
        """Files of a model by catalog name, path (file or folder), or "hub:owner/name@revision", which must be local.

        :raises UnknownModel: no such name or path.
        :raises ModelMissing: known, but not in the store; the hint has the pull command.
        """
        raise NotImplementedError

    def derived(self, source_sha256: str, name: str) -> Path:
        """Path (in an existing folder) for a file made from a source file of that hash; write it with a rename."""
        raise NotImplementedError
