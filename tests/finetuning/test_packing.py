"""Labels, token by token; packed rows against separate ones; the faster layers against peft's own."""

from __future__ import annotations

import copy
import math
import random
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy

from assistant.settings import Settings
from tests.finetuning.tiny import save_tiny_model
from workers.finetuning import adapting, attention, objective, packing, schedule
from workers.finetuning.attention import use_packed
from workers.finetuning.fast import speed_up
from workers.finetuning.job import BadJob, Job
from workers.finetuning.objective import Objective
from workers.finetuning.packing import IGNORED, BadRow, Example, conversation, document, encode, packed, packs
from workers.finetuning.perplexity import perplexity
from workers.finetuning.preparing import as_served
from workers.language_model import LanguageModel, load

# peft asks transformers for a property that was renamed
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

TURNS = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Restart it?"},
    {"role": "assistant", "content": "Yes: `pod restart`."},
    {"role": "user", "content": "And then?"},
    {"role": "assistant", "content": "Wait 5 s."},
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load(save_tiny_model(tmp_path_factory.mktemp("tiny")), device="cpu")


def adapted(tiny: LanguageModel, dtype: torch.dtype = torch.float32, **changed: Any) -> Any:
    """A copy with an adapter that is no zero."""
    targets = ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"]
    model = copy.deepcopy(tiny.model).to(dtype)
    model = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": targets, **changed}))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def sequences(count: int, seed: int = 3) -> list[Example]:
    mixed = random.Random(seed)
    found = []
    for _ in range(count):
        ids = tuple(mixed.randrange(3, 259) for _ in range(mixed.randrange(2, 60)))
        found.append(Example(ids, tuple(token if mixed.random() < 0.7 else IGNORED for token in ids)))
    return found


def separately(model: Any, examples: list[Example]) -> torch.Tensor:
    """The summed loss, one sequence at a time, by transformers' own forward pass."""
    total = torch.zeros(())
    for example in examples:
        logits = model(input_ids=torch.tensor([example.ids])).logits[0, :-1].float()
        total = total + cross_entropy(logits, torch.tensor(example.labels[1:]), ignore_index=IGNORED, reduction="sum")
    return total


def test_of_a_conversation_only_what_the_assistant_says_is_scored(tiny: LanguageModel) -> None:
    example = conversation(TURNS, tiny.tokenizer)
    whole = tiny.tokenizer.apply_chat_template(TURNS, tokenize=False)
    assert tiny.tokenizer.decode(example.ids) == whole
    said = ["Yes: `pod restart`.<|im_end|>", "Wait 5 s.<|im_end|>"]
    scored = "".join("x" if label != IGNORED else "-" for label in example.labels)
    expected = ""
    rest = whole
    for answer in said:  # a byte a token, and one for each mark
        before, _, rest = rest.partition(f"<|im_start|>assistant\n{answer}")
        expected += "-" * len(tiny.tokenizer(before + "<|im_start|>assistant\n")["input_ids"])
        expected += "x" * len(tiny.tokenizer(answer)["input_ids"])
    assert scored == expected + "-"  # the line break after the last end
    for place, label in enumerate(example.labels):
        assert label in (IGNORED, example.ids[place])
    assert (
        example.labels.count(tiny.tokenizer.eos_token_id) == 2
    )  # the model pads with it, and learns to stop all the same


def test_the_prompt_has_the_ids_it_has_when_the_model_is_asked(tiny: LanguageModel) -> None:
    example = conversation(TURNS[:3], tiny.tokenizer)
    prompt = tiny.tokenizer.apply_chat_template(TURNS[:2], tokenize=False, add_generation_prompt=True)
    ids = tuple(tiny.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    assert example.ids[: len(ids)] == ids
    assert set(example.labels[: len(ids)]) == {IGNORED}
    assert example.labels[len(ids)] == example.ids[len(ids)]


def test_a_document_counts_whole_and_is_cut_where_it_is_too_long(tiny: LanguageModel) -> None:
    pieces = document("abcdefghij", tiny.tokenizer, 4)
    assert [tiny.tokenizer.decode(piece.ids) for piece in pieces] == ["abcd", "efgh", "ij<|im_end|>"]
    assert all(piece.ids == piece.labels for piece in pieces)
    found = encode([{"text": "abcdefgh"}, {"messages": TURNS}, {"text": ""}], tiny.tokenizer, 8)
    assert (len(found.examples), found.too_long) == (1, 1)  # the lone end of a piece is nothing to predict


def test_what_cannot_be_trained_on_is_said(tiny: LanguageModel) -> None:
    with pytest.raises(BadRow, match="without an answer"):
        conversation(TURNS[:2], tiny.tokenizer)
    plain = copy.deepcopy(tiny.tokenizer)
    plain.chat_template = None
    with pytest.raises(BadRow, match="no chat template"):
        conversation(TURNS, plain)
    plain.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(BadRow, match="one after the other"):
        conversation(TURNS, plain)


def test_targets_never_reach_from_one_sequence_into_the_next() -> None:
    first, second = Example((5, 6, 7), (IGNORED, 6, 7)), Example((8, 9), (8, 9))
    row = packed([first, second])
    assert row.ids.tolist() == [[5, 6, 7, 8, 9]]
    assert row.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert row.targets.tolist() == [6, 7, IGNORED, 9, IGNORED]
    assert (row.lengths, row.counted) == ((3, 2), 3)
    assert first.counted + second.counted == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_packed_row_has_the_loss_and_the_gradients_of_separate_sequences(
    tiny: LanguageModel, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "BLOCK", 16)  # several blocks in a sequence, and in the loss
    monkeypatch.setattr(objective, "BLOCK", 32)
    examples = sequences(9)
    reference = adapted(tiny)  # in float32, by peft and transformers alone
    wanted = separately(reference, examples)
    wanted.backward()
    ours = adapted(tiny, dtype)
    use_packed(ours)
    assert speed_up(ours) == 10
    found = Objective(ours.train())(packed(examples))
    found.backward()
    exact = dtype is torch.float32
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6 if exact else 5e-3)
    theirs = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        if parameter.requires_grad:
            assert parameter.dtype is torch.float32
            difference = (parameter.grad - theirs[name].grad).norm() / theirs[name].grad.norm()
            assert difference < (1e-4 if exact else 0.06), name


def test_a_row_where_sequences_see_each_other_would_have_another_loss(tiny: LanguageModel) -> None:
    """The test above can fail: one sequence of all tokens, which is what packing without borders comes to."""
    examples = sequences(4)
    model = adapted(tiny)
    joined = Example(sum((one.ids for one in examples), ()), sum((one.labels for one in examples), ()))
    assert separately(model, [joined]).item() != pytest.approx(separately(model, examples).item(), rel=1e-3)


def test_checkpointed_gradients_and_a_trained_head_are_the_same(tiny: LanguageModel) -> None:
    examples = sequences(5)
    plain, again = adapted(tiny), adapted(tiny)
    again.activation_checkpointing_enable({"use_reentrant": False})
    full = copy.deepcopy(tiny.model)
    for model in (plain, again, full):
        use_packed(model)
    losses = [Objective(model.train())(packed(examples)) for model in (plain, again)]
    for loss in losses:
        loss.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    others = dict(again.named_parameters())
    for name, parameter in plain.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, others[name].grad)
    reference = copy.deepcopy(tiny.model)
    Objective(full.train())(packed(examples)).backward()
    separately(reference, examples).backward()
    torch.testing.assert_close(full.lm_head.weight.grad, reference.lm_head.weight.grad, rtol=1e-3, atol=1e-4)


def test_layers_that_cannot_be_sped_up_stay_pefts(tiny: LanguageModel) -> None:
    assert speed_up(adapted(tiny, lora_dropout=0.1)) == 0
    assert speed_up(adapted(tiny, use_dora=True)) == 0
    model = adapted(tiny)
    speed_up(model)
    ids = torch.tensor([[5, 6, 7]])
    with model.disable_adapter(), torch.no_grad():
        torch.testing.assert_close(model(ids).logits, tiny.model(ids).logits)
    with torch.no_grad():
        apart = model(ids).logits
        merged = model.merge_and_unload()(ids).logits
    torch.testing.assert_close(apart, merged, rtol=1e-4, atol=1e-4)


def test_packs_hold_everything_once_within_their_budget_in_an_order_of_the_seed() -> None:
    mixed = random.Random(0)
    lengths = [mixed.randrange(20, 900) for _ in range(500)] + [1500]
    found = packs(lengths, 1024, seed=1, epoch=0)
    assert sorted(index for pack in found for index in pack) == list(range(501))
    assert all(sum(lengths[index] for index in pack) <= 1024 or len(pack) == 1 for pack in found)
    assert sum(lengths) / (len(found) * 1024) > 0.9  # of the room is used
    assert found == packs(lengths, 1024, seed=1, epoch=0)
    assert found != packs(lengths, 1024, seed=1, epoch=1)
    assert found != packs(lengths, 1024, seed=2, epoch=0)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_steps_share_everything_among_processes(world: int) -> None:
    examples = sequences(101)
    job = Job(model="m", base="b", context=64, step_tokens=256, epochs=2)
    made = schedule.steps(examples, job, "cpu", world)
    for epoch in (made[: len(made) // 2], made[len(made) // 2 :]):
        seen = [index for step in epoch for rows in step.rows for pack in rows for index in pack]
        assert sorted(seen) == list(range(101))
    assert all(len({len(rows) for rows in step.rows}) == 1 and len(step.rows) == world for step in made)
    assert sum(step.counted for step in made) == 2 * sum(example.counted for example in examples)
    assert max(step.tokens for step in made) <= 256
    rates = [schedule.rate(step, 100) for step in range(100)]
    assert (rates[0], max(rates), rates[-1]) == (0.2, 1.0, pytest.approx(1 / 96))
    assert schedule.evaluated_after(10, 4) == {2, 5, 8, 10}
    assert schedule.evaluated_after(2, 8) == {1, 2}


def test_perplexity_is_that_of_transformers_and_leaves_the_model_as_it_was(tiny: LanguageModel) -> None:
    model = adapted(tiny)
    rows = [{"text": "Restart the pod."}, {"messages": TURNS}, {"text": "x" * 90}]
    examples = list(encode(rows, tiny.tokenizer, 1024).examples)
    with torch.no_grad():
        wanted = separately(model, examples) / sum(example.counted for example in examples)
    assert perplexity(model, tiny.tokenizer, rows) == pytest.approx(math.exp(wanted), rel=1e-5)
    assert model.get_base_model().config._attn_implementation == "sdpa"
    assert packing.packed(examples).counted == sum(example.counted for example in examples)


def test_four_bits_need_what_a_cpu_has_not(tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(model=str(tiny.folder), base="tiny", precision="4bit")
    with pytest.raises(BadJob, match="needs a GPU"):
        adapting.learner(job, torch.device("cpu"))
    monkeypatch.setattr(adapting.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BadJob, match="pip install bitsandbytes"):
        adapting.four_bits(torch.device("cuda"))
    with pytest.raises(BadJob, match="method must be lora"):
        Job(model="m", base="b", precision="4bit", method="full")
    assert as_served(Settings(serve_quantisation="4bit")) == {"precision": "4bit"}
    assert as_served(Settings()) == {}


def test_a_gpu_takes_larger_steps_where_there_is_much_to_train_on() -> None:
    job = Job(model="m", base="b")
    assert [schedule.step_tokens(job, "cpu", total) for total in (10_000, 10**6, 10**8)] == [2_048] * 3
    assert [schedule.step_tokens(job, "cuda", total) for total in (10_000, 10**6, 10**8)] == [2_048, 7_812, 16_384]
    assert schedule.step_tokens(Job(model="m", base="b", step_tokens=512), "cuda", 10**8) == 512
