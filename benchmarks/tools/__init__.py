"""Tool calls, measured: spoken-style requests to a configured LLM, and how many give exactly the right call."""
