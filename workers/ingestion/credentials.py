"""Credentials by reference: a source names one, the settings hold it, and it goes to the host it was made for alone."""

from __future__ import annotations

import base64

from pydantic import SecretStr
from yarl import URL

from assistant.errors import SettingsError
from assistant.settings import Credential, Settings
from workers.ingestion.sources.port import Setting


def named(settings: Settings, name: str) -> Credential:
    """One of ``ALMANAC_CREDENTIALS``."""
    found = settings.credentials.get(name)
    if found is None:
        raise SettingsError(f"ALMANAC_CREDENTIALS has no credential {name}.")
    return found


def headers_for(setting: Setting, address: str) -> dict[str, str]:
    """What opens the address, when the source names a credential for its host; else nothing."""
    name = setting.config.get("credential")
    if not name:
        return {}
    credential = named(setting.settings, str(name))
    host = (URL(address).host or "").lower()
    if credential.host.lower() != host:
        raise SettingsError(f"The credential {name} is for {credential.host}, not for {host}.")
    return {"Authorization": authorization(credential.user, credential.token)}


def authorization(user: str, token: SecretStr) -> str:
    """Basic with a user, a bearer's without."""
    secret = token.get_secret_value()
    return f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}" if user else f"Bearer {secret}"
