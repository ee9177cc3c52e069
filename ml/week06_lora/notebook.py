# %% [markdown]
# # Week 6: fine-tuning through a narrow door
#
# A pretrained model is good at general text. Made to read your handbook, it becomes good at that, at the price of
# memory (full fine-tuning needs 16 bytes a weight) and of what it forgets. LoRA writes the change as a thin product and
# leaves the weights alone; QLoRA packs the weights into four bits besides. The model here is week 4's decoder, tiny and
# on bytes; the experiment repeats the comparison on SmolLM2.

# %%
from ml.lesson import style_figures

style_figures()

# %% [markdown]
# ## One layer (`layer.py`)
#
# `y = W x + (α / r) B A x`. B starts at zero, so a fresh adapter changes nothing; A starts random, or neither would
# ever get a gradient. The exercise's answer shows all four ways to begin:

# %%
from ml.week06_lora.exercises import first_gradients

print("start         distance from base   |dL/dA|   |dL/dB|")
for start in ("b zero", "a zero", "both zero", "both random"):
    print(f"{start:<12}", "  ".join(f"{number:>14.4f}" for number in first_gradients(start)))

# %% [markdown]
# ## Into a model, by name (`inject.py`)
#
# Every linear layer of the decoder gets an adapter, everything else is frozen. Merging adds the product to the weight:
# the same outputs, at the cost of the plain model.

# %%
import copy

import torch

from ml.week06_lora import data, tiny
from ml.week06_lora.inject import adapter_weights, inject, merge

news, news_held = (data.as_bytes(pages) for pages in data.news())
name, pages, held = data.domain()
handbook, handbook_held = data.as_bytes(pages), data.as_bytes(held)
base = tiny.pretrain(news, 30)

model = copy.deepcopy(base)
layers = inject(model, rank=4, alpha=8)
numbers = sum(tensor.numel() for tensor in adapter_weights(model).values())
print(f"{len(layers)} layers, {numbers:,} numbers to train beside {sum(p.numel() for p in base.parameters()):,}")

with torch.no_grad():
    for _, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.normal_(std=0.05)
ids = news_held[None, :90]  # (1, T)
beside = model(ids)  # (1, T, V)
merge(model)
print("largest difference after merging:", (model(ids) - beside).abs().max().item())

# %% [markdown]
# ## Learning and forgetting (`tune.py`, `tiny.py`)
#
# The model has read a little news. Twelve steps on the handbook: full fine-tuning learns most. What it does to the
# news is the other axis.

# %%
from functools import partial

from matplotlib import pyplot

from ml.week06_lora import plots
from ml.week06_lora.qlora import inject_qlora

texts = tuple(list(data.byte_batches(text, 32, tiny.LENGTH, 1, 1)) for text in (handbook_held, news_held))
methods = {
    "full": (lambda model: None, 2e-3),
    "LoRA, rank 8": (partial(inject, rank=8, alpha=16), 8e-3),
    "QLoRA, rank 8": (partial(inject_qlora, rank=8, alpha=16), 8e-3),
}
trials = {}
for label, (prepare, peak) in methods.items():
    batches = data.byte_batches(handbook, tiny.ROWS, tiny.LENGTH, 12, seed=3)
    trials[label] = tiny.try_out(base, prepare, batches, 12, peak, texts, every=4)
    (before, _), (after, _) = trials[label].path[0], trials[label].path[-1]
    print(f"{label:<14} {trials[label].tuned.memory.trained:>8,} trained   {before:.2f} -> {after:.2f} bits per byte")
figure = plots.forgetting({label: trial.path for label, trial in trials.items()}, name)
pyplot.show()

# %% [markdown]
# ## Is the change really of low rank?
#
# Take what full fine-tuning did to a matrix apart into directions (singular values). If a few hold nearly all of it,
# writing it as B A loses little.

# %%
weight = base.get_submodule("blocks.1.feed_forward.up").weight.detach()  # (out, in)
change = trials["full"].model.get_submodule("blocks.1.feed_forward.up").weight.detach() - weight  # (out, in)
figure = plots.spectrum({"W": torch.linalg.svdvals(weight).numpy(), "ΔW": torch.linalg.svdvals(change).numpy()})
pyplot.show()

# %% [markdown]
# ## Four bits (`nf4.py`, `qlora.py`)
#
# Sixteen values for every weight, placed at the quantiles of a normal distribution, times one scale per 64 weights.

# %%
from ml.week06_lora.nf4 import dequantise, in_blocks, int4_values, nf4_values, quantise

print([round(value, 3) for value in nf4_values().tolist()])
packed = quantise(weight)
error = (dequantise(packed) - weight).norm() / weight.norm()
print(f"{8 * packed.size / weight.numel():.2f} bits a weight, relative error {error:.3f}")
blocks = in_blocks(weight.flatten(), 64)  # (blocks, 64)
unit = (blocks / blocks.abs().amax(dim=1, keepdim=True)).flatten().tolist()
figure = plots.codebook(nf4_values().tolist(), int4_values().tolist(), unit, "the tiny decoder")
pyplot.show()

# %% [markdown]
# ## What is scored (`examples.py`)
#
# The prompt is given and the padding is nothing: neither belongs in the loss. Here the end token and the padding are
# the same id (2), as in SmolLM2. By place, the real end is scored; masked by id, it would be lost, and the model would
# never learn to stop.

# %%
from ml.week06_lora.examples import make_batch
from ml.week06_lora.exercises import masked_by_id

batch = make_batch([([5, 6], [7, 8, 2]), ([5], [9, 2])], pad=2, longest=8)
print(batch.labels)
print(masked_by_id(batch, pad=2))

# %% [markdown]
# Ranks from 1 to 32, SmolLM2, memory and time, and peft with the same matrices: `python -m ml.week06_lora.experiment`.
