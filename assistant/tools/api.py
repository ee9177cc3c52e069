"""One source that describes itself by OpenAPI: its tools, and their calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import structlog
from yarl import URL

from assistant.tools.auth import Prover, Secrets
from assistant.tools.config import ApiSource, Rule
from assistant.tools.guard import is_private
from assistant.tools.http import Response, Sender, explain
from assistant.tools.model import Arguments, Tool, ToolCaller, ToolError, ToolResult
from assistant.tools.openapi import Operation, operations
from assistant.tools.openapi_document import MAX_BYTES, BadDocument, Document
from assistant.tools.request import Request, build, encode
from assistant.tools.text import plain
from assistant.tools.trimming import Trimmed, trim, trim_text

log = structlog.get_logger()
FETCH_SECONDS = 15.0
REACH_SECONDS = 5.0


class Source(Protocol):
    """Where tools come from. ``tools`` connects or reads what it must and may raise ``ToolError``."""

    name: str

    async def tools(self) -> Sequence[Tool]: ...

    async def call(
        self, tool: Tool, arguments: Arguments, caller: ToolCaller, idempotency_key: str | None
    ) -> ToolResult: ...

    async def reach(self) -> None:
        """Raises ``ToolError`` where the source's server does not answer now."""
        ...

    async def close(self) -> None: ...


class BadSource(Exception):
    """The source is described wrongly: ``location`` is the field of it (such as ``operations``, 2)."""

    def __init__(self, location: Sequence[str | int], message: str) -> None:
        super().__init__(message)
        self.location = tuple(location)


class ApiTools:
    """``folder`` is that of tools.yaml; ``base_url`` one that a setting gives instead of the file's."""

    def __init__(self, config: ApiSource, folder: Path, secrets: Secrets, base_url: str | None = None) -> None:
        self.name = config.name
        self._config = config
        self._secrets = secrets
        self._given = base_url or config.base_url
        self.remote = "://" in config.openapi
        self._operations: dict[str, Operation] = {}  # by their tools' calls
        self._sender: Sender | None = None
        self._prover: Prover | None = None
        self._base_url = ""
        self._lock = asyncio.Lock()
        if self.remote and config.auth is not None and self._given is None:
            raise BadSource(("base_url",), "is missing: where a secret goes is not for a document to say")
        if not self.remote:
            self._take(self._read(folder / config.openapi), None)
        elif self._given is not None:
            self._connect(self._given)

    @property
    def known(self) -> list[Tool]:
        """Its tools where they are known without asking anybody."""
        return [operation.tool for operation in self._operations.values()]

    async def tools(self) -> Sequence[Tool]:
        """Reads a document from its URL the first time."""
        if self.remote and not self._operations:
            async with self._lock:
                if not self._operations:
                    raw = await self._fetch()
                    try:
                        self._take(await asyncio.to_thread(Document.parse, raw), self._config.openapi)
                    except BadDocument as error:
                        raise ToolError(f"The OpenAPI document of {self.name} cannot be used: {error}.") from None
                    except BadSource as error:
                        raise ToolError(f"The source {self.name} cannot be used: {error}.") from None
        return self.known

    async def call(
        self, tool: Tool, arguments: Arguments, caller: ToolCaller, idempotency_key: str | None
    ) -> ToolResult:
        operation = self._operations.get(tool.call)
        if operation is None or self._sender is None or self._prover is None:
            raise ToolError(f"{self.name} has no such tool any more.")
        began = time.monotonic()
        timeout = operation.rule.timeout or self._config.timeout
        request = build(operation, self._base_url, arguments)
        proof = await self._prover.proof(caller)
        request = _with_proof(request, proof.headers, proof.query, idempotency_key if tool.writes else None)
        left = timeout - (time.monotonic() - began)
        response = await self._sender.send(request, tool.writes, max(left, 0.1))
        if response.status == 401:
            self._prover.refused(caller)
        if response.status >= 400 or 300 <= response.status < 400:
            raise explain(self.name, operation.tool.call, response)
        trimmed = self._trimmed(response, operation.rule)
        return ToolResult(trimmed.text, response.status, trimmed.data, time.monotonic() - began, trimmed.truncated)

    async def reach(self) -> None:
        """Any answer will do: that there is a server is all that is asked."""
        await self.tools()
        assert self._sender is not None
        await self._sender.send(Request("HEAD", URL(self._base_url)), False, REACH_SECONDS)

    def _trimmed(self, response: Response, rule: Rule) -> Trimmed:
        fields = rule.fields if rule.fields is not None else self._config.fields
        most = self._config.max_tokens
        if not response.body:
            return Trimmed(f"Done ({response.status}); there is nothing more to say.", None, False)
        if "json" in response.media or not response.media:
            try:
                return trim(response.json(), fields, rule.max_items or self._config.max_items, most)
            except ValueError:
                if response.media:
                    raise ToolError(f"{self.name} gave an answer that is not JSON.", response.status) from None
        if response.media in ("text/html", "application/xhtml+xml"):
            from bs4 import BeautifulSoup  # a tenth of a second to import

            return trim_text(BeautifulSoup(response.text(), "lxml").get_text("\n"), most)
        if response.media.startswith("text/") or "xml" in response.media or "yaml" in response.media:
            return trim_text(response.text(), most)
        size = f"{len(response.body) / 1_000:,.0f} kB"
        raise ToolError(f"{self.name} answered with a file ({response.media or 'of no kind'}, {size}), "
                        "which cannot be read here.", response.status)  # fmt: skip

    def _read(self, path: Path) -> Document:
        try:
            return Document.read(path)
        except BadDocument as error:
            raise BadSource(("openapi",), f"is {self._config.openapi}, which cannot be used: {error}") from None

    def _take(self, document: Document, url: str | None) -> None:
        """Takes the document's operations; raises ``BadSource`` for a file that does not fit tools.yaml."""
        try:
            made, remarks = operations(document, self._config)
        except BadDocument as error:
            raise BadSource(("openapi",), f"is {self._config.openapi}, which cannot be used: {error}") from None
        for number, remark in remarks:
            if not self.remote:
                raise BadSource(("operations", number), f"is wrong: {remark}")
            log.warning("tools.left_out", source=self.name, remark=remark)
        if self._given is None:
            self._connect(_server(document, url), declared=False)
        elif self._sender is None:
            self._connect(self._given)
        self._operations = {operation.tool.call: operation for operation in made}

    def _connect(self, base_url: str, declared: bool = True) -> None:
        """``declared``: tools.yaml or a setting says so, and not a document, which may come from anywhere."""
        config, host = self._config, URL(base_url).host or ""
        private = config.private or (declared and is_private(base_url))
        if config.auth is not None and URL(base_url).scheme != "https" and not private:
            raise BadSource(("auth",), f"would send a secret to {host} over http, where anybody may read it")
        try:
            self._prover = Prover(config.auth, self._secrets, host)
        except LookupError as error:
            raise BadSource(("auth",), f"names {error}") from None
        self._base_url = base_url
        self._sender = Sender(self.name, base_url, private, config.max_bytes)

    async def _fetch(self) -> bytes:
        """The document from its URL, without any secret."""
        url = self._config.openapi
        sender = Sender(self.name, url, self._config.private or is_private(url), MAX_BYTES)
        try:
            request = Request("GET", URL(url), {"Accept": "application/json, application/yaml, */*"})
            response = await sender.send(request, False, FETCH_SECONDS)
        finally:
            await sender.close()
        if response.status != 200:
            raise ToolError(f"The OpenAPI document of {self.name} cannot be had ({response.status}).", response.status)
        return response.body

    async def close(self) -> None:
        if self._sender is not None:
            await self._sender.close()
        if self._prover is not None:
            await self._prover.close()


def _with_proof(
    request: Request, headers: dict[str, str], query: Sequence[tuple[str, str]], idempotency_key: str | None
) -> Request:
    merged = {"Accept": "application/json, text/plain;q=0.5, */*;q=0.1"} | request.headers | headers
    if idempotency_key is not None:
        merged["Idempotency-Key"] = idempotency_key
    url = request.url
    if query:
        text = str(url)
        url = URL(f"{text}{'&' if '?' in text else '?'}{encode(list(query))}", encoded=True)
    return Request(request.method, url, merged, request.body)


def _server(document: Document, url: str | None) -> str:
    """The first server that the document names, its variables at their defaults."""
    servers: Any = document.root.get("servers")
    first = servers[0] if isinstance(servers, list) and servers and isinstance(servers[0], dict) else {}
    text = plain(first.get("url")) or "/"
    variables = first.get("variables")
    for name, variable in (variables if isinstance(variables, dict) else {}).items():
        if isinstance(variable, dict):
            text = text.replace(f"{{{name}}}", plain(variable.get("default")))
    try:
        server = URL(url).join(URL(text)) if url else URL(text)
        usable = server.scheme in ("http", "https") and bool(server.host) and server.user is None
    except ValueError:
        usable = False
    if not usable or "{" in text:
        raise BadSource(("openapi",), "has no server that could be called; base_url says where the API is")
    return str(server.with_query(None).with_fragment(None))
