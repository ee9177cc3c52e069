"""OpenAI's endpoints as the official client uses them, on a real socket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import openai
import pytest

from assistant.knowledge.embedding import TransformerEmbedder
from tests.serving.served import BASE, Served
from workers import language_model

MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who is on call?"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "severity": {"enum": ["low", "high"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "open": {"type": "boolean"},
    },
    "required": ["severity", "count", "open"],
    "additionalProperties": False,
}


async def test_a_chat_is_the_completion_of_its_template(server: Served, wide_folder: Path) -> None:
    chat = await server.client.chat.completions.create(
        model=BASE, messages=MESSAGES, max_tokens=24, temperature=0, extra_body={"user": "u1", "seed": None}
    )
    tokenizer = language_model.load(wide_folder).tokenizer
    text = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    plain = await server.client.completions.create(model=BASE, prompt=text, max_tokens=24, temperature=0)
    assert chat.choices[0].message.content == plain.choices[0].text
    assert chat.choices[0].message.role == "assistant"
    assert (chat.model, chat.object, plain.object) == (BASE, "chat.completion", "text_completion")
    assert chat.usage is not None
    prompt = len(tokenizer(text)["input_ids"])
    assert (chat.usage.prompt_tokens, plain.usage and plain.usage.prompt_tokens) == (prompt, prompt)
    assert chat.usage.total_tokens == prompt + chat.usage.completion_tokens


async def test_it_writes_what_transformers_writes(server: Served, wide_folder: Path) -> None:
    loaded = language_model.load(wide_folder)
    ids = loaded.tokenizer("The rollback", return_tensors="pt")["input_ids"]
    ended = loaded.model.generate(ids, max_new_tokens=20, do_sample=False, pad_token_id=2)[0, ids.shape[1] :]
    expected = loaded.tokenizer.decode(ended, skip_special_tokens=True)
    for prompt in ("The rollback", ids[0].tolist()):
        said = await server.client.completions.create(model=BASE, prompt=prompt, max_tokens=20, temperature=0)
        assert said.choices[0].text == expected


async def test_a_seed_repeats_itself_and_each_choice_has_its_own(server: Served) -> None:
    async def said(seed: int | None, n: int = 1) -> list[str]:
        chat = await server.client.chat.completions.create(
            model=BASE, messages=MESSAGES, max_tokens=16, temperature=1.2, top_p=0.95, seed=seed, n=n
        )
        assert [choice.index for choice in chat.choices] == list(range(n))
        return [choice.message.content or "" for choice in chat.choices]

    first, again, other = await asyncio.gather(said(7, 3), said(7, 3), said(8, 3))
    assert first == again
    assert len({*first, *other}) >= 4
    assert first[0] == (await said(7))[0]


async def test_several_prompts_are_answered_in_their_order(server: Served) -> None:
    prompts = ["one", "two"]
    both = await server.client.completions.create(model=BASE, prompt=prompts, n=2, max_tokens=8, temperature=0)
    alone = [
        (await server.client.completions.create(model=BASE, prompt=prompt, max_tokens=8, temperature=0)).choices[0].text
        for prompt in prompts
    ]
    assert [choice.text for choice in both.choices] == [alone[0], alone[0], alone[1], alone[1]]
    assert both.usage is not None
    assert both.usage.prompt_tokens == 6  # each prompt once
    assert both.usage.completion_tokens == 32


async def test_a_stop_string_ends_the_text_before_it(server: Served) -> None:
    whole = await server.client.completions.create(model=BASE, prompt="abc", max_tokens=40, temperature=0)
    text = whole.choices[0].text
    stop = text[10:12]
    cut = await server.client.completions.create(model=BASE, prompt="abc", max_tokens=40, temperature=0, stop=stop)
    assert cut.choices[0].text == text[: text.index(stop)]
    assert (whole.choices[0].finish_reason, cut.choices[0].finish_reason) == ("length", "stop")


async def test_the_same_prompt_is_read_from_the_cache(server: Served) -> None:
    prompt = "Postgres stores " * 20
    cached = [(await server.client.completions.create(model=BASE, prompt=prompt, max_tokens=2)).usage for _ in range(2)]
    details = [usage.prompt_tokens_details for usage in cached if usage is not None]
    assert details[1] is not None
    assert (details[1].cached_tokens or 0) > 200


async def test_json_fits_its_schema(server: Served) -> None:
    chat = await server.client.chat.completions.create(
        model=BASE, messages=MESSAGES, temperature=1.0, seed=1, n=3, max_tokens=100,
        response_format={"type": "json_schema", "json_schema": {"name": "incident", "schema": SCHEMA}},
    )  # fmt: skip
    for choice in chat.choices:
        jsonschema.validate(json.loads(choice.message.content or ""), SCHEMA)
        assert choice.finish_reason == "stop"


async def test_any_json_object(server: Served) -> None:
    chat = await server.client.chat.completions.create(
        model=BASE, messages=MESSAGES, temperature=0, max_tokens=60, response_format={"type": "json_object"}
    )
    assert (chat.choices[0].message.content or "").startswith("{")


async def test_the_synchronous_client_too(server: Served) -> None:
    def said() -> tuple[str, list[str]]:
        with server.sync_client() as client:
            chat = client.chat.completions.create(model=BASE, messages=MESSAGES, max_tokens=5, temperature=0)
            with client.chat.completions.create(
                model=BASE, messages=MESSAGES, max_tokens=5, temperature=0, stream=True
            ) as stream:
                parts = [chunk.choices[0].delta.content or "" for chunk in stream]
            return chat.choices[0].message.content or "", parts

    whole, parts = await asyncio.to_thread(said)
    assert whole == "".join(parts)


async def test_the_models_that_are_served(server: Served, embedder: TransformerEmbedder) -> None:
    listed = [model.id async for model in server.client.models.list()]
    assert listed == [BASE, embedder.name]
    assert (await server.client.models.retrieve(BASE)).owned_by == "almanac"
    with pytest.raises(openai.NotFoundError):
        await server.client.models.retrieve("gpt-9")


async def test_embeddings_are_the_products_own(server: Served, embedder: TransformerEmbedder) -> None:
    texts = ["How do I roll back?", "Wie setze ich zurück?"]
    own = await embedder.embed(texts)
    for encoding in ("float", "base64"):
        answer = await server.client.embeddings.create(
            model=embedder.name,
            input=texts,
            encoding_format=encoding,  # type: ignore[arg-type]
        )
        given = [item.embedding for item in answer.data]
        if encoding == "base64":
            import base64

            given = [np.frombuffer(base64.b64decode(str(row)), "<f4") for row in given]  # type: ignore[misc]
        np.testing.assert_allclose(np.array(given), own, atol=0.02)
        assert [item.index for item in answer.data] == [0, 1]
    plain = await server.client.embeddings.create(model=embedder.name, input=texts[0])
    np.testing.assert_allclose(np.array(plain.data[0].embedding), own[0], atol=0.02)
    assert plain.usage.prompt_tokens == embedder.count_tokens(texts[:1])[0]


async def test_metrics_name_what_was_served(server: Served) -> None:
    await server.client.completions.create(model=BASE, prompt="abc", max_tokens=3)
    with pytest.raises(openai.NotFoundError):
        await server.client.completions.create(model="made up", prompt="abc")
    async with openai.DefaultAsyncHttpxClient() as http:
        text = (await http.get(f"{server.url}/metrics")).text
        assert (await http.get(f"{server.url}/healthz")).json() == {"status": "alive"}
        ready = (await http.get(f"{server.url}/readyz")).json()
    assert (ready["status"], ready["model"], ready["adapters"], ready["refused"]) == ("ready", BASE, [], {})
    assert 'almanac_serving_requests_total{endpoint="/v1/completions",model="tiny",status="200"}' in text
    assert 'almanac_serving_requests_total{endpoint="/v1/completions",model="other",status="404"}' in text
    assert 'almanac_serving_tokens_total{direction="completion",model="tiny"}' in text
    assert "almanac_serving_first_token_seconds_count" in text
    assert "almanac_serving_slots 4.0" in text
    assert "made up" not in text
