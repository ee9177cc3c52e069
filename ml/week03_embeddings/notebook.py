# %% [markdown]
# # Week 3: words as vectors
#
# A model computes with numbers, and a word is none. This week goes from the crudest answer (a one in a row of zeros)
# to the one that Almanac searches with (a vector that depends on the sentence). The code is in the modules beside
# this notebook; here it is run on 60,000 words of news from 2001 that gensim ships with its tests.

# %%
from ml.lesson import style_figures

style_figures()

import warnings

import matplotlib.pyplot as plt
import numpy as np

from ml.week03_embeddings import contextual, cooccurrence, corpus, figures, glove, onehot, skipgram, with_gensim
from ml.week03_embeddings.evaluation import NEWS_TOPICS, agreement, chance_precision, topic_precision
from ml.week03_embeddings.negative_sampling import Settings
from ml.week03_embeddings.pretrained import load_glove
from ml.week03_embeddings.senses import SENSES
from ml.week03_embeddings.vectors import WordVectors
from ml.week03_embeddings.vocabulary import Vocabulary

plt.rcParams["figure.dpi"] = 90
warnings.filterwarnings("ignore", message="IProgress")  # tqdm would like a widget
news = corpus.news()
vocabulary = Vocabulary.of(news.pieces, minimum=5)
text = vocabulary.encode(news.pieces)
print(f"{news.tokens:,} running words, {len(vocabulary):,} kept; the most frequent: {vocabulary.words[:8]}")

# %% [markdown]
# ## One-hot: which word, and nothing else
#
# Every two words are the same distance apart. But a one-hot row times a matrix *is* an embedding look-up, and its
# transpose times the gradients is what an embedding layer's backward pass does: `onehot.py`.

# %%
rows = onehot.one_hot(vocabulary.encode([["monday", "tuesday", "fire"]]).ids, len(vocabulary))
print("distances:", np.linalg.norm(rows[:, None] - rows, axis=2).round(3).tolist())
table = np.random.default_rng(0).normal(size=(len(vocabulary), 4))
print("a product is a look-up:", np.allclose(rows @ table, table[rows.argmax(axis=1)]))

# %% [markdown]
# ## Count the company
#
# Frequent words are everyone's neighbours, so raw counts say "the". PMI asks instead how much more often two words
# meet than chance would have it.

# %%
counts = cooccurrence.count(text, len(vocabulary), window=5)
weighted = cooccurrence.ppmi(counts)
row = vocabulary.index["cricket"]
for name, matrix in (("counts", counts), ("PPMI", weighted)):
    best = np.argsort(-matrix[[row]].toarray()[0])[:8]
    print(f"{name:7}", [vocabulary.words[number] for number in best])

# %% [markdown]
# A row of this matrix has 1,776 numbers. A truncated SVD keeps the fifty directions that carry most, and words that
# share company, though they may never have met, move together.

# %%
svd = WordVectors(vocabulary.words, cooccurrence.svd_vectors(weighted, 50, np.random.default_rng(0)))
for word in ("israeli", "cricket", "qantas"):
    print(f"{word:8}", [name for name, _ in svd.nearest(word, 6)])

# %% [markdown]
# ## Predict the company
#
# Skip-gram reads the text pair by pair and learns to tell true neighbours from drawn noise. Same seed, same vectors.
# The loss starts where all answers are "one half", at $(K + 1) \log 2 = 4.16$.

# %%
settings = Settings(epochs=4, rate=0.1)
trained = skipgram.train(text, vocabulary, settings)
ours = WordVectors(vocabulary.words, trained.vectors)
print("loss of each epoch:", np.round(trained.losses, 3).tolist())

# %% [markdown]
# gensim does the same in C. Two of its runs with different seeds rank word pairs alike to some degree and no more;
# that is the ceiling for anybody's re-implementation. GloVe, fitted to the counts, is another method and may differ.

# %%
first, second = (
    with_gensim.in_our_order(with_gensim.train(news, settings, skip_gram=True, seed=s), vocabulary) for s in (1, 2)
)
harmonic = cooccurrence.count(text, len(vocabulary), window=10, harmonic=True)
parameters, _ = glove.train(harmonic, glove.GloveSettings(limit=2, epochs=5))
fitted = WordVectors(vocabulary.words, glove.word_vectors(parameters))
frequent = vocabulary.words[100:500]
print("model               agrees with gensim   topic precision")
for name, vectors in {"gensim, 2nd seed": second, "our skip-gram": ours, "our SVD": svd, "our GloVe": fitted}.items():
    print(f"{name:18} {agreement(vectors, first, frequent):14.2f} {topic_precision(vectors, NEWS_TOPICS):18.2f}")
print(f"{'chance':18} {0:14.2f} {chance_precision(ours, NEWS_TOPICS):18.2f}")

# %% [markdown]
# The oldest method wins on this corpus. Few words means few updates for a predictor, while one SVD uses every count
# at once. The map shows what skip-gram found all the same. In the right half, do not read anything into distances.

# %%
_ = figures.embedding_map(ours, NEWS_TOPICS, "Words of six topics, vectors of our skip-gram on 60,000 words of news")
# %% [markdown]
# ## Six billion words
#
# Stanford's GloVe shows what data does: analogies come out that our 60,000 words never could. It also shows what it
# read: newspapers and an encyclopedia, not runbooks.

# %%
real = load_glove(50_000)
for a, b, c in (("man", "king", "woman"), ("france", "paris", "japan"), ("small", "smaller", "large")):
    print(f"{a} : {b} = {c} :", real.analogy(a, b, c, 3))
for word in ("branch", "bug", "pod"):
    print(f"{word:8}", [name for name, _ in real.nearest(word, 6)])

# %% [markdown]
# ## One word, several meanings
#
# "branch" has one row in GloVe's table, and the sentence cannot change it. A transformer's vector of the same word
# moves with its company. Each point below is the word in one sentence; the senses part without having been told.

# %%
model = contextual.ContextualModel()
layers, labels, parted = {}, {}, {}
for word, senses in SENSES.items():
    sentences = [sentence for said in senses.values() for sentence in said]
    labels[word] = [sense for sense, said in senses.items() for _ in said]
    layers[word] = model.word_vectors(word, sentences)
    parted[word] = [contextual.silhouette(layer, labels[word]) for layer in layers[word]]
_ = figures.sense_maps({word: v[-1] for word, v in layers.items()}, labels, {word: p[-1] for word, p in parted.items()})
# %% [markdown]
# Where does it happen? Layer 0 is the table's row plus a position: no better than static. One layer of attention
# does most of it. The last layer parts the senses less than the one before: it was trained for the mean over the
# sentence, which is what Almanac stores. Week 4 opens the box.

# %%
_ = figures.layer_curves(parted)
