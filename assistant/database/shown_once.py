"""Secrets that somebody is shown once: only their hash is stored."""

from __future__ import annotations

import hashlib
import secrets


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def hashed(secret: str) -> str:
    """A plain hash is enough for 256 random bits: there is nothing to guess. What a header carries may be no UTF-8."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()
