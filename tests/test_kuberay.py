"""The RayJob for Kubernetes against the fields that KubeRay documents for ray.io/v1, in version 1.6 and newer."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from typer.main import get_command

from mixopt.cli.app import _load, app

ROOT = Path(__file__).parents[1]
PLAIN = yaml.safe_load((ROOT / "configs" / "kuberay" / "rayjob.yaml").read_text(encoding="utf-8"))

Words = dict[str, str]  # a map of strings to strings
ENV = {"name": str, "value": str, "valueFrom": {"secretKeyRef": {"name": str, "key": str, "optional": bool}}}
CONTAINER = {  # of core/v1, as far as a search needs it
    **dict.fromkeys(("name", "image", "imagePullPolicy", "workingDir"), str),
    "command": [str],
    "args": [str],
    "env": [ENV],
    "ports": [{"containerPort": int, "name": str, "protocol": str}],
    "resources": {"requests": Words, "limits": Words},
    "volumeMounts": [{"name": str, "mountPath": str, "readOnly": bool, "subPath": str}],
}
VOLUME = {"name": str, "configMap": {"name": str}, "persistentVolumeClaim": {"claimName": str, "readOnly": bool}}
TEMPLATE = {
    "metadata": {"labels": Words, "annotations": Words},
    "spec": {"containers": [CONTAINER], "volumes": [VOLUME]},
}
HEAD = {
    "template": TEMPLATE,
    "enableIngress": bool,
    "resources": Words,
    "labels": Words,
    "rayStartParams": Words,
    "serviceType": str,
}
WORKERS = {
    **dict.fromkeys(("replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "priority", "numOfHosts"), int),
    "groupName": str,
    "suspend": bool,
    "resources": Words,
    "labels": Words,
    "rayStartParams": Words,
    "template": TEMPLATE,
}
CLUSTER = {
    "authOptions": {"mode": {"disabled", "token"}},
    "suspend": bool,
    "managedBy": str,
    "headServiceAnnotations": Words,
    "enableInTreeAutoscaling": bool,
    "headGroupSpec": HEAD,
    "rayVersion": str,
    "workerGroupSpecs": [WORKERS],
}
JOB = {
    **dict.fromkeys(
        ("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "preRunningDeadlineSeconds"), int
    ),
    **dict.fromkeys(("entrypoint", "runtimeEnvYAML", "jobId", "entrypointResources", "managedBy"), str),
    "rayClusterSpec": CLUSTER,
    "metadata": Words,
    "clusterSelector": Words,
    "submitterConfig": {"backoffLimit": int},
    "submissionMode": {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"},
    "entrypointNumCpus": float,
    "entrypointNumGpus": float,
    "shutdownAfterJobFinishes": bool,
    "suspend": bool,
}
DOCUMENT = {"apiVersion": {"ray.io/v1"}, "kind": {"RayJob"}, "metadata": {"name": str, "labels": Words}, "spec": JOB}


def faults(value: Any, kind: Any, where: str = "") -> list[str]:  # noqa: ANN401  # plain, of any shape
    """Return where `value` is not of its kind; a key that nobody knows is one, which Kubernetes would drop unsaid."""
    if isinstance(kind, set):
        return [] if value in kind else [f"{where}: {value!r}"]
    if isinstance(kind, list):
        return [each for i, part in enumerate(value) for each in faults(part, kind[0], f"{where}[{i}]")]
    if kind is Words:
        return [f"{where}.{key}: {part!r}" for key, part in value.items() if not isinstance(part, str)]
    if isinstance(kind, Mapping):
        unknown = [f"{where}.{key}" for key in value if key not in kind]
        return unknown + [e for key in value if key in kind for e in faults(value[key], kind[key], f"{where}.{key}")]
    return [] if type(value) is kind else [f"{where}: {value!r}"]


def pods() -> list[dict[str, Any]]:
    cluster = PLAIN["spec"]["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def test_every_field_is_one_of_the_crds_with_a_value_of_its_type() -> None:
    assert faults(PLAIN, DOCUMENT) == []
    wrong = PLAIN | {"spec": PLAIN["spec"] | {"entryPoint": "x", "backoffLimit": "3"}}
    assert faults(wrong, DOCUMENT) == [".spec.entryPoint", ".spec.backoffLimit: '3'"]


def test_the_entrypoint_is_a_command_that_there_is() -> None:
    program, command, path, *options = shlex.split(PLAIN["spec"]["entrypoint"])
    _load()
    known = get_command(app).commands[command]  # type: ignore[attr-defined]
    assert program == "mixopt"
    assert set(options[::2]) <= {flag for option in known.params for flag in option.opts}
    mounted = [mount["mountPath"] for mount in pods()[0]["containers"][0]["volumeMounts"]]
    assert all(any(Path(each).is_relative_to(mount) for mount in mounted) for each in (path, *options[1::2]))


def test_every_node_sees_the_shared_folder_and_mounts_what_it_names() -> None:
    for pod in pods():
        for container in pod["containers"]:
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert mounts == {volume["name"] for volume in pod["volumes"]}
            assert "shared" in mounts


def test_the_store_comes_from_a_secret_on_the_head_alone() -> None:
    stores = [[each for each in pod["containers"][0]["env"] if each["name"] == "MIXOPT_STORE"] for pod in pods()]
    assert [len(found) for found in stores] == [1, 0]
    assert set(stores[0][0]) == {"name", "valueFrom"}


def test_rays_version_is_the_one_that_the_tests_ran_with() -> None:
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert pinned is not None
    assert PLAIN["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]
