"""The Kubernetes manifest and the Dockerfile are consistent with each other and with the options of this version."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from umekomi.cli.commands.serving.serve import command as serve

DEPLOY = Path(__file__).parents[1] / "deploy"


@pytest.fixture
def objects() -> dict[str, Any]:
    return {
        manifest["kind"]: manifest for manifest in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
    }


def test_the_service_the_budget_and_the_autoscaler_select_the_pods(objects: dict[str, Any]) -> None:
    deployment = objects["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert {volume["name"] for volume in deployment["spec"]["template"]["spec"]["volumes"]} == {
        mount["name"] for mount in container["volumeMounts"]
    }


def test_the_container_runs_a_valid_command(objects: dict[str, Any]) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    name, *arguments = container["args"]
    options = serve.make_context(name, [str(argument) for argument in arguments], resilient_parsing=False).params
    assert (name, options["host"], options["port"]) == ("serve", "0.0.0.0", container["ports"][0]["containerPort"])
    assert pod["terminationGracePeriodSeconds"] > options["drain"]
    with pytest.raises(click.UsageError):
        serve.make_context(name, ["--no-such-option"])


def test_the_image_requires_api_keys_by_default() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text("utf-8")
    name, *arguments = json.loads(next(line for line in dockerfile.splitlines() if line.startswith("CMD"))[3:])
    options = serve.make_context(name, arguments).params
    assert (name, options["host"], options["allow_remote"]) == ("serve", "0.0.0.0", False)
    assert options["key_file"] == Path("/keys/keys.txt")


def test_the_probes_use_paths_of_the_server(objects: dict[str, Any]) -> None:
    pytest.importorskip("fastapi")
    source = (Path(__file__).parents[1] / "src/umekomi/serve/app.py").read_text("utf-8")
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    for probe, path in (("startupProbe", "/ready"), ("readinessProbe", "/ready"), ("livenessProbe", "/health")):
        assert container[probe]["httpGet"]["path"] == path
        assert f'"{path}"' in source
