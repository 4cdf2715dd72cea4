"""The reference pages are what the code says now."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.engines.registry import BUILTINS
from antiphon.pipeline import docs_gen
from antiphon.pipeline.config.model import SECTIONS, Config

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


def test_the_committed_pages_are_not_stale() -> None:
    assert docs_gen.stale(FOLDER) == [], "run: python -m antiphon.pipeline.docs_gen"


def test_the_configuration_page_has_every_key() -> None:
    page = docs_gen.config_page()
    for name in Config.model_fields:
        assert f"`{name}`" in page
    for model in SECTIONS.values():
        assert model.__doc__
        for key in model.model_fields:
            assert f"| `{key}` |" in page


def test_the_engine_page_has_every_option() -> None:
    page = docs_gen.engines_page()
    for spec in BUILTINS:
        section = page.split(f"### `{spec.stage}.{spec.name}`")[1].split("\n### ")[0]
        for key in spec.options_class().model_fields:
            assert f"| `{key}` |" in section


@pytest.mark.parametrize("make", docs_gen.PAGES.values())
def test_tables_have_as_many_cells_in_every_row(make: object) -> None:
    assert callable(make)
    tables = [block.splitlines() for block in make().split("\n\n") if block.startswith("|")]
    assert tables
    for rows in tables:
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1


def test_stale_pages_are_found_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "reference"
    arguments = ["--folder", str(folder)]
    assert docs_gen.main([*arguments, "--check"]) == 1
    assert not folder.exists()
    assert docs_gen.main(arguments) == 0
    assert docs_gen.main([*arguments, "--check"]) == 0
    capsys.readouterr()
    (folder / "engines.md").write_text("changed")
    assert docs_gen.main([*arguments, "--check"]) == 1
    assert capsys.readouterr().out == f"stale: {folder / 'engines.md'}\n"
    assert docs_gen.write(folder) == ["engines.md"]
