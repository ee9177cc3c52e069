"""Calls over HTTP: to one host, within one deadline, of a bounded size, with every failure said in words.

Reads are tried a second time where the network or a busy server failed them and time is left. A write is sent once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from yarl import URL

from assistant.addresses import Forbidden
from assistant.bodies import read_up_to
from assistant.tools.guard import Gate
from assistant.tools.model import ToolError, ToolUnavailable, uncertain
from assistant.tools.request import Request
from assistant.tools.text import clean, cut

CONNECT = 5.0  # seconds
REDIRECTS = 3
PAUSE = 0.3  # seconds before a read is tried again
PATIENCE = 3.0  # seconds that a server may ask to wait for it
USER_AGENT = "Almanac/1.0 (tools)"
_BUSY = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Response:
    """``media`` is the media type in lower case, without parameters."""

    status: int
    media: str
    charset: str
    body: bytes = field(repr=False)

    def text(self) -> str:
        try:
            return self.body.decode(self.charset, "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Raises ``ValueError`` where it is none."""
        return orjson.loads(self.body)


class Sender:
    """Sends the calls of one source; ``name`` is the source's, for sentences."""

    def __init__(self, name: str, base_url: str, private: bool, max_bytes: int) -> None:
        self._name = name
        self._origin = URL(base_url).origin()
        self._gate = Gate(self._origin.host or "", private)
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Request, writes: bool, timeout: float) -> Response:
        """The answer, whatever its status. Raises ``ToolError`` where there is none within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        for last in (writes, True):
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    response, wait = await self._once(request, writes)
                if last or response.status not in _BUSY or time.monotonic() + wait >= deadline:
                    return response
            except TimeoutError:
                raise self._late(writes, timeout) from None
            except _Broken as error:
                if last or time.monotonic() + PAUSE >= deadline:
                    raise error.said from None
                wait = PAUSE
            await asyncio.sleep(wait)
        raise AssertionError("the second try returns or raises")

    async def _once(self, request: Request, writes: bool) -> tuple[Response, float]:
        """The answer, and how long its server asks to wait; raises ``_Broken`` where another try may help."""
        try:
            return await self._follow(request, writes)
        except Forbidden as error:
            raise ToolError(f"{self._name} is not called: {error}.") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, Forbidden):
                raise ToolError(f"{self._name} is not called: {error.os_error}.") from None
            raise _Broken(ToolUnavailable(f"{self._name} cannot be reached; try again later.")) from None
        except aiohttp.ConnectionTimeoutError:
            raise _Broken(ToolUnavailable(f"{self._name} cannot be reached; try again later.")) from None
        except (aiohttp.ClientError, OSError, ValueError):
            words = f"{self._name} gave no readable answer"
            if writes:
                raise uncertain(words) from None
            raise _Broken(ToolUnavailable(f"{words}; try again later.")) from None

    async def _follow(self, request: Request, writes: bool) -> tuple[Response, float]:
        url = request.url
        for _ in range(REDIRECTS + 1):
            self._gate.check(url)
            async with self._opened().request(
                request.method, url, headers=request.headers, data=request.body, allow_redirects=False,
                middlewares=(_no_second_time,),
            ) as response:  # fmt: skip
                if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                    url = self._redirected(url, response, writes)
                    continue
                body = await self._read(response, request.method)
                media = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
                wait = _asked(response.headers)
                return Response(response.status, media, response.charset or "utf-8", body), wait
        raise ToolError(f"{self._name} redirects more than {REDIRECTS} times.")

    def _redirected(self, url: URL, response: aiohttp.ClientResponse, writes: bool) -> URL:
        try:
            target = url.join(URL(response.headers["Location"]))
        except ValueError:
            raise ToolError(f"{self._name} redirects to an address that is none.") from None
        if writes:
            raise ToolError(
                f"{self._name} redirects the call ({response.status}), and what changes something is not sent on.",
                response.status,
            )
        if target.scheme not in ("http", "https") or not target.host or target.origin() != self._origin:
            raise ToolError(f"{self._name} redirects to another server, which is not followed.", response.status)
        return target

    async def _read(self, response: aiohttp.ClientResponse, method: str) -> bytes:
        if method == "HEAD":
            return b""
        body = await read_up_to(response.content, self._max_bytes + 1)
        if len(body) > self._max_bytes:
            response.close()
            raise ToolError(
                f"The answer of {self._name} is larger than {self._max_bytes / 1e6:g} MB; ask for less of it.",
                response.status,
            )
        return body

    def _late(self, writes: bool, timeout: float) -> ToolError:
        words = f"{self._name} did not answer within {round(timeout, 1):g} seconds"
        return uncertain(words) if writes else ToolUnavailable(f"{words}; try again later or ask for less.")

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=self._gate, limit=20, use_dns_cache=False)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
                headers={"User-Agent": USER_AGENT}, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(),
                requote_redirect_url=False,
            )  # fmt: skip
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Lost(aiohttp.ClientError):
    """The connection broke after it was made."""


async def _no_second_time(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp itself sends PUT and DELETE again where the connection breaks; whether that is right is for us to say."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Lost(str(error)) from error


class _Broken(Exception):
    """No answer, and another try may get one."""

    def __init__(self, said: ToolError) -> None:
        super().__init__()
        self.said = said


def _asked(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "").strip()
    seconds = float(text) if text.isdigit() else PAUSE
    return max(PAUSE, seconds) if seconds <= PATIENCE else float("inf")


def explain(name: str, call: str, response: Response) -> ToolError:
    """An answer of 400 and above as a sentence that the model can act on."""
    status, detail = response.status, problem(response)
    because = f": {detail}" if detail else ""
    if status in (401, 403):
        return ToolError(f"{name} does not allow {call} ({status}){because or ': the right to it is missing'}.", status)
    if status == 429:
        return ToolUnavailable(f"{name} is asked too often ({status}){because}; try again later.", status)
    if status >= 500:
        return ToolUnavailable(f"{name} has a problem of its own ({status}){because}; it may work later.", status)
    found = {404: "found nothing at", 409: "has a conflict at", 410: "found nothing at"}.get(status, "refused")
    return ToolError(f"{name} {found} {call} ({status}){because}.", status)


def problem(response: Response) -> str:
    """What an error says about itself: RFC 9457 problem details, or what other APIs do in their place."""
    if "json" not in response.media:
        return clean(response.text(), 200).rstrip(".") if response.media == "text/plain" else ""
    try:
        data = response.json()
    except ValueError:
        return ""
    return cut(_words(data), 400).rstrip(".")


def _words(data: Any) -> str:
    if isinstance(data, str):
        return clean(data, 300)
    if isinstance(data, list):
        return "; ".join(words for item in data[:3] if (words := _words(item)))
    if not isinstance(data, Mapping):
        return ""
    said = [clean(data[key], 300) for key in ("title", "message", "msg", "reason", "detail", "error_description")
            if isinstance(data.get(key), str)]  # fmt: skip
    said += [words for key in ("error", "errors", "detail") if not isinstance(data.get(key), str | None)
             and (words := _words(data[key]))]  # fmt: skip
    if not said and isinstance(data.get("error"), str):
        said.append(clean(data["error"], 300))
    field_name = data.get("field") or data.get("loc") or data.get("pointer")
    if said and field_name:
        place = ".".join(map(str, field_name)) if isinstance(field_name, list) else str(field_name)
        said[0] = f"{clean(place, 80)}: {said[0]}"
    return "; ".join(dict.fromkeys(said))
