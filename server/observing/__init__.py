"""What an operator sees of a running server: metrics, traces, logs, the conversations under way."""
