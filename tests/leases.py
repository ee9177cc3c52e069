"""What the end of a lease looks like to the others, without waiting for it.

A lease that is short enough to be waited for is also lost when the machine stalls, by a process that only meant to go
on. Tests of crashes take long leases, and end those of the dead.
"""

from __future__ import annotations

import psycopg


async def end_leases(database_url: str) -> None:
    """Of all events that are in flight."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("UPDATE inbox SET claimed_until = now() - interval '1 s' WHERE claimed_until > now()")
