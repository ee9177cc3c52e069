"""``tools.yaml``: which APIs and MCP servers the assistant may call, how, for whom. It holds no secret, only names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from yarl import URL

from assistant.errors import SettingsError
from assistant.knowledge.audience import EVERYONE

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # without libyaml a large OpenAPI document takes a minute
MAX_FILE = 1_000_000  # bytes of tools.yaml
_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
Name = Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_-]{0,31}$")]


def http_url(value: str) -> str:
    """The URL, or ``ValueError``: http or https, with a host, without a user, a query or a fragment."""
    try:
        url = URL(value)
        port = url.explicit_port
    except ValueError:
        raise ValueError(f"{value} is no URL") from None
    if url.scheme not in ("http", "https") or not url.host or port == 0:
        raise ValueError(f"{value} must start with http:// or https:// and name a host")
    if url.user is not None or url.password is not None or url.query_string or url.fragment:
        raise ValueError("must have no user, query or fragment (a secret belongs in auth)")
    return value


HttpUrl = Annotated[str, AfterValidator(http_url)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AsAsker(_Strict):
    """The asker's own token, by OAuth 2.0 token exchange (RFC 8693). ``key`` and ``client`` name secrets."""

    token_url: HttpUrl
    key: str  # signs the assertion of who asks: a PEM private key, or a shared secret of at least 32 characters
    key_id: str | None = None
    issuer: str = "almanac"
    client: str | None = None  # "id:secret", for the token endpoint
    audience: str | None = None
    resource: str | None = None
    scope: str | None = None
    in_channels: bool = False  # also where others read the reply


class Auth(_Strict):
    """One of: ``bearer: NAME``, ``basic: NAME``, ``header: X-Key`` or ``query: key`` with ``secret: NAME``."""

    bearer: str | None = None
    basic: str | None = None
    header: str | None = Field(default=None, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
    query: str | None = Field(default=None, min_length=1)
    secret: str | None = None
    as_asker: AsAsker | None = None

    @model_validator(mode="after")
    def _one(self) -> Auth:
        kinds = [kind for kind in ("bearer", "basic", "header", "query", "as_asker") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError("must be exactly one of bearer, basic, header, query and as_asker")
        if (kinds[0] in ("header", "query")) != (self.secret is not None):
            raise ValueError("secret belongs to header and to query, and names what is sent there")
        return self

    def secrets(self) -> list[tuple[str, str]]:
        """(field, name) of each secret that is referred to."""
        pairs = [(kind, getattr(self, kind)) for kind in ("bearer", "basic", "secret")]
        if self.as_asker is not None:
            pairs += [(f"as_asker.{kind}", getattr(self.as_asker, kind)) for kind in ("key", "client")]
        return [(kind, name) for kind, name in pairs if name is not None]


class Rule(_Strict):
    """One entry of ``operations`` (or of an MCP source's ``tools``); what it leaves out is as in its source."""

    operation: str = Field(min_length=1)  # an operationId, "GET /path", or an MCP tool's name; * and ? are wildcards
    name: str | None = Field(default=None, pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    title: str | None = None
    description: str | None = None
    always: dict[str, Any] = Field(default_factory=dict)  # arguments that are sent with every call; nobody chooses them
    writes: bool | None = None
    before: str | None = None  # the operation that reads what this one changes
    idempotent: bool | None = None  # may be sent again; default: PUT, DELETE, and what takes an Idempotency-Key
    approval: bool | None = None
    approvers: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    fields: tuple[str, ...] | None = None
    max_items: int | None = Field(default=None, ge=1, le=1_000)
    timeout: float | None = Field(default=None, gt=0, le=300)


def _rules(value: object) -> object:
    """A name alone is a rule, too."""
    if not isinstance(value, list):
        return value
    return [{"operation": entry} if isinstance(entry, str) else entry for entry in value]


Rules = Annotated[tuple[Rule, ...], BeforeValidator(_rules)]


class _Source(_Strict):
    name: Name
    users: tuple[str, ...] = (EVERYONE,)  # principals who may use it
    approval: bool | None = None  # None: what writes needs one
    approvers: tuple[str, ...] = ()
    timeout: float = Field(default=20.0, gt=0, le=300)  # seconds for one call, to its end
    max_bytes: int = Field(default=2_000_000, ge=1_000, le=50_000_000)  # of a response
    max_tokens: int = Field(default=1_500, ge=50, le=20_000)  # of what the model reads of it
    max_items: int = Field(default=20, ge=1, le=1_000)  # of each list in it
    fields: tuple[str, ...] = ()  # which of a response are kept; empty: all
    rate: str | None = None  # "60/minute"
    private: bool = False  # the server may have an address inside the network

    @field_validator("rate")
    @classmethod
    def _rate(cls, value: str | None) -> str | None:
        if value is not None:
            read_rate(value)
        return value

    @property
    def per_period(self) -> tuple[int, float] | None:
        """So many calls in so many seconds."""
        return read_rate(self.rate) if self.rate else None


class ApiSource(_Source):
    """An API that describes itself by an OpenAPI document: a file beside tools.yaml, or a URL."""

    openapi: str = Field(min_length=1)
    base_url: HttpUrl | None = None  # default: the first of the document's servers
    operations: Rules = Field(min_length=1)
    auth: Auth | None = None


class Server(_Strict):
    """An MCP server: a ``command`` of this machine (stdio), or a ``url`` (streamable HTTP)."""

    command: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)  # variable -> name of a secret
    folder: Path | None = None
    url: str | None = None
    auth: Auth | None = None

    @model_validator(mode="after")
    def _one(self) -> Server:
        if bool(self.command) == bool(self.url):
            raise ValueError("must have a command or a url, and not both")
        if self.url and (self.env or self.folder):
            raise ValueError("env and folder belong to a command")
        if self.command and self.auth:
            raise ValueError("auth belongs to a url")
        if self.auth and (self.auth.as_asker or self.auth.query):
            raise ValueError("auth of an MCP server is bearer, basic or header")
        if self.url:
            http_url(self.url)
        return self


class McpSource(_Source):
    """An MCP server. What a tool does not say to be read-only is a write."""

    mcp: Server
    tools: Rules = (Rule(operation="*"),)


def _kind(value: object) -> Literal["openapi", "mcp"]:
    return "mcp" if isinstance(value, dict) and "mcp" in value and "openapi" not in value else "openapi"


SourceConfig = Annotated[Annotated[ApiSource, Tag("openapi")] | Annotated[McpSource, Tag("mcp")], Discriminator(_kind)]


class ToolsFile(_Strict):
    sources: tuple[SourceConfig, ...]

    @model_validator(mode="after")
    def _names(self) -> ToolsFile:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called {twice[0]}")
        return self


def read_rate(text: str) -> tuple[int, float]:
    """``60/minute`` as (60, 60.0 seconds)."""
    match = re.fullmatch(r"(\d{1,6})\s*/\s*(second|minute|hour)", text.strip())
    if match is None or int(match[1]) < 1:
        raise ValueError(f"{text} is no rate such as 60/minute")
    return int(match[1]), _PERIODS[match[2]]


def read_tools_file(path: Path) -> ToolsFile:
    """The file as data, or ``SettingsError`` with one sentence that names file, line and field."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"ALMANAC_TOOLS: {path} cannot be read ({error.strerror}).") from None
    if len(raw) > MAX_FILE:
        raise SettingsError(f"{path} is larger than {MAX_FILE // 1_000_000} MB.")
    try:
        node = yaml.compose(raw, Loader=_Loader)
        data = yaml.load(raw, Loader=_Loader)  # noqa: S506 - a safe loader  # nosec B506
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is no YAML: {_where(error)}.") from None
    if not isinstance(data, dict):
        raise SettingsError(f"{path} must be a mapping with the key sources.")
    try:
        return ToolsFile.model_validate(data)
    except ValidationError as error:
        raise _sentence(path, node, data, error) from None


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    return f"line {mark.line + 1}: {problem}" if mark else problem


def _sentence(path: Path, node: Any, data: Any, error: ValidationError) -> SettingsError:
    first = error.errors()[0]
    location = list(first["loc"])
    if location[:1] == ["sources"] and len(location) > 2:
        del location[2]  # pydantic names the kind of source there
    message = {"missing": "is missing", "extra_forbidden": "is no field of it"}.get(
        first["type"], str(first["msg"]).removeprefix("Value error, ").replace("Input should", "should")
    )
    return wrong(path, node, data, location, message)


def wrong(path: Path, node: Any, data: Any, location: Sequence[str | int], message: str) -> SettingsError:
    """One sentence: the file, the line of the innermost thing that is there, and the field."""
    if not location:
        return SettingsError(f"{path}: {message}.")
    line = _line(node, location)
    return SettingsError(f"{path}, line {line}: {_field(data, location)} {message}.")


def complain(path: Path, location: Sequence[str | int], message: str) -> SettingsError:
    """As ``wrong``, for a mistake that is found later; reads the file again for the line."""
    raw = path.read_bytes()
    return wrong(path, yaml.compose(raw, Loader=_Loader), yaml.load(raw, Loader=_Loader), location, message)  # noqa: S506  # nosec B506


def _line(node: Any, location: Sequence[str | int]) -> int:
    line = node.start_mark.line + 1 if node is not None else 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return int(line)


def _field(data: Any, location: Sequence[str | int]) -> str:
    """``sources.company.timeout``: a source goes by its name where it has one."""
    words = []
    for part in location:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            data = None
        named = isinstance(part, int) and isinstance(data, dict) and isinstance(data.get("name"), str)
        words.append(str(data["name"]) if named and data is not None else str(part))
    return ".".join(words)
