"""Engines of the stt stage. They know nothing of one another."""
