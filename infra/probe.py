"""Is the server in this container well: ``python probe.py PORT PATH``. Exit code 0 where it answers 200, else 1."""

from __future__ import annotations

import http.client
import sys

SECONDS = 3.0


def well(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if well(int(sys.argv[1]), sys.argv[2]) else 1)
