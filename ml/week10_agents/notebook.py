# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
# ---

# %% [markdown]
# # Week 10: agents
#
# A language model can only write. An agent is a program that lets some of what it writes happen. Everything here runs
# on this machine: two services that speak Open-Meteo's and Frankfurter's APIs, and an endpoint as strict as the real
# one.
#
# Read the files in the order of the README; this notebook runs each idea once.

# %%
from ml.lesson import style_figures

style_figures()

import json

import matplotlib.pyplot as plt

# %% [markdown]
# ## A schema stands between the model and the function
#
# What a model writes is checked before it becomes a call, and what is wrong goes back to it in words.
# %%
from ml.week10_agents.apis import Services, make_client, make_tools
from ml.week10_agents.schema import explain

services = Services()
client = make_client(services)
exchange = next(tool for tool in make_tools(client, services) if tool.name == "exchange")
for wrong in ({"amount": "ten", "base": "EUR", "quote": "CHF"}, {"amount": 10, "base": "euro", "to": "CHF"}):
    print(explain(wrong, exchange.schema))

# %% [markdown]
# ## The loop
#
# A scripted model makes a mistake, reads the error, and mends it. The endpoint refuses a conversation in which a call
# has no answer; the loop gives every id exactly one.

# %%
from ml.week10_agents import loop
from ml.week10_agents.chat import OpenAIModel
from ml.week10_agents.local_apis import local_apis
from ml.week10_agents.local_model import Script, calls, local_model, says

script = Script(
    calls(("exchange", {"amount": 40, "base": "UKP", "quote": "EUR"}), ("find_place", {"name": "Oslo"})),
    calls(("exchange", {"amount": 40, "base": "GBP", "quote": "EUR"}), first=3),
    says("40 pounds are 45.66 euros."),
)
with local_apis() as apis, local_model(script) as served:
    async with make_client(apis.services) as client, OpenAIModel(served.settings) as model:
        tools = make_tools(client, apis.services)
        trace = await loop.answer("How many euros are 40 pounds?", model, tools)  # noqa: F704
for called in trace.called:
    print(called.step, called.name, called.outcome, "|", called.text[:90])
print(trace.answer)
print([message["role"] for message in served.requests[-1]["messages"]])

# %% [markdown]
# ## Three architectures
#
# The same rule-based stand-in answers through function calls, through ReAct's text and through a plan. It is no
# language model; only the differences between the three mean something.

# %%
from ml.week10_agents.figures import timeline
from ml.week10_agents.tasks import TASKS, do_all, totals

done = await do_all(model_delay=0.02, api_delay=0.01)  # noqa: F704
for name, one in done.items():
    right, requests, made, tokens, _ = totals(one)
    print(f"{name:17} {right} of {len(one)} right, {requests} requests, {made} calls, {tokens:,} tokens")
question = next(task.question for task in TASKS if task.why == "two chains")
_ = timeline([item.trace for one in done.values() for item in one if item.task.question == question], question)
plt.show()

# %% [markdown]
# ## A write waits
#
# Reading runs at once. A write needs an approval for exactly these arguments.

# %%
from ml.week10_agents.tools import fingerprint

wanted = {"base": "USD", "quote": "EUR", "below": 0.8}
for approved in (
    (),
    (fingerprint("set_rate_alert", wanted),),
    (fingerprint("set_rate_alert", wanted | {"below": 0.9}),),
):
    with local_apis() as apis, local_model(Script(calls(("set_rate_alert", wanted)), says("Done."))) as served:
        async with make_client(apis.services) as client, OpenAIModel(served.settings) as model:
            tools = make_tools(client, apis.services)
            trace = await loop.answer("Alert me.", model, tools, approved=approved)  # noqa: F704
    print(trace.called[0].outcome, "|", trace.called[0].text)

# %% [markdown]
# ## Constrained decoding
#
# The schema becomes an automaton over bytes; in each state a mask over the vocabulary says which tokens may follow.
# Here the "model" is random numbers with a liking for small letters, and still every text is valid.

# %%
import numpy as np

from ml.week10_agents.constrained import Masks, Vocabulary, decode
from ml.week10_agents.grammar import compile_schema
from ml.week10_agents.schema import valid

schema = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "days"],
}
automaton = compile_schema(schema)
tokens = [bytes([byte]) for byte in range(256)] + [b'{"', b'": ', b", ", b"cel", b"sius", b"Os", b"lo"]
letters = Vocabulary(tokens)


class RandomScores:
    """No model at all."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def start(self, prompt):
        scores = self.random.standard_normal(len(tokens)).astype(np.float32)
        scores[ord("a") : ord("z") + 1] += 3
        return scores

    extend = start


print(f"{len(automaton.table)} states")
for seed in range(4):
    text = decode(RandomScores(seed), [], Masks(automaton, letters), budget=70).text
    print(text, valid(json.loads(text), schema))

# %% [markdown]
# `experiment.py` puts SmolLM2's scores in their place, and counts how many of the valid calls are the right ones.
#
# ## BFCL's match
#
# Right calls in any order, strings without case and punctuation, every value one of those that the ground truth lists.

# %%
from ml.week10_agents.bfcl import first_answer, make_case
from ml.week10_agents.bfcl_match import mistake
from ml.week10_agents.bfcl_mutations import mutants

parameters = {"type": "dict", "properties": {"artist": {"type": "string"}, "minutes": {"type": "integer"}}}
case = make_case(
    {
        "id": "parallel_0",
        "category": "parallel",
        "question": [[{"role": "user", "content": "Play Taylor Swift and Maroon 5, 20 and 15 minutes."}]],
        "function": [
            {"name": "play", "description": "Play songs.", "parameters": parameters | {"required": ["artist"]}}
        ],
        "ground_truth": [
            {"play": {"artist": ["Taylor Swift"], "minutes": [20]}},
            {"play": {"artist": ["Maroon 5"], "minutes": [15]}},
        ],
    }
)
right = first_answer(case)
print("right, and in the other order:", mistake(case, right) == "", mistake(case, right[::-1]) == "")
print("another spelling:", mistake(case, [right[0], ("play", {"artist": "maroon-5", "minutes": 15})]) == "")
for kind, wrong_calls in list(mutants(case, right))[:6]:
    print(f"{kind}: {mistake(case, wrong_calls)}")
