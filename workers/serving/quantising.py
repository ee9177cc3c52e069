from __future__ import annotations

from typing import Any

from workers.serving.llama import Llama


def prepare(model: Any, context: int, quantisation: str) -> Llama:
    return Llama(model, context)
