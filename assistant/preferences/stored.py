"""What was learned, read back from the JSON that holds it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from assistant.errors import AlmanacError

T = TypeVar("T")


def restored(
    text: str, version: int, make: Callable[[dict[str, Any]], T], what: str, error: type[AlmanacError]
) -> T:  # fmt: skip
    """What ``make`` makes of JSON of this ``version``; for anything else raises ``error``, which says in a sentence why
    ``what`` cannot be read."""
    try:
        data = json.loads(text)
        if data["version"] != version:
            raise ValueError(f"it is of version {data['version']!r}, and {version} is known")
        return make(data)
    except KeyError as missing:
        raise error(f"{what} cannot be read: it has no {missing.args[0]}.") from missing
    except (TypeError, AttributeError, ValueError) as wrong:
        raise error(f"{what} cannot be read: {wrong}.") from wrong
