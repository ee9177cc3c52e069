# %% [markdown]
# # Week 5: text becomes tokens, and tokens become a loss
#
# A language model never sees text. It sees numbers that a tokenizer made, and much of what looks odd in a model
# (it cannot spell, it counts badly, Hindi costs more than English) was decided there, before training began.
# Read the files of this folder beside the cells; each cell runs one of them.

# %%
from ml.lesson import style_figures

style_figures()

# %% [markdown]
# ## From text to bytes, from bytes to words (`text.py`)
#
# Every text is bytes, so a vocabulary that begins with the 256 bytes knows every text. A regular expression sets the
# borders that no token will cross. GPT-4's differs from GPT-2's: look at the number and at the capitals.

# %%
from ml.week05_tokenization.text import GPT2, GPT4, show, split, to_bytes

line = "It's 12345 DON'T!\n\n  naïve 👍"
print(split(line, GPT2))
print(split(line, GPT4))
print(show(to_bytes(" naïve 👍")))

# %% [markdown]
# ## Byte-pair encoding, as it is told (`bpe_plain.py`) and fast (`bpe_train.py`)
#
# Sennrich's example: four words and their frequency. The pair (e, s) occurs 6 + 3 times, so it is joined first; then
# (es, t); and so on. No linguistics anywhere, and yet `est` and `low` come out.

# %%
from ml.week05_tokenization.bpe_plain import train_plain
from ml.week05_tokenization.text import count_words

words = count_words(["low" + "\n"] * 5 + ["lower\n"] * 2 + ["newest\n"] * 6 + ["widest\n"] * 3)
merges, tokens = train_plain(words, 256 + 8)
for a, b in merges:
    print(f"{show(tokens[a])} + {show(tokens[b])}")

# %% [markdown]
# On real text the loop above is slow, since it counts everything again for each merge. `bpe_train.py` keeps the counts
# true instead and finds the same merges. So does Hugging Face's `tokenizers`, with the same rule for ties:

# %%
import time

from ml.week05_tokenization import ecosystem
from ml.week05_tokenization.bpe import BytePairEncoding
from ml.week05_tokenization.bpe_train import train
from ml.week05_tokenization.corpora import lee_articles

articles = lee_articles()
words = count_words(articles)


def seconds(work, *arguments):
    started = time.process_time()
    result = work(*arguments)
    return result, round(time.process_time() - started, 2)


(plain, _), slow = seconds(train_plain, words, 280)
(fast, _), quick = seconds(train, words, 280)
print(f"24 merges: plain {slow} s, kept counts {quick} s, the same: {plain == fast}")

ours, quick = seconds(BytePairEncoding.train, articles, 2000)
theirs, rust = seconds(ecosystem.train_tokenizers_bpe, articles, 2000)
same = list(ecosystem.printed_merges(ours)) == ecosystem.merges_of(theirs)
print(f"1,744 merges: ours {quick} s, tokenizers {rust} s, the same: {same}")

# %% [markdown]
# ## Encode and decode (`bpe.py`)
#
# Encoding replays the merges in the order they were learnt. Decoding a row that stops inside an emoji must not fail: a
# model that streams its answer does that all the time.

# %%
for text in ("bushfires", " bushfires", "Unbelievable!", "👍🏽"):
    print([show(ours.tokens[number]) for number in ours.encode(text)])
print(repr(ours.decode(ours.encode("👍🏽")[:-1])))

# %% [markdown]
# ## Three views of one distribution (`measure.py`)
#
# Frequency over rank. Words follow Zipf's law: a straight line of slope -1 or so. A small vocabulary cuts off the tail
# of rare words and spends it on the middle: every one of its tokens is seen often enough to be learnt.

# %%
from matplotlib import pyplot

from ml.week05_tokenization import plots

news = "\n".join(articles)
rows = {"words": news.split(), "bytes": list(news.encode()), f"BPE, {len(ours):,}": ours.encode(news)}
figure = plots.zipf(rows)
pyplot.show()

# %% [markdown]
# ## WordPiece: which pair? (`wordpiece.py`)
#
# The formula of most tutorials, n(ab) / (n(a) n(b)), joins what occurs *only* together, however rare. The likelihood's
# growth, which the paper speaks of, weighs that by how often.

# %%
from collections import Counter

from ml.week05_tokenization.wordpiece import train_wordpiece

some = Counter(piece.strip() for text in articles[:60] for piece in split(text) if piece.strip())
for score in ("count", "ratio", "gain"):
    print(f"{score:>6}", train_wordpiece(some, 200, score)[-9:])

# %% [markdown]
# ## Unigram: all cuts at once (`lattice.py`, `unigram.py`)
#
# Here every piece has a probability, and a word has many cuts. Viterbi finds the best one; forward and backward sums
# weigh all of them, which is what training needs (EM) and what lets one *sample* a cut.

# %%
import random

from ml.week05_tokenization.lattice import expected, sample, viterbi
from ml.week05_tokenization.unigram import marked_words, train_unigram

for scores, nats in train_unigram(marked_words(articles[:60]), 600):
    print(f"{len(scores):>5} pieces, {nats:,.0f} nats")
print(viterbi("▁unreliable", scores))
counts, _ = expected("▁unreliable", scores, 12)
print({piece: round(count, 2) for piece, count in counts.items() if count > 0.2})
dice = random.Random(0)
for _ in range(3):
    print(sample("▁unreliable", scores, 12, dice))

# %% [markdown]
# ## The objective, and an honest yardstick (`causal.py`, `bigram.py`)
#
# Perplexity is per token. Give the same kind of model a larger vocabulary, and each token is harder to guess, while
# there are fewer of them. Only bits per *byte* can be compared.

# %%
from ml.week05_tokenization.bigram import Bigram
from ml.week05_tokenization.causal import bits_per_byte, perplexity

sizes, perplexities, bits = [256, 400, 1000, 4000], [], []
size_in_bytes = sum(len(text.encode()) for text in articles[270:])
for size in sizes:
    tokenizer = BytePairEncoding.train(articles[:270], size)
    model = Bigram([tokenizer.encode(text) for text in articles[:270]], size, imagined=30)
    rows = [tokenizer.encode(text) for text in articles[270:]]
    nats = sum(map(model.nats, rows))
    perplexities.append(perplexity(nats / sum(map(len, rows))))
    bits.append(bits_per_byte(nats, size_in_bytes))
figure = plots.yardsticks(sizes, perplexities, bits)
pyplot.show()

# %% [markdown]
# The experiment does all this at full size, compares kinds of text and languages under real tokenizers, and measures
# SmolLM2: `python -m ml.week05_tokenization.experiment`.
