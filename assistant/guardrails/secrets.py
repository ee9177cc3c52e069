"""Secrets in text: keys and tokens of a known form, private keys, passwords in addresses and in assignments.

The known forms are those of detect-secrets, and the ones below, which have come since its last release. A word such as
``password`` alone is no secret: its value must look like one (``_random``), so that a handbook may say
``password: <your password>``.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterator

from assistant.guardrails.spans import Span, apart

LEAST_ENTROPY = 3.0  # bits a character; English words have about 2.5 at this length
_PLUGINS = (
    "artifactory.ArtifactoryDetector AWS_KEY:aws.AWSKeyDetector azure_storage_key.AzureStorageKeyDetector "
    "cloudant.CloudantDetector discord.DiscordBotTokenDetector github_token.GitHubTokenDetector "
    "gitlab_token.GitLabTokenDetector ibm_cos_hmac.IbmCosHmacDetector jwt.JwtTokenDetector mailchimp.MailchimpDetector "
    "npm.NpmDetector openai.OpenAIDetector pypi_token.PypiTokenDetector sendgrid.SendGridDetector slack.SlackDetector "
    "square_oauth.SquareOAuthDetector stripe.StripeDetector telegram_token.TelegramBotTokenDetector "
    "twilio.TwilioKeyDetector"
).split()
_KNOWN = {
    "PRIVATE_KEY": r"-----BEGIN (?:[A-Z0-9 ]+ )?PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END (?:[A-Z0-9 ]+ )?PRIVATE KEY(?: BLOCK)?-----|\Z)",
    "GITHUB_TOKEN": r"\b(?:github_pat_[A-Za-z0-9_]{40,90}|gh[pousr]_[A-Za-z0-9]{36,255})\b",
    "OPENAI_KEY": r"\bsk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,200}|\bsk-[A-Za-z0-9]{32,64}\b",
    "ANTHROPIC_KEY": r"\bsk-ant-[A-Za-z0-9_-]{20,200}",
    "GOOGLE_KEY": r"\bAIza[A-Za-z0-9_-]{35}\b|\bya29\.[A-Za-z0-9_-]{20,}|\bGOCSPX-[A-Za-z0-9_-]{20,}",
    "HUGGINGFACE_TOKEN": r"\bhf_[A-Za-z0-9]{30,60}\b",
    "GITLAB_TOKEN": r"\bgl(?:pat|dt|rt|ptt|cbt|soat|agent)-[A-Za-z0-9_-]{20,60}",
    "SLACK_TOKEN": r"\bxox[abceoprs]-[A-Za-z0-9-]{10,200}|\bxapp-\d-[A-Za-z0-9-]{10,200}|hooks\.slack\.com/services/T\w+/B\w+/\w{20,}",
    "AWS_KEY": r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
    "VAULT_TOKEN": r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}",
    "DATABRICKS_TOKEN": r"\bdapi[0-9a-f]{32}(?:-\d)?\b",
    "CLOUD_TOKEN": r"\bdo[opr]_v1_[0-9a-f]{64}\b|\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b|\bATATT3[A-Za-z0-9_=-]{60,}|\bdckr_pat_[\w-]{20,}|\bglsa_\w{32,}|\blin_api_\w{30,}|\bPMAK-[0-9a-f]{24}-[0-9a-f]{34}\b|\bSG\.[\w-]{16,}\.[\w-]{20,}|\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b",
    "JWT": r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    "AZURE_KEY": r"(?<=AccountKey=)[A-Za-z0-9+/]{60,}={0,2}|(?<=SharedAccessKey=)[A-Za-z0-9+/]{30,}={0,2}|(?<=[?&]sig=)[A-Za-z0-9%+/]{40,}",
}  # fmt: skip
_PATTERNS = tuple((kind, re.compile(pattern, re.DOTALL)) for kind, pattern in _KNOWN.items())
_IN_URL = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@\"'<>]*:([^\s/@\"'<>]{3,})@[\w.\[-]")
_NAMED = re.compile(
    r"""(?ix)(?<![a-z]) [\w.-]{0,30}
    (?:pass(?:word|wd|phrase|wort)?|pwd|secret|token|api[_-]?key|access[_-]?key|auth[_-]?key|private[_-]?key
      |client[_-]?secret|credentials?|contrase[ñn]a|mot\ de\ passe|kennwort|signing[_-]?key|encryption[_-]?key)
    [\w-]{0,20} ["'`\])*]{0,3} (?:\s{0,3}(?::=|=>|==?|:)\s{0,3}|\s+(?:is|ist|est|es|lautet|to|=)\s+:?\s?)
    ["'`]{0,2} (?P<value>[^\s"'`,;<>(){}\[\]]{6,200})"""
)
_BEARER = re.compile(r"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9+/=._~-]{16,})")
_PLACEHOLDER = re.compile(
    r"(?i)\$|\*{3}|x{4}|\.{3}|…|example|your|change|placeholder|dummy|redacted|secret|password|passw|token|todo|none|null"
    r"|true|false|<|process\.env|os\.environ|getenv|env\.|vars?\.|https?://|^[a-z]+(?:[._/-][a-z]+)*$|^[A-Z]+(?:_[A-Z]+)*$"
)  # fmt: skip


def find(text: str) -> list[Span]:
    """The secrets of ``text``, in their order, apart from each other."""
    return apart(_spans(text))


def _spans(text: str) -> Iterator[Span]:
    for kind, pattern in (*_PATTERNS, *_plugins()):
        for match in pattern.finditer(text):
            if match.end() > match.start():
                yield Span(kind, match.start(), match.end(), match.group())
    for match in _IN_URL.finditer(text):
        if not _PLACEHOLDER.search(match[1]):
            yield Span("PASSWORD", match.start(1), match.end(1), match[1])
    for match in _NAMED.finditer(text):
        value = match["value"].rstrip(".:!?")
        if _random(value):
            yield Span("SECRET", match.start("value"), match.start("value") + len(value), value)
    for match in _BEARER.finditer(text):
        if _random(match[1]):
            yield Span("TOKEN", match.start(1), match.end(1), match[1])


def _random(value: str) -> bool:
    """Whether a value was made by chance or chosen as a password: several kinds of characters, and no word's look."""
    if len(value) < 6 or _PLACEHOLDER.search(value):
        return False
    kinds = sum(
        any(map(test, value)) for test in (str.islower, str.isupper, str.isdigit, lambda mark: not mark.isalnum())
    )
    counts = Counter(value)
    entropy = -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
    long_enough = entropy >= LEAST_ENTROPY and (kinds >= 2 and any(map(str.isdigit, value)))
    return long_enough or (kinds >= 3 and entropy >= 2.3 and any(map(str.isdigit, value)))


@functools.cache
def _plugins() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """The patterns of detect-secrets; imported with the first text that is checked."""
    import importlib

    found: list[tuple[str, re.Pattern[str]]] = []
    for name in _PLUGINS:
        module, _, detector = name.rpartition(":")[2].partition(".")
        plugin = getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), detector)
        kind = name.rpartition(":")[0] or f"{module.removesuffix('_token').upper()}_TOKEN"
        found += [(kind, pattern) for pattern in plugin.denylist]
    return tuple(found)
