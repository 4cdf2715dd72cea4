"""Model files: a catalog that trusts hashes, a local store, and the sources that fill it."""
