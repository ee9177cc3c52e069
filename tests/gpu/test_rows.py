"""Packed rows on a GPU: the fused kernels against the CPU's way of computing the same."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from workers.finetuning import attention
from workers.finetuning.attention import use_packed
from workers.finetuning.fast import fuse_norms, speed_up
from workers.finetuning.memory import recompute
from workers.finetuning.objective import Objective
from workers.finetuning.packing import IGNORED, Example, packed
from workers.finetuning.recorded import Recorded, Shape
from workers.language_model import load

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


def sequences(count: int, seed: int) -> list[Example]:
    mixed = random.Random(seed)
    found = []
    for _ in range(count):
        ids = tuple(mixed.randrange(3, 259) for _ in range(mixed.randrange(2, 200)))
        found.append(Example(ids, tuple(token if mixed.random() < 0.7 else IGNORED for token in ids)))
    return found


def objective(folder: Path, device: str, dtype: torch.dtype, **changed: Any) -> Objective:
    """The tiny model with the same adapter everywhere."""
    model = load(folder, device="cpu", dtype=torch.float32).model
    targets = ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": targets, **changed}))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
        else:
            parameter.data = parameter.data.to(dtype)
    model.to(device)
    use_packed(model)
    speed_up(model)
    fuse_norms(model)
    return Objective(model.train())


def gradients(of: Objective) -> dict[str, torch.Tensor]:
    return {name: p.grad.float().cpu() for name, p in of.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("heads", "shared", "size"), [(9, 3, 64), (4, 4, 16), (8, 1, 128)])
def test_one_kernel_attends_inside_every_sequence(gpu: torch.device, heads: int, shared: int, size: int) -> None:
    lengths = (1, 7, 128, 300, 2, 129)
    mixed = torch.Generator().manual_seed(heads)
    q, k, v = (
        torch.randn(1, count, sum(lengths), size, generator=mixed, dtype=torch.float64, requires_grad=True)
        for count in (heads, shared, shared)
    )
    above = torch.randn(1, sum(lengths), heads, size, generator=mixed, dtype=torch.float64)
    wanted, _ = attention._packed_attention(None, q, k, v, None, lengths=lengths)
    (wanted * above).sum().backward()
    near = [tensor.detach().to(gpu, torch.bfloat16).requires_grad_() for tensor in (q, k, v)]
    bounds = packed([Example((5,) * n, (5,) * n) for n in lengths]).bounds.to(gpu)
    assert attention._narrow(near[0]) is torch.bfloat16
    found, _ = attention._packed_attention(None, *near, None, lengths=lengths, bounds=bounds)
    (found * above.to(gpu, torch.bfloat16)).sum().backward()
    for ours, theirs in [(found, wanted), *((n.grad, t.grad) for n, t in zip(near, (q, k, v), strict=True))]:
        difference = (ours.detach().double().cpu() - theirs.detach()).norm() / theirs.norm()
        assert difference < 0.02


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_row_has_the_loss_and_the_gradients_of_the_cpu(tiny_folder: Path, dtype: torch.dtype, seed: int) -> None:
    examples = sequences(12, seed)
    reference, ours = objective(tiny_folder, "cpu", torch.float32), objective(tiny_folder, "cuda", dtype)
    losses = [of(packed(examples).to(place)) for of, place in zip((reference, ours), _places(), strict=True)]
    for loss in losses:
        loss.backward()
    exact = dtype is torch.float32
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5 if exact else 5e-3)
    found = gradients(ours)
    for name, gradient in gradients(reference).items():
        assert (found[name] - gradient).norm() / gradient.norm() < (1e-3 if exact else 0.12), name


def _places() -> tuple[torch.device, torch.device]:
    return torch.device("cpu"), torch.device("cuda")


def test_a_row_never_makes_the_processor_wait(tiny_folder: Path, gpu: torch.device, strict: None) -> None:
    torch.cuda.set_sync_debug_mode("default")
    ours = objective(tiny_folder, "cuda", torch.bfloat16)
    ours(packed(sequences(3, 5)).to(gpu)).backward()  # libraries set themselves up
    torch.cuda.set_sync_debug_mode("error")
    ours(packed(sequences(12, 6)).to(gpu)).backward()


def test_a_graph_adds_what_a_plain_pass_adds(tiny_folder: Path, gpu: torch.device) -> None:
    rows = [packed(sequences(count, seed)) for seed, count in enumerate((9, 4, 12, 7))]
    shape = Shape(
        max(row.ids.shape[1] for row in rows), 40, max(row.counted for row in rows), max(row.longest for row in rows)
    )
    plain, graph = (objective(tiny_folder, "cuda", torch.bfloat16) for _ in range(2))
    trained = [parameter for parameter in graph.parameters() if parameter.requires_grad]
    filled = [shape.fill(row).to(gpu) for row in rows]
    replay = Recorded(graph, trained, filled[2], torch.enable_grad)
    assert not any(parameter.grad.any() for parameter in trained)
    for row, full in zip(rows, filled, strict=True):
        loss = plain(row.to(gpu)) / row.counted
        loss.backward()
        assert float(replay(full, 1 / row.counted)) == pytest.approx(loss.item(), rel=5e-3)
    found = gradients(graph)
    for name, gradient in gradients(plain).items():
        assert (found[name] - gradient).norm() / gradient.norm() < 0.05, name


def test_layers_compute_again_only_where_memory_asks_for_it(tiny_folder: Path, gpu: torch.device) -> None:
    plain, again = (objective(tiny_folder, "cuda", torch.bfloat16) for _ in range(2))
    assert not recompute(plain, 2_048, 256, gpu, torch.enable_grad)
    assert recompute(plain, 10**9, 256, gpu, torch.enable_grad)
    assert not gradients(plain)
    again.model.activation_checkpointing_enable({"use_reentrant": False})
    row = packed(sequences(6, 3)).to(gpu)
    for of in (plain, again):
        of(row).backward()
    others = gradients(again)
    for name, gradient in gradients(plain).items():
        torch.testing.assert_close(gradient, others[name], rtol=0.02, atol=0.02 * float(gradient.abs().max()))
