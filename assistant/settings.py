"""Every setting, typed, in one place. Read once at the start; a wrong one stops the start and is named."""

from __future__ import annotations

import difflib
import json
import os
import zoneinfo
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict

from assistant.errors import SettingsError

_EXAMPLES = {
    "llm_prices": '{"gpt-4o-mini": {"prompt": 0.15, "completion": 0.6}}',
    "credentials": '{"docs": {"host": "git.example.com", "user": "almanac", "token": "…"}}',
    "tool_secrets": '{"catalogue": "…"}',
    "tool_servers": '{"catalogue": "https://staging.example.com"}',
}
Seconds = Annotated[float, Field(gt=0, le=3600)]
Dollars = Annotated[float, Field(ge=0, le=1_000_000_000)]
# Names that .env may hold for others than this program: Compose, the lessons, the tests.
OTHERS = frozenset(
    f"ALMANAC_{name}"
    for name in "SECRETS VERSION DATA CAUSAL_MODEL GLOVE GPT2 MINILM ML_EMBEDDER MNIST SMOLLM2 INSTALL_WAIT".split()
)
SECRETS = "/run/secrets"  # where Docker lays files, named as the variables whose values they hold; ALMANAC_SECRETS
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
SHORTEST_TOKEN = 16  # characters, of what opens the page or the models to other machines
LOCAL_CONTEXT = 2_048  # tokens; SmolLM2 could read four times as many, at a price that a CPU feels
LOCAL_PROMPTS = 1_280  # tokens of our own prompts with their answers: enough for the best few passages, and read sooner
LOCAL_TIMEOUTS = (40.0, 55.0)  # seconds to the first token and to the last, on a machine that does all the rest, too
Tokens = Annotated[int, Field(ge=0, le=10**15)]


class Price(BaseModel):
    """US dollars for a million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    cached_prompt: float | None = Field(default=None, ge=0)  # of what the API had in its cache; default: ``prompt``


class Credential(BaseModel):
    """What opens the sources of one host, and is sent to no other. Without a user, the token goes as a bearer's."""

    host: str
    user: str = ""
    token: SecretStr


class Settings(BaseSettings):
    """Values come from the environment, then from ``.env`` in the current folder, then from files in ``SECRETS``."""

    model_config = SettingsConfigDict(
        env_prefix="ALMANAC_",
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    home: Path = Path(".almanac")
    database_url: SecretStr | None = None
    reader_url: SecretStr | None = None  # the same database for a login that is only a member of almanac_reader
    redis_url: SecretStr | None = None

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    web_token: SecretStr | None = None
    admin_token: SecretStr | None = None  # opens the administrators' page; default: whatever opens the page
    public_url: str | None = None  # where people reach the web page, when a proxy stands before it

    llm: Literal["auto", "local", "none"] = "auto"  # local: the base model, served on this machine; auto: what is named
    llm_base_url: str | None = None
    llm_api_key: SecretStr | None = None
    llm_model: str | None = None
    llm_azure_endpoint: str | None = None
    llm_azure_deployment: str | None = None
    llm_azure_api_version: str = "2024-10-21"
    llm_timeout: Seconds = 30.0  # to the whole answer
    llm_first_token_timeout: Seconds = 15.0
    llm_max_tokens: int = Field(default=700, ge=16, le=32_000)
    llm_tools: Literal["functions", "schema", "none"] = "functions"  # how the model is given tools; schema: as JSON
    llm_context: int | None = Field(default=None, ge=512, le=10_000_000)  # tokens; default: 1280 if local, or any
    llm_adapters: bool = False  # the endpoint serves the registry's versions under their names (vLLM; infra/vllm)
    agent_steps: int = Field(default=6, ge=1, le=20)  # of one answer that calls tools
    llm_prices: Annotated[dict[str, Price], NoDecode] = Field(default_factory=dict)  # JSON: model, or * -> its price

    # The server of models: `almanac serve`. That of ALMANAC_LLM=local takes a free port and a key of its own.
    serve_host: str = "127.0.0.1"
    serve_port: int = Field(default=8090, ge=0, le=65535)
    serve_key: SecretStr | None = None  # what clients send as their API key; needed where it is not on loopback
    serve_slots: int = Field(default=8, ge=1, le=256)  # requests that are answered at once
    serve_waiting: int = Field(default=64, ge=0, le=10_000)  # and those that may wait; others are told to come later
    serve_quantisation: Literal["none", "int8", "4bit"] = "none"

    # The most that model calls may cost. A call that could pass a cap is not made.
    cap_answer_usd: Dollars | None = 1.0
    cap_person_day_usd: Dollars | None = None
    cap_channel_day_usd: Dollars | None = None
    cap_day_usd: Dollars | None = None
    cap_month_usd: Dollars | None = None
    cap_answer_tokens: Tokens | None = None
    cap_person_day_tokens: Tokens | None = None
    cap_channel_day_tokens: Tokens | None = None
    cap_day_tokens: Tokens | None = None
    cap_month_tokens: Tokens | None = None
    cap_timezone: str = "UTC"  # where the days and months of the caps begin
    cache_hours: Annotated[float, Field(ge=0, le=24 * 365)] = 24.0  # how long an answer may be given again; 0: never

    embedding_model: str | None = None  # a folder; default: the model in the pip package
    reranker: str | None = None  # a folder with a cross-encoder; default: none
    reranker_deadline: Annotated[float, Field(gt=0, le=60)] = 1.5  # seconds; what is late leaves the order as it was
    token_vectors: bool = True  # are kept for each passage, and used where they are kept
    preferences: Literal["promote", "canary", "wait", "off"] = "promote"  # what becomes of what votes teach
    preferences_share: Annotated[float, Field(gt=0, le=0.5)] = 0.1  # of the conversations that try a canary
    preferences_decide: Literal["on", "rollback", "off"] = "on"  # whether votes end a canary; rollback: only a bad one
    learn_hours: Annotated[float, Field(ge=0, le=24 * 365)] = 24.0  # between two looks at the votes; 0: on command
    best_of: Annotated[int, Field(ge=1, le=8)] = 1  # answers that a model writes, of which the best is shown
    reward: Path | None = None  # the JSON file that says which is; default: what stands before anybody has voted
    votes_half_life_days: Annotated[float, Field(ge=1, le=36_500)] = 180.0
    embedding_threads: int | None = Field(default=None, ge=1, le=256)

    adapters: str | None = None  # where fine-tuned models are kept, a path or URL (s3://, abfs://); default: in home
    base_model: Path | None = None  # a folder with the language model that is trained and served; default: SmolLM2
    finetune_on: Literal["documents", "answers", "both"] = "documents"  # what it is trained on
    finetune_days: Annotated[float, Field(ge=0, le=365)] = 0.0  # a version is trained so often; 0: when asked for

    question_max_chars: int = Field(default=4_000, ge=100, le=100_000)
    questions_per_minute: Annotated[int, Field(ge=0, le=10_000)] = 20  # of one person; 0: as many as they like
    languages: Annotated[tuple[str, ...], NoDecode] = ()  # of questions that are answered (en, de, ...); empty: all
    guard: Literal["block", "flag", "off"] = "block"  # what comes of a question that reads like an attack
    redact: Annotated[tuple[str, ...] | None, NoDecode] = None  # secrets, pii, off; default: secrets, off loopback
    link_hosts: Annotated[tuple[str, ...], NoDecode] = ()  # where answers may link to, beside what they cite
    question_timeout: Seconds = 60.0
    lease_seconds: Annotated[float, Field(ge=1, le=600)] = 10.0
    worker_kinds: Annotated[tuple[str, ...], NoDecode] = ()  # of runs that a worker takes; "!kind": all but that one
    approval_minutes: Annotated[float, Field(gt=0, le=1_440)] = 15.0  # a call that nobody approved of is void after
    file_max_mb: Annotated[float, Field(gt=0, le=4_096)] = 50.0

    admins: Annotated[tuple[str, ...], NoDecode] = ()  # stable names: slack:T123:U456, teams:<tenant>:<object id>
    source_folders: Annotated[tuple[Path, ...], NoDecode] = ()  # folders that chat may add as sources; and those inside
    fetch_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()  # hosts inside the network that may be fetched from

    # What opens the sources. A source names one of these; the secret itself is nowhere else.
    confluence_url: str | None = None  # https://acme.atlassian.net
    confluence_email: str | None = None
    confluence_token: SecretStr | None = None
    github_token: SecretStr | None = None
    github_api_url: str = "https://api.github.com"
    graph_tenant_id: str | None = None
    graph_client_id: str | None = None
    graph_client_secret: SecretStr | None = None
    graph_url: str = "https://graph.microsoft.com/v1.0"
    graph_login_url: str = "https://login.microsoftonline.com"
    credentials: Annotated[dict[str, Credential], NoDecode] = Field(default_factory=dict)  # JSON: name -> credential

    tools: str | None = None  # tools.yaml; "none": no tools
    tool_secrets: Annotated[dict[str, SecretStr], NoDecode] = Field(default_factory=dict)  # JSON: name -> secret
    tool_servers: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)  # JSON: source -> its base URL

    slack_workspace_admins: bool = False  # Slack's own administrators count as ours
    slack_bot_token: SecretStr | None = Field(default=None, validation_alias=AliasChoices("SLACK_BOT_TOKEN"))
    slack_signing_secret: SecretStr | None = Field(default=None, validation_alias=AliasChoices("SLACK_SIGNING_SECRET"))
    slack_app_token: SecretStr | None = Field(default=None, validation_alias=AliasChoices("SLACK_APP_TOKEN"))
    slack_api_base_url: str = Field(
        default="https://slack.com/api/", validation_alias=AliasChoices("SLACK_API_BASE_URL")
    )

    teams_app_id: str | None = Field(default=None, validation_alias=AliasChoices("MicrosoftAppId"))
    teams_app_password: SecretStr | None = Field(default=None, validation_alias=AliasChoices("MicrosoftAppPassword"))
    teams_app_type: Literal["MultiTenant", "SingleTenant", "UserAssignedMSI"] = Field(
        default="MultiTenant", validation_alias=AliasChoices("MicrosoftAppType")
    )
    teams_app_tenant_id: str | None = Field(default=None, validation_alias=AliasChoices("MicrosoftAppTenantId"))
    teams_anonymous: bool = False
    teams_allowed_tenants: Annotated[tuple[str, ...], NoDecode] = ()  # comma-separated; empty: the app's own; *: any
    teams_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = (
        "smba.trafficmanager.net",
        "smba.infra.gov.teams.microsoft.us",
    )
    teams_openid_metadata_url: str = "https://login.botframework.com/v1/.well-known/openidconfiguration"
    teams_login_url: str | None = None  # token endpoint's authority, for sovereign clouds and for tests

    otlp_endpoint: str | None = Field(default=None, validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT"))
    trace_content: bool = False  # what people and models write is in the traces, too
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @field_validator(
        "teams_allowed_tenants", "teams_allowed_hosts", "admins", "source_folders", "fetch_allowed_hosts",
        "redact", "link_hosts", "languages", "worker_kinds", mode="before",
    )  # fmt: skip
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("llm_prices", "credentials", "tool_secrets", "tool_servers", mode="before")
    @classmethod
    def _json(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError(f"must be JSON such as {_EXAMPLES[info.field_name or '']}") from None

    @field_validator("slack_api_base_url")
    @classmethod
    def _trailing_slash(cls, value: str) -> str:
        return value if value.endswith("/") else value + "/"

    @field_validator("cap_timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        if value not in zoneinfo.available_timezones():
            raise ValueError(f"{value} is no time zone such as UTC or Europe/Berlin")
        return value

    @field_validator("admins")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            platform, _, rest = name.partition(":")
            if platform not in ("slack", "teams") or ":" not in rest.strip(":"):
                raise ValueError(f"{name} is no name such as slack:T123:U456 or teams:<tenant>:<object id>")
        return value

    @field_validator("redact")
    @classmethod
    def _kinds(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for kind in value or ():
            if kind not in ("secrets", "pii", "off"):
                raise ValueError(f"{kind} is none of secrets, pii and off")
        return value

    @field_validator("worker_kinds")
    @classmethod
    def _either(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len({kind.startswith("!") for kind in value}) > 1 or any(not kind.strip("!") for kind in value):
            raise ValueError("name kinds such as ingest,learn, or leave some out as in !finetune, not both")
        return value

    @field_validator("source_folders")
    @classmethod
    def _absolute(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        for folder in value:
            if not folder.is_absolute():
                raise ValueError(f"{folder} is not an absolute path")
        return value

    @field_validator(
        "llm_base_url", "llm_azure_endpoint", "public_url", "slack_api_base_url", "confluence_url", "github_api_url",
        "graph_url", "graph_login_url", "otlp_endpoint",
    )  # fmt: skip
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value

    @model_validator(mode="after")
    def _belong_together(self) -> Settings:
        together = (
            (
                "SLACK_BOT_TOKEN",
                self.slack_bot_token,
                "SLACK_SIGNING_SECRET or SLACK_APP_TOKEN",
                self.slack_signing_secret or self.slack_app_token,
            ),
            (
                "MicrosoftAppId",
                self.teams_app_id,
                "MicrosoftAppPassword",
                self.teams_app_password or self.teams_app_type == "UserAssignedMSI" or None,
            ),
            (
                "ALMANAC_LLM_AZURE_ENDPOINT",
                self.llm_azure_endpoint,
                "ALMANAC_LLM_AZURE_DEPLOYMENT",
                self.llm_azure_deployment,
            ),
            ("ALMANAC_LLM_BASE_URL", self.llm_base_url, "ALMANAC_LLM_MODEL", self.llm_model),
            ("ALMANAC_CONFLUENCE_TOKEN", self.confluence_token, "ALMANAC_CONFLUENCE_URL", self.confluence_url),
            (
                "ALMANAC_GRAPH_CLIENT_SECRET",
                self.graph_client_secret,
                "ALMANAC_GRAPH_TENANT_ID and ALMANAC_GRAPH_CLIENT_ID",
                (self.graph_tenant_id and self.graph_client_id) or None,
            ),
        )
        for name, value, needs, other in together:
            if value is not None and other is None:
                raise ValueError(f"{name} is set, so {needs} must be set too")
        paid = self.has_model and self.llm != "local"
        if self.caps_money and paid and not {self.model_name, "*"} & set(self.llm_prices):
            raise ValueError(
                f"a cap in US dollars is set, so ALMANAC_LLM_PRICES must name the price of {self.model_name} (or of *)"
            )
        if not self.is_loopback and self.web_token is None:
            raise ValueError(f"ALMANAC_HOST is {self.host}, not loopback, so ALMANAC_WEB_TOKEN must be set")
        if self.serve_host not in LOOPBACK and self.serve_key is None:
            raise ValueError(f"ALMANAC_SERVE_HOST is {self.serve_host}, not loopback, so ALMANAC_SERVE_KEY must be set")
        self._check_guessable()
        if self.teams_anonymous and not self.is_loopback:
            raise ValueError("ALMANAC_TEAMS_ANONYMOUS=1 works only when ALMANAC_HOST is loopback")
        return self

    def _check_guessable(self) -> None:
        """What keeps strangers out must be too long to guess, for nothing else stops who tries one after the other."""
        page, models = not self.is_loopback, self.serve_host not in LOOPBACK
        for name, secret, is_open in (
            ("ALMANAC_WEB_TOKEN", self.web_token, page),
            ("ALMANAC_ADMIN_TOKEN", self.admin_token, page),
            ("ALMANAC_SERVE_KEY", self.serve_key, models),
        ):
            if is_open and secret is not None and len(secret.get_secret_value()) < SHORTEST_TOKEN:
                raise ValueError(f"{name} has fewer than {SHORTEST_TOKEN} characters and could be guessed")

    @property
    def redacts(self) -> frozenset[str]:
        """What a model may not see; by default secrets, where the model is not on this machine."""
        if self.redact is None:
            url = self.llm_base_url or self.llm_azure_endpoint or ""
            local = urlsplit(url).hostname in (None, "127.0.0.1", "::1", "localhost")
            return frozenset() if local else frozenset({"secrets"})
        return frozenset(self.redact) - {"off"}

    @property
    def web_url(self) -> str:
        """Where people reach the web page, without a slash at the end."""
        return (self.public_url or f"http://127.0.0.1:{self.port}").rstrip("/")

    @property
    def adapters_url(self) -> str:
        return self.adapters or str(self.home.resolve() / "adapters")

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK

    @property
    def has_model(self) -> bool:
        """Whether a language model answers. The local one has an endpoint once its server runs (bot.local_model)."""
        if self.llm == "local":
            return bool(self.llm_base_url)
        return self.llm != "none" and bool(self.llm_azure_endpoint or self.llm_model)

    @property
    def context(self) -> int | None:
        """Tokens that a prompt and its answer may have together, where that is bounded."""
        return self.llm_context or (LOCAL_PROMPTS if self.llm == "local" else None)

    @property
    def answer_tokens(self) -> int:
        """The longest answer; in a small context it leaves most of the place to what it is made from."""
        return self.llm_max_tokens if self.context is None else min(self.llm_max_tokens, self.context // 4)

    @property
    def model_timeouts(self) -> tuple[float, float]:
        """Seconds to the first token of an answer and to its last; more for the local model, if nobody set them."""
        given, slow = self.model_fields_set, self.llm == "local"
        first, last = LOCAL_TIMEOUTS
        return (
            first if slow and "llm_first_token_timeout" not in given else self.llm_first_token_timeout,
            last if slow and "llm_timeout" not in given else self.llm_timeout,
        )

    @property
    def function_calls(self) -> Literal["functions", "schema", "none"]:
        """How the model is given tools: the local one is too small for them, unless somebody asks for it."""
        small = self.llm == "local" and "llm_tools" not in self.model_fields_set
        return "none" if small else self.llm_tools

    @property
    def has_versions(self) -> bool:
        """Whether the endpoint serves what the registry of fine-tuned models promotes."""
        return self.llm_adapters or self.llm == "local"

    @property
    def model_name(self) -> str:
        return self.llm_model or self.llm_azure_deployment or ""

    @property
    def caps_money(self) -> bool:
        """Whether somebody set a cap in dollars, which only prices can hold; the default one does not count."""
        return any(
            name.startswith("cap_") and name.endswith("_usd") and getattr(self, name) is not None
            for name in self.model_fields_set
        )

    @property
    def has_slack(self) -> bool:
        return self.slack_bot_token is not None

    @property
    def has_teams(self) -> bool:
        return self.teams_app_id is not None or self.teams_anonymous

    @property
    def tools_file(self) -> Path | None:
        """The tools.yaml in force, or None."""
        return Path(self.tools) if self.tools and self.tools.strip().lower() != "none" else None

    @property
    def model_threads(self) -> int:
        """One core less than there are: the event loop and Postgres need one too."""
        return self.embedding_threads or max(1, (os.cpu_count() or 2) - 1)

    @property
    def worker_threads(self) -> int:
        """A worker takes what nobody else needs: it runs at a lower priority."""
        return self.embedding_threads or os.cpu_count() or 2


def load_settings(**overrides: object) -> Settings:
    """Read the settings, or raise ``SettingsError`` with one sentence that names the variable."""
    try:
        _refuse_unknown(overrides.get("_env_file", ".env"))
        folder = Path(os.environ.get("ALMANAC_SECRETS") or SECRETS)
        return Settings(_secrets_dir=folder if folder.is_dir() else None, **overrides)  # type: ignore[arg-type, call-arg]
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None


def _refuse_unknown(file: object) -> None:
    """A name that is mistyped in ``.env`` would set nothing, silently. (The environment may hold others' names.)"""
    if not isinstance(file, str):
        return
    known = {f"ALMANAC_{name.upper()}" for name in Settings.model_fields} | OTHERS
    for name in map(str.upper, DotEnvSettingsSource(Settings, env_file=file).env_vars):
        if name.startswith("ALMANAC_") and name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"; is {near[0]} meant?" if near else "; .env.example lists them all."
            raise SettingsError(f"{name} in {file} is no setting{hint}")


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    if not first["loc"]:
        return message + "."
    return f"{_variable(str(first['loc'][0]))} is wrong: {message}."


def _variable(name: str) -> str:
    field = Settings.model_fields.get(name)
    return f"ALMANAC_{name.upper()}" if field is not None else name
