# %% [markdown]
# # Week 12: an assistant in one file
#
# Everything that makes an assistant trustworthy surrounds the model, and all of it is small. We build one from
# `assistant.py` (under 300 lines), ask it things, and look at what stops it.

# %%
from ml.lesson import style_figures

style_figures()
from ml.week12_capstone.assistant import Assistant, Index, fingerprint, read_folder, select
from ml.week12_capstone.experiment import (
    HANDBOOK,
    MEMBER,
    READERS,
    choose_threshold,
    plot_scores,
    read_questions,
    score,
)
from ml.week12_capstone.internal_api import internal_api, make_tools
from ml.week12_capstone.minilm import load_embedder

# %% [markdown]
# ## Documents become passages, passages become units
#
# A passage is what search finds; a unit (a sentence, a list item, a table row with its header) is what an answer shows.

# %%
passages = [p for p in read_folder(HANDBOOK, READERS) if p.page.startswith(("deploy/", "security/", "oncall/"))]
for unit in next(p for p in passages if "How long you have" in p.heading).units[:4]:
    print("-", unit)

# %%
index = Index(passages, load_embedder())
print(len(passages), "passages, vectors of shape", index.vectors.shape)

# %% [markdown]
# ## Two rankings, one order
#
# The words know names and codes, the vectors know paraphrases. Reciprocal rank fusion asks for no common scale.

# %%
question = "How long may finder be rolled back?"
lexical, similar = index.rank(question, set(MEMBER))
for name, ranking in (("words  ", lexical), ("vectors", similar)):
    print(name, [passages[i].heading for i in ranking[:3]])
print("fused  ", [p.heading for p in index.search(question, set(MEMBER), 3)])

# %% [markdown]
# ## Selecting, and knowing when there is nothing to select

# %%
for asked in (question, "When was the company founded?"):
    best = select(asked, index.search(asked, set(MEMBER)), index)[0]
    print(f"{best[0]:.2f}  {asked}\n      {best[2]}\n")

# %% [markdown]
# One number separates the two: the threshold. It is chosen on questions whose answers we know, which is all that
# "calibration" means here. Near misses (the page is right, the fact is not there) are what it gets wrong.

# %%
pages = {p.page for p in passages}
questions = [q for q in read_questions() if q.get("page") in pages or (q["expect"] == "not in the documents")]
scores = [score(q, index) for q in questions]
threshold = choose_threshold(scores)
plot_scores(scores, questions, threshold)

# %% [markdown]
# ## Permissions come before ranking, approvals are for arguments
#
# Pages under `security/` are for one group. For everybody else they are not hidden from the answer: they were never
# ranked.

# %%
assistant = Assistant(index, threshold=threshold)
for groups in (MEMBER, frozenset()):
    outcome = assistant.ask("How often are RabbitMQ passwords rotated?", groups=groups)
    print(sorted(groups), "->", outcome.kind, "|", outcome.text)

# %%
with internal_api() as (address, versions):
    assistant = Assistant(index, make_tools(address), threshold)
    print(assistant.ask("What is the status of ledger?").text)
    print(assistant.ask("Roll back finder to 2026.18.4").text)
    token, (tool, shown) = next(iter(assistant.pending.items()))
    print("for ledger the approval would be another:", fingerprint(tool, {**shown, "service": "ledger"}) != token)
    print(assistant.approve(token).text, "| it now runs", versions["finder"])
    print(assistant.approve(token).text)

# %% [markdown]
# ## What to try next
#
# The exercises in the README: filter after ranking and count what is lost, loosen the approval, put a price on a wrong
# answer, and get past the attack pattern. Then take the [tour](tour.md) through the product.
