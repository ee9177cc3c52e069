"""Week 8's experiment: train, distil, quantise, batch, speculate, serve, and measure each of them.

All speeds but those of the load test are per second of this process's CPU time on one thread, so that other programs on
the machine change them little. The load test, with a real server in a process of its own, and the mean latencies of
batching use the clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial

import torch
from torch import Tensor

from ml.lesson import Run, main
from ml.week04_transformers.decoder import Decoder
from ml.week04_transformers.sampling import generate
from ml.week08_serving import figures, sizes
from ml.week08_serving.batching import Batcher, Request
from ml.week08_serving.corpus import STUDENT, TEACHER, batch, loss_on, read_text
from ml.week08_serving.distil import train
from ml.week08_serving.gptq import collect_hessians, gptq
from ml.week08_serving.layers import linear_names, nearest, quantise_model, save
from ml.week08_serving.load import Load, measure, server
from ml.week08_serving.speculative import Draft, LookupDraft, ModelDraft, Tally, expected_speedup, speculate


def experiment(run: Run) -> None:
    torch.set_num_threads(1)
    teacher, alone, distilled = learn(run)
    save(teacher, run.out / "teacher.pt")
    quantise_tiny(run, teacher)
    sizes.roofline_of_this_machine(run)
    batch_requests(run, teacher)
    speculative(run, teacher, {"distilled": distilled, "trained alone": alone})
    load_test(run)
    if run.quick:
        run.say("SmolLM2 is left to the full run.")
    else:
        sizes.smollm2(run)


def learn(run: Run) -> tuple[Decoder, Decoder, Decoder]:
    """The teacher, and two students with the same start and batches: one from the text, one from the teacher."""
    seen, held_out = read_text()
    steps, rows = (15, 8) if run.quick else (220, 16)
    losses, found, models = {}, {}, []
    for name, config in (("teacher", TEACHER), ("student alone", STUDENT), ("student distilled", STUDENT)):
        torch.manual_seed(run.seed)
        model = Decoder(config)
        guide = models[0] if name == "student distilled" else None
        track = run.track(range(steps), f"training the {name}")
        losses[name] = train(model, seen, track, steps, guide, rows=rows, seed=run.seed)
        found[name] = loss_on(model, held_out[:, :257])
        run.record(f"{name}: held-out loss (nats per byte)", round(found[name], 4))
        models.append(model)
    if run.quick:
        run.say("Quick: after so few steps the teacher knows little that it could teach.")
    run.save(figures.distillation(losses, found), "distillation")
    return models[0], models[1], models[2]


def quantise_tiny(run: Run, teacher: Decoder) -> None:
    """Loss against bits for five methods, and the table of sizes for those that one would ship."""
    seen, held_out = read_text()
    windows = held_out[: 2 if run.quick else 23, :257]
    calibration = batch(seen, 8 if run.quick else 64, 256, torch.Generator().manual_seed(run.seed))[:, :-1]
    hessians = collect_hessians(teacher, linear_names(teacher), list(calibration.split(8)))
    methods: dict[str, Callable[[int], Callable[[str, Tensor], object]]] = {
        "per tensor": lambda bits: nearest(bits, "tensor"),
        "per channel": lambda bits: nearest(bits, "channel"),
        "groups of 32": lambda bits: nearest(bits, 32),
        "groups of 32, zero-point": lambda bits: nearest(bits, 32, symmetric=False),
        "GPTQ, groups of 32": lambda bits: lambda name, weight: gptq(weight, hessians[name], bits, 32),
    }
    full, curves = loss_on(teacher, windows), {name: {} for name in methods}
    grid = [(name, bits) for bits in ((4, 2) if run.quick else (8, 5, 4, 3, 2)) for name in methods]
    for name, bits in run.track(grid, "quantising the teacher"):
        curves[name][bits] = loss_on(quantise_model(teacher, methods[name](bits)), windows)
    for name in ("per tensor", "per channel", "GPTQ, groups of 32"):
        run.record(f"4 bits, {name}: loss added", round(curves[name][4] - full, 4))
    run.save(figures.quantisation(curves, full), "quantisation")
    shipped = {
        "float32": teacher,
        "int8 per channel": quantise_model(teacher, nearest(8)),
        "int4 groups of 32, zero-point": quantise_model(teacher, nearest(4, 32, symmetric=False)),
        "int4 GPTQ, groups of 32": quantise_model(teacher, methods["GPTQ, groups of 32"](4)),
    }
    rows = [sizes.row(name, model, windows, 64, run.out) for name, model in shipped.items()]
    run.table("The tiny model: size, quality, speed", sizes.COLUMNS, rows)


def mixed_requests(count: int, seed: int) -> list[Request]:
    """Prompts of 10 to 60 bytes from the held-out text, answers of 8 to 128 tokens: most short, some long."""
    text, generator = read_text()[1], torch.Generator().manual_seed(seed)
    lengths = torch.randint(10, 61, (count,), generator=generator).tolist()
    answers = torch.tensor([8, 16, 32, 128])[torch.randint(4, (count,), generator=generator)].tolist()
    pairs = zip(lengths, answers, strict=True)
    return [Request(text[i % len(text), :length].tolist(), answer) for i, (length, answer) in enumerate(pairs)]


def batch_requests(run: Run, model: Decoder) -> None:
    """The same requests one by one, in static batches and in a continuous one; all answers must be equal."""
    count, rows, work, texts = (12 if run.quick else 48), [], {}, {}
    for name, slots, continuous in (("one by one", 1, True), ("static", 8, False), ("continuous", 8, True)):
        batcher, requests = Batcher(model, slots, 256, continuous), mixed_requests(count, run.seed)
        for request in requests:
            batcher.submit(request)
        counts, start = [], time.process_time()
        while batcher.waiting or batcher.active:
            before = batcher.steps
            wrote = batcher.step()
            if batcher.steps > before:
                counts.append(len(wrote))
        seconds = time.process_time() - start
        texts[name], work[name] = [request.tokens for request in requests], counts
        tokens = sum(map(len, texts[name]))
        wait = sum(request.finished - request.submitted for request in requests) / count
        rows.append((name, batcher.steps, batcher.rows / max(batcher.steps, 1), tokens / seconds, 1e3 * wait))
        run.record(f"{name}: tokens per second", round(tokens / seconds))
    columns = ("batching", "steps", "rows a step", "tokens/s", "mean latency (ms)")
    run.table(f"{count} requests at once, answers of 8 to 128 tokens", columns, rows)
    same = texts["one by one"] == texts["static"] == texts["continuous"]
    run.record("batched answers equal to single ones", str(same))
    del work["one by one"]
    run.save(figures.occupancy(work, 8), "batching")


def speculative(run: Run, target: Decoder, students: dict[str, Decoder]) -> None:
    """Three drafts for one target: acceptance, measured and expected speed-up, and whether the text is the same."""
    held_out, tokens = read_text()[1], 20 if run.quick else 160
    prompts = [held_out[i, :60].tolist() for i in range(1 if run.quick else 2)]
    plain, base = _timed(lambda prompt: _plain(target, prompt, tokens), prompts)
    _, small = _timed(lambda prompt: _plain(students["distilled"], prompt, tokens), prompts)
    makers: dict[str, Callable[[], Draft]] = {name: partial(ModelDraft, model) for name, model in students.items()}
    makers["lookup"] = partial(LookupDraft, target.config.vocabulary)
    grid = [(name, guesses) for name in makers for guesses in ((2, 4) if run.quick else (1, 2, 4, 8))]
    rows, same = [], True
    for name, guesses in run.track(grid, "speculating"):
        draft = makers[name]
        found, took = _timed(lambda prompt, d=draft, k=guesses: speculate(target, d(), prompt, tokens, k), prompts)
        same = same and [text for text, _ in found] == plain
        tally = _together([tally for _, tally in found])
        # The theorem supposes that there are always k guesses; a lookup often has none.
        expected = "-" if name == "lookup" else f"{expected_speedup(tally.chance, guesses, small / base):.2f}"
        earned = (tally.rounds + tally.accepted) / tally.rounds
        rows.append((name, guesses, tally.rate, tally.chance, earned, base / took, expected))
    columns = ("draft", "guesses", "accepted", "chance", "a round", "speed-up", "expected")
    run.table("Speculative decoding, greedy", columns, rows)
    run.record("cost of a draft step in target steps", round(small / base, 3))
    run.record("speculative text equal to plain decoding", str(same))
    for name in makers:
        best = max((row for row in rows if row[0] == name), key=lambda row: row[5])
        run.record(f"draft {name}: best speed-up", f"{best[5]:.2f} ({best[1]} guesses, {best[2]:.2f} accepted)")
    run.save(figures.speculation([(row[0], row[1], row[2], row[5]) for row in rows]), "speculation")


def _plain(model: Decoder, prompt: list[int], tokens: int) -> list[int]:
    return generate(model, torch.tensor([prompt]), tokens, temperature=0)[0, len(prompt) :].tolist()


def _together(tallies: list[Tally]) -> Tally:
    return Tally(*(sum(getattr(tally, field.name) for tally in tallies) for field in fields(Tally)))


def _timed(work: Callable[[list[int]], object], prompts: list[list[int]]) -> tuple[list, float]:
    """What ``work`` made of each prompt, and the CPU seconds of the faster of two runs over all of them."""
    times = []
    for _ in range(2):
        start = time.process_time()
        found = [work(prompt) for prompt in prompts]
        times.append(time.process_time() - start)
    return found, min(times)


def load_test(run: Run) -> None:
    """Clients against the real endpoint: eight slots against one, for growing numbers of clients."""
    crowd, count = ((1, 4), 8) if run.quick else ((1, 2, 4, 8, 16), 32)
    bodies = _bodies(count, torch.Generator().manual_seed(run.seed))  # the same for everyone, so that rows compare
    loads: dict[str, list[Load]] = {}
    for slots in (8,) if run.quick else (8, 1):
        arguments = ("--checkpoint", str(run.out / "teacher.pt"), "--bits", "8", "--slots", str(slots), "--queue", "64")
        points = loads[f"{slots} slots" if slots > 1 else "1 slot"] = []
        with server(*arguments) as url:
            asyncio.run(measure(url, 1, bodies[:2]))  # the first requests warm everything up
            for clients in run.track(crowd, f"clients against {slots} slots"):
                points.append(asyncio.run(measure(url, clients, bodies)))
    rows = []
    for name, points in loads.items():
        for load in points:
            times = load.latency(50), load.latency(95), load.first(50), load.first(95)
            rows.append((name, load.concurrency, *(1e3 * each for each in times), load.throughput))
        run.record(f"HTTP, {name}: best tokens per second", round(max(point.throughput for point in points)))
    run.say("Times in ms: the median and 95th percentile of whole answers, then of the first token.")
    columns = ("server", "clients", "median", "95 %", "first", "95 %", "tokens/s")
    run.table("Load on the HTTP endpoint (int8, streamed)", columns, rows)
    run.save(figures.load_test(loads), "load")


def _bodies(count: int, generator: torch.Generator) -> list[dict[str, object]]:
    """Questions of one to eight words, answers of 16 to 64 tokens."""
    words = torch.randint(1, 9, (count,), generator=generator).tolist()
    answers = torch.tensor([16, 32, 64])[torch.randint(3, (count,), generator=generator)].tolist()
    return [{"prompt": "statement " * n, "max_tokens": m} for n, m in zip(words, answers, strict=True)]


if __name__ == "__main__":
    main(experiment, "Week 8: quantise, distil, batch, speculate and serve a model")
