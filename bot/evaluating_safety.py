"""What ``almanac eval safety`` tries, and on what: the guards text by text, and everything together end to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from assistant.database.scratch import scratch_schema
from assistant.errors import AlmanacError
from assistant.services import open_services
from assistant.settings import Settings
from bot import console as show

PARTS = ("questions", "documents", "planted", "audiences", "pii", "secrets", "links")
BUILT_IN = "built-in"

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class SafetyWanted:
    """``folder``: one that holds ``injection`` and ``pii``, or one of these; None: the cases Almanac comes with."""

    folder: Path | None = None
    parts: tuple[str, ...] = ()

    def check(self) -> None:
        if strange := [part for part in self.parts if part not in PARTS]:
            raise AlmanacError(f"{strange[0]} is no part; there are {', '.join(PARTS)}.")
        if self.folder is not None and not self.folder.is_dir():
            raise AlmanacError(f"{self.folder} is no folder.")

    @property
    def subject(self) -> str:
        return BUILT_IN if self.folder is None else self.folder.resolve().name

    def wants(self, part: str) -> bool:
        return not self.parts or part in self.parts


async def measure_safety(settings: Settings, database: str, wanted: SafetyWanted, err: Console) -> Any:
    """A ``assistant.evaluation.results.Measured``."""
    from assistant.evaluation.results import Measured
    from assistant.evaluation.safety import METRICS

    began = time.monotonic()
    with show.ingest_bar(err) as bar:
        task = bar.add_task("Starting", total=None, detail="")

        def tell(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        cases, skipped, about = await _measure(settings, database, wanted, tell)
    return Measured(
        "safety", wanted.subject, about.pop("guards"), METRICS, cases, about=about, skipped=skipped,
        remarks=_remarks(wanted), seconds=time.monotonic() - began,
    )  # fmt: skip


async def _measure(
    settings: Settings, database: str, wanted: SafetyWanted, tell: Tell
) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """Cases, what was skipped, and what was measured."""
    from assistant.evaluation import attacks, safety, safety_cases
    from assistant.evaluation.obedient import ObedientModel
    from assistant.guardrails.guards import Guards

    # What the guards can do, whatever this machine's settings let them do.
    fresh = {"cache_hours": 0.0, "questions_per_minute": 0}
    strict = settings.model_copy(update={"guard": "block", "redact": ("secrets", "pii"), **fresh})
    own = safety_cases.built_in()
    cases: list[Any] = []
    tools = attacks.HostileTools()
    model = ObedientModel(first=(attacks.READ.name,))
    planted = [*own.planted, *(safety_cases.read_planted(wanted.folder) if wanted.folder else ())]
    direct, documents, personal, skipped = _texts(wanted, own)
    async with scratch_schema(database) as url:
        async with open_services(strict, url, model=model, toolbox=tools) as services:
            guards = Guards.open(services.embedder, strict)
            if wanted.wants("questions") and direct:
                cases += await safety.questions(guards, direct, tell)
            if wanted.wants("documents") and documents:
                cases += await safety.documents(guards, documents, tell)
            if wanted.wants("pii") and personal:
                cases += safety.personal(guards, personal, tell)
            if wanted.wants("secrets"):
                cases += safety.secrets_out(guards, safety_cases.secrets())
            if wanted.wants("links"):
                cases += safety.links(guards, own.links)
            end_to_end = (services.answering, services.sessions, services.embedder)
            if wanted.wants("planted"):
                cases += await attacks.planted(*end_to_end, model, tools, planted, tell)
            if wanted.wants("audiences"):
                cases += await attacks.audiences(*end_to_end, tell)
            about = {"guards": f"guards, {services.embedder.name}"}
            await guards.close()
        if wanted.wants("planted"):
            off = strict.model_copy(update={"guard": "off"})
            async with open_services(off, url, model=model, toolbox=tools) as services:
                end_to_end = (services.answering, services.sessions, services.embedder)
                cases += await attacks.planted(*end_to_end, model, tools, planted, tell, detected=False)
    return cases, skipped, {**about, **_by_source(cases)}


def _texts(wanted: SafetyWanted, own: Any) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Questions, documents and personal data: our own, or those of the folder, and what it lacks."""
    from assistant.evaluation import safety_cases
    from assistant.evaluation.results import Skipped

    if wanted.folder is None:
        return list(own.direct), list(own.documents), list(own.personal), []
    direct: list[Any] = []
    documents: list[Any] = []
    personal: list[Any] = []
    skipped: list[Any] = []
    prompts = _folder_with(wanted.folder, "injection", safety_cases.PROMPTS)
    if prompts is None:
        skipped.append(Skipped("questions", f"{wanted.folder} holds no {safety_cases.PROMPTS}."))
        skipped.append(Skipped("documents", f"{wanted.folder} holds no {safety_cases.PROMPTS}."))
    else:
        direct, documents = safety_cases.read_prompts(prompts)
        if not documents:
            skipped.append(Skipped("documents", f"{prompts} holds no {safety_cases.CONTEXTS}."))
    persons = _folder_with(wanted.folder, "pii", safety_cases.PII)
    if persons is None:
        skipped.append(Skipped("pii", f"{wanted.folder} holds no {safety_cases.PII}."))
    else:
        personal = safety_cases.read_personal(persons)
    return direct, documents, personal, [one for one in skipped if wanted.wants(one.part)]


def _folder_with(folder: Path, name: str, file: str) -> Path | None:
    return next((place for place in (folder, folder / name) if (place / file).is_file()), None)


def _by_source(cases: list[Any]) -> dict[str, Any]:
    """The shares of each source of prompts: a mean over very different ones says little."""
    from assistant.evaluation.results import ratio

    found: dict[str, Any] = {}
    sources = sorted({case.detail["source"] for case in cases if "source" in case.detail})
    for source in sources if len(sources) > 1 else ():
        own = [case for case in cases if case.detail.get("source") == source]
        for name in ("attacks_found", "false_alarms", "planted_found", "planted_false_alarms"):
            value = ratio(own, name)
            if value is not None:
                counted = sum(name in case.counts for case in own)
                found[f"{source}: {name}"] = f"{value:.3f} of {counted}"
    return found


def _remarks(wanted: SafetyWanted) -> list[str]:
    if wanted.folder is None:
        return ["These are the few cases that Almanac comes with; a folder with labelled prompts says more."]
    return ["Prompts that the guard was trained on say nothing of those that it was not (see its model card)."]
