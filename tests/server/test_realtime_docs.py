"""The sample of docs/realtime.md, as it stands there."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

from network_clock import run_networked
from served import config, serving

from antiphon.pipeline.config.model import ServerConfig

PAGE = Path(__file__).parents[2] / "docs" / "realtime.md"


def test_the_sample_of_the_page_works() -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert found is not None
    sample, _, run = found[1].partition("\nasyncio.run(main())\n")
    assert run == ""
    printed = io.StringIO()

    async def main() -> None:
        async with serving(config()) as (address, _):
            names: dict[str, Any] = {}
            exec(sample.replace("127.0.0.1:8080", address), names)
            with contextlib.redirect_stdout(printed):
                await names["main"]()

    run_networked(main())
    assert printed.getvalue() == "It is noon."


def test_the_settings_that_the_page_names_are_there() -> None:
    names = set(re.findall(r"`(?:server\.realtime\.)?(max_[a-z_]+)`", PAGE.read_text("utf-8")))
    server = ServerConfig()
    assert {"max_items", "max_text_chars", "max_asides", "max_buffer_s"} <= names
    assert all(hasattr(server.realtime, name) or name == "max_output_tokens" for name in names)
