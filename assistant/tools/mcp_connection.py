"""A connection to an MCP server that is opened when it is needed, kept, and opened again after it broke."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import mcp_types as types
import structlog
from mcp import Client
from mcp.shared.exceptions import MCPError

from assistant.addresses import Forbidden
from assistant.tools.model import ToolError, ToolUnavailable, uncertain

log = structlog.get_logger()
CONNECT = 10.0  # seconds to start a process or reach a server, and to agree on the protocol
CLOSE = 8.0  # seconds for a process to end
T = TypeVar("T")


class Transport(Protocol):
    """Opens one connection; ``why`` tells what went wrong where the other side said so."""

    def connection(self) -> contextlib.AbstractAsyncContextManager[Any]: ...

    def why(self) -> str: ...


class Connection:
    """``name`` is the source's, for sentences."""

    def __init__(self, name: str, transport: Transport, timeout: float) -> None:
        self._name = name
        self._transport = transport
        self._timeout = timeout
        self._client: Client | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._lock = asyncio.Lock()

    async def run(
        self, work: Callable[[Client], Awaitable[T]], timeout: float, again: bool = False, writes: bool = False
    ) -> T:
        """What ``work`` gives, within ``timeout`` seconds; a read is tried ``again`` on a new connection.

        Raises ``ToolError``, or the server's own ``MCPError``.
        """
        deadline = time.monotonic() + timeout
        while True:
            client = await self._connected(deadline)
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    return await work(client)
            except TimeoutError:
                raise self._late(timeout, writes) from None
            except MCPError as error:
                if error.code == types.REQUEST_TIMEOUT:
                    raise self._late(timeout, writes) from None
                if error.code != types.CONNECTION_CLOSED and not self._is_gone(client):
                    raise
            except ToolError:
                raise
            except Exception as error:  # whatever a broken transport raises, here or in the package
                log.info("mcp.broken", source=self._name, error=type(error).__name__)
            await self._drop(client)
            if writes:
                raise uncertain(f"The connection to {self._name} broke")
            if not again or time.monotonic() >= deadline:
                raise ToolUnavailable(f"The connection to {self._name} broke; try again later.")
            again = False

    def _is_gone(self, client: Client) -> bool:
        return self._client is not client or self._keeper is None or self._keeper.done()

    def _late(self, timeout: float, writes: bool) -> ToolError:
        words = f"{self._name} did not answer within {timeout:g} seconds"
        return uncertain(words) if writes else ToolUnavailable(f"{words}; try again later or ask for less.")

    async def _connected(self, deadline: float) -> Client:
        async with self._lock:
            if self._client is not None and self._keeper is not None and not self._keeper.done():
                return self._client
            await self._end()
            self._stop = asyncio.Event()
            ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
            self._keeper = asyncio.create_task(self._keep(ready, self._stop), name=f"mcp-{self._name}")
            try:
                async with asyncio.timeout(min(CONNECT, max(0.0, deadline - time.monotonic()))):
                    self._client = await asyncio.shield(ready)
            except BaseException as error:
                await self._end()
                if isinstance(error, ToolError | asyncio.CancelledError):
                    raise
                why = f" ({said})" if (said := self._transport.why()) else ""
                raise ToolUnavailable(f"{self._name} cannot be reached{why}; try again later.") from None
            return self._client

    async def _keep(self, ready: asyncio.Future[Client], stop: asyncio.Event) -> None:
        """Opens and closes the connection in one task, as its cancel scopes demand."""
        try:
            async with self._transport.connection() as transport:
                client = Client(transport, client_info=_info(), cache=None)
                async with client:
                    if not ready.done():
                        ready.set_result(client)
                    await stop.wait()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            forbidden = _within(error, Forbidden)
            failure: Exception = error
            if forbidden is not None:
                failure = ToolError(f"{self._name} is not called: {forbidden}.")
            if not ready.done():
                ready.set_exception(failure)
                ready.exception()  # seen, whoever waits
            else:
                log.info("mcp.closed", source=self._name, error=type(error).__name__)
        finally:
            if not ready.done():
                ready.cancel()

    async def _drop(self, client: Client) -> None:
        async with self._lock:
            if self._client is client:
                await self._end()

    async def _end(self) -> None:
        keeper, client = self._keeper, self._client
        self._keeper = self._client = None
        if keeper is None:
            return
        self._stop.set()
        if client is None:  # still at the handshake, where nothing looks at the stop
            keeper.cancel()
        _, late = await asyncio.wait([keeper], timeout=CLOSE)
        for task in late:
            task.cancel()
        await asyncio.gather(keeper, return_exceptions=True)

    async def close(self) -> None:
        async with self._lock:
            await self._end()


def _info() -> types.Implementation:
    return types.Implementation(name="almanac", version="1.0")


def _within(error: BaseException, kind: type[T]) -> T | None:
    """The error of that kind inside groups and causes."""
    if isinstance(error, kind):
        return error
    inner = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    inner += [cause for cause in (error.__cause__, error.__context__) if cause is not None]
    for one in inner:
        if (found := _within(one, kind)) is not None:
            return found
    return None
