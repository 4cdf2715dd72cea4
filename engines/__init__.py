"""Engines: audio to text, text to text, text to audio. Nothing here knows of a conversation."""

if __name__ != "antiphon.engines":
    raise ImportError(
        "this folder is the package 'antiphon.engines': import it by that name "
        "(pip install -e . in the project, then 'import antiphon.engines')"
    )
