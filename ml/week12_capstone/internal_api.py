"""An internal API for the assistant to call: a real HTTP server on this machine, and the two tools that speak to it.

``GET /services/<name>`` answers with a status; ``POST /services/<name>/rollback`` changes something. The tools differ
in just that: reading runs at once, writing waits for a person's approval of exactly these arguments.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ml.week12_capstone.assistant import Tool

SERVICES = ("ledger", "finder", "gateway", "console", "doorman")
SERVICE = {"type": "string", "pattern": rf"\b({'|'.join(SERVICES)})\b"}
VERSION = {"type": "string", "pattern": r"\b20\d\d\.\d{1,2}\.\d{1,3}\b"}


@contextmanager
def internal_api() -> Iterator[tuple[str, dict[str, str]]]:
    """Serve on a free port; yield its address and the versions that run, which a roll-back changes."""
    versions = dict.fromkeys(SERVICES, "2026.21.0")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/services/")
            self._reply(200, {"service": name, "status": "healthy", "version": versions[name]})

        def do_POST(self) -> None:
            name = self.path.split("/")[2]
            versions[name] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["version"]
            self._reply(202, {"service": name, "version": versions[name]})

        def _reply(self, code: int, document: dict[str, str]) -> None:
            body = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """The experiment's output is for people."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", versions
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_tools(address: str, timeout: float = 5.0) -> tuple[Tool, Tool]:
    """``service_status``, which reads, and ``roll_back``, which writes. Every call carries a deadline."""

    def request(method: str, path: str, body: dict[str, str] | None = None) -> dict[str, str]:
        connection = HTTPConnection(address, timeout=timeout)
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            response = connection.getresponse()
            if response.status >= 400:
                raise ConnectionError(f"{method} {path}: {response.status}")
            return dict(json.loads(response.read()))
        finally:
            connection.close()

    def service_status(service: str) -> str:
        found = request("GET", f"/services/{service}")
        return f"{service} is {found['status']}; it runs version {found['version']}."

    def roll_back(service: str, version: str) -> str:
        found = request("POST", f"/services/{service}/rollback", {"version": version})
        return f"{service} is being rolled back to {found['version']}."

    one, both = {"service": SERVICE}, {"service": SERVICE, "version": VERSION}
    return (
        Tool("service_status", r"\bstatus\b|\bup right now\b", _schema(one), service_status),
        Tool("roll_back", r"\A\W*(please )?roll ?back\b", _schema(both), roll_back, writes=True),
    )


def _schema(properties: dict[str, dict[str, str]]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties)}
