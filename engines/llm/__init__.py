"""Engines of the llm stage. They know nothing of one another."""
