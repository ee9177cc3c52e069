"""Week 4, run: ``python -m ml.week04_transformers.experiment [--quick] [--steps N]``.

Each part is a function: parity with the libraries, a decoder trained on news, the KV cache, dates through an
encoder-decoder, SmolLM2 through our code, GPT against BERT, induction heads.
"""

from __future__ import annotations

import argparse
import datetime
import math
import random
import time
from typing import Any

import torch
from torch import Tensor

from ml.lesson import LessonError, Run, main
from ml.week04_transformers import pictures
from ml.week04_transformers.bert import copy_bert, influence, load_hf_minilm
from ml.week04_transformers.cache import KVCache, cache_bytes
from ml.week04_transformers.dates import LENGTH, SOURCE, START, TARGET, draw_dates, encode_dates, read_target
from ml.week04_transformers.decoder import Decoder, DecoderConfig, count_parameters
from ml.week04_transformers.encoder_decoder import EncoderDecoder, translate
from ml.week04_transformers.exercises import knock_out
from ml.week04_transformers.heads import attention_maps
from ml.week04_transformers.induction import half_losses, induction_scores, repeated_tokens
from ml.week04_transformers.ngram import NGram
from ml.week04_transformers.parity import (
    attention_difference,
    bert_difference,
    decoder_differences,
    gguf_difference,
)
from ml.week04_transformers.pretrained import load_gpt2, load_smollm2
from ml.week04_transformers.sampling import beam_search, generate
from ml.week04_transformers.training import (
    Corpus,
    bits_per_character,
    cross_entropy,
    draw_batch,
    lee_text,
    make_corpus,
    train,
)

SENTENCE = "The bank by the river was flooded, so the money got wet."
QUESTION = "Explain in one sentence what an on-call engineer does."


def experiment(run: Run) -> None:
    compare_with_libraries(run)
    run.save(pictures.positions_figure(), "positions")
    try:
        train_decoder(run)
    except LessonError as error:
        run.say(f"Without training on news: {error}")
    translate_dates(run)
    try:
        smollm2, tokenizer = load_smollm2()
    except LessonError as error:
        run.say(f"Without a pretrained model: {error}")
        return
    if not run.quick:
        compare_with_gguf_reader(run, smollm2)
    write_with(run, "SmolLM2", smollm2, tokenizer)
    time_cache(run, smollm2)
    find_induction(run, smollm2)
    compare_bert(run, smollm2, tokenizer)
    try:
        write_with(run, "GPT-2", *load_gpt2())
    except LessonError as error:
        run.say(f"Without GPT-2's own weights: {error}")


def compare_with_libraries(run: Run) -> None:
    """Largest differences from torch and Hugging Face with the same random weights, as a table."""
    rows = [("torch.nn.MultiheadAttention, output", attention_difference())]
    rows += [(f"{name}, 6 layers, logits", value) for name, value in decoder_differences().items()]
    run.table("Same weights, same numbers: largest difference in float32", ["against", "difference"], rows)
    for name, value in rows:
        run.record(f"difference from {name}", value)


def train_decoder(run: Run) -> None:
    """A small Llama on 300 news items, character by character, against n-grams; samples from it."""
    corpus = make_corpus(lee_text())
    steps = getattr(run.arguments, "steps", None) or (30 if run.quick else 1400)
    config = DecoderConfig(vocabulary=len(corpus.alphabet), context=64, width=96, layers=3, heads=4)
    torch.manual_seed(run.seed)
    model = Decoder(config)
    run.record("decoder: parameters", count_parameters(model))
    generator = torch.Generator().manual_seed(run.seed)
    validation: dict[int, float] = {}

    def count() -> Any:
        for step in run.track(range(steps), "decoder on news"):
            if not run.quick and step and step % max(1, steps // 5) == 0:
                validation[step] = bits_per_character(model, corpus.validation)
            yield step

    started = time.process_time()
    losses = train(
        model,
        lambda: cross_entropy(*_answered(model, draw_batch(corpus.train, 16, config.context, generator))),
        count(),
        steps,
        peak=6e-3,
    )
    run.record("decoder: CPU seconds of training", round(time.process_time() - started, 1))
    validation[steps] = bits_per_character(model, corpus.validation)
    run.record("decoder: validation bits per character", validation[steps])
    run.record("decoder: validation loss (nats)", validation[steps] * math.log(2))
    baselines = _ngrams(run, corpus)
    run.save(pictures.training_figure(losses, validation, baselines), "training")
    _print_samples(run, model, corpus)


def _answered(model: Decoder, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits and targets of a batch."""
    ids, targets = batch  # (B, T) each
    return model(ids), targets


def _ngrams(run: Run, corpus: Corpus) -> dict[str, float]:
    validation = corpus.validation[: 5000 if run.quick else None].tolist()
    found = {}
    for order in (1, 2) if run.quick else (1, 3, 5):
        model = NGram(corpus.train.tolist(), order, len(corpus.alphabet))
        found[f"{order + 1}-gram"] = model.bits_per_character(validation)
        run.record(f"{order + 1}-gram: validation bits per character", found[f"{order + 1}-gram"])
    return found


def _print_samples(run: Run, model: Decoder, corpus: Corpus) -> None:
    prompt = corpus.encode("The ")[None]  # (1, 4)
    rows = []
    for name, options in {
        "greedy": {"temperature": 0.0},
        "temperature 0.7": {"temperature": 0.7},
        "temperature 1.5": {"temperature": 1.5},
        "top-k 10": {"top_k": 10},
        "top-p 0.9": {"top_p": 0.9},
    }.items():
        ids = generate(model, prompt, 58, generator=torch.Generator().manual_seed(run.seed), **options)
        rows.append((name, corpus.decode(ids[0]).replace("\n", "⏎")))
    best, score = beam_search(model, prompt, 58, beams=5)[0]
    rows.append((f"beam search, 5 (log p {score:.1f})", corpus.decode(best).replace("\n", "⏎")))
    run.table("The same model, read out in different ways", ["how", "text"], rows)


def translate_dates(run: Run) -> None:
    """Dates into ISO 8601 with the encoder-decoder; a picture of its cross-attention."""
    torch.manual_seed(run.seed)
    rng = random.Random(run.seed)
    model = EncoderDecoder(len(SOURCE), len(TARGET), width=64, layers=1, heads=4, hidden=128)
    steps = 75 if run.quick else 1000

    def loss() -> Tensor:
        pairs = draw_dates(32, rng)
        # Teacher forcing: the decoder sees the right characters so far, whatever it would have written itself.
        return cross_entropy(model(pairs.source, pairs.target[:, :-1], pairs.lengths), pairs.target[:, 1:])

    train(model, loss, run.track(range(steps), "dates"), steps, peak=5e-3)
    test = draw_dates(200 if run.quick else 1000, random.Random(run.seed + 1), held_out=True)
    written = translate(model, test.source, test.lengths, START, LENGTH)  # (B, 10)
    run.record("dates: exactly right on unseen days", (written == test.target[:, 1:]).all(dim=1).float().mean().item())

    text = "26th of March 1984"
    one = encode_dates([text], [datetime.date(1984, 3, 26)])
    maps = attention_maps(model, one.source, one.target[:, :-1], one.lengths)
    target = read_target(translate(model, one.source, one.lengths, START, LENGTH)[0])
    run.say(f'dates: "{text}" becomes "{target}"')
    run.save(pictures.cross_attention_figure(maps[-1][0], text, list(target)), "cross_attention")


def compare_with_gguf_reader(run: Run, smollm2: Decoder) -> None:
    """Our reading of the SmolLM2 file against Hugging Face's."""
    run.say("Reading the SmolLM2 file once more with transformers, which takes a while …")
    if found := gguf_difference(smollm2):
        run.record("SmolLM2: weights equal to transformers' bit by bit", str(found[0]))
        run.record("SmolLM2: largest logit difference / largest logit", found[1])


def write_with(run: Run, name: str, model: Decoder, tokenizer: Any) -> None:
    """Let a pretrained model write, with our ``generate``."""
    prompts = {"The capital of France is": {"temperature": 0.0}}
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": QUESTION}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        prompts |= {text: {"temperature": 0.0}}
    if not run.quick:
        prompts |= {"Once upon a time, in a data centre,": {"temperature": 0.8, "top_p": 0.9}}
    rows = []
    for prompt, options in prompts.items():
        ids = tokenizer(prompt, return_tensors="pt").input_ids  # (1, T)
        generator = torch.Generator().manual_seed(run.seed)
        tokens = 16 if run.quick else 60
        written = generate(model, ids, tokens, generator=generator, stop=tokenizer.eos_token_id, **options)
        shown = QUESTION if "<|im_start|>" in prompt else prompt
        rows.append((shown, tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)))
    run.table(f"{name} through our decoder", ["prompt", "continuation"], rows)


@torch.no_grad()
def time_cache(run: Run, model: Decoder) -> None:
    """Seconds for one more token with and without the cache, and what the cache of known models weighs."""
    lengths = [16, 64] if run.quick else [16, 64, 256, 512]
    cached, uncached = [], []
    for length in run.track(lengths, "cache"):
        ids = torch.randint(0, 1000, (1, length + 1))
        cache = KVCache(model.config.layers)
        model.hidden(ids[:, :-1], cache)
        uncached.append(_seconds(lambda ids=ids: model.hidden(ids)))
        cached.append(_seconds(lambda ids=ids, cache=cache: _step_back(model, ids[:, -1:], cache), repeats=5))
    run.save(pictures.cache_figure(lengths, cached, uncached), "cache")
    run.record(f"cache: times faster at {lengths[-1]} tokens", uncached[-1] / cached[-1])
    known = {  # layers, key heads, head width
        "GPT-2 small": (12, 12, 64),
        "SmolLM2-135M": (30, 3, 64),
        "Llama 2 7B": (32, 32, 128),
        "Llama 3 8B (grouped queries)": (32, 8, 128),
    }
    rows = [(name, cache_bytes(*sizes, 1) / 1024, cache_bytes(*sizes, 4096) / 2**20) for name, sizes in known.items()]
    run.table("KV cache in half precision", ["model", "KiB per token", "MiB per text of 4,096 tokens"], rows)


def _step_back(model: Decoder, ids: Tensor, cache: KVCache) -> None:
    model.hidden(ids, cache)
    cache.truncate(cache.length - 1)


def _seconds(call: Any, repeats: int = 2) -> float:
    """The best of a few timings: what else the machine does only ever adds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def find_induction(run: Run, model: Decoder) -> None:
    """Induction heads of a pretrained model: their map, the best one's pattern, and the loss without them."""
    ids = repeated_tokens(2, 25, model.config.vocabulary, torch.Generator().manual_seed(run.seed))  # (2, 50)
    maps = attention_maps(model, ids)
    scores = induction_scores(maps)  # (layers, H)
    layer, head = divmod(int(scores.argmax()), scores.shape[1])
    run.record("induction: best head (layer.head)", f"{layer}.{head}")
    run.record("induction: its score", scores.max().item())
    first, second = half_losses(model, ids)
    run.record("induction: loss on random tokens (nats)", first)
    run.record("induction: loss on their repetition", second)
    if not run.quick:
        for name, loss in list(knock_out(model, seed=run.seed).items())[1:]:
            run.record(f"induction: loss on their repetition, {name}", loss)
    run.save(pictures.induction_figure(scores, maps[layer][0, head], f"Head {layer}.{head}"), "induction")


@torch.no_grad()
def compare_bert(run: Run, gpt: Decoder, tokenizer: Any) -> None:
    """What a changed word changes: everywhere in BERT, only further right in GPT."""
    try:
        theirs, bert_tokenizer = load_hf_minilm()
    except LessonError as error:
        run.say(f"Without BERT: {error}")
        return
    bert = copy_bert(theirs)
    ids = bert_tokenizer(SENTENCE, return_tensors="pt").input_ids[0]  # (T,)
    run.record("difference from BertModel (MiniLM), output", bert_difference(bert, theirs, ids[None]))
    gpt_ids = tokenizer(SENTENCE, return_tensors="pt").input_ids[0]  # (T',)
    seen = {
        "BERT (MiniLM) sees both ways": (
            influence(bert, ids, bert_tokenizer.mask_token_id),
            bert_tokenizer.convert_ids_to_tokens(ids),
        ),
        "GPT (SmolLM2) sees only the past": (
            influence(gpt.hidden, gpt_ids, tokenizer(" and").input_ids[0]),
            [token.removeprefix("Ġ") for token in tokenizer.convert_ids_to_tokens(gpt_ids)],
        ),
    }
    for name, (values, _) in seen.items():
        run.record(f"{name}; largest influence of a later word", values.triu(1).max().item())
    run.save(pictures.influence_figure(seen), "influence")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, help="training steps of the decoder (default: 1,400, quick: 30)")


if __name__ == "__main__":
    main(experiment, "Week 4: transformers", arguments)
