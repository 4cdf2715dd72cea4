"""OpenAI's REST calls for audio, on the engines of a server."""
