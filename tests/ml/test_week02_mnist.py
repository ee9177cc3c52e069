"""The reader refuses what is not MNIST; the fall-back; and both kinds of network learn to read."""

from __future__ import annotations

import gzip
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from ml.lesson import LessonError, data_folder
from ml.week02_networks import mnist, mnist_torch, training
from ml.week02_networks.figures import confusion_matrix
from ml.week02_networks.mlp import mlp
from ml.week02_networks.optimisers import AdamW

needs_mnist = pytest.mark.skipif(data_folder("mnist") is None, reason="MNIST is not on this machine")


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder: Path, packed: bool = True, **changes: bytes) -> Path:
    """A small MNIST: 24 and 5 images of 4x4; ``changes`` replaces files: train_images=b"…"."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 24), ("test", 5)):
        for kind, name, array in zip(
            ("images", "labels"),
            mnist.FILES[part],
            (rng.integers(0, 256, (count, 4, 4), dtype=np.uint8), rng.integers(0, 10, count, dtype=np.uint8)),
            strict=True,
        ):
            raw = changes.get(f"{part}_{kind}", idx(array))
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(raw) if packed else raw)
    return folder


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("layout", [".", "raw", "MNIST/raw"])
def test_the_original_files_and_torchvisions_cache_are_read(tmp_path: Path, packed: bool, layout: str) -> None:
    write(tmp_path / layout, packed)
    parts = mnist.read_folder(tmp_path)
    assert [parts[part][0].shape for part in ("train", "test")] == [(24, 4, 4), (5, 4, 4)]
    np.testing.assert_array_equal(
        parts["train"][0], np.random.default_rng(0).integers(0, 256, (24, 4, 4), dtype=np.uint8)
    )
    digits = mnist.load(tmp_path)
    assert (len(digits.train), len(digits.validation), len(digits.test), digits.side) == (22, 2, 5, 4)
    assert digits.train.images.mean() == pytest.approx(0, abs=1e-6)
    assert digits.train.images.std() == pytest.approx(1, abs=1e-6)
    assert sorted([*digits.train.labels, *digits.validation.labels]) == sorted(parts["train"][1])


IMAGES, LABELS = np.zeros((24, 4, 4), np.uint8), np.zeros(24, np.uint8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_images": idx(IMAGES)[:-1]}, "384 values announced, 383 found"),
        ({"train_images": idx(IMAGES) + b"x"}, "385 found"),
        ({"train_images": idx(LABELS)}, "no IDX file of 3-dimensional"),
        ({"train_images": idx(IMAGES)[:10]}, "inside its header"),
        ({"test_labels": b"<html>not found</html>"}, "no IDX file"),
        ({"train_labels": idx(LABELS[:20])}, "24 images but 20 labels"),
        ({"train_labels": idx(LABELS + 10)}, "label 10 is not a digit"),
        ({"train_images": idx(IMAGES[:, :2])}, "not square"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path, changes: dict[str, bytes], words: str) -> None:
    with pytest.raises(LessonError, match=words):
        mnist.load(write(tmp_path, **changes))


def test_a_truncated_and_a_false_archive_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path) / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for raw in (whole[:-20], b"no gzip", whole[:40] + bytes([whole[40] ^ 255]) + whole[41:]):
        path.write_bytes(raw)
        with pytest.raises(LessonError, match="damaged"):
            mnist.load(tmp_path)


def test_a_named_folder_without_mnist_is_an_error_and_no_fall_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(mnist.VARIABLE, str(tmp_path))
    with pytest.raises(LessonError, match="does not hold MNIST"):
        mnist.load()
    write(tmp_path)
    assert len(mnist.load().test) == 5


def test_without_mnist_the_digits_of_scikit_learn_are_read_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALMANAC_DATA", str(tmp_path))
    monkeypatch.delenv(mnist.VARIABLE, raising=False)
    digits = mnist.load()
    assert "scikit-learn" in digits.name
    assert (len(digits.train), len(digits.validation), len(digits.test), digits.side) == (1_257, 180, 360, 8)
    assert set(digits.test.labels) == set(range(10))


def test_the_hubs_parquet_files_are_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    image = pytest.importorskip("PIL.Image")
    expected = mnist.read_folder(write(tmp_path / "original"))
    folder = tmp_path / "hub" / "mnist"
    folder.mkdir(parents=True)
    for part, (images, labels) in expected.items():
        rows = []
        for pixels in images:
            file = io.BytesIO()
            image.fromarray(pixels).save(file, "PNG")
            rows.append({"bytes": file.getvalue(), "path": None})
        for number, half in enumerate((slice(None, 3), slice(3, None))):  # two files: their order matters
            table = pyarrow.table({"image": rows[half], "label": labels[half].tolist()})
            parquet.write_table(table, folder / f"{part}-0000{number}-of-00002.parquet")
    found = mnist.read_folder(tmp_path / "hub")
    for part, pair in expected.items():
        for got, want in zip(found[part], pair, strict=True):
            np.testing.assert_array_equal(got, want)


@needs_mnist
def test_the_real_files_hold_what_is_known_of_mnist() -> None:
    parts = mnist.read_folder(data_folder("mnist"))
    (images, labels), (test_images, test_labels) = parts["train"], parts["test"]
    assert images.shape == (60_000, 28, 28)
    assert test_images.shape == (10_000, 28, 28)
    assert labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)  # the constants that every tutorial normalises with
    assert images.std() / 255 == pytest.approx(0.3081, abs=5e-5)


@pytest.fixture(scope="module")
def digits() -> mnist.Digits:
    """MNIST's first 4,000 training images where it is here, else scikit-learn's digits."""
    whole = mnist.load()
    return mnist.Digits(
        whole.name, whole.side, whole.train.first(4_000), whole.validation.first(500), whole.test.first(2_000)
    )


@pytest.mark.parametrize("hidden", [(128,), (128, 64)])
def test_a_torch_network_learns_to_read(digits: mnist.Digits, hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = mnist_torch.network(digits.side**2, hidden, dropout=0.1)
    epochs = list(mnist_torch.train(model, digits, mnist_torch.Recipe(epochs=4, batch_size=32), seed=0))
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[-1].train_loss < epochs[0].train_loss / 2
    assert mnist_torch.evaluate(model, digits.test)[1] > 0.88


def test_the_numpy_network_learns_to_read(digits: mnist.Digits) -> None:
    rng = np.random.default_rng(0)
    network = mlp((digits.side**2, 128, 10), rng, dropout=0.1, batch_norm=True, input_dropout=0.1)
    optimiser = AdamW(network.parameters(), lr=4e-3)
    epochs = list(training.train(network, digits, optimiser, 4, 32, rng))
    assert epochs[-1].train_loss < epochs[0].train_loss / 2
    loss, accuracy = training.evaluate(network, digits.test)
    assert accuracy > 0.88
    probabilities = np.exp(training.scores(network, digits.test.images).astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    right = probabilities[np.arange(len(digits.test)), digits.test.labels]
    assert loss == pytest.approx(-np.log(right).mean(), rel=1e-4)


def test_two_runs_with_one_seed_are_equal(digits: mnist.Digits) -> None:
    def run() -> tuple[float, float]:
        torch.manual_seed(3)
        model = mnist_torch.network(digits.side**2, (16,))
        (first,) = mnist_torch.train(model, digits, mnist_torch.Recipe(epochs=1, batch_size=64), seed=3)
        rng = np.random.default_rng(3)
        network = mlp((digits.side**2, 16, 10), rng, dropout=0.2)
        (second,) = training.train(network, digits, AdamW(network.parameters(), 1e-3), 1, 64, rng)
        return first.train_loss, second.train_loss

    assert run() == run()


def test_an_epoch_shows_every_image_once_in_whole_batches() -> None:
    batches = list(training.minibatches(103, 10, np.random.default_rng(0)))
    assert [len(batch) for batch in batches] == [10] * 10
    assert len(set(np.concatenate(batches).tolist())) == 100
    with pytest.raises(ValueError, match="batch size"):
        next(training.minibatches(5, 6, np.random.default_rng(0)))


def test_the_confusion_matrix_counts_rows_as_truth() -> None:
    counts = confusion_matrix(np.array([0, 1, 1, 2]), np.array([0, 2, 2, 2]), classes=3)
    np.testing.assert_array_equal(counts, [[1, 0, 0], [0, 0, 2], [0, 0, 1]])


def test_the_experiments_flag_names_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ml.lesson import main
    from ml.week02_networks.experiment import arguments, experiment

    monkeypatch.setattr("sys.argv", ["experiment", "--quick", "--out", str(tmp_path), "--mnist", str(tmp_path / "no")])
    before = dict(os.environ)
    with pytest.raises(SystemExit) as stopped:
        main(experiment, "a title", arguments)
    assert stopped.value.code == 1
    assert dict(os.environ) == before
