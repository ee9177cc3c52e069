"""Week 11's experiment: every guardrail against data that it was not made on, and the suite against broken systems.

``--quick`` takes fewer folds, questions and values.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np

from ml.lesson import Run, data_folder, main
from ml.week11_guardrails import (
    breakage,
    figures,
    grounding,
    grounding_data,
    injection,
    pii,
    roc,
    scores,
    spans,
    studies,
    suite,
)
from ml.week11_guardrails.data import read_documents, read_pages, read_pii, read_prompts
from ml.week11_guardrails.defects import DEFECTS, LateBudget
from ml.week11_guardrails.grounding import Signs
from ml.week11_guardrails.grounding_data import Case
from ml.week11_guardrails.meter import Budget
from ml.week11_guardrails.minilm import load_embedder


def experiment(run: Run) -> None:
    for name, part in (("injection", injections), ("pii", personal_data), ("mtrag_cloud", groundedness)):
        folder = data_folder(name)
        if folder is None:
            run.say(f"left out: {part.__name__.replace('_', ' ')}, for the data {name!r} is not on this machine")
        else:
            part(run, folder)
    json_repair(run)
    money(run)
    the_suite(run)
    parity(run)


def injections(run: Run, folder: Path) -> None:
    prompts, orders = read_prompts(folder)
    rng = np.random.default_rng(run.seed)
    count = 3 if run.quick else 5
    fold = studies.folds(prompts.group, count, rng)
    logits = studies.scores_by_fold(prompts, fold, run.track(range(count), "folds"))
    keywords = np.array([injection.keyword_score(text) for text in prompts.texts])
    run.record("injection: area, n-grams", roc.area(prompts.labels, logits))
    run.record("injection: area, keyword list", roc.area(prompts.labels, keywords))
    single = studies.one_of_each(prompts.group)
    run.record("injection: area, n-grams, one of each family", roc.area(prompts.labels[single], logits[single]))

    chosen = fold < 2  # the threshold is chosen on two folds and judged on the others
    threshold, _ = roc.threshold_at(prompts.labels[chosen], logits[chosen], 0.02)
    flagged = logits >= threshold
    harmless, attack = ~chosen & (prompts.labels == 0), ~chosen & (prompts.labels == 1)
    run.record("injection: false alarms, promised 2 %", float(flagged[harmless].mean()))
    run.record("injection: attacks found", float(flagged[attack].mean()))
    run.record("injection: attacks found, one of each family", float(flagged[attack & single].mean()))
    rows = studies.rates_by_source(prompts, flagged, ~chosen)
    run.table("Flagged by source", ["source", "what", "texts", "share"], rows)
    unseen = {}
    left_out = ("WildGuard",) if run.quick else ("WildGuard", "NotInject", "PINT")
    for source in run.track(left_out, "sources left out"):
        for what, share in zip(("harmless", "attack"), studies.without_source(prompts, source, threshold), strict=True):
            if not np.isnan(share):
                unseen[f"{source} {what}"] = share
                run.record(f"injection: never seen, {source} {what}", share)
    documents = read_documents(folder)[: 15 if run.quick else None]
    whole, worst = studies.inside_documents(prompts, orders, documents, rng)
    run.record("injection: area, orders in documents, whole", whole)
    run.record("injection: area, orders in documents, worst sentence", worst)
    curves = {"hashed n-grams": (prompts.labels, logits), "keyword list": (prompts.labels, keywords)}
    touchy = single & ((prompts.sources == "WildGuard") | (prompts.labels == 1))
    curves["n-grams, one of each family"] = prompts.labels[single], logits[single]
    curves["the same, harmless: WildGuard's only"] = prompts.labels[touchy], logits[touchy]
    axes = "false alarms: share of the harmless that is flagged", "share of the attacks found"
    run.save(figures.draw_roc(curves, "Injection: attacks found, by false alarms", *axes), "injection")
    run.save(figures.draw_sources(rows, unseen), "sources")


def personal_data(run: Run, folder: Path) -> None:
    texts, labelled, template = read_pii(folder)
    held = template % 2 == 1  # the rules were written with the even templates in view
    texts = [text for text, out in zip(texts, held, strict=True) if out]
    labelled = [row for row, out in zip(labelled, held, strict=True) if out]
    found = spans.score(labelled, [pii.find(text) for text in texts])
    naked = spans.score(labelled, [pii.find(text, pii.unchecked()) for text in texts])
    rows = [
        (kind, s.labelled, s.found, s.precision, s.recall, s.f1, s.lenient_recall, naked[kind].f1)
        for kind, s in found.items()
    ]
    columns = ["kind", "n", "found", "P", "R", "F1", "R touched", "F1 unchecked"]
    run.table("Personal data, templates not in view", columns, rows)
    formed = ("AGE", "CREDIT_CARD", "DATE_TIME", "DOMAIN_NAME", "IP_ADDRESS", "PHONE_NUMBER", "US_SSN")
    shaped = {kind: found[kind] for kind in formed}
    run.record("pii: F1, kinds with a form", spans.total(shaped).f1)
    run.record("pii: F1, all kinds", spans.total(found).f1)
    run.record("pii: recall of names", found["PERSON"].recall)
    cards, ibans = studies.passing_at_random(2_000 if run.quick else 20_000, random.Random(run.seed))
    run.record("pii: random numbers that pass Luhn", cards)
    run.record("pii: random numbers that pass as IBAN", ibans)
    if pages := data_folder("govuk_docs"):
        read = read_pages(pages)
        kinds = Counter(span.kind for page in read for span in pii.find(page))
        del kinds["DOMAIN_NAME"], kinds["DATE_TIME"]
        run.say(f"On {len(read)} pages of a handbook (links and dates aside): {dict(kinds.most_common())}")
    run.save(figures.draw_pii(found), "pii")


def groundedness(run: Run, folder: Path) -> None:
    embed = load_embedder()
    cases = grounding_data.from_conversations(folder, 14 if run.quick else 90, run.seed)
    signs = Signs(embed, grounding.weigh_words({text for case in cases for text in case.passages}))
    with run.console.status("embedding answers and passages"):
        x, probability, support = studies.judge(signs, cases)
    judged = studies.halves(cases) == 1
    table = [
        ("IBM Cloud", kind, n, *three) for kind, (n, three) in studies.areas(cases, x, probability, judged).items()
    ]
    supported = np.array([case.kind == "supported" for case in cases], int)
    home = grounding.calibration(supported[judged], probability[judged])
    run.record("grounding: area, all kinds", roc.area(supported[judged], probability[judged]))
    run.record("grounding: calibration error", home[1])
    diagrams = {"IBM Cloud, other conversations": home}
    if (claims := data_folder("scifact")) and not run.quick:
        with run.console.status("embedding claims and abstracts"):
            rows, diagrams["SciFact"] = abroad(signs, claims, support, run.seed)
        table += rows
        run.record("grounding: calibration error, SciFact", diagrams["SciFact"][1])
    columns = ["data", "unsupported because", "sentences", "coverage", "similarity", "all four"]
    run.table("Areas under the curve", columns, table)
    for _, kind, _, coverage, similarity, four in table[:4]:
        run.record(f"grounding: area, {kind}", four)
        run.record(f"grounding: area by topic, {kind}", max(coverage, similarity))
    axes = "share of the unsupported that passes", "share of the supported that passes"
    curves = grounding_curves(cases, x, probability, judged)
    run.save(figures.draw_roc(curves, "Groundedness: same topic is not support", *axes, low=0.004), "grounding")
    run.save(figures.draw_calibration(diagrams), "calibration")


def abroad(
    signs: Signs, folder: Path, support: grounding.Support, seed: int
) -> tuple[list[tuple[str, str, int, float, float, float]], tuple[np.ndarray, float]]:
    """The model fitted on answers, on claims of another field: rows of areas, and its calibration there."""
    claims = grounding_data.from_claims(folder, 150, seed)
    far = Signs(signs.embed, grounding.weigh_words({text for case in claims for text in case.passages}))
    x, probability, _ = studies.judge(far, claims, support)
    found = studies.areas(claims, x, probability, np.ones(len(claims), bool))
    plain = np.array([case.kind != "denied" for case in claims])
    labels = np.array([case.kind == "supported" for case in claims], int)[plain]
    rows = [("SciFact", kind, n, *three) for kind, (n, three) in found.items()]
    return rows, grounding.calibration(labels, probability[plain])  # type: ignore[return-value]


def grounding_curves(
    cases: list[Case], x: np.ndarray, probability: np.ndarray, judged: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    kind = np.array([case.kind for case in cases])
    supported = (kind == "supported").astype(int)
    far, near = judged & np.isin(kind, ["supported", "shuffled", "same topic"]), judged & (kind != "shuffled")
    near &= kind != "same topic"
    return {
        "other passages: similarity": (supported[far], x[far, 1]),
        "other passages: all four signs": (supported[far], probability[far]),
        "changed sentence: similarity": (supported[near], x[near, 1]),
        "changed sentence: all four signs": (supported[near], probability[near]),
    }


def json_repair(run: Run) -> None:
    values = 100 if run.quick else 1_000
    outcomes = {
        way: breakage.measure(way, np.random.default_rng(run.seed), values)
        for way in run.track(list(breakage.WAYS), "breaking and repairing JSON")
    }
    rows = [(way, *shares.values()) for way, shares in outcomes.items()]
    run.table("Broken JSON", ["broken by", "same", "refused", "different"], rows)
    run.record("json: ways repaired without loss", sum(shares["same"] == 1 for shares in outcomes.values()))
    run.record("json: worst share silently different", max(shares["different"] for shares in outcomes.values()))
    run.save(figures.draw_repairs(outcomes), "repairs")


def money(run: Run) -> None:
    cap, most, real = 100_000, 9_000, 4_000  # micro-dollars: ten cents; at most, and in fact, for a question
    spent = {
        "looked at afterwards": studies.burst(LateBudget(cap), 40, most, real),
        "reserved beforehand": studies.burst(Budget(cap), 40, most, real),
    }
    for name, values in spent.items():
        run.record(f"cost: a burst of 40 at a cap of $0.10, {name}", f"${values[-1] / 1e6:.3f}")
    rng = np.random.default_rng(run.seed)
    slow = rng.random(20_000) < 0.05  # one in twenty waits for something
    seconds = np.where(slow, rng.lognormal(1.5, 0.4, 20_000), rng.lognormal(-0.7, 0.5, 20_000))
    errors = figures.quantile_errors(seconds, np.array([0.5, 0.95]))
    for name, (half, most_of) in errors.items():
        run.record(f"latency: error of p50 and p95, {name}", f"{half:.2%}, {most_of:.2%}")
    run.save(figures.draw_money(spent, cap, seconds), "money")


def the_suite(run: Run) -> None:
    results = suite.run(suite.intact)
    run.say(suite.report(results))
    red, checks = suite.matrix({name: DEFECTS[name] for name in run.track(list(DEFECTS), "breaking the system")})
    run.record("suite: checks, passed by the intact system", f"{len(results)}, {sum(r.passed for r in results)}")
    run.record("suite: defects, noticed", f"{len(red)}, {int(red.any(1).sum())}")
    run.record("suite: defects that one check alone notices", int((red.sum(1) == 1).sum()))
    run.save(figures.draw_matrix(red, list(DEFECTS), checks), "suite")


def parity(run: Run) -> None:
    """Ours against DeepEval's on the same random verdicts and calls: the largest difference."""
    from ml.week11_guardrails import with_deepeval as theirs

    rng, repeats = np.random.default_rng(run.seed), 50 if run.quick else 300
    gaps = []
    for name in run.track(list(theirs.OURS), "metrics beside DeepEval"):
        for _ in range(repeats):
            verdicts = theirs.random_verdicts(name, rng)
            gaps.append(abs(theirs.judged(name, verdicts) - theirs.OURS[name](verdicts)))
    twice = 0
    for _ in range(repeats):
        wanted, given = theirs.random_calls(rng), theirs.random_calls(rng)
        value = theirs.tool_score(wanted, given, arguments=True)
        gaps.append(abs(value - scores.tools_in_any_order(wanted, given, True, by_value=True)))
        twice += abs(value - scores.tools_in_any_order(wanted, given, True)) > 1e-9
        ordered = theirs.tool_score(wanted, given, arguments=True, ordered=True)
        gaps.append(abs(ordered - scores.tools_in_order(wanted, given, True)))
    run.record("deepeval: comparisons", len(gaps))
    run.record("deepeval: largest difference", max(gaps))
    run.record("deepeval: scored otherwise because equal calls count once", twice)


if __name__ == "__main__":
    main(experiment, "Week 11: guardrails, tests and money")
