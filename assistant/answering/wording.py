"""How a question is put, in four languages: about now or in general, an order or a wish to understand; what it names.

Cheap patterns, each a weak sign by itself; ``assistant.answering.routing`` weighs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST_PATTERN, LONGEST_WORD = 64, 40


def _any_of(*parts: str) -> str:
    return "|".join(parts)


_NOW = re.compile(
    r"\b(?:"
    + _any_of(
        r"now|currently|today(?:'?s)?|tonight|tomorrow|at the moment|latest|live|running|so far|yet|since|left",
        r"this (?:week|weekend|morning|afternoon|evening|month|year)|remaining|status|state of",
        r"last (?:\d+ |few )?(?:minutes?|hours?|days?|builds?|weeks?)",
        r"gerade|jetzt|aktuell(?:e[rsn]?)?|heute|momentan|derzeit|zurzeit|morgen|noch|läuft|diese woche",
        r"maintenant|actuellement|aujourd'hui|en ce moment|en cours|demain|reste",
        r"ahora|actualmente|hoy|en este momento|mañana|quedan?",
    )
    + r")\b",
    re.IGNORECASE,
)
_OPENING = _any_of(
    r"hi|hey|hello|ok|okay|hallo|bonjour|hola|almanac|please|bitte|por favor|s'il te plaît|[@#][\w.-]+|[¿¡,.:!-]",
    r"can you|could you|would you|will you|i want to|i'd like to|i would like to|i need to|let's",
    r"kannst du|könntest du|ich möchte|peux-tu|pouvez-vous|je veux|puedes|podrías|quiero",
)
_VERBS = _any_of(
    r"restart|reboot|bounce|kick|start|stop|run|re-?run|trigger|build|rebuild|deploy|promote|scale|create|make|open|close",
    r"file|log|report|add|remove|delete|update|change|set|turn|switch|flip|enable|disable|send|tell|message|ping|notify",
    r"let|email|invite|write|post|book|reserve|cancel|schedule|move|reschedule|request|ask|pay|buy|order|transfer|refund",
    r"assign|approve|reject|ack|acknowledge|mark|resolve|snooze|show|list|get|fetch|give|find|look up|search|check",
    r"read|compare|count|convert|calculate|compute|determine|estimate|predict|generate|retrieve|analy[sz]e|solve|play",
    r"translate|summari[sz]e|put|take|do|download|upload",
    r"starte|stoppe|erstelle|lege|lösche|zeige?|liste|hole?|suche?|finde|buche|reserviere|schicke?|sende|sag|setze|schalte",
    r"aktiviere|deaktiviere|prüfe|rechne|öffne|schließe|bestätige",
    r"redémarre|relance|lance|arrête|crée|ouvre|ferme|montre|liste|cherche|trouve|réserve|envoie|dis|active|désactive",
    r"convertis|calcule|confirme|annule|supprime|ajoute",
    r"reinicia|inicia|lanza|crea|abre|cierra|muestra|lista|busca|reserva|envía|manda|dile|activa|desactiva|convierte",
    r"calcula|confirma|reconoce|cancela|borra|añade",
)
_ACTION = re.compile(rf"^\s*(?:(?:{_OPENING})\s*)*(?:{_VERBS})\b|\bneu starten\b", re.IGNORECASE)
_PROCEDURE = re.compile(
    r"\b(?:"
    + _any_of(
        r"how (?:do|does|to|can|should|are|is|must|may|did|will)",
        r"how (?:long|often) (?:may|can|must|should|do we|does)|why|when (?:should|must|may|can|do we|are|does)",
        r"what (?:should|must|may|happens|does .{1,40} mean)",
        r"what(?:'s| is| are) the (?:process|procedure|policy|difference|rules?|steps)",
        r"who (?:may|can|must|should|owns|approves|decides)|(?:is|are) (?:we|it) allowed|steps to",
        r"runbook|documentation|documented|convention|policy|procedure|explain|rules?",
        r"wie (?:funktioniert|mache?|kann|setze?|wird|werden|geht man|startet man|beantrage|rechne|lange darf)",
        r"warum|wieso|was (?:bedeutet|passiert|tun|mache ich|muss)|wer darf",
        r"comment|pourquoi|que faire|quelle est la (?:procédure|politique|différence)|que signifie|qui peut",
        r"cómo|por qué|qué (?:hago|hacer|significa|debe)|cuál es (?:el proceso|la política)|quién puede",
    )
    + r")\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.-])\d+(?:[.,]\d+)?(?![\w-])")
_DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b|\b\d{1,2}[:.]\d\d\b|\b\d{1,2} ?(?:am|pm|uhr|h)\b", re.IGNORECASE)
_NAMED = re.compile(
    r"`[^`]+`|\"[^\"]+\"|'[^']{2,}'|#[\w-]+|@[\w.-]+|\b\w+(?:[-_/.]\w+)+\b|(?<!^)(?<![.?!¿¡] )\b[A-ZÄÖÜÉ]\w+"
)
_WORD = re.compile(r"[\w-]+")


def about_now(asked: str) -> bool:
    """Whether it is about how things are at a time, and not in general."""
    return _NOW.search(asked) is not None


def wants_action(asked: str) -> bool:
    """Whether it begins like an order."""
    return _ACTION.search(asked) is not None


def asks_for_procedure(asked: str) -> bool:
    """Whether it asks how, why, or by what rule."""
    return _PROCEDURE.search(asked) is not None


def filled(asked: str, parameters: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """What of a tool's parameters (their schemas, each with ``required``) the text holds.

    The share of the required ones that it holds a value for (of all, where none is required), and 1.0 where it names an
    enumerated value or what a pattern wants.
    """
    if not parameters:
        return 0.5, 0.0
    exact = any(_exact(asked, schema) for schema in parameters)
    wanted = [schema for schema in parameters if schema.get("required")] or parameters
    return sum(_holds(asked, schema) for schema in wanted) / len(wanted), float(exact)


def _exact(asked: str, schema: Mapping[str, Any]) -> bool:
    values = [value for value in schema.get("enum") or () if isinstance(value, str) and len(value) > 2]
    if values and re.search(rf"\b(?:{'|'.join(map(re.escape, values))})\b", asked, re.IGNORECASE):
        return True
    pattern = schema.get("pattern")
    return isinstance(pattern, str) and any(_fits(pattern, word) for word in _WORD.findall(asked))


def _fits(pattern: str, word: str) -> bool:
    """Whether a word is what a pattern wants, where that is not just any word.

    Patterns come from elsewhere: one that repeats a group may take for ever, and is left alone.
    """
    if not pattern.startswith("^") or len(pattern) > LONGEST_PATTERN or len(word) > LONGEST_WORD:
        return False
    if re.search(r"\)\s*[*+{]", pattern):
        return False
    try:
        return bool(re.search(pattern, word)) and not re.search(pattern, "word")
    except re.error:
        return False


def _holds(asked: str, schema: Mapping[str, Any]) -> bool:
    if schema.get("enum") or schema.get("pattern"):
        return _exact(asked, schema)
    if schema.get("type") in ("integer", "number"):
        return _NUMBER.search(asked) is not None
    if str(schema.get("format", "")).startswith(("date", "time")):
        return _DATE.search(asked) is not None
    return _NAMED.search(asked) is not None
