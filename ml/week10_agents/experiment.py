"""Week 10, measured: three architectures and LangChain on thirteen tasks, BFCL's match, and a real small model under
a mask.

Services and the endpoint are this machine's own (``local_apis.py``, ``local_model.py``); no request leaves it.
Whatever is not here (BFCL's data, SmolLM2) is left out, and the output says so. ``--each N`` asks SmolLM2 more of
BFCL.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable

import torch

from ml.lesson import LessonError, Run, data_folder, main
from ml.week10_agents import bfcl_study, figures
from ml.week10_agents.apis import Alerts, make_client, make_tools
from ml.week10_agents.bfcl import Case, first_answer, load, sample
from ml.week10_agents.bfcl_match import mistake
from ml.week10_agents.bfcl_mutations import mutants
from ml.week10_agents.bfcl_study import Answered, Score
from ml.week10_agents.constrained import Masks
from ml.week10_agents.grammar import compile_schema
from ml.week10_agents.local_apis import local_apis
from ml.week10_agents.local_model import local_model
from ml.week10_agents.rules import stand_in
from ml.week10_agents.small_model import SmallModel, calls_schema, own_cases
from ml.week10_agents.tasks import TASKS, do_all, is_right, totals

MODEL_DELAY, API_DELAY = 0.05, 0.03  # seconds; a real model takes ten times as long


def experiment(run: Run) -> None:
    torch.set_num_threads(1)
    _architectures(run)
    _langchain(run)
    folder = data_folder("bfcl")
    cases = load(folder) if folder else []
    systems: dict[str, dict[str, Score]] = {}
    if cases:
        _checker(run, cases[:: 5 if run.quick else 1])
        systems["words and rules"] = _baseline(run, cases)
    else:
        run.say("left out: BFCL's match and the baseline; shared/data/bfcl is not here (ALMANAC_DATA).")
    _small_model(run, cases, systems)
    if systems:
        run.save(figures.bfcl(systems), "bfcl")


def _architectures(run: Run) -> None:
    with run.console.status("three architectures, thirteen tasks"):
        count = _token_counter()
        done = asyncio.run(do_all(model_delay=MODEL_DELAY, api_delay=API_DELAY, count=count))
    rows = [[name, *totals(one)] for name, one in done.items()]
    run.table("Thirteen tasks, the same rule-based stand-in", ["", "right", "requests", "calls", "tokens", "s"], rows)
    for name, right, requests, calls, tokens, _ in rows:
        run.record(f"{name}: right", right)
        run.record(f"{name}: requests, calls, tokens", f"{requests}, {calls}, {tokens}")
    run.save(figures.architectures(done), "architectures")
    four = [one.trace for done_ in done.values() for one in done_ if one.task.why == "four chains"]
    run.save(figures.timeline(four, f"“{four[0].question}” (model {MODEL_DELAY * 1000:.0f} ms, services "
                              f"{API_DELAY * 1000:.0f} ms away)"), "timeline")  # fmt: skip


def _token_counter() -> Callable[[str], int] | None:
    """SmolLM2's own tokens where it is installed; else four characters count as one."""
    try:
        from ml.week04_transformers.gguf_file import read_gguf
        from ml.week04_transformers.pretrained import gguf_tokenizer, smollm2_file

        file = smollm2_file()
        tokenizer = gguf_tokenizer(read_gguf(file)[0]) if file else None
    except ImportError:
        tokenizer = None
    return (lambda text: len(tokenizer(text)["input_ids"])) if tokenizer else None


def _langchain(run: Run) -> None:
    from ml.week10_agents import with_langchain  # takes seconds to import

    async def ask() -> tuple[int, int, int]:
        right = requests = calls = 0
        with local_apis() as apis, local_model(stand_in) as served:
            async with make_client(apis.services) as client:
                for task in [task for task in TASKS if "write" not in task.why]:
                    apis.failing = {path: [503] for path in task.failing}
                    trace = await with_langchain.answer(
                        task.question, served.settings, make_tools(client, apis.services)
                    )
                    right += is_right(task, trace, Alerts())
                    requests, calls = requests + len(trace.asked), calls + len(trace.ran)
        return right, requests, calls

    right, requests, calls = asyncio.run(ask())
    run.say(
        f"LangChain's create_agent, the twelve tasks that only read: {right} right, {requests} requests, {calls} calls"
    )
    run.record("LangChain: right of 12", right)


def _checker(run: Run, cases: list[Case]) -> None:
    truths, wrong, passed = 0, Counter[str](), Counter[str]()
    for case in run.track(cases, "ground truth and mutants"):
        right = first_answer(case)
        truths += not mistake(case, right)
        for kind, calls in mutants(case, right):
            wrong[kind] += 1
            passed[kind] += not mistake(case, calls)
    run.record("ground truth that the match accepts", f"{truths} of {len(cases)}")
    run.record("mutants that it accepts", f"{sum(passed.values())} of {sum(wrong.values())}")
    run.table(
        "Right answers made wrong",
        ["how", "mutants", "accepted"],
        [[kind, wrong[kind], passed[kind]] for kind in wrong],
    )


def _baseline(run: Run, cases: list[Case]) -> dict[str, Score]:
    chosen_on, judged_on = bfcl_study.halves(cases)
    with run.console.status("words and rules"):
        chooser = bfcl_study.fit(chosen_on[::4] if run.quick else chosen_on)
        found = bfcl_study.scores(judged_on, chooser.calls)
    run.record("words and rules: threshold, share", f"{chooser.threshold}, {chooser.share}")
    run.record("words and rules: mean of the categories", round(bfcl_study.overall(found), 3))
    rows = [[name, score.cases, score.rate, score.named / score.cases] for name, score in found.items()]
    run.table("Words and rules, on the half that chose nothing", ["category", "cases", "right", "names right"], rows)
    return found


def _small_model(run: Run, cases: list[Case], systems: dict[str, dict[str, Score]]) -> None:
    each = run.arguments.each or (1 if run.quick else 6)
    chosen = sample(cases, each) if cases else own_cases()
    if run.quick and cases:
        chosen = [case for case in chosen if case.category in ("simple_python", "multiple", "irrelevance")]
    try:
        with run.console.status("reading SmolLM2"):
            model = SmallModel()
    except LessonError as error:
        run.say(f"left out: constrained decoding. {error}")
        return
    masked, free, silent = [], [], 0
    for place, case in enumerate(run.track(chosen, "SmolLM2, with the mask and without")):
        answered, none = bfcl_study.ask_masked(model, case)
        masked.append(answered)
        silent += none
        if place % (1 if each < 3 else 3) == 0:  # eighty tokens of prose take longer than a call
            free.append(bfcl_study.ask_freely(model, case))
    counts = {"with the mask": _count(masked), "without": _count(free)}
    for (name, values), answers in zip(counts.items(), (masked, free), strict=True):
        run.record(f"SmolLM2 {name}: JSON, fits, right", f"{', '.join(map(str, values))} of {len(answers)}")
    run.record("SmolLM2: calls nothing where it may", f"{silent} of {len(masked)}")
    written = [one.written for one in masked]
    tokens = sum(one.chosen for one in written)
    run.record("tokens chosen, tokens forced", f"{tokens}, {sum(one.forced for one in written)}")
    run.record("choices in which the model's favourite was allowed", round(sum(o.best for o in written) / tokens, 3))
    sizes = (len(masked), len(free))
    run.save(figures.validity(counts, sizes, _sizes(model), len(model.vocabulary.lengths)), "validity")
    if cases and not run.quick:
        given = {one.case.id: one.calls for one in masked}
        systems["SmolLM2 under the mask (sample)"] = bfcl_study.scores(chosen, lambda case: given[case.id])


def _count(answers: list[Answered]) -> tuple[int, int, int]:
    """How many are JSON, fit the schema, are right."""
    return sum(one.parses for one in answers), sum(one.fits for one in answers), sum(one.right for one in answers)


def _sizes(model: SmallModel) -> list[tuple[str, int]]:
    """For one answer, each token that was chosen and how many the mask allowed."""
    case = own_cases()[0]
    masks = Masks(compile_schema(calls_schema(case.tools())), model.vocabulary)
    text, state, sizes = (
        model.constrained(model.prompt(case.question, case.tools()), calls_schema(case.tools())).text,
        0,
        [],
    )
    left = text.encode()
    while left:
        forced = masks.automaton.forced(state)
        if not forced:
            ends = masks.ends(state)
            token = next(one for one in model.encode(left.decode()) if ends[one] >= 0)
            forced = bytes(model.vocabulary.bytes[token, : model.vocabulary.lengths[token]])
            sizes.append((forced.decode(errors="replace"), int((ends >= 0).sum())))
        state, left = masks.automaton.walk(state, forced), left[len(forced) :]
    return sizes


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--each", type=int, default=0, help="BFCL cases a category for SmolLM2 (6; with --quick 1)")


if __name__ == "__main__":
    main(experiment, "Week 10: agents, from a call to a plan", arguments)
