"""The catalog: the built-in models, the user's own YAML, and errors that show the place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from antiphon.engines.errors import CatalogInvalid, UnknownModel
from antiphon.engines.models.catalog import Catalog, FileName, HubSource, PackageSource, PathSource, redact

SEVEN = {
    "whisper-tiny.en": ("stt", "MIT"),
    "whisper-base": ("stt", "MIT"),
    "smollm2-135m-instruct": ("llm", "Apache-2.0"),
    "qwen2.5-coder-0.5b-instruct": ("llm", "Apache-2.0"),
    "en_US-joe-medium": ("tts", "CC0-1.0"),
    "smart-turn-v3.2-cpu": ("turn", "BSD-2-Clause"),
    "silero-vad": ("vad", "MIT"),
}
HASH = "a" * 64


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_seven_models_are_built_in() -> None:
    catalog = Catalog.load()
    assert {name: (catalog[name].stage, catalog[name].licence) for name in catalog} == SEVEN
    for name in catalog:
        first, second = catalog[name].sources[:2]
        assert isinstance(first, PackageSource), name
        assert second.kind in ("hub", "url"), name
        assert catalog[name].origin and catalog[name].description


def test_windows_of_whisper_models_are_facts_of_the_catalog() -> None:
    facts = Catalog.load()["whisper-tiny.en"].facts()
    assert facts["encoder_window_s"] <= 30 and facts["encoder_margin_s"] > 0
    assert facts["stage"] == "stt" and facts["language"] == "en" and facts["sample_rate_hz"] == 16000
    assert set(facts["sha256"]) == {"config.json", "model.bin", "tokenizer.json", "vocabulary.txt"}


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownModel, match=r"unknown model 'whisper-tiny'. Did you mean 'whisper-tiny.en'\?") as caught:
        Catalog.load()["whisper-tiny"]
    assert "silero-vad" in caught.value.hint


def test_user_catalog_adds_a_model_with_a_path_relative_to_the_file(tmp_path: Path) -> None:
    own = write(
        tmp_path / "catalog.yaml",
        f"""
models:
  my-voice:
    stage: tts
    language: de
    licence: CC-BY-4.0
    metadata: {{speakers: 3}}
    files:
      voice.onnx: {{size: 5, sha256: {HASH}}}
    sources:
      - {{kind: path, path: voices}}
      - {{kind: hub, repo: me/voices, revision: v1, files: {{voice.onnx: de/voice.onnx}}}}
      - {{kind: url, files: {{voice.onnx: [https://host/a, https://host/b]}}}}
""",
    )
    catalog = Catalog.load([own])
    path, hub, url = catalog["my-voice"].sources
    assert isinstance(path, PathSource) and path.path == str(tmp_path / "voices")
    assert isinstance(hub, HubSource) and hub.files == {"voice.onnx": "de/voice.onnx"}
    assert url.kind == "url"
    assert len(catalog) == 8 and "my-voice" in catalog


def test_user_catalog_puts_sources_before_the_built_in_ones(tmp_path: Path) -> None:
    own = write(
        tmp_path / "catalog.yaml",
        "models: {silero-vad: {sources: [{kind: path, path: /srv/models}], metadata: {window_samples: 256, x: 1}}}",
    )
    before, after = Catalog.load()["silero-vad"], Catalog.load([own])["silero-vad"]
    assert [source.kind for source in after.sources] == ["path", *(source.kind for source in before.sources)]
    assert after.files == before.files and after.stage == "vad"
    assert after.metadata == {**before.metadata, "window_samples": 256, "x": 1}


def test_user_catalog_with_files_replaces_a_built_in(tmp_path: Path) -> None:
    own = write(tmp_path / "c.yaml", f"models: {{silero-vad: {{files: {{a.onnx: {{size: 1, sha256: {HASH}}}}}}}}}")
    entry = Catalog.load([own])["silero-vad"]
    assert list(entry.files) == ["a.onnx"] and entry.sources == ()


GOOD_FILE = f"files: {{a.bin: {{size: 1, sha256: {HASH}}}}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "models:\n  m:\n    files:\n      a.bin: {size: 1, sha256: XYZ}\n",
            r":4: models\.m\.files\.a\.bin\.sha256: .*'XYZ'",
        ),
        ("models:\n  m:\n    stage: stt\n    files: {}\n", r":4: models\.m\.files: .*at least 1"),
        (f"models:\n  m:\n    {GOOD_FILE}\n    licens: MIT\n", r":4: models\.m\.licens: Extra inputs"),
        (f"models:\n  m:\n    stage: ear\n    {GOOD_FILE}\n", r":3: models\.m\.stage: .*'vad'.*\(found 'ear'\)"),
        (f"models:\n  ../m:\n    {GOOD_FILE}\n", r":2: models\.\.\./m: .*must be a name"),
        (f"models:\n  m: {{files: {{../a: {{size: 1, sha256: {HASH}}}}}}}\n", r"models\.m\.files\.\.\./a: must"),
        (f"models:\n  m:\n    {GOOD_FILE}\n    sources: [{{kind: ftp}}]\n", r":4: models\.m\.sources\.0: .*'package'"),
        (
            f"models:\n  m:\n    {GOOD_FILE}\n    sources:\n      - {{kind: url, files: {{a.bin: 'ftp://x/y'}}}}\n",
            r":5: models\.m\.sources\.0\.files\.a\.bin\.0: must be an http, https or file URL .found 'ftp://x/y'",
        ),
        (
            f"models:\n  m:\n    {GOOD_FILE}\n    sources:\n"
            "      - {kind: hub, repo: a/b, revision: v1, files: {b: c}}\n",
            r"models\.m: source 'hub a/b@v1' names a file that the model does not have: b",
        ),
        (
            f"models:\n  m:\n    {GOOD_FILE}\n    sources: [{{kind: url, files: {{}}}}]\n",
            r"models\.m: source 'url ' does not say where 'a\.bin' is",
        ),
        (
            f"models:\n  m:\n    {GOOD_FILE}\n    sources:\n"
            "      - {kind: package, files: {a.bin: [{package: 'x>=1', member: a}]}}\n",
            r":5: models\.m\.sources\.0\.files\.a\.bin\.0\.package: must be a package .*'x>=1'\)\nSee",
        ),
        ("models:\n  m: 3\n", r":2: models\.m: .*valid dictionary"),
        ("modells: {}\n", r":1: modells: Extra inputs"),
        ("models:\n  m: {a: 1}\n  m: {b: 1}\n", r":3: key 'm' appears twice"),
        ("models: [\n", r":2: not valid YAML"),
        ("- a\n", r":1: \(top\): "),
    ],
)
def test_errors_show_file_line_key_and_problem(tmp_path: Path, text: str, message: str) -> None:
    own = write(tmp_path / "catalog.yaml", text)
    with pytest.raises(CatalogInvalid, match=message) as caught:
        Catalog.load([own])
    assert str(own) in caught.value.message


def test_empty_catalog_is_fine_and_missing_or_binary_file_is_not(tmp_path: Path) -> None:
    assert len(Catalog.load([write(tmp_path / "empty.yaml", "# nothing yet\n")])) == 7
    with pytest.raises(CatalogInvalid, match=r"absent\.yaml: the catalog cannot be read: No such file"):
        Catalog.load([tmp_path / "absent.yaml"])
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogInvalid, match="not UTF-8"):
        Catalog.load([tmp_path / "binary.yaml"])


@given(st.text(alphabet=st.sampled_from("ab./\\:~\0 -"), max_size=12))
def test_accepted_file_names_stay_inside_their_folder(name: str) -> None:
    try:
        TypeAdapter(FileName).validate_python(name)
    except ValidationError:
        return
    path = Path("/root/store", name)
    assert path.is_relative_to("/root/store") and ".." not in path.parts
    assert path.as_posix() == f"/root/store/{name}"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/../b", "/a", "a//b", "a/", ".hidden", "a/.b", "C:\\a", "c:a"]
)
def test_file_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(FileName).validate_python(name)


def test_redact_takes_credentials_and_queries_out() -> None:
    text = "GET https://me:secret@host/a?sig=secret, then http://host/b"
    assert redact(text) == "GET https://***@host/a?*** then http://host/b"
