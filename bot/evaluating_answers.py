"""What ``almanac eval answers`` asks, on which index, and how it is measured."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from assistant.database import evaluations
from assistant.errors import AlmanacError
from assistant.evaluation.cases import CaseSet, read_file, read_folder
from assistant.sample import HANDBOOK, QUESTIONS
from assistant.services import Services, open_services
from assistant.settings import Settings
from bot import console as show
from bot.evaluating_index import load_collection, load_folder, scratch_services

SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class AnswersWanted:
    """``path``: a file of cases, or a folder with its documents; None: the sample's questions."""

    path: Path | None = None
    split: str | None = None
    field: str = "text"
    limit: int | None = None
    at_once: int = 1
    judge: bool = False

    def cases(self) -> CaseSet:
        """Raises ``AlmanacError`` with one sentence."""
        if self.path is None:
            found = replace(read_file(QUESTIONS), subject=SAMPLE)
        elif self.path.is_dir():
            found = read_folder(self.path, split=self.split, field=self.field)
        elif self.path.is_file():
            found = read_file(self.path)
        else:
            raise AlmanacError(f"{self.path} does not exist.")
        return found.first(self.limit)


async def measure_answers(settings: Settings, database: str, wanted: AnswersWanted, err: Console) -> Any:
    """A ``assistant.evaluation.results.Measured``."""
    from assistant.answering.outcomes import Outcome
    from assistant.evaluation import answers
    from assistant.evaluation.judge import METRICS as JUDGED
    from assistant.evaluation.judge import check, judge
    from assistant.evaluation.results import Measured
    from assistant.evaluation.support import CheckedSupport

    if wanted.judge:
        check(settings)
    cases = wanted.cases()
    began = time.monotonic()
    about: dict[str, Any] = {"at_once": wanted.at_once}
    remarks = list(cases.remarks)
    # Every question is answered anew, however fast they come; what calls may cost stays capped.
    fresh = settings.model_copy(update={"cache_hours": 0.0, "questions_per_minute": 0})
    async with _index(fresh, database, cases, err) as (services, where):
        about |= {"index": where, "embedding_model": services.embedder.name}
        async with services.sessions.begin() as session:
            await evaluations.forget_conversation(session, None)  # what a killed run has left
        with show.ingest_bar(err) as bar:
            task = bar.add_task("Asking", total=len(cases.cases), detail="")

            def tell(stage: str, done: int, total: int) -> None:
                bar.update(task, description=stage, completed=done, total=total)

            await services.embedder.embed_query("The model is loaded with its first question.")
            asked = await answers.ask_all(
                services.answering, services.sessions, cases.cases, at_once=wanted.at_once, tell=tell
            )
            asked = await answers.check(asked, CheckedSupport(services.embedder), services.embedder, tell)
            if wanted.judge:
                judged = await judge(settings, asked, tell)
                asked, about["judge_cost_usd"] = judged.asked, judged.usage.cost_usd
                remarks += judged.failed[:5]
        model = services.model.name
    about |= answers.percentiles(asked)
    if stopped := sum(one.answer.outcome is Outcome.OVER_LIMIT for one in asked):
        remarks.append(f"{stopped:,} questions ended over a limit of the settings, and count as not answered.")
    metrics = (*answers.METRICS, *(JUDGED if wanted.judge else ()))
    return Measured(
        "answers", cases.subject, model, metrics, [answers.result(one) for one in asked],
        about=about, remarks=remarks, seconds=time.monotonic() - began,
    )  # fmt: skip


@asynccontextmanager
async def _index(
    settings: Settings, database: str, cases: CaseSet, err: Console
) -> AsyncIterator[tuple[Services, str]]:
    """The index that is asked, and which one that is: the documents that come with the cases, or the open one."""
    if cases.folder is not None:
        async with scratch_services(settings, database) as (services, url):
            await load_collection(url, cases.folder, cases.subject, cases.documents, err)
            yield services, "scratch"
        return
    expected = {name for case in cases.cases for name in case.sources}
    async with open_services(settings, database) as services:
        async with services.sessions() as session:
            held = await evaluations.held(session, sorted(expected))
        if held or not expected:
            yield services, "open"
            return
    if cases.subject != SAMPLE:
        raise AlmanacError("The index holds none of the documents that the cases expect.")
    async with scratch_services(settings, database) as (services, url):
        await load_folder(url, HANDBOOK, err)
        yield services, "scratch"
