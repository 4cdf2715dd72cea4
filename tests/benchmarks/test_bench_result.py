"""`result.json`: its schema, its writing, and what must never stand in it."""

from __future__ import annotations

import getpass
import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from bench_clips import made_clips
from scripted_config import one_turn

from antiphon.benchmarks.clips import INDEX
from antiphon.benchmarks.machine import clips_block, commit, machine_block, versions_block
from antiphon.benchmarks.records import BenchResult, ConfigResult, Summary
from antiphon.benchmarks.result import ResultError, json_schema, now, read_result, to_dict, to_json, write_result
from antiphon.benchmarks.run import Options, run_deterministic


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> BenchResult:
    """A whole result of a run on scripted engines."""
    folder = tmp_path_factory.mktemp("made")
    clips = made_clips(folder)
    script = one_turn()
    script.vad_engine._speech = lambda _: [(0.52, 1.32)]
    results = run_deterministic([("scripted.yaml", script.config(), {"llm.x": "1"})], clips, Options(warmup=0))
    return BenchResult(
        created=now(),
        machine=machine_block(),
        versions=versions_block(),
        commit=commit(),
        clips=clips_block(folder, clips, ["lang=en"]),
        configs=tuple(results),
    )


def test_a_result_obeys_its_own_schema(result: BenchResult) -> None:
    data = json.loads(to_json(result))
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data, schema)
    assert data["configs"][0]["turn_records"][0]["outcome"] == "answered"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("configs", 0, "turns"), "many"),
        (("configs", 0, "turn_records", 0, "outcome"), "brilliant"),
        (("configs", 0, "ttfa_ms", "p50"), "fast"),
        (("machine",), []),
    ],
)
def test_the_schema_refuses_what_is_no_result(result: BenchResult, path: tuple[Any, ...], value: Any) -> None:
    data = json.loads(to_json(result))
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, json_schema())


def test_the_keys_that_the_documentation_promises_are_there(result: BenchResult) -> None:
    data = to_dict(result)
    assert {"schema_version", "machine", "versions", "commit", "configs", "peers"} <= data.keys()
    config = data["configs"][0]
    assert {"config", "turns", "answered", "ttfa_ms", "commit_delay_ms", "compute_after_commit_ms", "false_cutoff_rate",
            "wer", "turn_records", "barge_in_stop_ms", "false_interruption_rate"} <= config.keys()  # fmt: skip
    assert {"p50", "p90", "p95", "max", "n"} <= config["ttfa_ms"].keys()
    assert config["barge_in_stop_ms"] is None, "null where nobody has measured it"


def test_not_a_number_is_refused(result: BenchResult) -> None:
    broken = replace(result, configs=(ConfigResult(config="x", ttfa_ms=Summary(n=1, p50=float("nan"))),))
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(broken)


def test_a_result_is_written_whole_and_read_back(result: BenchResult, tmp_path: Path) -> None:
    path = write_result(result, tmp_path / "out" / "deep")
    assert [entry.name for entry in path.parent.iterdir()] == ["result.json"]
    assert read_result(path) == read_result(path.parent) == json.loads(to_json(result))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is no JSON"),
        ("[]", "no benchmark result"),
        ('{"schema_version": 99}', "says 99"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_result_is_refused_with_the_reason(tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ResultError, match=why):
        read_result(path)


def test_a_folder_that_cannot_be_written_to_is_named(result: BenchResult, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="cannot be written"):
        write_result(result, tmp_path / "file")


def test_nothing_tells_whose_machine_it_is(result: BenchResult) -> None:
    text = json.dumps({**to_dict(result), "configs": []})
    for private in {platform.node(), getpass.getuser(), str(Path.home()), str(Path.cwd())} - {"root", "localhost", "/"}:
        assert private not in text
    assert "/" not in result.clips["name"]
    assert result.machine["cores"] > 0
    assert result.machine["processor"]
    assert {"python", "antiphon", "numpy", "jiwer"} <= result.versions.keys()


def test_the_set_is_known_by_its_index(tmp_path: Path) -> None:
    clips = made_clips(tmp_path)
    before = clips_block(tmp_path, clips, [])
    index = tmp_path / INDEX
    index.write_text(index.read_text().replace("what time", "what day"))
    assert clips_block(tmp_path, clips, [])["index_sha256"] != before["index_sha256"]
    assert (before["clips"], before["where"], before["name"]) == (1, [], tmp_path.name)
