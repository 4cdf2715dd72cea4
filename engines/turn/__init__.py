"""Engines of the turn stage. They know nothing of one another."""
