"""Other people's systems, measured in the same run: same clips, same clock, same ear.

Pipecat and LiveKit Agents run headless in environments of their own, `agents.voice` likewise; a server that speaks the
OpenAI Realtime protocol is reached by URL. What exactly is run stands in docs/benchmark-peers.md.
"""
