"""The files in `deploy/`: valid for those who read them, and true to what the server needs. Nothing is built here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from antiphon.pipeline.config import load_config

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
CONFIGS = sorted((DEPLOY / "config").glob("*.yaml"))


def tool(name: str) -> str:
    """A program beside this Python, or on the path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"needs the program {name}")
    return found


def run(*command: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **more)


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return found


def objects() -> dict[str, dict[str, Any]]:
    """What is applied to a cluster, by kind."""
    files = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text("utf-8"))["resources"]
    texts = [(DEPLOY / "kubernetes" / name).read_text("utf-8") for name in files]
    return {one["kind"]: one for text in texts for one in yaml.safe_load_all(text)}


def unit() -> dict[str, list[str]]:
    """The keys of the systemd unit, each with its values in order."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / "antiphon.service").read_text("utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


# ------------------------------------------------------------------------------------ valid


def test_the_dockerfile_has_no_findings() -> None:
    done = run(tool("hadolint"), DEPLOY / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_every_yaml_is_well_formed() -> None:
    done = run(tool("yamllint"), "--strict", "--config-file", DEPLOY / ".yamllint.yaml", DEPLOY)
    assert done.returncode == 0, done.stdout


def test_the_compose_file_is_one_by_its_specification() -> None:
    spec = pytest.importorskip("compose_spec")
    parsed = spec.PyCompose.from_json(json.dumps(compose()))
    parsed.validate()
    assert sorted(parsed.service_names()) == ["antiphon", "grafana", "postgres", "prometheus"]
    broken = compose()
    broken["services"]["grafana"]["helthcheck"] = {}
    with pytest.raises(ValueError, match="helthcheck"):
        spec.PyCompose.from_json(json.dumps(broken))


def test_the_kubernetes_objects_are_ones_by_their_schemas() -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    for one in objects().values():
        assert schemas.validate(one, schemas.latest_version(), strict=True)
    broken = objects()["Deployment"]
    broken["spec"]["replica"] = 3
    with pytest.raises(schemas.ValidationError):
        schemas.validate(broken, schemas.latest_version(), strict=True)


def test_the_kubernetes_objects_fit_together() -> None:
    done = run(tool("kubectl"), "kustomize", DEPLOY / "kubernetes")
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert {one["metadata"].get("namespace", "antiphon") for one in built} == {"antiphon"}
    assert len(built) == len(objects()) == 6


def test_the_unit_is_one_and_well_shut_in(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    source = DEPLOY / "systemd" / "antiphon.service"
    there = tmp_path / "antiphon.service"
    there.write_text(re.sub("/opt/antiphon/bin/antiphon", "/bin/true", source.read_text("utf-8")))
    done = run(analyze, "verify", "--man=no", there)
    assert done.returncode == 0 and str(there) not in done.stderr, done.stderr
    done = run(analyze, "security", "--offline=true", "--threshold=15", "--no-pager", source)
    if "offline" in done.stderr:
        pytest.skip("needs a systemd that analyses offline (250)")
    assert done.returncode == 0, done.stdout[-200:]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configurations_can_be_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    assert load_config(path).server.drain_s == 30


def test_the_configuration_of_the_cluster_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "antiphon.yaml"
    path.write_text(objects()["ConfigMap"]["data"]["antiphon.yaml"])
    config = load_config(path)
    assert config.server.host == "0.0.0.0" and str(config.server.keys_file) == "/etc/antiphon/keys/keys.json"


def test_there_are_configurations() -> None:
    assert [path.name for path in CONFIGS] == ["compose.yaml", "container.yaml", "systemd.yaml"]


# ------------------------------------------------------------------------------------ the image


def stages() -> list[str]:
    return re.split(r"(?m)^FROM ", (DEPLOY / "Dockerfile").read_text("utf-8"))[1:]


def test_the_last_stage_runs_as_nobody_in_particular_and_builds_nothing() -> None:
    last = stages()[-1]
    assert last.startswith("${PYTHON_IMAGE} AS final")
    assert re.search(r"(?m)^USER 10001:10001$", last) and "\nHEALTHCHECK " in last
    assert last.index("\nUSER ") < last.index("\nENTRYPOINT ")
    for builder in ("build-essential", "cmake", "pip install", "git"):
        assert builder not in last
    assert "pip uninstall" in last and "--without-pip" in stages()[0]


def allowed() -> Iterator[Path]:
    """What .dockerignore lets into the build."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert lines[1] == "*"
    yield from (ROOT / line[1:] for line in lines if line.startswith("!"))


@pytest.mark.timeout(900)
def test_what_the_build_is_given_is_enough_for_the_wheel(tmp_path: Path) -> None:
    context = tmp_path / "context"
    for path in allowed():
        there = context / path.relative_to(ROOT)
        there.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(path, there, symlinks=True, ignore=ignore)
        else:
            shutil.copy2(path, there)
    asked = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(context)]
    subprocess.run([sys.executable, "-m", "pip", *asked], check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("antiphon-*.whl")
    assert wheel.stat().st_size > 100_000
    for stage in stages():
        for source in re.findall(r"(?m)^COPY (?:--chmod=\d+ )?([a-z]\S*) ", stage):
            assert (context / source).exists(), f"{source} is not let in by .dockerignore"


def test_the_entrypoint_takes_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "antiphon").write_text('#!/bin/sh\necho "$PGPASSWORD|${PGPASSWORD_FILE-unset}|$*"\n')
    (tmp_path / "antiphon").chmod(0o755)
    (tmp_path / "password").write_text("two words\n")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PGPASSWORD_FILE": str(tmp_path / "password")}
    done = run(DEPLOY / "entrypoint.sh", "serve", "a b", env=environment)
    assert (done.returncode, done.stdout) == (0, "two words|unset|serve a b\n")
    done = run(DEPLOY / "entrypoint.sh", env={**environment, "PGPASSWORD_FILE": "/nowhere"})
    assert done.returncode != 0 and "/nowhere" in done.stderr


# ------------------------------------------------------------------------------------ what is promised of them


def test_compose_shuts_its_services_in() -> None:
    found = compose()
    for name, service in found["services"].items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"] and service["healthcheck"]["test"], name
        limits = service["deploy"]["resources"]["limits"]
        assert set(limits) == {"cpus", "memory", "pids"}, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert not any("PASSWORD" in key and "FILE" not in key for key in service.get("environment", {})), name
    assert found["networks"]["back"] == {"internal": True}


def test_what_compose_mounts_is_here_and_its_secrets_are_not() -> None:
    found = compose()
    for service in found["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_dir(), source
            else:
                assert source in found["volumes"], source
    for secret in found["secrets"].values():
        done = run("git", "check-ignore", "--quiet", DEPLOY / secret["file"], cwd=ROOT)
        assert done.returncode in (0, 128), "a secret could be committed"  # 128: this is no checkout
    assert "/etc/antiphon/compose.yaml" in found["services"]["antiphon"]["command"]


def test_prometheus_finds_its_rules_and_grafana_its_dashboards() -> None:
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert scrape["rule_files"] == ["/etc/prometheus/rules/*.yml"]
    assert list((DEPLOY / "prometheus" / "rules").glob("*.yml")), "the rules of deploy/prometheus/rules"
    key = scrape["scrape_configs"][0]["authorization"]["credentials_file"]
    assert key.removeprefix("/run/secrets/") in compose()["services"]["prometheus"]["secrets"]
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]
    boards = [json.loads(path.read_text("utf-8")) for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")]
    assert boards and all(f'"{source["uid"]}"' in json.dumps(board) for board in boards)


def test_a_signal_leaves_time_to_finish_what_is_being_said() -> None:
    drain_s = load_config(DEPLOY / "config" / "compose.yaml").server.drain_s
    assert int(compose()["services"]["antiphon"]["stop_grace_period"].rstrip("s")) > drain_s
    assert int(unit()["TimeoutStopSec"][0]) > load_config(DEPLOY / "config" / "systemd.yaml").server.drain_s
    pod = objects()["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    pause_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    in_cluster = yaml.safe_load(objects()["ConfigMap"]["data"]["antiphon.yaml"])["server"]["drain_s"]
    assert pod["terminationGracePeriodSeconds"] > pause_s + in_cluster


def test_the_pod_is_shut_in_and_asked_how_it_is() -> None:
    template = objects()["Deployment"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    assert template["spec"]["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert all("value" not in variable for variable in container["env"]), "secrets come by reference"
    labels = template["metadata"]["labels"]
    for kind in ("NetworkPolicy", "PodDisruptionBudget"):
        spec = objects()[kind]["spec"]
        assert (spec.get("podSelector") or spec["selector"])["matchLabels"] == labels
    service = objects()["Service"]["spec"]
    assert service["selector"] == labels and service["sessionAffinity"] == "ClientIP"


def test_the_unit_reloads_by_the_signal_that_the_server_knows_and_keeps_what_it_needs() -> None:
    keys = unit()
    assert keys["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert keys["DynamicUser"] == ["yes"] and keys["StateDirectory"] == ["antiphon"] and keys["MemoryMax"]
    assert "ANTIPHON_HOME=/var/lib/antiphon" in keys["Environment"][0]
