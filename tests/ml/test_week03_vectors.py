"""Week 3: neighbours, analogies and evaluations against gensim; real GloVe; PCA; static against contextual."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gensim.test.utils import datapath
from scipy.stats import spearmanr
from sklearn.decomposition import PCA as TheirPCA
from sklearn.metrics import silhouette_score

from ml.lesson import LessonError, data_folder
from ml.week03_embeddings import contextual, corpus, evaluation, exercises
from ml.week03_embeddings.pretrained import load_glove, read_text_format
from ml.week03_embeddings.projection import PCA
from ml.week03_embeddings.senses import PROBES, SENSES
from ml.week03_embeddings.vectors import WordVectors
from ml.week03_embeddings.with_gensim import keyed_vectors

QUESTIONS = [
    ("man", "king", "woman", "queen"),
    ("france", "paris", "germany", "berlin"),
    ("france", "paris", "italy", "rome"),
    ("good", "better", "bad", "worse"),
    ("brother", "sister", "uncle", "aunt"),
    ("walk", "walked", "play", "played"),
    ("japan", "tokyo", "china", "beijing"),
    ("small", "smaller", "large", "larger"),
]


@pytest.fixture(scope="module")
def glove() -> WordVectors:
    return load_glove(20_000)


@pytest.fixture(scope="module")
def layers() -> dict[str, np.ndarray]:
    """Word -> (layers + 1, sentences, 384)."""
    model = contextual.ContextualModel()
    return {word: model.word_vectors(word, sentences(word)) for word in SENSES}


def sentences(word: str) -> list[str]:
    return [sentence for said in SENSES[word].values() for sentence in said]


def labels(word: str) -> list[str]:
    return [sense for sense, said in SENSES[word].items() for _ in said]


def random_vectors(size: int = 200) -> WordVectors:
    matrix = np.random.default_rng(0).normal(size=(size, 10)).astype(np.float32)
    return WordVectors([f"w{number}" for number in range(size)], matrix)


def test_neighbours_and_analogies_are_gensims() -> None:
    ours = random_vectors()
    theirs = keyed_vectors(ours)
    for word in ours.words[:20]:
        expected = theirs.most_similar(word, topn=10)
        found = ours.nearest(word, 10)
        assert [name for name, _ in found] == [name for name, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], abs=1e-5)
    for a, b, c in np.array(ours.words[:60]).reshape(20, 3).tolist():
        expected = theirs.most_similar(positive=[b, c], negative=[a], topn=5)
        assert [name for name, _ in ours.analogy(a, b, c, 5)] == [name for name, _ in expected]
    assert ours.similarity("w1", "w2") == pytest.approx(theirs.similarity("w1", "w2"), abs=1e-6)


def test_unknown_words_are_named() -> None:
    vectors = random_vectors(3)
    with pytest.raises(ValueError, match="No vector for nowhere, never"):
        vectors.ids(["w1", "nowhere", "never"])
    with pytest.raises(ValueError, match="each word needs one"):
        WordVectors(["a"], np.zeros((2, 3)))
    assert WordVectors(["a", "b"], np.array([[0.0, 0.0], [1.0, 0.0]])).similarity("a", "b") == 0


def test_all_inputs_can_be_barred_and_too_few_words_are_left() -> None:
    assert random_vectors(3).analogy("w0", "w1", "w2", 5) == []


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_is_scipys_with_ties(seed: int) -> None:
    a, b = np.random.default_rng(seed).integers(0, 6, (2, 40))
    assert evaluation.spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)


@pytest.mark.parametrize(("name", "file"), [("wordsim353", "wordsim353.tsv"), ("simlex999", "simlex999.txt")])
def test_correlation_with_people_is_gensims(name: str, file: str) -> None:
    small = load_glove(8_000)
    value, count = evaluation.correlation_with_people(small, evaluation.judged_pairs(name))
    _, (theirs, _), unknown = keyed_vectors(small).evaluate_word_pairs(datapath(file), case_insensitive=True)
    assert value == pytest.approx(theirs, abs=1e-6)
    assert count == pytest.approx(len(evaluation.judged_pairs(name)) * (1 - unknown / 100))


def test_too_few_judged_pairs_are_an_expected_failure() -> None:
    with pytest.raises(LessonError, match="Only 0 judged pairs"):
        evaluation.correlation_with_people(random_vectors(), [("a", "b", 1.0)])
    with pytest.raises(ValueError, match="no judged set men"):
        evaluation.judged_pairs("men")


def test_analogy_accuracy_is_gensims(tmp_path: Path) -> None:
    small = load_glove(4_000)
    every = [q for section in evaluation.read_analogies().values() for q in section]
    sample = [q for q in every if all(word in small for word in q)][::19]
    path = tmp_path / "questions.txt"
    path.write_text(": sample\n" + "\n".join(" ".join(q) for q in sample))
    assert evaluation.read_analogies(path) == {"sample": sample}
    theirs, _ = keyed_vectors(small).evaluate_word_analogies(str(path), restrict_vocab=4_000)
    ours, asked = evaluation.analogy_accuracy(small, sample, batch=7)
    assert asked == len(sample) > 100
    assert ours == pytest.approx(theirs)
    assert 0.3 < ours < 0.9


def test_topic_precision_by_hand() -> None:
    matrix = np.array([[1.0, 0.0], [0.9, 0.1], [0.1, 0.9], [0.0, 1.0], [0.8, 0.3]])
    vectors = WordVectors(["a", "b", "c", "d", "e"], matrix)
    assert evaluation.topic_precision(vectors, {"x": ["a", "b"], "y": ["c", "d", "unknown"]}, count=1) == 1.0
    topics = {"x": ["a", "b"], "y": ["c", "d", "e"]}
    assert evaluation.topic_precision(vectors, topics, count=1) == pytest.approx(4 / 5), "e lies beside a and b"
    assert evaluation.chance_precision(vectors, topics) == pytest.approx(2 / 5 * 1 / 4 + 3 / 5 * 2 / 4)


def test_document_topics_are_the_words_that_stand_in_one_document() -> None:
    pieces = [["moon", "orbit", "the"] * 3, ["tennis", "court", "the"] * 3, ["moon", "the"]]
    found = evaluation.document_topics(corpus.Corpus("c", pieces, ["apollo", "agassi", "apollo"]), 3, 0.8, 2)
    assert found == {"apollo": ["moon", "orbit"], "agassi": ["tennis", "court"]}
    with pytest.raises(ValueError, match="each piece needs one"):
        corpus.Corpus("c", pieces, [])


def test_real_glove_answers(glove: WordVectors) -> None:
    assert glove.matrix.shape == (20_000, 50)
    assert glove.words[:3] == ["the", ",", "."]
    accuracy, asked = evaluation.analogy_accuracy(glove, QUESTIONS)
    assert (asked, accuracy) == (8, 1.0)
    free, _ = evaluation.analogy_accuracy(glove, QUESTIONS, bar_inputs=False)
    assert free < accuracy
    near = {"server": "servers", "monday": "tuesday", "france": "belgium", "software": "computer"}
    for word, neighbour in near.items():
        assert neighbour in [name for name, _ in glove.nearest(word, 8)]


def test_without_the_bar_an_input_wins(glove: WordVectors) -> None:
    questions = [q for section in evaluation.read_analogies().values() for q in section][::60]
    shares = exercises.inputs_win(glove, questions)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["c"] > 0.4  # measured over all questions: 0.50
    free, _ = evaluation.analogy_accuracy(glove, questions, bar_inputs=False)
    assert shares["the answer"] == free


def test_gloves_text_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("the 0.5 -1\nof 1e-2 2\nto 3 4\n")
    monkeypatch.setenv("ALMANAC_GLOVE", str(path))
    read = load_glove(2)
    assert read.words == ["the", "of"]
    assert read.matrix.tolist() == pytest.approx(np.array([[0.5, -1.0], [0.01, 2.0]]))
    path.write_text("the 0.5 -1\nof 1\n")
    with pytest.raises(LessonError, match=r"Line 2 .* has 1 numbers; the first has 2"):
        load_glove(9)
    with pytest.raises(LessonError, match="which is no file"):
        read_text_format(tmp_path / "nowhere", 3)


def test_pca_is_scikit_learns() -> None:
    rows = np.random.default_rng(2).normal(size=(30, 6)) * [5, 3, 2, 1, 0.5, 0.1]
    ours, theirs = PCA.fit(rows, 3), TheirPCA(3).fit(rows)
    assert ours.share == pytest.approx(theirs.explained_variance_ratio_)
    assert np.abs(ours.directions @ theirs.components_.T) == pytest.approx(np.eye(3), abs=1e-10)
    assert np.abs(ours.transform(rows)) == pytest.approx(np.abs(theirs.transform(rows)))
    flat = ours.transform(rows)
    assert (np.linalg.norm(flat[:, None] - flat, axis=2) <= np.linalg.norm(rows[:, None] - rows, axis=2) + 1e-9).all()
    with pytest.raises(ValueError, match="no 7 principal components"):
        PCA.fit(rows, 7)


@pytest.mark.parametrize("seed", range(5))
def test_the_silhouette_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, names = rng.normal(size=(20, 4)), np.array(list("aabbc" * 4))
    assert contextual.silhouette(rows, names) == pytest.approx(silhouette_score(rows, names, metric="cosine"))
    with pytest.raises(ValueError, match="two labels or more"):
        contextual.silhouette(rows[:3], ["a", "a", "b"])


def test_the_vector_of_a_word_is_the_mean_of_its_pieces() -> None:
    import torch

    model = contextual.ContextualModel()
    text = "The cat saw Kubernetes."
    given = model.tokenizer(text, return_tensors="pt")
    pieces = model.tokenizer.convert_ids_to_tokens(given["input_ids"][0])
    inside = [place for place, piece in enumerate(pieces) if piece not in {"[CLS]", "the", "cat", "saw", ".", "[SEP]"}]
    assert len(inside) > 1, "the word is cut into pieces"
    with torch.inference_mode():
        expected = model.model(**given).last_hidden_state[0, inside].mean(dim=0)
    found = model.word_vectors("kubernetes", [text, "A longer sentence, so that there is padding: kubernetes."])
    assert found.shape == (7, 2, 384)
    assert found[-1, 0] == pytest.approx(expected.numpy(), abs=1e-5)
    with pytest.raises(ValueError, match="has no word cat"):
        model.word_vectors("cat", ["Concatenate."])


def test_every_sense_has_its_sentences_and_its_probe() -> None:
    for word, senses in SENSES.items():
        assert senses.keys() == PROBES[word].keys()
        assert [len(said) for said in senses.values()] == [6] * len(senses)
        assert all(corpus.words(sentence).count(word) == 1 for sentence in sentences(word))


@pytest.mark.parametrize("word", SENSES)
def test_a_static_vector_cannot_part_senses_and_a_contextual_one_does(
    word: str, layers: dict[str, np.ndarray], glove: WordVectors
) -> None:
    static = np.stack([glove[word] for _ in sentences(word)])
    assert contextual.silhouette(static, labels(word)) == 0
    table = contextual.silhouette(layers[word][0], labels(word))
    last = contextual.silhouette(layers[word][-1], labels(word))
    assert last > 0.12  # measured: 0.15 (port) to 0.43 (cell)
    assert last > table + 0.2, "layer 0 knows the position only"
    assert contextual.nearest_agrees(layers[word][-2], labels(word)) > 0.75  # measured: 0.78 (port), else 1
    shuffled = np.random.default_rng(0).permutation(labels(word))
    assert contextual.silhouette(layers[word][-1], shuffled) < 0.05


def test_a_static_vector_lies_where_its_corpus_puts_it(glove: WordVectors) -> None:
    assert glove.similarity("bank", "loan") > glove.similarity("bank", "river") + 0.2
    assert glove.similarity("port", "harbour") > glove.similarity("port", "server") + 0.3


def test_missing_models_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALMANAC_EMBEDDING_MODEL", str(tmp_path))
    with pytest.raises(LessonError, match=r"no config\.json"):
        contextual.model_folder()
    with pytest.raises(LessonError, match=r"has no nothing\.cor"):
        corpus.gensim_file("nothing.cor")


@pytest.mark.skipif(data_folder("govuk_docs") is None, reason="no govuk_docs in the evaluation data")
def test_engineering_text_is_read_without_its_links() -> None:
    text = corpus.engineering(limit=0)
    assert text is not None
    assert text.tokens > 100_000
    assert "https" not in {word for piece in text.pieces[:200] for word in piece}


def test_without_evaluation_data_there_is_no_engineering_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALMANAC_DATA", str(tmp_path))
    assert corpus.engineering() is None
