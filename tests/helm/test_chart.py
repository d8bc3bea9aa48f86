"""The chart against the code it runs, and against Helm's own engine where that is installed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from service.cli import app

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "sluice"
ENGINE = ROOT / ".venv-helm" / "bin" / "python"
TEXTS = {path.name: path.read_text() for path in sorted((CHART / "templates").iterdir())}
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
GOOD = {"image": {"repository": "sluice", "tag": "0.1.0"}, "secretName": "sluice"}
RICH = GOOD | {
    "image": {"repository": "sluice", "digest": "sha256:0", "pullSecrets": ["pull"]},
    "policy": 'name = "tight"\n[limits]\na = 1\n',
    "alerts": "x = 1\n",
    "settings": {"SLUICE_SECRETS": "vault", "VAULT_ADDR": "https://vault:8200"},
    "workspace": {"existingClaim": "mine"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "desk", "operator": "Exists"}],
}


def leaves(values: dict[str, object], before: str = "") -> set[str]:
    """Return the dotted paths of all values; what is empty or free in form is one itself."""
    found = set()
    for name, value in values.items():
        path = f"{before}{name}"
        inner = isinstance(value, dict) and value and name != "resources"
        found |= leaves(value, f"{path}.") if inner else {path}
    return found


def test_every_value_is_used_and_every_used_value_is_declared():
    text = "\n".join(TEXTS.values())
    used = set(re.findall(r"\.Values\.([\w.]+)", text)) | set(
        re.findall(r'"(\w+)"', re.findall(r"range \$name := list (.*?) }}", text)[0])
    )
    known = leaves(VALUES)
    assert known <= used, "a value that changes nothing"
    assert {one.removesuffix(".SLUICE_DATABASE_URL") for one in used} <= known


def test_every_variable_it_sets_is_one_that_the_service_reads():
    read = (ROOT / "service" / "settings.py").read_text()
    read += (ROOT / "service" / "secrets" / "source.py").read_text()
    named = set(re.findall(r"SLUICE_[A-Z_]+", "\n".join(TEXTS.values())))
    named |= set(re.findall(r"SLUICE_[A-Z_]+", (CHART / "values.yaml").read_text()))
    assert {"SLUICE_WORKSPACE", "SLUICE_POLICY", "SLUICE_DATABASE_URL"} <= named
    for name in named:
        assert f'"{name}"' in read, name


def test_every_command_and_option_it_starts_is_one_of_the_command_line():
    root = get_command(app)
    for file, words in {
        "serve.yaml": ("serve", "--host", "--port"),
        "trade.yaml": ("trade", "--delay"),
        "watch.yaml": ("alerts", "watch", "--expect"),
    }.items():
        command = root
        for word in words:
            assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", TEXTS[file]), (file, word)
            if word.startswith("--"):
                assert any(word in one.opts for one in command.params), (file, word)
            else:
                command = command.commands[word]


def test_the_probes_ask_a_route_that_looks_at_nothing():
    from service.app import ROUTES

    asked = set(re.findall(r"path: (/[\w/]+), port: http", TEXTS["serve.yaml"]))
    assert asked == {"/health/live"}
    assert asked <= {path for route in ROUTES for path in route.paths}


def test_no_image_has_a_default_and_nothing_is_named_latest():
    assert VALUES["image"]["repository"] == VALUES["image"]["tag"] == ""
    assert "latest" not in "\n".join(TEXTS.values())
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["apiVersion"] == "v2"
    assert "dependencies" not in chart


def test_every_kind_of_pod_takes_the_part_that_keeps_the_release_on_one_node():
    _, shared = TEXTS["_helpers.tpl"].split('{{- define "sluice.pod" -}}')
    shared = shared.split("{{- define")[0]
    assert "requiredDuringSchedulingIgnoredDuringExecution" in shared
    assert "topologyKey: kubernetes.io/hostname" in shared
    pods = [text for text in TEXTS.values() if "kind: Deployment" in text]
    assert len(pods) == 3
    for text in pods:
        assert 'include "sluice.pod" .' in text
        assert "affinity:" not in text, "would be a second one, which takes the place of the first"


@pytest.fixture(scope="module")
def rendered():
    if not ENGINE.exists():
        pytest.skip("no .venv-helm with helm-python-sdk and kubernetes-validate")

    def render(*values):
        script = ROOT / "tests" / "helm" / "rendered.py"
        done = subprocess.run(
            [ENGINE, script, CHART], input=json.dumps(values), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return render


def test_without_an_image_or_a_database_rendering_ends_with_a_sentence(rendered):
    untagged = {"image": {"repository": "sluice"}, "secretName": "sluice"}
    found = rendered({}, untagged, {"image": GOOD["image"]})
    for one, words in zip(
        found,
        ("image.repository is not set", "image.tag is not set", "secretName is not set"),
        strict=True,
    ):
        assert words in one["refused"]


def test_what_helm_renders_is_valid_and_every_name_in_it_leads_somewhere(rendered):
    for found, claims in zip(rendered(GOOD, RICH), (1, 0), strict=True):
        assert found["refused"] == ""
        assert found["invalid"] == []
        by_kind: dict[str, list[dict]] = {}
        for one in found["documents"]:
            by_kind.setdefault(one["kind"], []).append(one)
        assert len(by_kind["Deployment"]) == 3
        assert len(by_kind.get("PersistentVolumeClaim", ())) == claims
        (files,), (service,) = by_kind["ConfigMap"], by_kind["Service"]
        pods = {one["metadata"]["name"]: one["spec"]["template"] for one in by_kind["Deployment"]}
        for one in by_kind["Deployment"]:
            assert (
                one["spec"]["selector"]["matchLabels"]
                == pods[one["metadata"]["name"]]["metadata"]["labels"]
            )
        assert service["spec"]["selector"] == pods["live-serve"]["metadata"]["labels"]
        for pod in (one["spec"] for one in pods.values()):
            (near,) = pod["affinity"]["podAffinity"][
                "requiredDuringSchedulingIgnoredDuringExecution"
            ]
            assert near["topologyKey"] == "kubernetes.io/hostname"
            wanted = near["labelSelector"]["matchLabels"]
            assert wanted["app.kubernetes.io/instance"] == "live"
            for other in pods.values():  # every pod of the release draws every other one
                assert wanted.items() <= other["metadata"]["labels"].items()
            (container,) = pod["containers"]
            volumes = {one["name"]: one for one in pod["volumes"]}
            assert {one["name"] for one in container["volumeMounts"]} == volumes.keys()
            assert volumes["files"]["configMap"]["name"] == files["metadata"]["name"]
            assert pod["securityContext"]["runAsNonRoot"]
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            for env in container["env"]:
                folder, _, name = env["value"].rpartition("/")
                if folder == "/etc/sluice":
                    assert name in files["data"], env
