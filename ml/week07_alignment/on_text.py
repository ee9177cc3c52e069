"""Parts 4 and 5 of the experiment, on real text: replies of an assistant, and passages for a question."""

from __future__ import annotations

import numpy as np
from matplotlib import pyplot

from ml.lesson import LessonError, Run, data_folder
from ml.week07_alignment.features import (
    LEXICAL_NAMES,
    PASSAGE_NAMES,
    REPLY_NAMES,
    passage_matrices,
    reply_features,
    reply_matrices,
    similarities,
)
from ml.week07_alignment.pairs import held_out, interval, load_passages, load_replies, wins
from ml.week07_alignment.preference import PreferenceModel, fit, fit_voters, limit_voters
from ml.week07_alignment.reranking import Reranker, smollm2_candidates

LIMIT = 8.0  # votes of one voter that count


def replies(run: Run) -> None:
    """Re-ranking accuracy on held-out pairs of replies, by subset; then best of n with a real model."""
    folder = data_folder("hh_rlhf")
    if folder is None:
        run.say("hh_rlhf is not here (ALMANAC_DATA): re-ranking of replies is skipped.")
        return
    rng = np.random.default_rng(run.seed)
    pairs = load_replies(folder)
    better, worse = reply_matrices(pairs)  # (N, F) each
    test = held_out([pair.prompt for pair in pairs], 0.3, rng)  # (N,)
    model = fit(better[~test], worse[~test], names=REPLY_NAMES, prior=3.0)
    groups = np.array([pair.group for pair in pairs])  # (N,)
    prompts = np.array([pair.prompt for pair in pairs])  # (N,)
    lengths = np.array([(len(pair.better), len(pair.worse)) for pair in pairs], dtype=float)  # (N, 2)
    correct = {"longer wins": wins(*lengths.T), "learned": wins(model.score(better), model.score(worse))}  # (N,) each
    rows = []
    for group in ["all", *sorted(set(groups))]:
        part = test & ((groups == group) | (group == "all"))  # (N,)
        row: list[object] = [group, int(part.sum())]
        for name, values in correct.items():
            mean, low, high = interval(values[part], prompts[part].tolist(), rng)
            row.append(f"{mean:.3f} [{low:.3f}, {high:.3f}]")
            run.record(f"replies, {group}: {name}", round(mean, 3))
        rows.append(row)
    run.table("Replies: accuracy on held-out pairs (chance 0.5)", ["subset", "pairs", "longer wins", "learned"], rows)
    order = np.argsort(-np.abs(model.coefficients / model.errors))  # (F,)
    run.table(
        "Replies: what was learned",
        ["feature", "log-odds a unit", "standard error"],
        [(model.names[i], model.coefficients[i], model.errors[i]) for i in order],
    )
    best_of_n(run, model)


def best_of_n(run: Run, model: PreferenceModel) -> None:
    """Re-rank answers of SmolLM2 (full run) or three given ones."""
    question = "How do I rename a branch in git?"
    given = [
        "Sorry, I don't know. Why do you want to rename it?",
        "Use git branch -m old new. If the branch was pushed, push the new name and delete the old one on the remote.",
        "You can rename a branch in git by",
    ]
    candidates = given
    if not run.quick:
        try:
            candidates = smollm2_candidates(question, 8, seed=run.seed)
        except LessonError as error:
            run.say(f"{error} Given candidates are re-ranked instead.")
    ranked = Reranker(model, reply_features).rank(f"Human: {question}", candidates)
    shown = [(row.score, row.place + 1, " ".join(row.text.split())[:90]) for row in ranked]
    run.table(f"Best of {len(candidates)}: {question}", ["score", "given as", "answer"], shown)


def passages(run: Run) -> None:
    """Similarity alone against the learned preference on held-out pairs; then with adversarial voters."""
    folder = data_folder("feedbackqa")
    if folder is None:
        run.say("feedbackqa is not here (ALMANAC_DATA): re-ranking of passages is skipped.")
        return
    rng = np.random.default_rng(run.seed)
    pairs, corpus = load_passages(folder)
    better, worse = passage_matrices(pairs, corpus)  # (N, 3) each
    names, base = LEXICAL_NAMES, 0
    try:
        if not run.quick:
            near, far = similarities(pairs)  # (N, 2) each
            better, worse = np.hstack([better, near]), np.hstack([worse, far])  # (N, 5) each
            names, base = PASSAGE_NAMES, PASSAGE_NAMES.index("similarity")
    except LessonError as error:
        run.say(str(error))
    if base == 0:
        run.say("Without MiniLM (quick, or not installed) BM25 takes the place of similarity.")
    prompts = [pair.prompt for pair in pairs]
    alone = wins(better[:, base], worse[:, base])  # (N,)
    learned = cross_validated(better, worse, prompts, names, rng)  # (N,)
    rows = []
    for name in (*names, "learned", "gain"):
        column = names.index(name) if name in names else -1
        values = {"learned": learned, "gain": learned - alone}.get(name, wins(better[:, column], worse[:, column]))
        rows.append((name, *interval(values, prompts, rng)))
    run.table("Passages: accuracy, 5-fold cross-validation over questions", ["ranked by", "mean", "low", "high"], rows)
    for name, mean, low, high in (rows[base], rows[-2], rows[-1]):
        run.record(f"passages: {name}", f"{mean:.3f} [{low:.3f}, {high:.3f}]")
    run.save(draw_coefficients(fit(better, worse, names=names, prior=3.0), better - worse), "coefficients")
    adversaries(run, better, worse, prompts, float(alone.mean()), names[base])


def cross_validated(
    better: np.ndarray, worse: np.ndarray, prompts: list[str], names: tuple[str, ...], rng: np.random.Generator
) -> np.ndarray:
    """Whether a model that never saw the question orders its pair rightly: (N,)."""
    distinct = {prompt: fold for fold, prompt in enumerate(rng.permutation(sorted(set(prompts))))}
    folds = np.array([distinct[prompt] % 5 for prompt in prompts])  # (N,)
    correct = np.zeros(len(prompts))  # (N,)
    for fold in range(5):
        test = folds == fold  # (N,)
        model = fit(better[~test], worse[~test], names=names, prior=3.0)
        correct[test] = wins(model.score(better[test]), model.score(worse[test]))
    return correct


def adversaries(
    run: Run, better: np.ndarray, worse: np.ndarray, prompts: list[str], alone: float, base: str, voters: int = 80
) -> None:
    """Held-out accuracy when a share of the voters votes for the worse passage, twice as often as the others vote."""
    shares = (0.0, 0.2, 0.4) if run.quick else (0.0, 0.1, 0.2, 0.3, 0.4)
    draws = 4 if run.quick else 20
    results = np.zeros((len(shares), 3, draws))  # (shares, models, draws)
    for i, share in enumerate(run.track(shares, "adversaries")):
        for draw in range(draws):
            rng = np.random.default_rng([run.seed, draw])
            test = held_out(prompts, 0.3, rng)  # (N,)
            hostile = np.arange(voters) < share * voters  # (voters,)
            activity = np.where(hostile, 2.0, 1.0)  # (voters,)
            voter = rng.choice(voters, (~test).sum(), p=activity / activity.sum())  # (n,)
            flip = hostile[voter][:, None]  # (n, 1)
            up, down = np.where(flip, worse[~test], better[~test]), np.where(flip, better[~test], worse[~test])
            limited = limit_voters(voter.tolist(), np.ones(len(voter)), LIMIT)  # (n,)
            models = (
                fit(up, down, prior=3.0),
                fit(up, down, limited, prior=3.0),
                fit_voters(up, down, voter.tolist(), limit=LIMIT, prior=3.0),
            )
            results[i, :, draw] = [wins(m.score(better[test]), m.score(worse[test])).mean() for m in models]
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for k, name in enumerate(("every vote alike", "limit per voter", "limit and reliability")):
        mean, spread = results[:, k].mean(1), results[:, k].std(1)  # (shares,), (shares,)
        axes.errorbar(np.array(shares) * 100 + 0.7 * (k - 1), mean, spread, marker="os^"[k], capsize=3, label=name)
        run.record(f"passages, 20 % adversaries: {name}", round(mean[shares.index(0.2)], 3))
    axes.axhline(alone, color="black", linestyle=":", label=f"{base} alone (no learning)")
    axes.set(xlabel="adversarial voters (%), each voting twice as often", ylabel="accuracy on held-out pairs")
    axes.set_title("Learning from votes when some voters lie (mean, spread of splits)")
    axes.legend(loc="lower left")
    run.save(figure, "adversaries")


def draw_coefficients(model: PreferenceModel, differences: np.ndarray) -> pyplot.Figure:
    """Coefficients in log-odds for a typical difference of the feature, with two standard errors."""
    typical = np.sqrt((differences**2).mean(0))  # (F,)
    figure, axes = pyplot.subplots(figsize=(7, 2.8))
    axes.errorbar(
        model.coefficients * typical, np.arange(len(typical)), xerr=2 * model.errors * typical, fmt="o", capsize=3
    )
    axes.axvline(0, color="black", linewidth=1, linestyle="-")
    axes.set_yticks(range(len(typical)), model.names)
    axes.set_xlabel("log-odds for a typical difference (± 2 standard errors)")
    axes.set_title("What makes a passage preferred")
    axes.margins(y=0.15)
    return figure
