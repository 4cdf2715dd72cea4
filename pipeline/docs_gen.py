"""Writes the reference pages of docs/reference/ from the code: `python -m antiphon.pipeline.docs_gen [--check]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel

from antiphon.engines.protocols import STAGES
from antiphon.engines.registry import BUILTINS, EngineSpec
from antiphon.pipeline.config.blocks import block_keys
from antiphon.pipeline.config.model import SECTIONS
from antiphon.pipeline.config.reference import OptionFacts, option_facts
from antiphon.pipeline.docs_cli import cli_page, events_page

_NOTE = "<!-- Generated from the code by `python -m antiphon.pipeline.docs_gen`. Do not edit. -->\n"

_STAGE_TITLES = {
    "vad": "`vad`: which windows of the audio are speech",
    "turn": "`turn`: when the speaker has finished",
    "stt": "`stt`: speech to text",
    "llm": "`llm`: the language model",
    "tts": "`tts`: text to speech",
}

_CONFIG_INTRO = """\
# Configuration reference

One YAML file names every engine and sets every option. `antiphon config check FILE` says what is wrong with one,
`antiphon config show FILE` what it means with all defaults, `antiphon config schema` prints a JSON Schema for editors.

- The packaged files are whole: `local.yaml` (the default), `tiny.yaml`, `webrtcvad.yaml`, `multilingual.yaml`,
  `cloud.yaml`, `hybrid.yaml`. Wherever a file is wanted, their bare name will do.
- `extends: local.yaml` lays a file over another one (beside it, or packaged): mappings merge key by key, lists and
  single values replace. A block that names another `engine` drops the options of the engine below it. A list of names
  is laid one over the other, in order.
- `${NAME}` in a value is the environment variable of that name, and an error where it is not set; `${NAME:-default}`
  has a default for an unset or empty one; `$${` is a literal `${`.
- `--set stt.model=whisper-base` sets one value over all of that; `--set llm.1.temperature=0` one of the second block
  of a chain.
- Values follow YAML 1.2: `no`, `on` and `10:30` are text unless the key takes something else.
- Relative paths count from the file in which they are written; where a model may be a name or a path, write `./`.
"""

_BLOCKS_INTRO = """\
## `vad`, `turn`, `stt`, `llm`, `tts`

Each stage has a block with `engine:` and, beside it, that engine's own options
([engine reference](engines.md)). `stt`, `llm` and `tts` may have a list of blocks instead: a fallback chain, where a
request that fails or misses its deadline goes to the next block. Besides the engine's options a block may have:
"""

_ENGINES_INTRO = """\
# Engine reference

The engines that come with Antiphon, with every option. `antiphon engines list` shows which of them are installed, and
those of other packages too; `antiphon engines show NAME` prints what stands here. An engine of your own is named by a
dotted path, `engine: mypackage.module:Class`; its attribute `Options` declares its options.
"""


def config_page() -> str:
    """docs/reference/config.md"""
    parts = [_NOTE, _CONFIG_INTRO, _BLOCKS_INTRO, _table(option_facts(block_keys("stt"))), "`tts` also:\n"]
    shared = {facts.name for facts in option_facts(block_keys("stt"))}
    parts.append(_table([facts for facts in option_facts(block_keys("tts")) if facts.name not in shared]))
    for name, model in SECTIONS.items():
        parts.append(f"## `{name}`\n\n{_docstring(model)}\n")
        parts.append(_table(option_facts(model)))
    return "\n".join(parts)


def engines_page() -> str:
    """docs/reference/engines.md"""
    parts = [_NOTE, _ENGINES_INTRO]
    for stage in STAGES:
        parts.append(f"## {_STAGE_TITLES[stage]}\n")
        parts.extend(_engine(spec) for spec in BUILTINS if spec.stage == stage)
    return "\n".join(parts)


def metrics_page() -> str:
    """docs/reference/metrics.md"""
    from antiphon.server.observing.reference import page

    return f"{_NOTE}\n{page()}"


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": lambda: f"{_NOTE}\n{cli_page()}",
    "config.md": config_page,
    "engines.md": engines_page,
    "events.md": lambda: f"{_NOTE}\n{events_page()}",
    "metrics.md": metrics_page,
}
"""File name in docs/reference/ to the function that makes its text."""


def _engine(spec: EngineSpec) -> str:
    install = f'`pip install "antiphon[{spec.extra}]"`' if spec.extra else "nothing to install"
    runs = "on this machine" if spec.local else "wherever `base_url` points; needs `session.offline: false` elsewhere"
    licence = f" Licence of what it runs on: {spec.licence}." if spec.licence else ""
    facts = option_facts(spec.options_class())
    table = _table(facts) if facts else "No options.\n"
    return f"### `{spec.stage}.{spec.name}`\n\n{spec.summary}\n\nRuns {runs}; {install}.{licence}\n\n{table}"


def _docstring(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().split("\n\n")[0]


def _table(facts: Sequence[OptionFacts]) -> str:
    rows = ["| key | takes | unit | default | meaning |", "|---|---|---|---|---|"]
    for item in facts:
        default = "required" if item.required else f"`{_cell(item.default)}`"
        secret = " Never shown." if item.secret else ""
        rows.append(
            f"| `{item.name}` | {_cell(item.type)} | {_cell(item.unit)} | {default} | {_cell(item.meaning)}{secret} |"
        )
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def stale(folder: Path) -> list[str]:
    """The pages in a folder that are missing, or differ from what the code says now."""
    return [name for name, make in PAGES.items() if _text(folder / name) != make()]


def write(folder: Path) -> list[str]:
    """Write the pages that are stale; returns their names."""
    changed = stale(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        (folder / name).write_text(PAGES[name](), encoding="utf-8")
    return changed


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the reference pages from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    parser.add_argument("--folder", type=Path, default=Path("docs/reference"), help="where the pages lie")
    options = parser.parse_args(arguments)
    changed = stale(options.folder) if options.check else write(options.folder)
    for name in changed:
        sys.stdout.write(f"{'stale' if options.check else 'written'}: {options.folder / name}\n")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
