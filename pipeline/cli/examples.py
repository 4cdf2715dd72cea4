"""What each command is mostly called with: the last lines of its `--help`."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        "antiphon doctor",
        "antiphon serve",
        "antiphon run --in question.wav --out answer.wav",
    ),
    "run": (
        "antiphon run --in question.wav --out answer.wav --events events.jsonl",
        "antiphon run my.yaml",
    ),
    "chat": (
        "antiphon chat",
        "antiphon chat agent.yaml --set llm.temperature=0.5",
    ),
    "say": (
        'antiphon say "It is noon." --out noon.wav',
        'antiphon say my.yaml "It is noon." --speed 1.2',
    ),
    "transcribe": (
        "antiphon transcribe talk.wav --format srt",
        "antiphon transcribe multilingual.yaml *.flac --format json",
    ),
    "test": ("antiphon test scenarios",),
    "serve": (
        "antiphon serve",
        "antiphon serve my.yaml --port 9000 --set server.wyoming.port=10400",
    ),
    "doctor": (
        "antiphon doctor",
        "antiphon doctor my.yaml --json",
    ),
}
"""By command; the first is that of `antiphon` itself."""


def examples(command: str) -> str:
    """For the end of the command's help, in Markdown."""
    lines = [f"`{line}`" for line in EXAMPLES[command]]
    return "\n\n".join(["Begin with:" if not command else "For example:", *lines])
