"""OpenAI Realtime: sessions that clients of its protocol drive, over WebSockets and WebRTC. See docs/realtime.md."""
