"""``almanac slack``: what is needed to set the Slack app up."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

import typer
import yaml

from assistant.errors import AlmanacError

app = typer.Typer(name="slack", help="Set the Slack app up.", no_args_is_help=True)


@app.callback()
def _slack() -> None:
    """Set the Slack app up."""


@app.command(
    epilog="Examples: almanac slack manifest  ·  almanac slack manifest --url https://almanac.example.com "
    "--domain docs.example.com"
)
def manifest(
    url: Annotated[
        str | None, typer.Option(help="Where Slack reaches this bot, for events over HTTP (https://…).")
    ] = None,
    socket: Annotated[bool, typer.Option("--socket", help="Socket Mode: no public address is needed.")] = False,
    domain: Annotated[
        list[str] | None, typer.Option(help="Where your documents live, so that links to them unfold (up to five).")
    ] = None,
    name: Annotated[str, typer.Option(help="What the app is called.")] = "Almanac",
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of YAML.")] = False,
) -> None:
    """Print the manifest from which the Slack app is made, filled in."""
    from bot.slack.manifest import manifest as made  # Slack's SDK, which the other commands need not load

    _check(url, socket, domain or [], name)
    content = made(url, domain or [], name)
    if json:
        typer.echo(jsonlib.dumps(content, indent=2, ensure_ascii=False))
    else:
        typer.echo(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100), nl=False)


def _check(url: str | None, socket: bool, domains: list[str], name: str) -> None:
    if url and socket:
        raise AlmanacError("Socket Mode needs no address: leave out --url or --socket.")
    if url and not url.startswith("https://"):
        raise AlmanacError("Slack reaches bots over https:// only, so --url must begin with it.")
    if len(domains) > 5:
        raise AlmanacError("Slack takes five domains at most.")
    if not 1 <= len(name) <= 35:
        raise AlmanacError("The app's name has 1 to 35 characters.")
