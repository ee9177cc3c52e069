"""The AWS installation: Terraform's own tests pass, and what they plan is private, encrypted, tagged and narrow.

The plans are the provider's, made offline. No plan against an account has been run.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.infra import terraform
from tests.infra.azurerm import Root
from tests.infra.terraform import FOLDER, Absent, Outcome, Plan

pytestmark = pytest.mark.timeout(1200)  # eleven plans, on a machine that others may be using

MODULES = FOLDER.parent / "modules" / "aws"
PLANS = ("small", "single_figures_are_others", "large")
# The only actions that may stand on every resource: AWS knows no resource for them.
ANYWHERE = re.compile(
    r"(ec2|autoscaling|elasticloadbalancing):Describe\w+|ec2:GetInstanceTypesFromInstanceRequirements"
    r"|ecr:GetAuthorizationToken|secretsmanager:GetRandomPassword"
)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    try:
        return terraform.environment(tmp_path_factory.mktemp("terraform"))
    except Absent as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="session")
def outcome(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Once for all processes of a test run."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if shared.name.startswith("popen-") else shared
    kept = shared / "terraform-tests.pickle"
    with FileLock(shared / "terraform-tests.lock"):
        if not kept.exists():
            terraform.initialise(environment)
            kept.write_bytes(pickle.dumps(terraform.run_tests(environment)))
    result: Outcome = pickle.loads(kept.read_bytes())
    return result


@pytest.fixture(params=PLANS)
def plan(request: pytest.FixtureRequest, outcome: Outcome) -> Plan:
    return outcome.plans[request.param]


def test_terraforms_own_tests_pass(outcome: Outcome) -> None:
    assert not outcome.faults
    assert set(outcome.runs.values()) == {"pass"}
    assert {*PLANS, "database", "queue", "bucket", "what_is_no_installation"} <= set(outcome.runs)


def test_where_the_state_lies_is_valid(environment: dict[str, str], tmp_path: Path) -> None:
    own = environment | {"TF_DATA_DIR": str(tmp_path)}
    terraform.initialise(own, FOLDER / "state")
    done = terraform.terraform("validate", "-no-color", env=own, folder=FOLDER / "state")
    assert done.returncode == 0, done.stderr


def test_formatted(environment: dict[str, str]) -> None:
    done = terraform.terraform("fmt", "-check", "-recursive", "..", env=environment)
    assert done.returncode == 0, done.stdout


def test_everything_is_tagged(plan: Plan) -> None:
    taggable = {address: values for address, (_, values) in plan.changes.items() if "tags_all" in values}
    assert len(taggable) > 60
    for address, values in taggable.items():
        assert (values["tags_all"] or {}).get("installation") == "almanac", address


def test_no_database_is_public_or_in_clear(plan: Plan) -> None:
    databases = plan.all("aws_db_instance")
    assert databases
    for values in databases.values():
        assert values["publicly_accessible"] is False
        assert values["storage_encrypted"] is True
        assert values.get("password") is None
    for queue in plan.all("aws_elasticache_replication_group").values():
        assert queue["transit_encryption_enabled"] is True
        assert queue["at_rest_encryption_enabled"] == "true"


def test_only_the_load_balancer_can_be_entered_from_outside(plan: Plan) -> None:
    rules = plan.all("aws_vpc_security_group_ingress_rule")
    open_to_all = {address for address, values in rules.items() if values["cidr_ipv4"] == "0.0.0.0/0"}
    assert {address.split("[")[0] for address in open_to_all} == {
        "module.ingress.aws_vpc_security_group_ingress_rule.this"
    }
    assert {rules[address]["from_port"] for address in open_to_all} == {80, 443}
    for subnet in plan.all("aws_subnet").values():
        assert subnet["map_public_ip_on_launch"] is False
    (closed,) = plan.all("aws_default_security_group").values()
    assert not closed.get("ingress")
    for group in plan.all("aws_security_group").values():
        assert not group.get("ingress")  # rules are resources of their own


def test_the_databases_have_no_way_out(plan: Plan) -> None:
    routes = plan.all("aws_route")
    assert not [address for address in routes if ".data" in address]
    tables = [address for address in plan.all("aws_route_table_association") if ".data[" in address]
    assert len(tables) >= 2


def test_every_log_bucket_and_key_is_kept_well(plan: Plan) -> None:
    logs = plan.all("aws_cloudwatch_log_group")
    assert len(logs) >= 6
    for address, values in logs.items():
        assert plan.given(address, "kms_key_id"), address
        assert values["retention_in_days"] == 90
    assert all(key["enable_key_rotation"] for key in plan.all("aws_kms_key").values())
    blocks = plan.all("aws_s3_bucket_public_access_block")
    assert len(blocks) == len(plan.all("aws_s3_bucket")) == 2
    assert all(v["block_public_policy"] and v["restrict_public_buckets"] for v in blocks.values())
    for address, secret in plan.all("aws_secretsmanager_secret").items():
        assert plan.given(address, "kms_key_id"), secret["name"]
    for repository in plan.all("aws_ecr_repository").values():
        assert repository["image_tag_mutability"] == "IMMUTABLE"
        assert repository["image_scanning_configuration"][0]["scan_on_push"] is True


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [word for word in value or () if word is not None]


def _allowing(plan: Plan) -> Iterable[tuple[str, dict[str, Any]]]:
    return ((address, s) for address, s in plan.statements() if s["Effect"] == "Allow")


def test_no_role_may_do_everything_or_touch_everything(plan: Plan) -> None:
    seen = 0
    for address, statement in _allowing(plan):
        actions, resources = _words(statement["Action"]), _words(statement.get("Resource"))
        if "aws_kms_key" in address:
            continue  # in a key's policy "*" is the key (the next test)
        seen += 1
        assert not [action for action in actions if "*" in action], address
        if "*" in resources:
            assert all(ANYWHERE.fullmatch(action) for action in actions), (address, actions)
    assert seen >= 20


def test_keys_are_the_accounts_and_of_services_that_say_whose_they_are(plan: Plan) -> None:
    statements = [(address, s) for address, s in plan.statements() if address.startswith("module.encryption")]
    assert len(statements) >= 5
    for address, statement in statements:
        if statement["Action"] == "kms:*":
            assert statement["Principal"] == {"AWS": "arn:aws:iam::111122223333:root"}, address
        else:
            assert statement["Condition"], address


def test_workflows_are_bound_to_their_purpose(outcome: Outcome) -> None:
    trust = {
        address: statement
        for address, statement in outcome.plans["large"].statements()
        if statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    }
    subjects = {
        address.split('"')[1]: statement["Condition"]["StringEquals"]["token.actions.githubusercontent.com:sub"]
        for address, statement in trust.items()
    }
    assert subjects == {
        "plan": "repo:acme/almanac:pull_request",
        "build": "repo:acme/almanac:ref:refs/heads/main",
        "deploy": "repo:acme/almanac:environment:production",
    }


def test_sizes_are_sizes(outcome: Outcome) -> None:
    small, large = outcome.plans["small"], outcome.plans["large"]
    classes = [{v["instance_class"] for v in plan.all("aws_db_instance").values()} for plan in (small, large)]
    assert classes == [{"db.t4g.medium"}, {"db.r6g.2xlarge"}]
    assert len(small.all("aws_subnet")) == 6
    assert len(large.all("aws_subnet")) == 9
    assert len(small.all("aws_db_instance")) == 1
    assert len(large.all("aws_db_instance")) == 2
    assert not [a for a in small.all("aws_vpc_endpoint") if ".interface" in a]
    assert any("bedrock-runtime" in a for a in large.all("aws_vpc_endpoint"))
    for plan in (small, large):
        pool = plan.changes["module.cluster.aws_eks_node_group.gpu"][1]["scaling_config"][0]
        assert (pool["min_size"], pool["desired_size"]) == (0, 0)


def test_without_nat_the_services_are_inside(outcome: Outcome) -> None:
    plan = outcome.plans["single_figures_are_others"]
    services = {address.split('"')[1] for address in plan.all("aws_vpc_endpoint") if '"' in address}
    assert {"ecr.api", "ecr.dkr", "sts", "eks-auth", "secretsmanager", "kms", "logs"} <= services
    assert not plan.all("aws_nat_gateway")


def test_secrets_are_written_and_never_read_back() -> None:
    module = Root(MODULES / "secrets")
    versions = [body for kind, _, body in module.resources if kind == "aws_secretsmanager_secret_version"]
    assert len(versions) == 3
    for body in versions:
        assert "secret_string_wo" in body
        assert "secret_string" not in body
    names = set(re.findall(r"(?m)^(\w+)=", (FOLDER.parents[2] / ".env.example").read_text("utf-8")))
    outputs = (FOLDER / "outputs.tf").read_text("utf-8")
    used = set(re.findall(r"\b(ALMANAC_\w+|SLACK_\w+|MicrosoftApp\w+)\b", module.code + outputs))
    assert len(used) > 15
    assert used <= names


def test_every_argument_of_a_variable_is_explained() -> None:
    for folder in [FOLDER, *sorted(MODULES.iterdir())]:
        root = Root(folder)
        for kind in ("variable", "output"):
            for block in (block for file in root.files.values() for block in file.get(kind, [])):
                for name, body in block.items():
                    assert name.startswith("__") or body.get("description"), f"{folder.name}: {name}"
        for name in root.names("variable"):
            assert re.search(rf"\bvar\.{name}\b", root.code), f"{folder.name}: {name} is used nowhere"
