"""Engines of the vad stage. They know nothing of one another."""
