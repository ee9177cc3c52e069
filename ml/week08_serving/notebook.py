# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
# ---

# %% [markdown]
# # Week 8: serving a model
#
# A model that is trained costs money each time it answers. This week asks what that cost is made of, and lowers it four
# ways: fewer bits per weight, a smaller model, several requests per pass, several tokens per pass.
#
# Read the files in the order of the README; this notebook runs each idea once, at a size that takes seconds.

# %%
from ml.lesson import style_figures

style_figures()

import matplotlib.pyplot as plt
import torch

from ml.week04_transformers.decoder import Decoder, DecoderConfig

torch.set_num_threads(1)
_ = torch.manual_seed(0)
# %% [markdown]
# ## What a token costs
#
# Decoding one token for one request multiplies every weight once, and must fetch it from memory to do so: two
# operations for four bytes. The roofline says what that means on this machine.

# %%
from ml.week08_serving.roofline import intensity, measure_machine

machine = measure_machine(megabytes=128)
print(f"peak {machine.peak / 1e9:.0f} · 10⁹ operations/s, memory {machine.bandwidth / 1e9:.0f} · 10⁹ bytes/s")
print(f"ridge at {machine.ridge:.1f} operations per byte")
for batch in (1, 8, 64):
    share = machine.attainable(intensity(batch, 4)) / machine.peak
    print(f"batch {batch:2d}, float32: {intensity(batch, 4):5.1f} operations per byte, at most {share:.0%} of the peak")

# %% [markdown]
# A batch of one leaves most of the arithmetic idle. Halving the bytes per weight doubles the bound on speed; so does
# sharing a pass between two requests.
#
# ## Fewer bits per weight
#
# A weight becomes $w \approx s\,q$ with a small integer $q$, and no weight is off by more than half a step $s$. Who
# shares a step decides how large it is. Below: one row of a matrix in 4 bits, with the step of the whole matrix and
# with its own.

# %%
from ml.week08_serving.quantise import error_bound, quantise

weight = torch.randn(16, 64) * torch.logspace(-1.5, 0, 16)[:, None]  # (16, 64), rows of very different size
figure, panels = plt.subplots(1, 2, figsize=(8, 3), sharey=True)
for axes, sharing in zip(panels, ("tensor", "channel"), strict=True):
    coded = quantise(weight, 4, sharing)
    error = (weight - coded.dequantise()).abs()
    assert (error <= error_bound(coded) * 1.0001).all()
    axes.scatter(weight[6], coded.dequantise()[6], s=12)
    axes.set(title=f"one step per {sharing}", xlabel="weight", ylabel="weight from its code")
plt.show()

# %% [markdown]
# Rounding each weight well is not the aim: the layer's *output* is. GPTQ rounds one column at a time and lets the
# columns that are left absorb the error, as far as the inputs are correlated.

# %%
from ml.week08_serving.gptq import gptq, output_error

mix = torch.randn(64, 64) * torch.logspace(0, -2, 64)[:, None]  # (64, 64): a few directions carry the variance
inputs = torch.randn(512, 64) @ mix  # (512, 64)
hessian = inputs.T @ inputs  # (64, 64)
for bits in (4, 3, 2):
    plain = output_error(weight, quantise(weight, bits), hessian)
    clever = output_error(weight, gptq(weight, hessian, bits, "channel"), hessian)
    print(f"{bits} bits: output off by {plain:.1%} with rounding, {clever:.1%} with GPTQ")

# %% [markdown]
# ## A smaller model that learns from a larger one
#
# A teacher and two students, trained for a moment on Python's own manual. `experiment.py` trains them long enough for
# the teacher to be worth listening to; here they only serve as models to run.

# %%
from ml.week08_serving.corpus import ByteText, read_text
from ml.week08_serving.distil import train

seen, held_out = read_text()
sizes = DecoderConfig(vocabulary=256, context=256, width=64, layers=3, heads=2, hidden=160)
small = DecoderConfig(vocabulary=256, context=256, width=64, layers=1, heads=2, hidden=160)
teacher, student = Decoder(sizes), Decoder(small)
train(teacher, seen, range(60), 60, rows=8, length=96, rate=6e-3)
train(student, seen, range(40), 40, teacher, rows=8, length=96, rate=6e-3)
prompt = held_out[3, :40].tolist()
print(repr(ByteText().decode(prompt)))

# %% [markdown]
# ## Several requests per pass
#
# Twelve requests of very different length, in a static batch of four and in a continuous one. The picture shows how
# many rows write a token at each step. Every request gets exactly the text that it would get alone.

# %%
from ml.week08_serving.batching import Batcher, Request
from ml.week08_serving.figures import occupancy

lengths = [6, 40, 10, 8, 12, 6, 48, 9, 7, 30, 8, 11]
rows, answers = {}, {}
for name, continuous in (("static", False), ("continuous", True)):
    batcher = Batcher(teacher, 4, 128, continuous)
    requests = [Request(held_out[i, : 10 + i].tolist(), length) for i, length in enumerate(lengths)]
    for request in requests:
        batcher.submit(request)
    counts = []
    while batcher.waiting or batcher.active:
        before = batcher.steps
        wrote = batcher.step()
        if batcher.steps > before:
            counts.append(len(wrote))
    rows[name], answers[name] = counts, [request.tokens for request in requests]
print("same answers:", answers["static"] == answers["continuous"])
occupancy(rows, 4)
plt.show()

# %% [markdown]
# ## Several tokens per pass
#
# The student guesses four tokens, the teacher checks them in one pass. The text is the teacher's own, token by token;
# only the number of passes changes.

# %%
from ml.week04_transformers.sampling import generate
from ml.week08_serving.speculative import LookupDraft, ModelDraft, speculate

plain = generate(teacher, torch.tensor([prompt]), 80, temperature=0)[0, 40:].tolist()
for name, draft in (("student", ModelDraft(student)), ("lookup", LookupDraft(256))):
    text, tally = speculate(teacher, draft, prompt, 80, guesses=4)
    print(f"{name:8} same text: {text == plain}, {tally.rate:.0%} accepted, {tally.rounds} passes for 80 tokens")

# %% [markdown]
# ## Behind HTTP
#
# `python -m ml.week08_serving.serve` puts the quantised model behind `POST /generate`, with the continuous batch, a
# bounded queue and streaming. Here the same application answers without a network.

# %%
from fastapi.testclient import TestClient

from ml.week08_serving.layers import model_bytes, nearest, quantise_model
from ml.week08_serving.serve import create_app

eight = quantise_model(teacher, nearest(8))
print(f"{model_bytes(teacher):,} bytes in float32, {model_bytes(eight):,} in int8")
with TestClient(create_app(eight, ByteText(), "tiny, 8 bits")) as client:
    answer = client.post("/generate", json={"prompt": "The class", "max_tokens": 24})
    print(answer.status_code, answer.json()["finish_reason"], answer.json()["tokens"], "tokens")
    print(client.post("/generate", json={"prompt": ""}).status_code, "for an empty prompt")
    print(client.get("/healthz").json())
