"""The experiment's larger measurements: the roofline, torch's kernels under it, and SmolLM2 in fewer bits."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor, nn

from ml.lesson import LessonError, Run
from ml.week04_transformers.decoder import Decoder
from ml.week04_transformers.sampling import generate
from ml.week08_serving import figures
from ml.week08_serving.corpus import loss_on, perplexity, read_text
from ml.week08_serving.layers import (
    QuantLinear,
    copy_of,
    model_bytes,
    nearest,
    quantise_model,
    replace,
    save,
)
from ml.week08_serving.quantise import quantise
from ml.week08_serving.roofline import decode_limit, intensity, kv_bytes, layer_speed, measure_machine, seconds
from ml.week08_serving.speculative import LookupDraft, speculate
from ml.week08_serving.torch_kernels import Int4Kernel, Int8Kernel, bitsandbytes_linear, dynamic_int8

COLUMNS = ("weights", "memory (MB)", "disk (MB)", "loss", "perplexity", "tokens/s")


def row(name: str, model: Decoder, windows: Tensor, tokens: int, folder: Path | None) -> tuple[object, ...]:
    """One line of the size, quality and speed table; without a ``folder`` the disk is left out."""
    disk: float | str = "-"
    if folder is not None:
        path = folder / "sized.pt"
        disk = save(model, path) / 1e6
        path.unlink()
    loss = loss_on(model, windows, rows=4)
    speed = tokens / seconds(lambda: generate(model, windows[:1, :2], tokens, temperature=0), repeats=3)
    return name, model_bytes(model) / 1e6, disk, loss, perplexity(loss), speed


def roofline_of_this_machine(run: Run) -> None:
    """Peak and bandwidth of one core, and linear layers in five forms under that roof."""
    machine = measure_machine()
    run.record("peak (10^9 float32 operations a second, one core)", round(machine.peak / 1e9, 1))
    run.record("bandwidth (10^9 bytes read a second, one core)", round(machine.bandwidth / 1e9, 1))
    run.record("ridge (operations per byte)", round(machine.ridge, 2))
    size, count = 1024, 12 if run.quick else 64  # 50 or 268 MB in float32: more than the cache of this machine holds
    layers = [nn.Linear(size, size, bias=False).requires_grad_(False) for _ in range(count)]
    eight = [quantise(layer.weight, 8) for layer in layers]
    four = [quantise(layer.weight, 4, 32, symmetric=False) for layer in layers]
    forms = {
        "float32": (4, lambda: layers, torch.float32),
        "int8, ours": (1, lambda: [QuantLinear(each) for each in eight], torch.float32),
        "int8, torch": (1, lambda: [Int8Kernel(each) for each in eight], torch.bfloat16),
        "int4, torch": (0.625, lambda: [Int4Kernel(each) for each in four], torch.bfloat16),  # scale and shift
        "int8 W8A8, torch": (1, lambda: [dynamic_int8(layer) for layer in layers], torch.float32),
    }
    rows, points = [], {}
    for name, (width, make, dtype) in run.track(list(forms.items()), "layers under the roof"):
        try:
            made = make()
        except LessonError as error:
            run.say(f"{name}: {error}")
            continue
        for batch in (1, 16) if run.quick else (1, 4, 16, 64):
            took = layer_speed(made, size, batch, dtype)
            rate = 2 * batch * size * size * count / took
            points.setdefault(name, []).append((intensity(batch, width), rate))
            bound = 2 * batch * size * size * count / machine.attainable(intensity(batch, width))
            rows.append((name, batch, intensity(batch, width), 1e3 * took / count, 1e3 * bound / count, rate / 1e9))
    columns = ("weights", "batch", "per byte", "ms a layer", "ms by the roof", "10^9 a second")
    run.table(f"Operations of a {size} by {size} layer, one core", columns, rows)
    run.save(figures.roofline(machine, points), "roofline")
    try:
        bitsandbytes_linear(layers[0])
    except LessonError as error:
        run.say(str(error))


def smollm2(run: Run) -> None:
    """The same table for a real model; speculation by looking up; what memory allows."""
    try:
        from ml.week04_transformers.pretrained import load_smollm2

        model, tokenizer = load_smollm2()
    except LessonError as error:
        run.say(f"SmolLM2 is skipped: {error}")
        return
    windows = _tokens(tokenizer, read_text()[1][:12], 257, 3)  # (3, 257)
    forms = {
        "float32": lambda: model,
        "int8 per channel": lambda: quantise_model(model, nearest(8)),
        "int4 per channel": lambda: quantise_model(model, nearest(4)),
        "int4 groups of 32, zero-point": lambda: quantise_model(model, nearest(4, 32, symmetric=False)),
        "int8, torch": lambda: _with(model, lambda layer: Int8Kernel(quantise(layer.weight, 8))),
        "int4, torch": lambda: _with(model, lambda layer: Int4Kernel(quantise(layer.weight, 4, 32, symmetric=False))),
        "int8 W8A8, torch": lambda: _with(model, dynamic_int8),
    }
    rows = []
    for name, make in run.track(list(forms.items()), "SmolLM2 in fewer bits"):
        folder = None if "torch" in name else run.out
        rows.append(row(name, make(), windows, 8, folder))
        run.record(f"SmolLM2, {name}: perplexity, tokens per second", f"{rows[-1][4]:.2f}, {rows[-1][5]:.1f}")
    run.table("SmolLM2-135M-Instruct: size, quality, speed", COLUMNS, rows)
    machine = measure_machine()
    limit = decode_limit(machine, model_bytes(model), 8 * kv_bytes(model.config), 1)
    run.record("SmolLM2, float32: tokens per second that memory allows", round(limit, 1))
    _repeat(run, model, tokenizer)


def _with(model: Decoder, make) -> Decoder:
    return replace(copy_of(model), lambda _name, layer: make(layer))


def _tokens(tokenizer, pieces: Tensor, length: int, rows: int) -> Tensor:
    """The pieces' text in the tokenizer's ids, (rows, length)."""
    text = bytes(pieces.flatten().tolist()).decode(errors="replace")
    return torch.tensor(tokenizer(text)["input_ids"][: rows * length]).view(rows, length)


def _repeat(run: Run, model: Decoder, tokenizer) -> None:
    """A text that begins again, as an answer does that quotes its source: what looking up earns there."""
    source = bytes(read_text()[1][5, :700].tolist()).decode(errors="replace")
    prompt, tokens = tokenizer(f"{source}\n\n{source[:120]}")["input_ids"], 60
    start = time.process_time()
    plain = generate(model, torch.tensor([prompt]), tokens, temperature=0)[0, len(prompt) :].tolist()
    base = time.process_time() - start
    start = time.process_time()
    found, tally = speculate(model, LookupDraft(model.config.vocabulary), prompt, tokens, 6)
    seconds = time.process_time() - start
    run.record("SmolLM2 quoting, lookup: accepted, speed-up", f"{tally.rate:.2f}, {base / seconds:.2f}")
    run.record("SmolLM2 quoting: text equal to plain decoding", str(found == plain))
