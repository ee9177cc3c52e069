"""Real APIs as tools: places and weather from Open-Meteo, exchange rates from Frankfurter. Neither wants a key.

Idea.    A tool for a model is not the API. The API returns forty fields and fails in its own words; the tool returns
         the few fields that a question is about, named with their units, and fails in a sentence that says what to do
         instead. Arithmetic (amount · rate) is done here: a model should not multiply.
Source.  open-meteo.com/en/docs and /geocoding-api; frankfurter.dev (rates of the European Central Bank, once a day).
Left out. Caching, and a queue under the services' fair-use limits.

The addresses are settings: ``local_apis.py`` speaks the same two APIs on this machine, for tests and for days without
a net.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from ml.week10_agents.tools import Tool, ToolError

WEATHER = {
    0: "clear sky", 1: "mainly clear", 2: "partly cloudy", 3: "overcast", 45: "fog", 48: "rime fog",
    51: "light drizzle", 53: "drizzle", 55: "dense drizzle", 56: "light freezing drizzle", 57: "freezing drizzle",
    61: "slight rain", 63: "rain", 65: "heavy rain", 66: "light freezing rain", 67: "freezing rain",
    71: "slight snow", 73: "snow", 75: "heavy snow", 77: "snow grains", 80: "slight showers", 81: "showers",
    82: "violent showers", 85: "slight snow showers", 86: "heavy snow showers", 95: "thunderstorm",
    96: "thunderstorm with slight hail", 99: "thunderstorm with heavy hail",
}  # fmt: skip
CURRENCY = {"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217 code, such as EUR"}


@dataclass(frozen=True)
class Services:
    """Where the services are. ``timeout`` in seconds for one request, connecting included."""

    geocoding: str = "https://geocoding-api.open-meteo.com"
    forecast: str = "https://api.open-meteo.com"
    rates: str = "https://api.frankfurter.dev"
    timeout: float = 5.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Services:
        """The public addresses, or those that the three variables name."""
        names = {
            "geocoding": "OPEN_METEO_GEOCODING_URL",
            "forecast": "OPEN_METEO_FORECAST_URL",
            "rates": "FRANKFURTER_URL",
        }
        return cls(**{field: environment[name].rstrip("/") for field, name in names.items() if environment.get(name)})


async def fetch(client: httpx.AsyncClient, url: str, service: str, **query: Any) -> Any:
    """The JSON at ``url``. Raises ToolError, temporary where trying again may help."""
    try:
        response = await client.get(url, params=query)
    except httpx.TimeoutException as error:
        raise ToolError(f"{service} did not answer in time.", temporary=True) from error
    except httpx.TransportError as error:
        raise ToolError(f"{service} cannot be reached.", temporary=True) from error
    if response.status_code == 429 or response.status_code >= 500:
        raise ToolError(f"{service} is busy or broken (status {response.status_code}).", temporary=True)
    try:
        document = response.json()
    except ValueError as error:
        raise ToolError(f"{service} did not send JSON.", temporary=True) from error
    if response.status_code >= 400:
        words = document.get("reason") or document.get("message") or response.status_code
        raise ToolError(f"{service} refused: {words}.")
    return document


async def find_place(client: httpx.AsyncClient, services: Services, name: str) -> dict[str, Any]:
    """The best match of the geocoder, as GeoNames spells it."""
    query = {"name": name, "count": 1, "language": "en", "format": "json"}
    document = await fetch(client, f"{services.geocoding}/v1/search", "The geocoder", **query)
    if not document.get("results"):  # the key is absent, not empty, where nothing was found
        hint = " Give the town's name alone, without a country." if "," in name else ""
        raise ToolError(f"No place is called {name!r}.{hint}")
    found = document["results"][0]
    return {key: found.get(key) for key in ("name", "country", "latitude", "longitude")}


async def current_weather(
    client: httpx.AsyncClient, services: Services, latitude: float, longitude: float
) -> dict[str, Any]:
    """The weather of the last quarter of an hour, from the grid cell around the point."""
    query = {
        "latitude": latitude,
        "longitude": longitude,
        "current": "temperature_2m,wind_speed_10m,weather_code",
    }
    document = await fetch(client, f"{services.forecast}/v1/forecast", "The weather service", **query)
    try:
        now, units = document["current"], document["current_units"]
        return {
            "time": f"{now['time']} UTC",
            "temperature": now["temperature_2m"],
            "temperature_unit": units["temperature_2m"],
            "wind": f"{now['wind_speed_10m']} {units['wind_speed_10m']}",
            "sky": WEATHER.get(now["weather_code"], f"code {now['weather_code']}"),
        }
    except (KeyError, TypeError) as error:
        raise ToolError("The weather service sent something else than current weather.") from error


async def exchange(
    client: httpx.AsyncClient, services: Services, amount: float, base: str, quote: str
) -> dict[str, Any]:
    """``amount`` of ``base`` in ``quote``, at the day's reference rate."""
    try:
        query = {"base": base, "symbols": quote}
        document = await fetch(client, f"{services.rates}/v1/latest", "The exchange-rate service", **query)
        rate = document["rates"][quote]
    except (ToolError, KeyError) as error:
        if isinstance(error, ToolError) and error.temporary:
            raise
        raise ToolError(await _unknown_currency(client, services, base, quote)) from error
    return {"amount": amount, "base": base, "quote": quote, "rate": rate, "converted": round(amount * rate, 2),
            "date": document["date"]}  # fmt: skip


async def _unknown_currency(client: httpx.AsyncClient, services: Services, base: str, quote: str) -> str:
    """ "not found" does not say which of the two codes is wrong; the list of codes does."""
    known = await fetch(client, f"{services.rates}/v1/currencies", "The exchange-rate service")
    wrong = [code for code in (base, quote) if code not in known]
    if not wrong:
        return f"There is no rate from {base} to {quote}."
    return f"There is no rate for {' and '.join(wrong)}. The codes are {', '.join(sorted(known))}."


@dataclass
class Alerts:
    """The one thing here that can be changed: a list of "tell me when". In memory, so that a lesson harms nobody."""

    kept: list[dict[str, Any]] = field(default_factory=list)

    async def add(self, base: str, quote: str, below: float) -> dict[str, Any]:
        """Keep an alert."""
        self.kept.append({"base": base, "quote": quote, "below": below})
        return {"alerts": len(self.kept)}


def make_tools(client: httpx.AsyncClient, services: Services, alerts: Alerts | None = None) -> list[Tool]:
    """Three tools that read and one that writes. ``client`` is shared, so that connections are kept open."""

    def schema(**properties: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}

    def bound(function: Any) -> Any:
        async def call(**arguments: Any) -> Any:
            return await function(client, services, **arguments)

        return call

    town = {"type": "string", "minLength": 2, "maxLength": 60, "description": "a town's name alone, such as Lisbon"}
    degrees = {
        "latitude": {"type": "number", "minimum": -90, "maximum": 90},
        "longitude": {"type": "number", "minimum": -180, "maximum": 180},
    }
    amount = {"type": "number", "minimum": 0, "maximum": 1_000_000_000}
    pair = {"base": CURRENCY, "quote": CURRENCY}
    keep = (alerts or Alerts()).add
    return [
        Tool("find_place", "Coordinates of a town.", schema(name=town), bound(find_place)),
        Tool("current_weather", "Weather now at coordinates.", schema(**degrees), bound(current_weather)),
        Tool("exchange", "Money in another currency.", schema(amount=amount, **pair), bound(exchange)),
        Tool("set_rate_alert", "Tell the user when a rate falls.", schema(**pair, below=amount), keep, writes=True),
    ]


def make_client(services: Services) -> httpx.AsyncClient:
    """A client in which nothing waits longer than ``services.timeout``; close it after use."""
    return httpx.AsyncClient(timeout=services.timeout, headers={"User-Agent": "almanac-lessons"})
