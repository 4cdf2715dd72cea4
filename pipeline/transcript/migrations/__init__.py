"""The schema's history (Alembic). A new revision: copy the last file in `versions`, and set :data:`HEAD`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

HEAD = "0001"
"""The newest revision. Known without Alembic, so that opening a store that is up to date does not load it."""


class UnknownRevision(Exception):
    """Raised when a database has a revision that is not among ours."""


def run(connection: Connection) -> None:
    """Upgrade inside the connection's open transaction.

    :raises UnknownRevision: the database is newer.
    """
    from alembic import command
    from alembic.script.revision import ResolutionError
    from alembic.util import CommandError

    try:
        command.upgrade(settings(connection), "head")
    except (CommandError, ResolutionError) as error:
        raise UnknownRevision(str(error).rpartition("'")[0].rpartition("'")[2] or "unknown") from error


def settings(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
