"""docker-compose.yml: valid by the Compose specification's schema, whole, without a password, and with few rights."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.validators import validator_for

from assistant.settings import Settings
from tests.infra.files import COMPOSE, DIGEST, INFRA, OURS, ROOT, environment, last, stages

SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
TEXT = (ROOT / "docker-compose.yml").read_text()
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::?([-?])([^}]*))?\}")
# It ends by itself; nothing in its image could ask.
WITHOUT_CHECK = {"migrate", "collector"}


def test_it_is_valid_by_the_schema_of_the_specification() -> None:
    package = importlib.util.find_spec("check_jsonschema")
    if package is None or package.origin is None:
        pytest.skip("check-jsonschema, which brings the schema, is not installed")
    schema = Path(package.origin).parent / "builtin_schemas/vendor/compose-spec.json"
    described = json.loads(schema.read_text())
    checker = validator_for(described)(described)
    assert [error.message for error in checker.iter_errors(COMPOSE)] == []
    broken = {**COMPOSE, "services": {"bot": {"imagee": "x"}}}
    assert list(checker.iter_errors(broken))


def test_variables_have_a_default_or_a_sentence_and_secrets_have_no_default() -> None:
    found = VARIABLE.findall(TEXT)
    assert {name for name, kind, _ in found if kind == "?"} == {
        "POSTGRES_PASSWORD", "VALKEY_PASSWORD", "ALMANAC_WEB_TOKEN", "GRAFANA_PASSWORD",
    }  # fmt: skip
    for name, kind, text in found:
        assert kind, f"{name} has neither a default nor a sentence"
        assert kind == "-" or text.startswith("set it in .env")
        if re.search("PASSWORD|TOKEN|KEY|SECRET", name):
            assert kind == "?" or text == "", f"{name} has a default"


def test_secrets_stand_nowhere() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|_KEY|SECRET|AUTH$", key):
                assert str(value).startswith("${"), f"{name}: {key}"


def test_settings_are_settings_of_almanac() -> None:
    known = {f"ALMANAC_{name.upper()}" for name in Settings.model_fields} | {"OTEL_EXPORTER_OTLP_ENDPOINT"}
    for name in ("migrate", "feed", *OURS):
        assert set(SERVICES[name]["environment"]) <= known


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    ours = "build" in service
    user = last(service["build"]["target"], "USER") if ours else service["user"]
    assert user.split(":")[0] not in ("0", "root")
    assert ours or DIGEST.match(service["image"]), service["image"]
    assert ("healthcheck" in service) is (name not in WITHOUT_CHECK)
    assert not any(str(volume).startswith("/var/run/docker") for volume in service.get("volumes", ()))


def test_only_the_bot_is_reached_from_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"bot", "ports"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert SERVICES["ports"]["profiles"] == ["dev"]
    assert published["bot"] == [f"127.0.0.1:${{ALMANAC_PORT:-8080}}:{last('bot', 'EXPOSE')}"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("migrate", "postgres", "valkey", "prometheus", "grafana", "collector", "serving"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_what_is_mounted_exists_and_what_is_named_is_declared() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], source
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for other, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            wanted = {"migrate": "service_completed_successfully", "feed": "service_started"}.get(
                other, "service_healthy"
            )
            assert condition == wanted
            assert wanted != "service_healthy" or "healthcheck" in SERVICES[other]


def test_everything_of_ours_waits_for_the_migration() -> None:
    assert SERVICES["migrate"]["restart"] == "no"
    assert all("migrate" in SERVICES[name]["depends_on"] for name in ("feed", *OURS))
    assert SERVICES["migrate"]["image"] == SERVICES["bot"]["image"]


def test_writing_goes_to_volumes_and_tmp_only() -> None:
    for name in OURS:
        places = {volume.split(":")[1] for volume in SERVICES[name]["volumes"]}
        assert {environment(name)["ALMANAC_HOME"], "/var/lib/adapters"} == places
        assert SERVICES[name]["tmpfs"][0].startswith("/tmp:")
    made = next(text for text in stages()["runtime"].said("RUN") if "install -d" in text)
    assert made.endswith("/var/lib/almanac /var/lib/adapters")  # a new volume takes its owner from the image's folder


def test_prometheus_reads_services_that_there_are() -> None:
    said = yaml.safe_load((INFRA / "prometheus/compose.yml").read_text())
    mounted = {volume.split(":")[1] for volume in SERVICES["prometheus"]["volumes"]}
    assert set(said["rule_files"]) <= mounted
    jobs = {job["job_name"]: job for job in said["scrape_configs"]}
    assert jobs["almanac"]["dns_sd_configs"] == [{
        "names": ["bot"], "type": "A", "port": int(last("bot", "EXPOSE")), "refresh_interval": "15s",
    }]  # fmt: skip
    assert jobs["almanac-serving"]["dns_sd_configs"][0]["port"] == int(last("serving", "EXPOSE"))
    listening = (INFRA / "otel/collector.yml").read_text()
    for job in ("traces", "collector"):
        [target] = jobs[job]["static_configs"][0]["targets"]
        host, _, port = target.partition(":")
        assert host in SERVICES
        assert port in listening


def test_grafana_finds_its_source_and_dashboard() -> None:
    mounts = dict(reversed(volume.split(":")[:2]) for volume in SERVICES["grafana"]["volumes"])
    provider = yaml.safe_load((INFRA / "grafana/provisioning.yml").read_text())["providers"][0]
    assert mounts[provider["options"]["path"]] == "./infra/grafana/dashboards"
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (ROOT / mounts[str(home.parent)] / home.name).exists()
    [source] = yaml.safe_load((INFRA / "grafana/datasources.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in SERVICES


def test_the_collector_receives_what_ours_send_and_every_part_of_its_pipelines_is_described() -> None:
    said = yaml.safe_load((INFRA / "otel/collector.yml").read_text())
    port = said["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert SERVICES["bot"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://collector:{port}"
    described = {part: set(said[part]) for part in ("receivers", "processors", "exporters", "connectors")}
    for pipeline in said["service"]["pipelines"].values():
        assert set(pipeline["receivers"]) <= described["receivers"] | described["connectors"]
        assert set(pipeline.get("processors", ())) <= described["processors"]
        assert set(pipeline["exporters"]) <= described["exporters"] | described["connectors"]
    assert set(said["service"]["extensions"]) <= set(said["extensions"])
