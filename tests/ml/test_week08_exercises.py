"""Week 8: the exercises' answers show what the README says they show."""

import pytest
import torch

from ml.week04_transformers.decoder import Decoder, DecoderConfig
from ml.week08_serving import exercises
from ml.week08_serving.layers import model_bytes, nearest, quantise_model
from ml.week08_serving.roofline import Machine


def test_half_precision_scales_save_half_a_bit_for_nothing() -> None:
    found = exercises.half_precision_scales(torch.randn(64, 256, generator=torch.Generator().manual_seed(0)))
    assert (found["bits before"], found["bits after"]) == (5.0, 4.5)
    assert found["error after"] == pytest.approx(found["error before"], rel=1e-3)


def test_an_int8_head_reads_less_and_keeps_more() -> None:
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(vocabulary=256, context=32, width=32, layers=1, heads=2, hidden=64)).eval()
    linear, head = 4 * 32 * 32 + 3 * 32 * 64, 256 * 32
    assert exercises.bytes_read_per_token(model) == 4 * (linear + head + 32)
    small = quantise_model(model, nearest(8))
    changed = exercises.quantise_head(small)
    saved = exercises.bytes_read_per_token(small) - exercises.bytes_read_per_token(changed)
    assert saved == 3 * head - 4 * 256
    assert model_bytes(changed) == model_bytes(small) + head + 4 * 256
    ids = torch.randint(256, (2, 20))
    assert (changed(ids) - small(ids)).abs().max() < 0.02 * small(ids).abs().max()


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_the_simulated_wait_is_the_one_of_theory(load: float) -> None:
    service = 0.2
    rate = load / service
    expected = rate * service**2 / (2 * (1 - load))
    assert exercises.open_loop(rate, service, 100_000) == pytest.approx(expected, rel=0.08)
    with pytest.raises(ValueError, match="between 0 and 1"):
        exercises.open_loop(6, service)


def test_the_best_batch_by_hand() -> None:
    machine = Machine(peak=100e9, bandwidth=20e9)
    # 1 GB of weights takes 50 ms; 10 ms are left for caches of 20 MB (1 ms each); arithmetic is no limit.
    assert exercises.best_batch(machine, 10**9, 20 * 10**6, 0.0601, 1e6) == 10
    assert exercises.best_batch(machine, 10**9, 0, 0.0601, 1e9) == 6  # now each row computes for 10 ms
    assert exercises.best_batch(machine, 10**9, 0, 0.04, 1e6) == 0
    with pytest.raises(ValueError, match="operations"):
        exercises.best_batch(machine, 10**9, 0, 1.0, 0)
    assert exercises.halved_bandwidth(machine).ridge == 2 * machine.ridge


def test_a_little_clipping_helps_and_much_hurts() -> None:
    weight = torch.randn(64, 1024, generator=torch.Generator().manual_seed(0))
    found = exercises.clipping(weight)
    best = min(found, key=found.get)
    assert 0.5 < best < 1
    assert found[best] < 0.8 * found[1.0]
    assert found[0.5] > found[best]
