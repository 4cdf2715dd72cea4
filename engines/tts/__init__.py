"""Engines of the tts stage. They know nothing of one another."""
