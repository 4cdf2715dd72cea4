"""The Wyoming server, for Home Assistant and others: speech to text, text to speech, the agent in text, in speech."""
