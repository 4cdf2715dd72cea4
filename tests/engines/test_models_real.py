"""The models that everything else is measured with, in the default store."""

from __future__ import annotations

import pytest

from antiphon.engines.models.catalog import Catalog
from antiphon.engines.models.store import ModelStore


@pytest.mark.real
@pytest.mark.parametrize("name", list(Catalog.load()))
def test_model_is_here_and_right(name: str) -> None:
    store = ModelStore(catalog=Catalog.load())
    report = store.verify(name)
    assert report.ok, report
    files = store.resolve(name)
    assert set(files.files) == set(store.catalog[name].files)
