"""The Azure installation against its provider's schema, and what it must be: private, without keys, cheap when idle.

No plan has been made of it: neither the provider nor an account is here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.azurerm import PACKAGE, Root, Schema

INFRA = Path(__file__).parents[2] / "infra"
FOLDER = INFRA / "terraform" / "azure"


@pytest.fixture(scope="module")
def root() -> Root:
    return Root(FOLDER)


@pytest.fixture(scope="module")
def schema(root: Root, tmp_path_factory: pytest.TempPathFactory) -> Schema:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here, which the provider's schema comes with")
    folder = tmp_path_factory.mktemp("azurerm")
    done = subprocess.run(
        [npm, "pack", PACKAGE, "--prefer-offline", "--silent", "--pack-destination", str(folder)],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"npm cannot load {PACKAGE}: {done.stderr[-300:]}")
    wanted = {kind for kind, _, _ in root.resources} | {f"data.{kind}" for kind, _, _ in root.data}
    return Schema(next(folder.glob("*.tgz")), {kind for kind in wanted if "azurerm" in kind})


def test_every_resource_and_argument_is_the_providers(root: Root, schema: Schema) -> None:
    blocks = root.resources + [(f"data.{kind}", name, body) for kind, name, body in root.data]
    faults = [f"{name}: {fault}" for kind, name, body in blocks for fault in schema.faults(kind, body)]
    assert not faults
    assert len(root.resources) > 50


def test_the_check_sees_what_the_provider_would_refuse(schema: Schema) -> None:
    """The check itself: an unknown argument, a missing one, a block as an argument, and something inside a block."""
    body: dict[str, Any] = {
        "location": '"x"', "sku_nam": '"x"', "resource_group_name": '"x"', "identity": '"x"',
        "default_database": [{"__is_block__": True, "cluster_policy": '"NoCluster"'}],
    }  # fmt: skip
    faults = list(schema.faults("azurerm_managed_redis", body))
    assert faults == [
        "azurerm_managed_redis: sku_nam is no argument",
        "azurerm_managed_redis: identity is a block, not an argument",
        "azurerm_managed_redis.default_database: cluster_policy is no argument",
        "azurerm_managed_redis: name is missing",
        "azurerm_managed_redis: sku_name is missing",
    ]


def test_what_is_referred_to_exists(root: Root, schema: Schema) -> None:
    declared = {(kind, name) for kind, name, _ in root.resources}
    declared |= {(f"data.{kind}", name) for kind, name, _ in root.data}
    pattern = r"(?<![\w.])((?:data\.)?azurerm_\w+)\.(\w+)(?:\[[^\]]*\])?(?:\.(\w+))?"
    found = re.findall(pattern, root.code)
    assert len(found) > 150
    for kind, name, attribute in found:
        assert (kind, name) in declared, f"{kind}.{name}"
        assert not attribute or schema.readable(kind, attribute), f"{kind}.{name}.{attribute}"
    for name in re.findall(r"\bvar\.(\w+)", root.code):
        assert name in root.names("variable"), f"var.{name}"
    for name in re.findall(r"\blocal\.(\w+)", root.code):
        assert name in root.names("locals"), f"local.{name}"
    unused = {name for name in root.names("variable") if not re.search(rf"\bvar\.{name}\b", root.code)}
    assert not unused


def test_everything_that_can_be_tagged_is(root: Root, schema: Schema) -> None:
    for kind, name, body in root.resources:
        if kind in schema.kinds and "tags" in schema.kinds[kind].interfaces[schema.kinds[kind].root]:
            assert body.get("tags") == "${local.tags}", f"{kind}.{name}"


def test_formatted() -> None:
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("terraform is not here")
    done = subprocess.run([terraform, "fmt", "-check", "-recursive", str(FOLDER)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_database_is_inside_the_network_and_knows_vectors(root: Root) -> None:
    server = root.one("azurerm_postgresql_flexible_server")
    assert server["public_network_access_enabled"] is False
    assert server["delegated_subnet_id"] == "${azurerm_subnet.database.id}"
    assert "administrator_password" not in server
    settings = root.one("azurerm_postgresql_flexible_server_configuration")["for_each"]
    values = {key.strip('"'): value.strip('"') for key, value in settings.items() if isinstance(value, str)}
    assert "VECTOR" in values["azure.extensions"].split(",")
    assert values["require_secure_transport"] == "on"
    assert 'default     = "sslmode=verify-full&' in root.code
    assert root.texts["vault.tf"].count("/almanac?${var.database_parameters}") == 2


def test_the_queue_speaks_tls_and_is_no_cluster(root: Root) -> None:
    queue = root.one("azurerm_managed_redis")
    (database,) = queue["default_database"]
    assert queue["public_network_access"] == '"Disabled"'
    assert database["client_protocol"] == '"Encrypted"'
    assert database["clustering_policy"] == '"NoCluster"'  # arq's transactions touch keys of several slots
    assert database["eviction_policy"] == '"NoEviction"'


def test_nothing_is_opened_by_a_shared_key(root: Root) -> None:
    storage, vault = root.one("azurerm_storage_account"), root.one("azurerm_key_vault")
    assert storage["shared_access_key_enabled"] is False
    assert storage["public_network_access_enabled"] is False
    assert storage["min_tls_version"] == '"TLS1_2"'
    assert vault["rbac_authorization_enabled"] is True
    assert vault["purge_protection_enabled"] is True
    assert vault["network_acls"][0]["default_action"] == '"Deny"'
    assert root.one("azurerm_container_registry")["admin_enabled"] is False
    assert root.one("azurerm_cognitive_account", "openai")["public_network_access_enabled"] is False
    cluster = root.one("azurerm_kubernetes_cluster")
    assert cluster["local_account_disabled"] is True
    assert cluster["workload_identity_enabled"] is True


def test_secrets_are_written_and_never_read_back(root: Root) -> None:
    for kind, name, body in root.resources:
        if kind == "azurerm_key_vault_secret":
            assert "value_wo" in body, name
            assert "value" not in body, name
    example = (INFRA.parent / ".env.example").read_text("utf-8")
    names = set(re.findall(r"(?m)^(\w+)=", example))
    vault = root.texts["vault.tf"]
    used = set(re.findall(r"\b(ALMANAC_\w+|SLACK_\w+|MicrosoftApp\w+)\b", vault + root.texts["outputs.tf"]))
    assert len(used) > 15
    assert used <= names


def test_the_gpu_pool_is_empty_until_asked_for(root: Root) -> None:
    pool = root.one("azurerm_kubernetes_cluster_node_pool", "gpu")
    assert (pool["min_count"], pool["node_count"]) == (0, 0)
    assert pool["auto_scaling_enabled"] is True
    assert "nvidia.com/gpu=true:NoSchedule" in pool["node_taints"]


def test_only_the_gateway_can_be_entered_from_outside(root: Root) -> None:
    addresses = {name for kind, name, _ in root.resources if kind == "azurerm_public_ip"}
    assert addresses == {"in", "out"}  # the gateway's, and that of NAT, which lets nothing in
    assert "0.0.0.0/0" not in root.code.replace('default     = ["0.0.0.0/0"]', "")
    entries = re.search(r"entries = \{(.*?)\n  \}\n", root.texts["network.tf"], re.S)
    assert entries is not None
    outside = re.findall(r'name = "(\w+)".*?from = (?:var\.allowed_cidrs|\["GatewayManager"\])', entries[1])
    assert outside == ["people", "redirect", "azure"]
    assert {"/metrics", "/healthz", "/readyz"} <= set(re.findall(r'"(/\w+)"', root.texts["gateway.tf"]))


def test_roles_are_narrow(root: Root) -> None:
    roles = set(re.findall(r'role(?:_definition_name)?\s*= "([^"]+)"', root.code))
    assert not roles & {"Owner", "Contributor", "Reader", "User Access Administrator", "Key Vault Administrator"}
    assert '"Storage Blob Data Contributor", scope = azurerm_storage_container.adapters.id' in root.code
    subjects = re.findall(r"subject += \"(repo:[^\"]+)\"", root.code)
    assert len(subjects) == 3
    assert not [subject for subject in subjects if "*" in subject]


def test_the_rules_of_prometheus_can_be_azures() -> None:
    """Azure wants ISO durations, a severity from 0 to 4, and at most twenty rules in a group."""
    groups = yaml.safe_load((INFRA / "prometheus" / "rules.yml").read_text("utf-8"))["groups"]
    for group in groups:
        assert len(group["rules"]) <= 20
        for rule in group["rules"]:
            assert re.fullmatch(r"\d+[mhd]", rule.get("for", "1m"))
            assert "alert" not in rule or rule["labels"]["severity"] in ("page", "ticket")


def test_sizes_differ_by_figures_only(root: Root) -> None:
    sizes = next(block["sizes"] for block in root.files["sizes.tf"]["locals"] if "sizes" in block)
    sizes = {name: size for name, size in sizes.items() if not name.startswith("__")}
    assert list(sizes) == ["small", "medium", "large"]
    assert len({frozenset(size) for size in sizes.values()}) == 1
    assert {size["gpu_max"] for size in sizes.values()} <= {1, 2, 4}
