"""Only requests that Slack signed within the last five minutes come in."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from slack_sdk.signature import SignatureVerifier

WINDOW_SECONDS = 300

_TIMESTAMP = re.compile(r"[0-9]{1,12}")


def refusal(verifier: SignatureVerifier, headers: Mapping[str, str], body: bytes) -> str | None:
    """Why the request is refused, as a metric's label, or None. Whatever the headers hold, nothing is raised."""
    timestamp = headers.get("X-Slack-Request-Timestamp", "")
    signature = headers.get("X-Slack-Signature", "")
    if not timestamp or not signature:
        return "unsigned"
    if not _TIMESTAMP.fullmatch(timestamp):
        return "bad_timestamp"
    if abs(time.time() - int(timestamp)) > WINDOW_SECONDS:
        return "old_timestamp"
    try:
        valid = signature.isascii() and verifier.is_valid(body, timestamp, signature)
    except UnicodeDecodeError:  # Slack sends UTF-8
        valid = False
    return None if valid else "bad_signature"
