"""Weather and exchange rates: against doubles that refuse what the real ones refuse, and the real ones where there is
internet."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from assistant.settings import Settings
from assistant.tools.model import BadArguments, ToolError, ToolUnavailable
from assistant.tools.registry import Toolbox
from bot.sample_tools import FILE, SECRET, SOURCE
from tests.tools.api import ME, Api, serving

VARIABLES = {
    "current": {"temperature_2m": 7.1, "apparent_temperature": 4.0, "precipitation": 0.2, "weather_code": 61,
                "wind_speed_10m": 21.0},
    "daily": {"weather_code": 61, "temperature_2m_max": 9.0, "temperature_2m_min": 3.0, "precipitation_sum": 4.2,
              "precipitation_probability_max": 88},
}  # fmt: skip
PLACES = {"Leeds": {"id": 2644688, "name": "Leeds", "latitude": 53.79648, "longitude": -1.54785, "elevation": 47.0,
                    "feature_code": "PPLA2", "country_code": "GB", "timezone": "Europe/London", "population": 455123,
                    "country_id": 2635167, "country": "United Kingdom", "admin1": "England"}}  # fmt: skip
RATES = {"EUR": 1.0, "GBP": 0.84, "USD": 1.1, "CHF": 0.93}


def wrong(reason: str) -> web.Response:
    return web.json_response({"error": True, "reason": reason}, status=400)


async def meteo(request: web.Request) -> web.Response:
    """As Open-Meteo: what it does not know is an error with its reason."""
    given = dict(request.query)
    try:
        latitude, longitude = float(given.pop("latitude")), float(given.pop("longitude"))
    except (KeyError, ValueError):
        return wrong("Parameter 'latitude' and 'longitude' must have the same number of elements")
    if not -90 <= latitude <= 90:
        return wrong(f"Latitude must be in range of -90 to 90°. Given: {latitude}.")
    days = int(given.pop("forecast_days", "7"))
    if not 0 <= days <= 16:
        return wrong(f"Forecast days is invalid. Allowed range 0 to 16. Given {days}.")
    zone = given.pop("timezone", "GMT")
    here = "Europe/London" if zone == "auto" else zone
    answer: dict[str, Any] = {"latitude": latitude, "longitude": longitude, "generationtime_ms": 0.1, "elevation": 47.0,
                              "utc_offset_seconds": 0, "timezone": here}  # fmt: skip
    for block in ("current", "daily"):
        names = [name for name in given.pop(block, "").split(",") if name]
        if unknown := [name for name in names if name not in VARIABLES[block]]:
            return wrong(f"Data corrupted at path ''. Cannot initialize from invalid String value {unknown[0]}.")
        if names:
            answer[f"{block}_units"] = {"time": "iso8601"} | dict.fromkeys(names, "x")
            first = date(2026, 1, 1)
            several = block == "daily"
            times: Any = [str(first + timedelta(days=day)) for day in range(days)] if several else "2026-01-01T12:00"
            answer[block] = {"time": times} | {name: [VARIABLES[block][name]] * days if several else
                                               VARIABLES[block][name] for name in names}  # fmt: skip
    if given:
        return wrong(f"unknown parameter {next(iter(given))}")
    return web.json_response(answer)


async def places(request: web.Request) -> web.Response:
    given = dict(request.query)
    name, count = given.pop("name", ""), int(given.pop("count", "10"))
    country, language = given.pop("countryCode", None), given.pop("language", "en")
    if given or not 1 <= count <= 100 or len(language) != 2:
        return wrong("Parameter count must be between 1 and 100.")
    found = [place for known, place in PLACES.items()
             if known.lower().startswith(name.lower()) and country in (None, place["country_code"])]  # fmt: skip
    return web.json_response({"generationtime_ms": 0.5} | ({"results": found[:count]} if found else {}))


async def frankfurter(request: web.Request) -> web.Response:
    base, symbols = request.query.get("base", "EUR"), request.query.get("symbols")
    match = re.fullmatch(r"/v1/(latest|\d{4}-\d{2}-\d{2})", request.path)
    wanted = symbols.split(",") if symbols else [name for name in RATES if name != base]
    if match is None or base not in RATES or any(name not in RATES for name in wanted):
        return web.json_response({"message": "not found"}, status=404)
    day = "2026-01-02" if match[1] == "latest" else match[1]
    rates = {name: round(RATES[name] / RATES[base], 5) for name in wanted}
    return web.json_response({"amount": 1.0, "base": base, "date": day, "rates": rates})


class Doubles:
    def __init__(self, apis: dict[str, Api], box: Toolbox) -> None:
        self.apis = apis
        self.box = box

    async def call(self, name: str, /, **arguments: Any) -> Any:
        return (await self.box.call(await self.box.find(name, ME), arguments, ME)).data


@pytest.fixture
async def doubles() -> AsyncIterator[Doubles]:
    async with serving(places) as place, serving(meteo) as weather, serving(frankfurter) as money:
        servers = {"places": place.url, "weather": weather.url, "rates": f"{money.url}/v1", SOURCE: place.url}
        box = opened(tool_servers=servers)
        yield Doubles({"places": place, "weather": weather, "rates": money}, box)
        await box.close()


def opened(**more: Any) -> Toolbox:
    return Toolbox.open(Settings(_env_file=None, tools=str(FILE), tool_secrets={SECRET: "x" * 20}, **more))


async def test_a_place_is_found_and_its_weather(doubles: Doubles) -> None:
    found = await doubles.call("findPlace", name="Leeds", countryCode="GB")
    (place,) = found["results"]
    assert set(place) == {"name", "admin1", "country", "latitude", "longitude", "timezone"}
    assert doubles.apis["places"].last.path == "/v1/search?name=Leeds&count=5&countryCode=GB"
    weather = await doubles.call(
        "getWeather", latitude=place["latitude"], longitude=place["longitude"], forecast_days=2
    )
    assert weather["current"]["temperature_2m"] == 7.1
    assert weather["daily"]["time"] == ["2026-01-01", "2026-01-02"]
    assert weather["timezone"] == "Europe/London"
    assert "generationtime_ms" not in weather
    sent = doubles.apis["weather"].last.path
    assert "latitude=53.79648&longitude=-1.54785&forecast_days=2" in sent
    assert "daily=weather_code%2Ctemperature_2m_max%2C" in sent


async def test_a_place_that_nobody_knows_is_an_empty_answer(doubles: Doubles) -> None:
    assert await doubles.call("findPlace", name="Nowhere at all") == {}


async def test_coordinates_that_are_none_are_not_sent(doubles: Doubles) -> None:
    for arguments, words in (
        ({"latitude": 91, "longitude": 0}, "latitude must be at most 90"),
        ({"latitude": "53,8", "longitude": 0}, "latitude must be a number"),
        ({"longitude": 0}, "latitude is missing"),
        ({"latitude": 1, "longitude": 0, "forecast_days": 17}, "forecast_days must be at most 16"),
        ({"latitude": 1, "longitude": 0, "timezone": "GMT"}, "timezone is no argument"),
    ):
        with pytest.raises(BadArguments, match=words):
            await doubles.call("getWeather", **arguments)
    assert doubles.apis["weather"].received == []


async def test_exchange_rates_of_today_and_of_a_day(doubles: Doubles) -> None:
    assert await doubles.call("getExchangeRates", base="GBP", symbols=["EUR", "USD"]) == {
        "amount": 1.0, "base": "GBP", "date": "2026-01-02", "rates": {"EUR": 1.19048, "USD": 1.30952},
    }  # fmt: skip
    assert doubles.apis["rates"].last.path == "/v1/latest?base=GBP&symbols=EUR%2CUSD"
    assert set((await doubles.call("getExchangeRates"))["rates"]) == {"GBP", "USD", "CHF"}
    assert (await doubles.call("getExchangeRatesOn", date="1999-01-04", symbols=["USD"]))["date"] == "1999-01-04"
    with pytest.raises(BadArguments, match="base must match"):
        await doubles.call("getExchangeRates", base="pound")
    with pytest.raises(BadArguments, match="date must be a date"):
        await doubles.call("getExchangeRatesOn", date="yesterday")
    with pytest.raises(ToolError, match=r"found nothing at GET /latest \(404\): not found"):
        await doubles.call("getExchangeRates", base="XXX")


def online(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=3).close()
    except OSError:
        return False
    return True


async def test_the_real_ones_answer_so_too() -> None:
    """Skips without internet."""
    hosts = ("geocoding-api.open-meteo.com", "api.open-meteo.com", "api.frankfurter.dev")
    if not all(map(online, hosts)):
        pytest.skip("there is no internet")
    box = opened()
    live = Doubles({}, box)
    try:
        (place, *_) = (await live.call("findPlace", name="Leeds", countryCode="GB"))["results"]
        assert abs(place["latitude"] - 53.8) < 0.1
        weather = await live.call("getWeather", latitude=53.8, longitude=-1.55, forecast_days=2)
        assert len(weather["daily"]["time"]) == 2
        assert -40 < weather["current"]["temperature_2m"] < 50
        rates = await live.call("getExchangeRates", base="GBP", symbols=["EUR"])
        assert 0.5 < rates["rates"]["EUR"] < 2
        assert (datetime.now(UTC).date() - date.fromisoformat(rates["date"])).days < 10
        assert (await live.call("getExchangeRatesOn", date="1999-01-04", symbols=["USD"]))["rates"]["USD"] == 1.1789
    except ToolUnavailable as error:
        pytest.skip(f"not reachable from here: {error}")
    finally:
        await box.close()
