"""Perplexity of a real pretrained model, measured with this week's own objective.

SmolLM2-135M-Instruct lies as a GGUF file inside a Python package; transformers turns its 4-bit weights back into floats
(a few seconds). Another model can be named in ``ALMANAC_CAUSAL_MODEL``: a folder, or a name where the hub is reachable.

Left out: its chat template. Plain text is scored here; the prompt format belongs to week 6.
"""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from ml.week05_tokenization.causal import text_nats
from ml.week05_tokenization.ecosystem import smollm2_file


class SmolLM2:
    """A pretrained causal model and its tokenizer; raises LessonError where there is neither package nor setting."""

    def __init__(self) -> None:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        name = os.environ.get("ALMANAC_CAUSAL_MODEL")
        path = None if name else smollm2_file()
        source, options = (name, {}) if path is None else (str(path.parent), {"gguf_file": path.name})
        self.tokenizer: Any = AutoTokenizer.from_pretrained(source, **options)
        with contextlib.redirect_stderr(io.StringIO()):  # the progress bar of de-quantising cannot be turned off
            self.model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options).eval()

    def nats(self, text: str, context: int = 256, stride: int = 128) -> tuple[float, int]:
        """The sum of -log p over ``text`` in nats, and the number of its tokens.

        A token that begins every text is put in front, so that the first real one is scored too and the nats pay for
        all bytes.
        """
        begin = self.tokenizer.bos_token_id
        ids = torch.tensor([begin, *self.tokenizer(text, add_special_tokens=False)["input_ids"]])  # (N + 1,)
        return text_nats(lambda row: self.model(input_ids=row).logits, ids, context, stride), len(ids) - 1
