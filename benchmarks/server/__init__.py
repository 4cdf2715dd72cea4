"""The server from outside: what its fronts add to the pipeline's own time, what it carries, whether it grows."""
