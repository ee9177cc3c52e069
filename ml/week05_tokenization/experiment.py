"""Train the three kinds of subword tokenizers, prove them against the libraries, and measure what they do to text."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ml.lesson import Run, main
from ml.week05_tokenization import corpora, ecosystem, measure, plots
from ml.week05_tokenization.bigram import Bigram
from ml.week05_tokenization.bpe import BytePairEncoding
from ml.week05_tokenization.bpe_plain import train_plain
from ml.week05_tokenization.bpe_train import train
from ml.week05_tokenization.causal import bits_per_byte, perplexity
from ml.week05_tokenization.lattice import viterbi
from ml.week05_tokenization.text import GPT4, count_words, split, unshow
from ml.week05_tokenization.unigram import marked_words, train_unigram
from ml.week05_tokenization.wordpiece import PREFIX, encode_word, train_wordpiece


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What ``work`` returns, and its CPU seconds."""
    started = time.process_time()
    return work(*arguments), time.process_time() - started


def compare_speed(run: Run) -> None:
    """Plain counting, kept counts, and Hugging Face's trainer, on the same news."""
    articles = corpora.lee_articles()
    words = count_words(articles)
    run.say(f"{len(articles)} articles, {words.total():,} words, {len(words):,} of them different")
    seconds: dict[str, dict[int, float]] = {"plain (Python)": {}, "kept counts (Python)": {}, "tokenizers (Rust)": {}}
    plain_sizes = (300,) if run.quick else (300, 500, 700)
    sizes = (300, 1000, 4000) if run.quick else (300, 500, 700, 1000, 2000, 4000, 8000)
    for size in run.track(sizes, "trainers"):
        (merges, _), seconds["kept counts (Python)"][size] = timed(train, words, size)
        theirs, seconds["tokenizers (Rust)"][size] = timed(ecosystem.train_tokenizers_bpe, articles, size)
        same = list(ecosystem.printed_merges(BytePairEncoding(merges))) == ecosystem.merges_of(theirs)
        if size in plain_sizes:
            (plain, _), seconds["plain (Python)"][size] = timed(train_plain, words, size)
            same = same and plain == merges
        run.record(f"merges for {size:,} tokens identical", str(same))
    rows = [[size, *(row.get(size, "") for row in seconds.values())] for size in sizes]
    run.table("CPU seconds to train", ["tokens", *seconds], rows)
    last = sizes[-1]
    run.record(
        "our training time over tokenizers'", seconds["kept counts (Python)"][last] / seconds["tokenizers (Rust)"][last]
    )
    run.save(plots.speed({name: row for name, row in seconds.items() if len(row) > 1}), "speed")


def compare_wordpiece(run: Run) -> None:
    """Three scores under one name: what each makes of unseen text."""
    articles = corpora.lee_articles()
    size = 500 if run.quick else 1500
    words = Counter(piece.strip() for text in articles[:270] for piece in split(text) if piece.strip())
    unseen = [piece.strip() for text in articles[270:] for piece in split(text) if piece.strip()]
    rows = []
    for score in run.track(("count", "ratio", "gain"), "WordPiece"):
        tokens, seconds = timed(train_wordpiece, words, size, score)
        vocabulary = {token: number for number, token in enumerate(["[UNK]", *tokens])}
        ids = [encode_word(word, vocabulary) for word in unseen]
        rows.append([score, sum(map(len, ids)) / len(ids), f"{tokens[-1]}  {tokens[-2]}  {tokens[-3]}", seconds])
        run.record(f"WordPiece by {score}: tokens a word", rows[-1][1])
    run.table(
        f"WordPiece, {size:,} tokens, on 30 unseen articles",
        ["pair by", "tokens a word", "learnt last", "seconds"],
        rows,
    )


def compare_unigram(run: Run) -> None:
    """Shrink a unigram model, and look at it beside SentencePiece's."""
    articles = corpora.lee_articles()[: 100 if run.quick else 270]
    size = 800 if run.quick else 2000
    words = marked_words(articles)
    characters = sum(len(word) * count for word, count in words.items())
    rounds = []
    for scores, nats in run.track(train_unigram(words, size), "unigram", total=9):
        rounds.append((len(scores), -nats / math.log(2) / characters))
    run.table("Unigram: rounds", ["pieces", "bits per character"], rounds)
    theirs = ecosystem.sentencepiece_scores(ecosystem.train_sentencepiece(articles, size))
    unseen = marked_words(corpora.lee_articles()[270:])
    for name, model in (("ours", scores), ("SentencePiece", theirs)):
        longest = max(map(len, model))
        cuts = {word: viterbi(word, model, longest) for word in unseen}
        tokens = sum(count * len(cuts[word][0]) for word, count in unseen.items())
        run.record(f"unigram, {name}: tokens a word", tokens / unseen.total())
        nats = -sum(count * cuts[word][1] for word, count in unseen.items())
        run.record(f"unigram, {name}: nats a word", nats / unseen.total())
    run.record("unigram: pieces that SentencePiece chose too", len(set(scores) & set(theirs)) / len(theirs))


def real_tokenizers(run: Run) -> dict[str, Callable[[str], list[bytes]]]:
    """Our byte-level BPE, SmolLM2's and MiniLM's tokenizers: name -> function from a text to its tokens' bytes."""
    pages = corpora.handbook_pages()
    if not pages:
        run.say("The handbook (govuk_docs) is absent: our tokenizer learns from the news alone.")
    texts = corpora.lee_articles()[:270] + [page for place, page in enumerate(pages) if place % 10]
    ours = BytePairEncoding.train(texts, 2000 if run.quick else 8000, GPT4)
    smollm2 = ecosystem.smollm2_tokenizer(*ecosystem.smollm2_tables())
    minilm = ecosystem.minilm_tokenizer()

    def cut_minilm(text: str) -> list[bytes]:
        tokens = minilm.encode(text, add_special_tokens=False).tokens
        return [token.removeprefix(PREFIX).encode() for token in tokens]

    return {
        f"ours ({len(ours):,})": lambda text: [ours.tokens[number] for number in ours.encode(text)],
        f"SmolLM2 ({smollm2.get_vocab_size():,})": lambda text: list(map(unshow, smollm2.encode(text).tokens)),
        f"MiniLM ({minilm.get_vocab_size():,})": cut_minilm,
    }


def compare_texts(run: Run) -> None:
    """Kinds of text, languages, and the shape of the distribution."""
    cutters = real_tokenizers(run)
    kinds = corpora.kinds_of_text()

    def over_kinds(number: Callable[[str, measure.Encode], float]) -> dict[str, dict[str, float]]:
        return {name: {kind: number(text, cut) for kind, text in kinds.items()} for name, cut in cutters.items()}

    words, size = over_kinds(measure.tokens_per_word), over_kinds(measure.bytes_per_token)
    rows = [[kind, *(words[name][kind] for name in cutters), *(size[name][kind] for name in cutters)] for kind in kinds]
    short = [name.split()[0] for name in cutters]
    run.table("Tokens a word | bytes a token", ["text", *short, *(f"{name} B/t" for name in short)], rows)
    title = "The same tokenizer, different kinds of text"
    run.save(plots.grouped(words, "tokens per word (between blanks)", title), "kinds")
    compare_languages(run, cutters)

    news = "\n".join(corpora.lee_articles())
    rows_of_tokens = {"words": news.split(), **{name: cut(news) for name, cut in cutters.items()}}
    for name, tokens in rows_of_tokens.items():
        run.record(f"slope of the distribution, {name}", measure.zipf_slope(tokens))
    run.save(plots.zipf(rows_of_tokens), "zipf")
    sizes = {name: [len(token) for token in cut(kinds["news"])] for name, cut in cutters.items()}
    run.save(plots.lengths(sizes), "lengths")


def compare_languages(run: Run, cutters: dict[str, measure.Encode]) -> None:
    """One notice in nine languages: what it costs, and what MiniLM cannot read of it."""
    counts = {
        name: {language: len(cut(text)) for language, text in corpora.SAME_NOTICE.items()}
        for name, cut in cutters.items()
    }
    relative = {
        name: {language: count / row["English"] for language, count in row.items()} for name, row in counts.items()
    }
    title = "One notice in nine languages: tokens against English"
    run.save(plots.grouped(relative, "tokens, English = 1", title, mark=1.0), "languages")
    minilm = ecosystem.minilm_tokenizer()
    rows = []
    for language, text in corpora.SAME_NOTICE.items():
        unknown = minilm.encode(text).tokens.count("[UNK]")
        rows.append([language, len(text.encode()), *(row[language] for row in counts.values()), unknown])
    run.table("One notice", ["language", "bytes", *(name.split()[0] for name in cutters), "MiniLM's [UNK]"], rows)


def compare_yardsticks(run: Run) -> None:
    """One model class, many vocabularies: perplexity per token against bits per byte."""
    articles = corpora.lee_articles()
    fit, tune, test = articles[:240], articles[240:270], articles[270:]
    sizes = [256, 500, 2000] if run.quick else [256, 300, 400, 600, 1000, 2000, 4000, 8000]
    size_in_bytes = sum(len(text.encode()) for text in test)
    found = []
    for size in run.track(sizes, "bigram models"):
        tokenizer = BytePairEncoding.train(fit, size)
        rows = [[tokenizer.encode(text) for text in part] for part in (fit, tune, test)]
        best = min((10, 30, 100, 300), key=lambda m: sum(map(Bigram(rows[0], size, m).nats, rows[1])))
        nats = sum(map(Bigram(rows[0], size, best).nats, rows[2]))
        tokens = sum(map(len, rows[2]))
        found.append((size, best, tokens, perplexity(nats / tokens), bits_per_byte(nats, size_in_bytes)))
    run.table(
        "A bigram model on 30 unseen articles", ["vocabulary", "m", "tokens", "perplexity", "bits per byte"], found
    )
    run.record("best vocabulary by bits per byte", min(found, key=lambda row: row[4])[0])
    run.record("best vocabulary by perplexity", min(found, key=lambda row: row[3])[0])
    run.save(
        plots.yardsticks([row[0] for row in found], [row[3] for row in found], [row[4] for row in found]), "yardsticks"
    )


def score_smollm2(run: Run) -> None:
    """The yardstick on a real model: what SmolLM2 finds surprising."""
    from ml.week05_tokenization.smollm2 import SmolLM2

    model = SmolLM2()
    texts = {kind: text[:4000] for kind, text in corpora.kinds_of_text().items()} | corpora.SAME_NOTICE
    rows = []
    for name, text in run.track(list(texts.items()), "SmolLM2"):
        nats, tokens = model.nats(text)
        rows.append(
            [name, len(text.encode()), tokens, perplexity(nats / tokens), bits_per_byte(nats, len(text.encode()))]
        )
        if name in ("news", "code", "logs", "handbook"):
            run.record(f"SmolLM2 on {name}: bits per byte", rows[-1][4])
    run.table("SmolLM2-135M-Instruct", ["text", "bytes", "tokens", "perplexity per token", "bits per byte"], rows)


def experiment(run: Run) -> None:
    compare_speed(run)
    compare_wordpiece(run)
    compare_unigram(run)
    compare_texts(run)
    compare_yardsticks(run)
    if run.quick:
        run.say("SmolLM2's bits per byte are part of the full run.")
    else:
        score_smollm2(run)


if __name__ == "__main__":
    main(experiment, "Week 5: text becomes tokens, and tokens become a loss")
