"""Week 8, the work: distillation, batching, speculation, the roofline's arithmetic, and the server over real HTTP."""

import asyncio
import itertools
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
import torch
import uvicorn
from scipy.stats import chisquare
from torch.nn import functional

from ml.week04_transformers.decoder import Decoder, DecoderConfig
from ml.week04_transformers.sampling import generate
from ml.week08_serving.batching import Batcher, Request, probabilities
from ml.week08_serving.corpus import ByteText, batch, loss_on, read_text
from ml.week08_serving.distil import distillation_loss, train
from ml.week08_serving.engine import Busy, Engine
from ml.week08_serving.layers import nearest, quantise_model
from ml.week08_serving.load import Load, Sample, measure
from ml.week08_serving.models import load_model
from ml.week08_serving.roofline import Machine, decode_limit, intensity, kv_bytes
from ml.week08_serving.serve import TextStream, create_app
from ml.week08_serving.speculative import LookupDraft, ModelDraft, accept, expected_speedup, speculate

SIZES = DecoderConfig(vocabulary=256, context=160, width=32, layers=2, heads=2, kv_heads=1, hidden=64)
SMALLER = DecoderConfig(vocabulary=256, context=160, width=32, layers=1, heads=2, hidden=64)


@pytest.fixture(scope="module")
def model() -> Decoder:
    """A decoder that has read a little: its greedy texts vary, as those of random weights do not."""
    torch.manual_seed(0)
    model = Decoder(SIZES)
    train(model, read_text()[0], range(25), 25, rows=8, length=64, rate=1e-2)
    return model


@pytest.fixture(scope="module")
def draft() -> Decoder:
    torch.manual_seed(1)
    model = Decoder(SMALLER)
    train(model, read_text()[0], range(25), 25, rows=8, length=64, rate=1e-2)
    return model


# Distillation


def test_the_loss_is_torchs_divergence_and_its_gradient_the_formula_of_the_header() -> None:
    student, teacher = torch.randn(6, 11, requires_grad=True), torch.randn(6, 11)
    loss = distillation_loss(student, teacher, 3.0)
    logs = (functional.log_softmax(student / 3, -1), functional.log_softmax(teacher / 3, -1))
    expected = 9 * functional.kl_div(*logs, log_target=True, reduction="batchmean")
    torch.testing.assert_close(loss, expected)
    loss.backward()
    difference = (student / 3).softmax(-1) - (teacher / 3).softmax(-1)
    torch.testing.assert_close(student.grad, 9 * difference / 3 / 6)  # T^2 (q - p) / T, over 6 rows
    assert distillation_loss(teacher, teacher, 2.0) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="temperature"):
        distillation_loss(student, teacher, 0)


def test_at_a_high_temperature_it_matches_logits() -> None:
    """Hinton et al., section 2.1: for logits of mean zero, T -> inf gives half the squared difference over V."""
    student, teacher = torch.randn(4, 8, dtype=torch.float64), torch.randn(4, 8, dtype=torch.float64)
    student, teacher = student - student.mean(-1, keepdim=True), teacher - teacher.mean(-1, keepdim=True)
    expected = ((student - teacher) ** 2).sum(-1).mean() / (2 * 8)
    torch.testing.assert_close(distillation_loss(student, teacher, 1e4), expected, rtol=1e-3, atol=0)


def test_a_student_learns_more_from_a_good_teacher_than_from_the_text() -> None:
    """The teacher is the true source here, a random table of next letters, so what it adds is known."""

    class Table(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(12, 12)
            torch.nn.init.normal_(self.table.weight, std=2.0)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.table(ids)

    torch.manual_seed(3)
    source, generator = Table().requires_grad_(False), torch.Generator().manual_seed(3)
    text = [0]
    for _ in range(399):
        text.append(int(torch.multinomial(source(torch.tensor(text[-1])).softmax(-1), 1, generator=generator)))
    pieces, found = torch.tensor(text).view(4, 100), {}
    for teacher in (None, source):
        student = Table()
        torch.nn.init.zeros_(student.table.weight)
        train(student, pieces, range(120), 120, teacher, temperature=1.0, share=0.9, rows=4, length=32, rate=0.05)
        truth, learned = source.table.weight.log_softmax(-1), student.table.weight.detach().log_softmax(-1)
        found[teacher] = (truth.exp() * (truth - learned)).sum(-1).mean().item()
    assert found[source] < 0.5 * found[None]


def test_training_lowers_the_loss_and_repeats_itself(model: Decoder) -> None:
    held_out = read_text()[1][:4, :65]
    assert loss_on(model, held_out) < 3.6 < math.log(256)
    torch.manual_seed(0)
    again = Decoder(SIZES)
    train(again, read_text()[0], range(25), 25, rows=8, length=64, rate=1e-2)
    assert torch.equal(again.head.weight, model.head.weight)


def test_the_text_is_held_out_piece_by_piece() -> None:
    seen, held_out = read_text()
    assert len(seen) > 8 * len(held_out) > 0
    assert not {tuple(piece) for piece in seen.tolist()} & {tuple(piece) for piece in held_out.tolist()}
    windows = batch(seen, 5, 30, torch.Generator().manual_seed(0))
    assert windows.shape == (5, 31)


# Continuous batching


def requests(count: int = 10) -> list[Request]:
    """Prompts and answers of very different length, greedy and sampled."""
    text = read_text()[1].flatten()
    generator = torch.Generator().manual_seed(7)
    sizes = torch.randint(1, 50, (count, 2), generator=generator).tolist()
    return [
        Request(text[100 * i : 100 * i + prompt].tolist(), answer, temperature=(i % 3) / 2, seed=i)
        for i, (prompt, answer) in enumerate(sizes)
    ]


def alone(model: Decoder, request: Request) -> list[int]:
    """Week 4's generation, one request at a time, with the same source of chance."""
    ids, generator = torch.tensor([request.prompt]), torch.Generator().manual_seed(request.seed)
    whole = generate(model, ids, request.max_tokens, temperature=request.temperature, generator=generator)
    return whole[0, len(request.prompt) :].tolist()


@pytest.mark.parametrize(("slots", "continuous"), [(1, True), (3, True), (8, True), (4, False)])
def test_every_request_gets_what_it_would_get_alone(model: Decoder, slots: int, continuous: bool) -> None:
    batcher, mine = Batcher(model, slots, 128, continuous), requests()
    batcher.run(mine)
    assert [request.tokens for request in mine] == [alone(model, request) for request in mine]
    assert all(request.submitted <= request.first <= request.finished for request in mine)


def test_continuous_batching_needs_fewer_and_fuller_steps(model: Decoder) -> None:
    steps = {}
    for continuous in (True, False):
        batcher = Batcher(model, 4, 128, continuous)
        batcher.run(requests())
        steps[continuous] = batcher.steps
    answers = [request.max_tokens for request in requests()]
    static = sum(max(answers[i : i + 4]) - 1 for i in range(0, len(answers), 4))  # the first token is the prefill's
    assert steps[False] == static
    assert steps[True] < 0.8 * static


def test_a_newcomer_joins_between_two_steps(model: Decoder) -> None:
    batcher, (long, short) = Batcher(model, 2, 128), (Request([65, 66], 40), Request([70], 3))
    batcher.submit(long)
    for _ in range(5):
        batcher.step()
    batcher.submit(short)
    while not short.done:
        batcher.step()
    assert len(long.tokens) < 10
    while not long.done:
        batcher.step()
    assert (long.tokens, short.tokens) == (alone(model, long), alone(model, short))


def test_a_cancelled_request_frees_its_slot_and_a_stop_token_ends_one(model: Decoder) -> None:
    batcher, first, second = Batcher(model, 1, 128), Request([65], 50), Request([66], 4)
    batcher.submit(first)
    batcher.submit(second)
    batcher.step()
    first.cancelled = True
    while not second.done:
        batcher.step()
    assert len(first.tokens) == 1
    assert second.tokens == alone(model, second)
    whole = alone(model, Request([66], 20))
    stopped = Request([66], 20, stop=whole[5])
    batcher.run([stopped])
    assert stopped.tokens == whole[: whole.index(whole[5]) + 1]


def test_a_static_batchs_idle_rows_do_not_outgrow_their_slots(model: Decoder) -> None:
    mine = [Request(list(range(60)), 4), Request([65], 60)]
    Batcher(model, 2, 64, continuous=False).run(mine)
    assert [request.tokens for request in mine] == [alone(model, request) for request in mine]


def test_what_fits_no_slot_is_refused(model: Decoder) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Batcher(model, 2, 64).submit(Request([1] * 60, 5))
    with pytest.raises(ValueError, match="prompt"):
        Request([], 5)
    with pytest.raises(ValueError, match="context"):
        Batcher(model, 2, 161)


# Speculative decoding


@pytest.mark.parametrize("guesses", [1, 3, 6])
def test_greedy_speculation_writes_what_plain_decoding_writes(model: Decoder, draft: Decoder, guesses: int) -> None:
    for start in (0, 60):
        prompt = read_text()[1].flatten()[start : start + 40].tolist()
        plain = alone(model, Request(prompt, 50))
        for guesser in (ModelDraft(draft), LookupDraft(256)):
            tokens, tally = speculate(model, guesser, prompt, 50, guesses)
            assert tokens == plain
            assert tally.rounds + tally.accepted == 50
            assert tally.accepted <= tally.tested <= tally.guessed <= guesses * tally.rounds
            assert tally.tested - tally.accepted <= tally.rounds  # at most one rejection a round


def test_a_draft_that_is_the_target_is_always_right(model: Decoder) -> None:
    prompt = list(b"The interpreter")
    for temperature in (0.0, 1.0):
        tokens, tally = speculate(model, ModelDraft(model), prompt, 41, 4, temperature)
        assert len(tokens) == 41
        assert tally.rate > 0.97  # p / q is 1 but for rounding, and a draw of 1 - 1e-7 can meet it
        assert tally.rounds <= 11


def test_the_acceptance_rule_gives_exactly_the_targets_distribution() -> None:
    """The first token's frequencies are p's, whatever q is, and so is the share of accepted guesses: sum min(p, q)."""
    p = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]])
    q = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    generator, count = torch.Generator().manual_seed(0), 12_000
    guesses = torch.multinomial(q[0], count, replacement=True, generator=generator).tolist()
    runs = [accept([guess], q, p, generator) for guess in guesses]
    first = torch.bincount(torch.tensor([run[0] for run in runs]), minlength=4).numpy()
    assert chisquare(first, [count * share for share in (0.5, 0.3, 0.15, 0.05)]).pvalue > 1e-3
    second = torch.bincount(torch.tensor([run[1] for run in runs if len(run) == 2]), minlength=4).numpy()
    assert chisquare(second, [second.sum() * share for share in (0.1, 0.2, 0.3, 0.4)]).pvalue > 1e-3
    assert second.sum() / count == pytest.approx(0.1 + 0.2 + 0.15 + 0.05, abs=0.015)


def test_sampled_speculation_has_plain_samplings_distribution() -> None:
    """Texts of two letters out of three, through both models and both caches, against their exact probabilities."""
    torch.manual_seed(5)
    sizes = DecoderConfig(vocabulary=3, context=8, width=8, layers=1, heads=1, hidden=8)
    target, draft = Decoder(sizes).eval(), Decoder(sizes).eval()
    for model in (target, draft):
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.8)
    pairs, exact = list(itertools.product(range(3), repeat=2)), []
    with torch.inference_mode():
        for a, b in pairs:
            p = target(torch.tensor([[1, a]]))[0].double().softmax(-1)
            exact.append(float(p[0, a] * p[1, b]))
        q = draft(torch.tensor([[1]]))[0, -1].softmax(-1)
    assert (q - torch.tensor(exact).view(3, 3).sum(1)).abs().max() > 0.1  # the draft really is another model
    count = 700
    seen = dict.fromkeys(pairs, 0)
    for seed in range(count):
        tokens, _ = speculate(target, ModelDraft(draft), [1], 3, 2, 1.0, seed)
        seen[tuple(tokens[:2])] += 1
    assert chisquare(list(seen.values()), [count * one for one in exact]).pvalue > 1e-3


def test_the_lookup_finds_the_latest_repetition() -> None:
    ids = [1, 2, 3, 9, 1, 2, 3, 7, 8, 1, 2, 3]
    guesses, q = LookupDraft(10).propose(ids, 2, 0.0, torch.Generator())
    assert guesses == [7, 8]
    assert q.argmax(-1).tolist() == guesses
    assert LookupDraft(10).propose([1, 2, 3, 4], 2, 0.0, torch.Generator())[0] == []


def test_the_expected_speed_up_by_hand() -> None:
    assert expected_speedup(0.0, 4, 0.0) == 1.0  # every guess wrong: one token a round, as before
    assert expected_speedup(1.0, 4, 0.25) == 2.5  # five tokens for the time of two steps
    assert expected_speedup(0.5, 2, 0.1) == pytest.approx((1 + 0.5 + 0.25) / 1.2)


def test_temperature_zero_is_the_limit_of_a_low_one() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.9], [0.0, -1.0, 5.0]])
    torch.testing.assert_close(probabilities(logits, 0), probabilities(logits, 1e-3))


# The roofline


def test_the_roofs_arithmetic_by_hand() -> None:
    machine = Machine(peak=100e9, bandwidth=20e9)
    assert machine.ridge == 5
    assert intensity(1, 4) == 0.5
    assert machine.attainable(intensity(1, 4)) == 10e9
    assert machine.attainable(intensity(64, 4)) == 100e9
    # 4 GB of weights and no cache: five readings a second; a cache of 1 GB each halves what eight rows would gain.
    assert decode_limit(machine, 4 * 10**9, 0, 1) == 5
    assert decode_limit(machine, 4 * 10**9, 10**9, 4) == pytest.approx(10)
    assert kv_bytes(SIZES) == 2 * 2 * 1 * 16 * 4


# The server


class Running:
    """The application on a real port, in a thread."""

    def __init__(self, app) -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.engine = f"http://127.0.0.1:{port}", app.state.engine
        self.server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="on"))
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> "Running":
        self.thread.start()
        wait_for(lambda: self.server.started)
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.engine.alive

    def generate(self, **body: object) -> httpx.Response:
        return httpx.post(f"{self.url}/generate", json=body, timeout=30, trust_env=False)

    def health(self) -> dict:
        return httpx.get(f"{self.url}/healthz", trust_env=False).json()


def wait_for(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def served(model: Decoder) -> Iterator[Running]:
    """The quantised model behind HTTP."""
    with Running(create_app(quantise_model(model, nearest(8)), ByteText(), "tiny", slots=4, limit=8)) as running:
        yield running


def test_an_answer_over_http_is_the_quantised_models_own(served: Running, model: Decoder) -> None:
    answer = served.generate(prompt="The import", max_tokens=12).json()
    expected = alone(quantise_model(model, nearest(8)), Request(list(b"The import"), 12))
    assert answer["text"] == ByteText().decode(expected).rstrip("\ufffd")
    assert (answer["tokens"], answer["finish_reason"]) == (12, "length")
    assert served.health()["status"] == "ok"


def test_a_stream_says_the_same_in_pieces(served: Running) -> None:
    body = {"prompt": "The class", "max_tokens": 15, "temperature": 0.8, "seed": 3}
    whole = served.generate(**body).json()
    response = served.generate(**body, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    *pieces, end = map(json.loads, events)
    assert "".join(piece["text"] for piece in pieces) == whole["text"]
    assert (end["tokens"], end["finish_reason"]) == (15, "length")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": ""},
        {"prompt": "x", "max_tokens": 0},
        {"prompt": "x", "temperature": -1},
        {"prompt": "x", "temprature": 1},
        {"prompt": "x" * 150, "max_tokens": 20},  # 170 tokens; a slot has 160
    ],
)
def test_bad_input_is_a_422(served: Running, body: dict) -> None:
    assert served.generate(**body).status_code == 422


def test_answers_to_many_at_once_are_those_to_each_alone(served: Running, model: Decoder) -> None:
    bodies = [{"prompt": f"Section {i}", "max_tokens": 5 + 3 * i} for i in range(6)]
    quantised = quantise_model(model, nearest(8))
    expected = [alone(quantised, Request(list(b["prompt"].encode()), b["max_tokens"])) for b in bodies]

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
            return await asyncio.gather(*(client.post("/generate", json=body) for body in bodies))

    texts = [response.json()["text"] for response in asyncio.run(ask())]
    assert texts == [ByteText().decode(ids).rstrip("\ufffd") for ids in expected]


def test_a_client_that_hangs_up_frees_its_slot(served: Running) -> None:
    body = {"prompt": "x", "max_tokens": 150, "stream": True}
    before = served.health()["tokens"]
    with httpx.stream("POST", f"{served.url}/generate", json=body, trust_env=False) as response:
        next(response.iter_lines())  # the first token is there; now hang up
    wait_for(lambda: served.health()["running"] == 0)
    assert served.health()["tokens"] - before < 150


class Stuck(Batcher):
    """A batcher whose steps wait for a sign, so that a test decides how far the engine is."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.sign = threading.Event()
        self.broken = False

    def step(self) -> list[Request]:
        self.sign.wait(10)
        if self.broken:
            raise RuntimeError("out of memory")
        return super().step()


def test_a_full_queue_is_busy_and_a_cancelled_waiter_makes_room(model: Decoder) -> None:
    engine, heard = Engine(Stuck(model, 1, 128), limit=2), []
    engine.start()
    mine = [Request([65], 3) for _ in range(4)]
    engine.submit(mine[0], heard.append)
    wait_for(lambda: not engine.inbox)  # it has the only slot
    engine.submit(mine[1], heard.append)
    engine.submit(mine[2], heard.append)
    with pytest.raises(Busy):
        engine.submit(mine[3], heard.append)
    engine.cancel(mine[1])
    engine.submit(mine[3], heard.append)
    engine.batcher.sign.set()
    wait_for(lambda: mine[3].done)
    engine.stop()
    assert [len(request.tokens) for request in mine] == [3, 0, 3, 3]
    assert len(heard) == 9


def test_a_full_queue_is_a_429_over_http_and_a_dead_engine_a_503(model: Decoder) -> None:
    app = create_app(model, ByteText(), "tiny", slots=1, limit=1)
    stuck = app.state.engine.batcher = Stuck(model, 1, 128)
    with Running(app) as running:
        answers: list[httpx.Response] = []
        threads = [
            threading.Thread(target=lambda: answers.append(running.generate(prompt="x", max_tokens=2))) for _ in "ab"
        ]
        threads[0].start()
        wait_for(lambda: running.health()["running"] + len(stuck.waiting) == 1)
        threads[1].start()
        wait_for(lambda: running.health()["waiting"] == 1)
        refused = running.generate(prompt="x", max_tokens=2)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        stuck.broken = True
        stuck.sign.set()
        for thread in threads:
            thread.join(10)
        assert [answer.status_code for answer in answers] == [503, 503]
        assert running.generate(prompt="x").status_code == 503
        assert httpx.get(f"{running.url}/healthz", trust_env=False).status_code == 503


def test_the_load_test_counts_what_clients_saw(served: Running) -> None:
    bodies = [{"prompt": "The ", "max_tokens": 4 + i} for i in range(6)]
    load = asyncio.run(measure(served.url, 2, bodies))
    assert sum(sample.tokens for sample in load.samples) == sum(body["max_tokens"] for body in bodies)
    assert all(0 < sample.first < sample.latency < load.seconds for sample in load.samples)
    by_hand = Load(2, 4.0, [Sample(0.1, 1.0, 10), Sample(0.2, 2.0, 20), Sample(0.3, 3.0, 30)])
    assert (by_hand.throughput, by_hand.latency(50), by_hand.first(50)) == (15.0, 2.0, 0.2)


def test_letters_of_several_bytes_are_held_back_until_they_are_whole() -> None:
    stream = TextStream(ByteText())
    assert [stream.push(byte) for byte in "aé→b".encode()] == ["a", "", "é", "", "", "→", "b"]


def test_a_model_that_is_not_offered_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="tiny or smollm2"):
        load_model("large", 8, tmp_path / "none.pt")
