"""OpenAI Realtime: conversations over WebSocket and WebRTC."""
