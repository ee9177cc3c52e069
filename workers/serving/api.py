"""The bodies of OpenAI's API that are served here, checked. A field that would change the answer and is not known how
to be honoured is refused by name; fields that change nothing (``user``, ``metadata``) are passed over.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from workers.serving.limits import wrong

MOST_CHOICES = 8
MOST_STOPS = 4
MOST_INPUTS = 2_048  # of one request for embeddings
MOST_MESSAGES = 2_000
MOST_LEVELS = 100  # of a schema, as JSON: what reads one calls itself for each
COMPLETION_TOKENS = 16  # OpenAI's own default for /v1/completions

Body = TypeVar("Body", bound="Checked")
Tokens = Annotated[int, Field(ge=1, le=10_000_000)]


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [schema]
    for _ in range(MOST_LEVELS):
        level = [part for one in level for part in (one.values() if isinstance(one, dict) else one)
                 if isinstance(part, (dict, list))]  # fmt: skip
        if not level:
            return schema
    raise ValueError(f"has more than {MOST_LEVELS} levels")


Schema = Annotated[dict[str, Any], AfterValidator(_flat)]


class Checked(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str = Field(min_length=1)


class StreamOptions(BaseModel):
    include_usage: bool = False


class Sampled(Checked):
    """What both kinds of completion have in common."""

    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    max_tokens: Tokens | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        """Clients send null for what is not set."""
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data

    @field_validator("stop", mode="before")
    @classmethod
    def _stops(cls, value: Any) -> Any:
        stops = (value,) if isinstance(value, str) else value
        if isinstance(stops, (list, tuple)) and len(stops) > MOST_STOPS:
            raise ValueError(f"at most {MOST_STOPS} are possible")
        if isinstance(stops, (list, tuple)) and "" in stops:
            raise ValueError("a stop sequence has at least one character")
        return stops

    @field_validator("presence_penalty", "frequency_penalty", "logit_bias")
    @classmethod
    def _unsupported(cls, value: Any) -> Any:
        if value:
            raise ValueError("is not supported here")
        return value

    @property
    def with_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class Part(BaseModel):
    type: Literal["text"]
    text: str


class FunctionCall(BaseModel):
    name: str
    arguments: str = ""


class ToolCall(BaseModel):
    id: str = ""
    function: FunctionCall


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[Part, ...] | None = None
    tool_calls: tuple[ToolCall, ...] | None = None

    @property
    def text(self) -> str:
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text for part in self.content)


class Function(BaseModel):
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str = ""
    parameters: Schema = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


class Tool(BaseModel):
    type: Literal["function"]
    function: Function


class NamedFunction(BaseModel):
    name: str


class NamedTool(BaseModel):
    type: Literal["function"]
    function: NamedFunction


class JsonSchema(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    name: str = ""
    schema_: Schema = Field(alias="schema")


class ResponseFormat(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _complete(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is missing")
        return self

    @property
    def schema_(self) -> dict[str, Any] | None:
        """What the text has to fit, if anything."""
        if self.type == "json_object":
            return {"type": "object"}
        return None if self.json_schema is None else self.json_schema.schema_


class ChatRequest(Sampled):
    """``POST /v1/chat/completions``."""

    messages: tuple[ChatMessage, ...] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: Tokens | None = None
    response_format: ResponseFormat | None = None
    tools: tuple[Tool, ...] = Field(default=(), max_length=128)
    tool_choice: Literal["none", "auto", "required"] | NamedTool = "auto"
    parallel_tool_calls: bool = True
    logprobs: bool = False

    @field_validator("logprobs")
    @classmethod
    def _no_logprobs(cls, value: bool) -> bool:
        if value:
            raise ValueError("is not supported here")
        return value

    @model_validator(mode="after")
    def _together(self) -> ChatRequest:
        names = {tool.function.name for tool in self.tools}
        if len(names) < len(self.tools):
            raise ValueError("tools: two functions have the same name")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise ValueError("tool_choice: names a function that tools does not have")
        if self.tool_choice == "required" and not self.tools:
            raise ValueError("tool_choice: is required, and tools is empty")
        if self.tools and self.tool_choice != "none" and self.schema_ is not None:
            raise ValueError("response_format: cannot be combined with functions that may be called")
        return self

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def schema_(self) -> dict[str, Any] | None:
        return None if self.response_format is None else self.response_format.schema_


class CompletionRequest(Sampled):
    """``POST /v1/completions``: one prompt, as text or as token ids, or several."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: Tokens | None = COMPLETION_TOKENS
    echo: bool = False
    best_of: int | None = None
    logprobs: int | None = None
    suffix: str | None = None

    @field_validator("echo", "logprobs", "suffix")
    @classmethod
    def _not_here(cls, value: Any) -> Any:
        if value:
            raise ValueError("is not supported here")
        return value

    @model_validator(mode="after")
    def _choices(self) -> CompletionRequest:
        if self.best_of not in (None, self.n):
            raise ValueError("best_of: is not supported here, beside as the same as n")
        if not 1 <= len(self.prompts) <= MOST_CHOICES:
            raise ValueError(f"prompt: between 1 and {MOST_CHOICES} are possible")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        given: Any = self.prompt
        single = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
        return [given] if single else list(given)


class EmbeddingRequest(Checked):
    """``POST /v1/embeddings``."""

    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    @field_validator("input")
    @classmethod
    def _some(cls, value: str | list[str]) -> str | list[str]:
        texts = [value] if isinstance(value, str) else value
        if not 1 <= len(texts) <= MOST_INPUTS:
            raise ValueError(f"between 1 and {MOST_INPUTS} texts are possible")
        if not all(texts):
            raise ValueError("a text has at least one character")
        return value

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


def checked(kind: type[Body], data: Any) -> Body:
    """The request's body; raises ``ApiError`` 400 with one sentence that names the first field that is wrong."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = str(first["msg"]).removeprefix("Value error, ")
        place = [str(part) for part in first["loc"] if not str(part).startswith(("tuple[", "list[", "function-"))]
        if not place and ": " in message:
            field, _, message = message.partition(": ")
            place = [field]
        name = ".".join(place)
        raise wrong(f"{name or 'The body'}: {message[:1].lower()}{message[1:]}.", place[0] if place else None) from None
