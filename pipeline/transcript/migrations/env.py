"""Run by Alembic: migrates over the connection that it is given, inside that connection's transaction."""

from alembic import context

from antiphon.pipeline.transcript.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
