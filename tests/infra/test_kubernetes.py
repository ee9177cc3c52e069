"""The overlays render, fit the API's schemas, and hold to what the restricted standard and ours ask of every pod."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import warnings
from pathlib import Path

import pytest
import yaml

from assistant.settings import Settings
from tests.infra.files import DIGEST, OURS, environment, last
from tests.infra.overlays import (
    CUSTOM,
    KUBERNETES,
    OVERLAYS,
    VERSION,
    Resource,
    named,
    of_kind,
    overlay,
    pods,
    selected,
)
from workers import health


@pytest.fixture(params=OVERLAYS)
def resources(request: pytest.FixtureRequest) -> tuple[Resource, ...]:
    return overlay(request.param)


def test_built_in_kinds_fit_the_schemas_of_kubernetes(resources: tuple[Resource, ...]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for resource in resources:
            if resource["apiVersion"] in CUSTOM:
                continue
            validate.validate(resource, VERSION, strict=True)


def test_a_wrong_field_is_noticed() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    wrong = json.loads(json.dumps(named(overlay("local"), "Deployment", "almanac-bot")))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(validate.ValidationError):
        validate.validate(wrong, VERSION, strict=True)


def test_the_namespace_lets_restricted_pods_in_only(resources: tuple[Resource, ...]) -> None:
    [namespace] = of_kind(resources, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for resource in resources:
        if resource["kind"] not in ("Namespace", "ClusterSecretStore"):
            assert resource["metadata"]["namespace"] == "almanac", resource["metadata"]["name"]


def test_pods_are_restricted(resources: tuple[Resource, ...]) -> None:
    for _, template in pods(resources):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "projected", "configMap"}
        assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_containers_say_what_they_need_and_whether_they_are_well(resources: tuple[Resource, ...]) -> None:
    for workload, template in pods(resources):
        for container in template["spec"]["containers"]:
            for limit in ("cpu", "memory"):
                assert limit in container["resources"]["requests"]
                assert limit in container["resources"]["limits"]
            if workload["kind"] != "Job":
                assert {"readinessProbe", "livenessProbe"} <= set(container)
                assert "startupProbe" in container or "initialDelaySeconds" in container["livenessProbe"]


def test_images_are_ours_by_version_or_others_by_digest(resources: tuple[Resource, ...]) -> None:
    for _, template in pods(resources):
        for container in template["spec"]["containers"]:
            image = container["image"]
            ours = re.fullmatch(rf"(?:[\w.-]+/almanac/|almanac-)({'|'.join(OURS)}):(\d+\.\d+\.\d+)", image)
            assert ours or DIGEST.match(image), image
            assert "invalid" not in image


def test_commands_ports_and_uids_are_those_of_the_images(resources: tuple[Resource, ...]) -> None:
    for _, template in pods(resources):
        for container in template["spec"]["containers"]:
            target = container["name"]
            if target not in OURS:
                continue
            assert container.get("command", container.get("args")) == json.loads(last(target, "CMD"))
            uid = template["spec"]["securityContext"]["runAsUser"]
            assert last(target, "USER") == f"{uid}:{uid}"
            for port in container.get("ports", ()):
                assert str(port["containerPort"]) == last(target, "EXPOSE")
            mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert {"/tmp", environment(target)["ALMANAC_HOME"]} <= mounts
            exec_ = container["livenessProbe"].get("exec")
            if exec_ is not None:
                assert exec_["command"] == ["python", "-m", health.__name__]


def test_settings_are_settings_and_none_is_a_secret(resources: tuple[Resource, ...]) -> None:
    aliases = {str(choice) for field in Settings.model_fields.values() if field.validation_alias is not None
               for choice in field.validation_alias.choices}  # type: ignore[union-attr]  # fmt: skip
    known = {f"ALMANAC_{name.upper()}" for name in Settings.model_fields} | aliases | {"ALMANAC_SECRETS"}
    for settings in of_kind(resources, "ConfigMap"):
        for key, value in settings["data"].items():
            assert not re.search("PASSWORD|TOKEN|_KEY|SECRET(?!S)", key)
            assert key in known or key.endswith(".yml")
            assert not re.search(r"://[^/@\s]*:[^/@\s]+@", value)
    assert of_kind(resources, "Secret") == []
    for _, template in pods(resources):
        for container in template["spec"]["containers"]:
            for variable in container.get("env", ()):
                named_so = re.search("PASSWORD|TOKEN|_KEY|SECRET", variable["name"])
                assert not named_so or "valueFrom" in variable or variable["name"].endswith("_FILE"), variable["name"]


def test_whatever_is_mounted_or_referred_to_is_there(resources: tuple[Resource, ...]) -> None:
    secrets = {it["spec"]["target"]["name"] for it in of_kind(resources, "ExternalSecret")}
    if not secrets:
        script = (KUBERNETES / "secrets.sh").read_text()
        secrets = set(re.findall(r"^secret ([\w-]+) ", script, re.MULTILINE))
    accounts = {it["metadata"]["name"] for it in of_kind(resources, "ServiceAccount")}
    maps = {it["metadata"]["name"] for it in of_kind(resources, "ConfigMap")}
    for _, template in pods(resources):
        pod = template["spec"]
        assert pod["serviceAccountName"] in accounts
        for volume in pod["volumes"]:
            for source in volume.get("projected", {}).get("sources", ()):
                assert source["secret"]["name"] in secrets or source["secret"].get("optional")
            assert "configMap" not in volume or volume["configMap"]["name"] in {*maps, "almanac-authorities"}
        for container in pod["containers"]:
            assert {it["configMapRef"]["name"] for it in container.get("envFrom", ())} <= maps
            declared = {volume["name"] for volume in pod["volumes"]} | {"data"}
            assert {mount["name"] for mount in container["volumeMounts"]} <= declared


@pytest.mark.parametrize("place", ["aws", "aws-vllm"])
def test_whoever_reads_the_database_knows_who_vouches_for_it(place: str) -> None:
    """The file that Terraform names in the database's URLs lies in each container that is given them."""
    variables = (KUBERNETES.parent / "terraform/aws/variables.tf").read_text()
    said = re.search(r'default += "sslmode=verify-full&sslrootcert=([^"]+)"', variables)
    assert said is not None
    file = Path(said[1])
    assert f'"$folder/{file.name}"' in (KUBERNETES / "authorities.sh").read_text()
    reading = 0
    for _, template in pods(overlay(place)):
        pod = template["spec"]
        mounted = {it["name"]: it for it in pod["volumes"]}
        for container in pod["containers"]:
            given = [mounted[mount["name"]] for mount in container["volumeMounts"] if mount["name"] in mounted]
            sources = [it["secret"]["name"] for one in given for it in one.get("projected", {}).get("sources", ())]
            if "almanac-database" in sources:
                reading += 1
                place_ = {it["mountPath"]: mounted.get(it["name"], {}) for it in container["volumeMounts"]}
                assert place_[str(file.parent)]["configMap"] == {"name": "almanac-authorities"}, container["name"]
    assert reading == (5 if place == "aws-vllm" else 4)


def test_services_and_budgets_select_a_workload(resources: tuple[Resource, ...]) -> None:
    labels = [template["metadata"]["labels"] for _, template in pods(resources)]
    for service in of_kind(resources, "Service"):
        if service["metadata"]["name"] == "almanac-serving-pods":
            continue  # read where a model is served
        assert any(service["spec"]["selector"].items() <= found.items() for found in labels)
    for budget in of_kind(resources, "PodDisruptionBudget"):
        assert any(selected(found, budget["spec"]["selector"]) for found in labels)


def test_nobody_talks_to_anybody_but_as_said(resources: tuple[Resource, ...]) -> None:
    policies = of_kind(resources, "NetworkPolicy")
    denied = next(it for it in policies if it["metadata"]["name"] == "deny-all")["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for workload, template in pods(resources):
        labels = template["metadata"]["labels"]
        own = [it for it in policies if it["spec"]["podSelector"] and selected(labels, it["spec"]["podSelector"])]
        assert own, f"{workload['metadata']['name']} has no policy of its own"
    for policy in policies:
        for rule in policy["spec"].get("egress", ()):
            assert rule["to"], policy["metadata"]["name"]
            assert rule["ports"]
            for peer in rule["to"]:
                block = peer.get("ipBlock", {})
                assert block.get("cidr") != "0.0.0.0/0" or block["except"] == ["169.254.0.0/16", "168.63.129.16/32"]


def test_several_bots_spread_and_one_stays(resources: tuple[Resource, ...]) -> None:
    bot = named(resources, "Deployment", "almanac-bot")["spec"]
    keys = {it["topologyKey"] for it in bot["template"]["spec"]["topologySpreadConstraints"]}
    assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    assert bot["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_migration_comes_first_and_reads_nothing_but_the_database() -> None:
    script = (KUBERNETES / "deploy.sh").read_text()
    job = named(overlay("aws"), "Job", "almanac-migrate")
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["almanac", "migrate", "--json"]
    volumes = job["spec"]["template"]["spec"]["volumes"]
    sources = next(it["projected"]["sources"] for it in volumes if "projected" in it)
    assert [it["secret"]["name"] for it in sources] == ["almanac-database"]
    waits, rest = script.index("wait job/almanac-migrate"), script.index("notin (migrate, secrets)")
    assert waits < rest
    asked = set(re.findall(r"app\.kubernetes\.io/component in \(([^)]+)\)", script))
    wanted = {name.strip() for group in asked for name in group.split(",")}
    components = {
        it["metadata"].get("labels", {}).get("app.kubernetes.io/component") for name in OVERLAYS for it in overlay(name)
    }
    assert wanted <= components
    for program in ("deploy.sh", "secrets.sh", "authorities.sh"):
        assert subprocess.run(["bash", "-n", KUBERNETES / program], check=False).returncode == 0


def test_placeholders_are_all_replaced() -> None:
    for place in OVERLAYS:
        for value in json.dumps([it for it in overlay(place) if it["kind"] != "ConfigMap"]).split('"'):
            assert value not in ("REGION", "ENDPOINT", "ARN", "VAULT", "TENANT", "ADDRESS", "CLIENT", "KEY")


def test_prometheus_operator_reads_the_rules_of_infra() -> None:
    written = runpy.run_path(str(KUBERNETES / "rules.py"))
    assert written["WRITTEN"].read_text() == written["text"](), "run: python infra/kubernetes/rules.py"
    monitors = list(yaml.safe_load_all((KUBERNETES / "components/prometheus-operator/monitors.yaml").read_text()))
    services = of_kind(overlay("local"), "Service")
    for monitor in monitors:
        labels = monitor["spec"]["selector"]["matchLabels"].items()
        [service] = [it for it in services if labels <= it["metadata"]["labels"].items()]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports
    assert 'up{job="almanac"}' in written["text"]()


def test_the_collector_reads_names_that_there_are() -> None:
    said = yaml.safe_load((KUBERNETES / "components/collector/collector.yml").read_text())
    services = {it["metadata"]["name"]: it for it in of_kind(overlay("aws"), "Service")}
    for job in said["receivers"]["prometheus"]["config"]["scrape_configs"]:
        [discovered] = job["dns_sd_configs"]
        assert services[discovered["names"][0]]["spec"]["clusterIP"] == "None"
        assert services[discovered["names"][0]]["spec"]["ports"][0]["port"] == discovered["port"]
    used = {part for pipeline in said["service"]["pipelines"].values() for parts in pipeline.values() for part in parts}
    described = set().union(*(said[part] for part in ("receivers", "processors", "connectors", "exporters")))
    assert used == described
