"""Secrets and personal data leave a text and come back into it; what only looks like them stays."""

from __future__ import annotations

import pytest

from assistant.guardrails import pii, secrets
from assistant.guardrails.redacting import redact
from assistant.guardrails.verdicts import Restoring

BOTH = frozenset({"secrets", "pii"})
TOKEN = "ghp_" + "aB3" * 12
SECRETS = {
    "AWS_KEY": "AKIA" + "Q7ZX" * 4,
    "GITHUB_TOKEN": TOKEN,
    "SLACK_TOKEN": "xoxb-" + "123456789012-abcdefABCDEF",
    "JWT": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "PRIVATE_KEY": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----",
    "PASSWORD": "postgres://app:" + "tr0ub4dor@db.internal:5432/x",
    "SECRET": "DB_PASSWORD=" + "9fK2mQx7Lp",
    "TOKEN": "Authorization: Bearer " + "aB3dE5gH7jK9mN1pQ3",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_found(kind: str) -> None:
    assert kind in {span.kind for span in secrets.find(f"Use {SECRETS[kind]} there")}


@pytest.mark.parametrize(
    "text",
    [
        "password: <your password>",
        "The password is stored in Vault, and the token is rotated daily.",
        "export API_KEY=$API_KEY",
        'token = os.environ["TOKEN"]',
        "secret: changeme",
        "postgres://user:password@localhost/db",
        "commit 4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "api_key: YOUR_API_KEY",
        "The key is the customer number.",
    ],
)
def test_what_only_speaks_of_secrets_is_none(text: str) -> None:
    assert secrets.find(text) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("EMAIL", "write to jane.doe+x@mail.acme.example now"),
        ("PHONE_NUMBER", "ring +44 20 7946 0958"),
        ("PHONE_NUMBER", "phone: (212) 555-0188"),
        ("CREDIT_CARD", "card 4111 1111 1111 1111"),
        ("IBAN", "to DE89 3704 0044 0532 0130 00 PLEASE"),
        ("US_SSN", "SSN 536-90-4399"),
        ("IP_ADDRESS", "from 8.8.8.8 today"),
        ("NIF", "DNI 12345678Z"),
        ("PASSPORT", "passport number 912803456"),
    ],
)
def test_personal_data_is_found(kind: str, text: str) -> None:
    assert [span.kind for span in pii.find(text)] == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "port 8080 on 10.0.0.12 and 192.168.1.1, version 1.2.3",
        "card 4111 1111 1111 1112",  # a wrong check digit
        "at 2026-11-26 03:14:15, run 1732590855 took 12.5 s",
        "IBAN DE89 3704 0044 0532 0130 02",
        "order 4111-2222",
        "@channel and user@host",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_what_only_looks_like_it_is_none(text: str) -> None:
    assert pii.find(text) == []


def test_the_same_value_has_the_same_placeholder_in_all_texts() -> None:
    redaction = redact(["Ask a@x.example or b@x.example", "a@x.example again"], BOTH)
    assert redaction.texts == ("Ask <EMAIL_1> or <EMAIL_2>", "<EMAIL_1> again")
    assert redaction.restore("to <EMAIL_2>, <EMAIL_1>") == "to b@x.example, a@x.example"


def test_a_placeholder_that_somebody_wrote_stands_for_nothing() -> None:
    redaction = redact(["<EMAIL_1> is not a@x.example"], BOTH)
    assert redaction.text == "<EMAIL_1> is not <EMAIL_2>"
    assert redaction.restore("<EMAIL_1>") == "<EMAIL_1>"


def test_only_what_the_policy_names_goes() -> None:
    text = f"a@x.example {TOKEN}"
    assert redact([text], frozenset({"secrets"})).text == "a@x.example <GITHUB_TOKEN_1>"
    assert redact([text], frozenset({"pii"})).text == f"<EMAIL_1> {TOKEN}"


@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_a_stream_has_its_values_back(size: int) -> None:
    redaction = redact(["Ask a@x.example"], BOTH)
    said = "Write <EMAIL_1>, then a < b and <EMAIL_1"
    restoring = Restoring(redaction)
    pieces = [restoring.feed(said[place : place + size]) for place in range(0, len(said), size)]
    assert "".join(pieces) + restoring.finish() == "Write a@x.example, then a < b and <EMAIL_1"
