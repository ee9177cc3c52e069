"""Open-Meteo and Frankfurter on this machine: the paths, parameters, fields and failures that the two publish.

Ten towns and nine currencies with fixed values, so that an answer can be checked. The shapes are those of
open-meteo.com/en/docs (``current``, ``current_units``; 400 with ``error`` and ``reason``), of its geocoding API (no
``results`` key where nothing is found) and of frankfurter.dev v1 (``amount``, ``base``, ``date``, ``rates``; 404 with
``message``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ml.week10_agents.apis import Services
from ml.week10_agents.local_http import serving

# name: (country, code, latitude, longitude, °C, km/h, WMO code)
TOWNS: dict[str, tuple[str, str, float, float, float, float, int]] = {
    "Berlin": ("Germany", "DE", 52.52437, 13.41053, 11.4, 14.8, 3),
    "Cairo": ("Egypt", "EG", 30.06263, 31.24967, 27.9, 17.3, 0),
    "Lisbon": ("Portugal", "PT", 38.71667, -9.13333, 17.2, 12.2, 2),
    "London": ("United Kingdom", "GB", 51.50853, -0.12574, 9.6, 20.5, 61),
    "Madrid": ("Spain", "ES", 40.4165, -3.70256, 15.8, 7.9, 1),
    "Nairobi": ("Kenya", "KE", -1.28333, 36.81667, 22.5, 9.4, 80),
    "Oslo": ("Norway", "NO", 59.91273, 10.74609, 2.1, 6.1, 71),
    "Paris": ("France", "FR", 48.85341, 2.3488, 12.7, 11.2, 45),
    "Reykjavik": ("Iceland", "IS", 64.13548, -21.89541, -1.3, 31.0, 85),
    "Tokyo": ("Japan", "JP", 35.6895, 139.69171, 19.4, 8.6, 0),
}
CURRENCIES = {
    "CHF": "Swiss Franc", "DKK": "Danish Krone", "EUR": "Euro", "GBP": "British Pound", "JPY": "Japanese Yen",
    "NOK": "Norwegian Krone", "PLN": "Polish Złoty", "SEK": "Swedish Krona", "USD": "United States Dollar",
}  # fmt: skip
PER_EURO = {"CHF": 0.9342, "DKK": 7.4681, "EUR": 1.0, "GBP": 0.8761, "JPY": 177.32, "NOK": 11.724, "PLN": 4.2385,
            "SEK": 11.021, "USD": 1.1587}  # fmt: skip
DAY = "2026-11-02"
REQUIRED = "Parameter 'latitude' and 'longitude' must have the same number of elements"


@dataclass
class LocalApis:
    """What the server does and saw. ``delay`` seconds before each answer; ``failing`` maps a path to the statuses
    that its next requests get instead of an answer."""

    services: Services = field(default_factory=Services)
    delay: float = 0.0
    failing: dict[str, list[int]] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, query: dict[str, str], headers: Mapping[str, str], body: bytes) -> Any:
        """One request, for ``serving``."""
        with self.lock:
            self.seen.append((path, query))
            status = self.failing[path].pop(0) if self.failing.get(path) else 0
        time.sleep(self.delay)
        if status:
            return status, {"error": True, "reason": "The service is overloaded."}
        routes = {
            "/v1/search": search,
            "/v1/forecast": forecast,
            "/v1/latest": latest,
            "/v1/currencies": lambda _: (200, CURRENCIES),
        }
        return routes[path](query) if path in routes else (404, {"error": True, "reason": "Not Found"})


@contextmanager
def local_apis(delay: float = 0.0, timeout: float = 5.0) -> Iterator[LocalApis]:
    """Serve both APIs; ``services`` of what is yielded are the settings for ``apis.make_tools``."""
    apis = LocalApis(delay=delay)
    with serving(apis.answer) as address:
        apis.services = Services(address, address, address, timeout)
        yield apis


def search(query: dict[str, str]) -> tuple[int, Any]:
    """Geocoding: every town that begins with the name, most exact first."""
    name = query.get("name", "")
    if "name" not in query:
        return 400, {"error": True, "reason": "Parameter 'name' is required"}
    found = [town for town in TOWNS if len(name) > 2 and town.lower().startswith(name.lower())]
    results = [
        {"id": 1000 + list(TOWNS).index(town), "name": town, "latitude": row[2], "longitude": row[3], "elevation": 40.0,
         "feature_code": "PPLC", "country_code": row[1], "timezone": "GMT", "country": row[0]}
        for town in found[: int(query.get("count", 10))] for row in [TOWNS[town]]
    ]  # fmt: skip
    return 200, {"results": results, "generationtime_ms": 0.6} if results else {"generationtime_ms": 0.6}


def forecast(query: dict[str, str]) -> tuple[int, Any]:
    """The weather of the nearest town; the grid's own coordinates come back, not the ones that were asked for."""
    try:
        latitude, longitude = float(query["latitude"]), float(query["longitude"])
    except (KeyError, ValueError):
        return 400, {"error": True, "reason": REQUIRED}
    for name, value, limit in (("Latitude", latitude, 90), ("Longitude", longitude, 180)):
        if abs(value) > limit:
            return 400, {"error": True, "reason": f"{name} must be in range of -{limit} to {limit}°. Given: {value}."}
    near = min(TOWNS.values(), key=lambda town: (town[2] - latitude) ** 2 + (town[3] - longitude) ** 2)
    measured = {
        "temperature_2m": (near[4], "°C"),
        "wind_speed_10m": (near[5], "km/h"),
        "weather_code": (near[6], "wmo code"),
    }
    wanted = [name for name in query.get("current", "").split(",") if name]
    if unknown := [name for name in wanted if name not in measured]:
        return 400, {"error": True, "reason": f"Cannot initialize Variable from invalid String value {unknown[0]}."}
    return 200, {
        "latitude": round(latitude * 16) / 16, "longitude": round(longitude * 16) / 16, "generationtime_ms": 0.04,
        "utc_offset_seconds": 0, "timezone": "GMT", "timezone_abbreviation": "GMT", "elevation": 40.0,
        "current_units": {"time": "iso8601", "interval": "seconds"} | {name: measured[name][1] for name in wanted},
        "current": {"time": f"{DAY}T12:00", "interval": 900} | {name: measured[name][0] for name in wanted},
    }  # fmt: skip


def latest(query: dict[str, str]) -> tuple[int, Any]:
    """The day's rates, rebased and rounded as the service rounds them."""
    base = query.get("base", "EUR")
    symbols = [code for code in query.get("symbols", "").split(",") if code] or list(PER_EURO)
    rates = {code: rounded(PER_EURO[code] / PER_EURO[base]) for code in sorted(symbols)
             if base in PER_EURO and code in PER_EURO and code != base}  # fmt: skip
    if not rates:
        return 404, {"message": "not found"}
    return 200, {"amount": 1.0, "base": base, "date": DAY, "rates": rates}


def rounded(rate: float) -> float:
    """Two places above 80, three above 20, four above 1, five below: how exchange rates are quoted."""
    return round(rate, 2 if rate > 80 else 3 if rate > 20 else 4 if rate > 1 else 5)
