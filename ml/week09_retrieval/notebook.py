# %% [markdown]
# # Week 9: retrieval, from chunks to citations
#
# A language model knows what it was trained on; it does not know your runbook. Retrieval-augmented generation finds the
# few passages that bear on a question and puts them in the prompt. This notebook walks through the parts: cutting,
# finding by words, finding by vectors, doing that fast, putting both together, and answering from a PDF.

# %%
from ml.lesson import style_figures

style_figures()
import faiss
import matplotlib.pyplot as plt
import numpy as np

faiss.omp_set_num_threads(1)

# %% [markdown]
# ## 1. Cutting
#
# The same page, four ways. Watch what each chunker does to the command: `fixed` cuts it in half, and only `markdown`
# lets the last paragraph say that it is about rolling back.

# %%
from ml.week09_retrieval import chunking

page = """# Deploying the payments service

## Release
Merge to main. The pipeline builds the image, e.g. payments:2024.11, and deploys it to staging.

## Rollback
First tell the channel #payments. Then run:

```sh
kubectl rollout undo deployment/payments
```

It takes about two minutes. Watch the error rate while it runs."""

ways = {
    "fixed": chunking.fixed(page, 110),
    "sentences": chunking.sentences(page, 110),
    "recursive": chunking.recursive(page, 110),
    "markdown": chunking.markdown(page, 110),
}
for name, chunks in ways.items():
    print(f"--- {name}")
    for chunk in chunks:
        print("   ", repr(chunk.indexed))

# %% [markdown]
# ## 2. Finding by words
#
# BM25 adds up, for each word of the question, how rare the word is times a share that grows with its count but levels
# off. Two pictures of the formula: rarity, and saturation (with `k1`) for short and long documents (with `b`).

# %%
from ml.week09_retrieval.bm25 import BM25, METHODS, tokenise

documents = [chunk.indexed for chunk in ways["markdown"]]
index = BM25([tokenise(text) for text in documents])
scores, ids = index.search(tokenise("how long does a rollback take"), 3)
for score, place in zip(scores, ids, strict=True):
    print(f"{score:.3f}  {documents[place]!r}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
thousand = [["w"]] + [["x"]] * 999
df = np.arange(1, 1000)
for method in METHODS[:3]:
    left.plot(df, [BM25(thousand, method).idf(n) for n in df], label=method)
left.set(xlabel="documents that hold the word (of 1,000)", ylabel="idf", title="A rare word says more")
left.legend(handlelength=4)
tf = np.arange(0, 16, dtype=float)
for length in (50, 100, 200):
    even = BM25([["w"] * 100])
    right.plot(tf, even.part(tf, np.full(16, float(length))), label=f"{length} words")
right.set(xlabel="times the word occurs", ylabel="part", title="The tenth mention adds little")
right.legend(title="document (average: 100)", handlelength=4)
plt.show()

# %% [markdown]
# ## 3. Finding by vectors, exactly
#
# BM25 finds nothing for a question that shares no word with its answer. Vectors do: texts that mean the like lie close.
# Here GloVe's word vectors stand in for them (loading a sentence model takes longer than everything else in this
# notebook; `ask` at the end and the experiment use MiniLM). The exact index is one matrix product and a partial sort.

# %%
from ml.week09_retrieval.compare import exact_neighbours
from ml.week09_retrieval.data import clustered, glove

table = glove(3_100)
table = clustered(3_100, 50, np.random.default_rng(0)) if table is None else table
order = np.random.default_rng(0).permutation(len(table))
queries, vectors = table[order[:100]], table[order[100:]]  # (100, 50), (3000, 50)
exact = exact_neighbours(vectors, queries)  # (100, 10)
theirs = faiss.IndexFlatL2(50)
theirs.add(vectors)
print("same ids as FAISS:", np.array_equal(exact, theirs.search(queries, 10)[1]))

# %% [markdown]
# ## 4. Finding fast: cells, codes, a graph
#
# **IVF** sorts vectors into cells and looks into the nearest few. In two dimensions one can see what is lost: with one
# cell probed, the neighbours just across the border are never looked at.

# %%
from ml.week09_retrieval.flat import FlatIndex
from ml.week09_retrieval.ivf import IVFIndex

plane = np.random.default_rng(4).uniform(0, 1, (600, 2)).astype(np.float32)
cells = IVFIndex(2, 12)
cells.train(plane)
cells.add(plane)
query = np.array([[0.49, 0.52]], dtype=np.float32)
whole = FlatIndex(2)
whole.add(plane)
true = whole.search(query, 12)[1][0]
found = cells.search(query, 12)[1][0]
figure, axis = plt.subplots(figsize=(4.6, 4.4))
cell_of = np.empty(600, dtype=int)
cell_of[cells.ids] = cells.cells
axis.scatter(*plane.T, c=cell_of, cmap="cividis", s=9, alpha=0.6)
axis.scatter(*cells.centroids.T, marker="x", c="black", s=40, label="centre of a cell")
axis.scatter(*plane[true].T, facecolors="none", edgecolors="#D55E00", s=110, linewidths=1.6, label="true 12 nearest")
axis.scatter(*plane[found].T, facecolors="none", edgecolors="black", s=45, linewidths=1.4, label="found in one cell")
axis.scatter(*query.T, marker="*", c="#D55E00", edgecolors="black", s=180, label="query")
axis.set(title="IVF with one probe", xlabel="first dimension", ylabel="second dimension")
axis.legend(fontsize=7, loc="lower left", frameon=True, framealpha=1)
axis.grid(visible=False)
plt.show()
print("found of the true twelve:", np.intersect1d(true, found).size)

# %% [markdown]
# **PQ** keeps a byte for each part of a vector and compares by table look-up. **HNSW** links each vector to a diverse
# few and walks. Each trades recall for something else: IVF for time, PQ for memory, HNSW for time at the price of
# memory and slow building. The count of distances, not the clock, compares them fairly: ours are Python loops.

# %%
from ml.week09_retrieval.hnsw import HNSWIndex
from ml.week09_retrieval.metrics import recall_at
from ml.week09_retrieval.pq import PQIndex

curves = {"IVF, 40 cells": [], "HNSW, m = 12": []}
lists = IVFIndex(50, 40)
lists.train(vectors)
lists.add(vectors)
for lists.probes in (1, 2, 4, 8, 16):
    lists.compared = 0
    recall = recall_at(lists.search(queries, 10)[1], exact)
    curves["IVF, 40 cells"].append((lists.compared / 100, recall))
graph = HNSWIndex(50, m=12, ef_construction=40)
graph.add(vectors)
for graph.ef in (10, 20, 40, 80):
    graph.compared = 0
    recall = recall_at(graph.search(queries, 10)[1], exact)
    curves["HNSW, m = 12"].append((graph.compared / 100, recall))
figure, axis = plt.subplots(figsize=(6, 3.6))
for (name, points), marker in zip(curves.items(), "os", strict=True):
    axis.plot(*zip(*points, strict=True), marker=marker, label=name)
axis.axvline(len(vectors), color="black", linewidth=1, linestyle="-", label="exact: all 3,000")
axis.set(xlabel="distances computed a query", ylabel="recall@10", title="The graph looks at less for the same recall")
axis.legend(handlelength=4)
plt.show()

codes = PQIndex(50, 10)
codes.train(vectors)
codes.add(vectors)
recall = recall_at(codes.search(queries, 10)[1], exact)
print(f"PQ: {codes.codes.shape[1]} bytes instead of {vectors[0].nbytes}, recall@10 {recall:.2f}")

# %% [markdown]
# ## 5. Both together
#
# Reciprocal rank fusion needs ranks only. What both rankings name wins over what one names first: `b` over `a`.

# %%
from ml.week09_retrieval.fusion import reciprocal_rank_fusion

words, meaning = ["a", "b", "c"], ["b", "d", "a"]
for document, score in reciprocal_rank_fusion([words, meaning]):
    print(document, f"{score:.5f}")

# %% [markdown]
# ## 6. Questions to a PDF
#
# The prompt numbers the passages and asks for the numbers back. This is what the model would be sent; without a key,
# `ask` shows the document's own best sentences instead. Try it on a PDF of yours:
#
# ```
# python -m ml.week09_retrieval.ask --pdf manual.pdf "How long is the warranty?"
# ```

# %%
from ml.week09_retrieval.pdf import passages
from ml.week09_retrieval.rag import cited, prompt

pages = ["The tank holds 1.8 litres.", "The warranty lasts 24 months from the day of", "purchase. Error E42: the pump."]
found = passages(pages)
for message in prompt("How long is the warranty?", found):
    print(f"[{message['role']}]\n{message['content']}\n")
answer = cited("It lasts 24 months [2], or so some say [7].", found)
print(answer.text, "|", ", ".join(source.pages for source in answer.sources))
