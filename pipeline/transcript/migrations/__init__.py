"""The schema's history (Alembic). A new revision: copy the last file in `versions`, and set :data:`HEAD`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = settings()
    scripts = ScriptDirectory.from_config(config)

    def upgrade(revision: Any, _: Any) -> Any:
        return scripts._upgrade_revs(HEAD, revision)

    try:
        # What Alembic's env.py would do; as a module of ours that file could not be imported by itself.
        with EnvironmentContext(config, scripts, fn=upgrade, destination_rev=HEAD) as environment:
            environment.configure(connection=connection, transactional_ddl=True)
            with environment.begin_transaction():
                environment.run_migrations()
    except CommandError as error:
        raise UnknownRevision(str(error).rpartition("'")[0].rpartition("'")[2] or "unknown") from error


def settings() -> Config:
    """Alembic's configuration, without a file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
