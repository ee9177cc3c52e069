"""Ask an agent: ``python -m ml.week10_agents.agent "How warm is it in Lisbon?"`` calls the real services.

The model is the endpoint of ``OPENAI_BASE_URL`` or ``OPENAI_API_KEY`` (``OPENAI_MODEL`` names the model). Without one
the rule-based stand-in answers, which knows only sentences like those in ``tasks.py``; the output says so.
``--offline`` takes this machine's copies of the services. Exit code 1 and one sentence where no answer could be had.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import sys
from collections.abc import Sequence

from ml.week10_agents.apis import Services, make_client, make_tools
from ml.week10_agents.chat import ChatSettings, OpenAIModel
from ml.week10_agents.local_apis import local_apis
from ml.week10_agents.local_model import local_model
from ml.week10_agents.record import Limits, Trace
from ml.week10_agents.rules import stand_in
from ml.week10_agents.tasks import ARCHITECTURES

SHORT = {"loop": "function calling", "react": "ReAct", "plan": "plan and execute"}


def parser() -> argparse.ArgumentParser:
    """The command line; the addresses default to the public services or their variables."""
    made = argparse.ArgumentParser(prog="python -m ml.week10_agents.agent", description="Ask an agent with tools.")
    made.add_argument("question")
    made.add_argument("--as", dest="architecture", choices=[*SHORT, "langchain"], default="loop")
    made.add_argument("--offline", action="store_true", help="this machine's copies of the services")
    made.add_argument("--geocoding-url", help="OPEN_METEO_GEOCODING_URL")
    made.add_argument("--forecast-url", help="OPEN_METEO_FORECAST_URL")
    made.add_argument("--rates-url", help="FRANKFURTER_URL")
    made.add_argument("--seconds", type=float, default=60.0, help="deadline of the whole run")
    made.add_argument("--steps", type=int, default=8, help="most requests to the model")
    made.add_argument(
        "--approve", action="append", default=[], metavar="FINGERPRINT", help="allow exactly this write, once"
    )
    return made


def main(given: Sequence[str] | None = None) -> int:
    """Run one question and print the answer and what was done for it."""
    arguments = parser().parse_args(given)
    trace = asyncio.run(_ask(arguments))
    for called in trace.called:
        sys.stderr.write(f"  {called.name} {called.arguments} -> {called.outcome}: {called.text[:100]}\n")
    for fingerprint in trace.waiting:
        sys.stderr.write(f"  waiting: ask again with --approve {fingerprint}\n")
    if trace.reason != "answered":
        sys.stderr.write(f"{trace.answer}\n")
        return 1
    sys.stdout.write(f"{trace.answer}\n")
    return 0


async def _ask(arguments: argparse.Namespace) -> Trace:
    with contextlib.ExitStack() as stack:
        if arguments.offline:
            services = stack.enter_context(local_apis()).services
        else:
            urls = {name: getattr(arguments, f"{name}_url") for name in ("geocoding", "forecast", "rates")}
            changed = {name: url.rstrip("/") for name, url in urls.items() if url}
            services = dataclasses.replace(Services.from_environment(), **changed)
        settings = ChatSettings.from_environment()
        if settings is None:
            sys.stderr.write(
                "No language model is set (OPENAI_BASE_URL or OPENAI_API_KEY): a stand-in of rules answers.\n"
            )
            settings = stack.enter_context(local_model(stand_in)).settings
        limits = Limits(steps=arguments.steps, seconds=arguments.seconds)
        async with make_client(services) as client:
            tools = make_tools(client, services)
            if arguments.architecture == "langchain":
                from ml.week10_agents import with_langchain  # takes seconds to import

                return await with_langchain.answer(arguments.question, settings, tools, limits)
            async with OpenAIModel(settings) as model:
                answer = ARCHITECTURES[SHORT[arguments.architecture]]
                return await answer(arguments.question, model, tools, limits, arguments.approve)


if __name__ == "__main__":
    raise SystemExit(main())
