"""Arguments held against a tool's schema before anything is called, with mistakes said in words that name the field."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from assistant.tools.model import BadArguments, Schema, Tool

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

MAX_BYTES = 100_000  # of one call's arguments
MAX_DEPTH = 40
PATTERNED = 500  # characters of a text that is held against a pattern
SHOWN = 3  # mistakes that are named at once


def validate(tool: Tool, arguments: object) -> dict[str, Any]:
    """The arguments as they are sent, or ``BadArguments``.

    A model that must name every field (strict mode) sends null for what it leaves out: where null does not fit, it is
    left out here. Nothing else is guessed or converted.
    """
    if isinstance(arguments, str):
        try:
            arguments = orjson.loads(arguments or "{}")
        except ValueError:
            raise BadArguments(f"The arguments of {tool.name} are no JSON.") from None
    if not isinstance(arguments, Mapping):
        raise BadArguments(f"The arguments of {tool.name} must be an object with names.")
    given = _plain(tool, arguments)
    tidy = _without_nulls(given, tool.parameters)
    errors = sorted(_validator(tool).iter_errors(tidy), key=lambda error: (len(error.absolute_path), str(error.path)))
    if errors:
        said = list(dict.fromkeys(_say(error) for error in errors))
        more = f" ({len(said) - SHOWN} more)" if len(said) > SHOWN else ""
        raise BadArguments(f"{tool.name} cannot be called so: {'; '.join(said[:SHOWN])}{more}.")
    return tidy


def _plain(tool: Tool, arguments: Mapping[Any, Any]) -> dict[str, Any]:
    """A copy that is JSON for certain, of a bounded size."""
    try:
        raw = orjson.dumps(arguments, default=_as_dict)
        plain = orjson.loads(raw)
    except (TypeError, ValueError, RecursionError):  # half a surrogate pair, a number that is none, too deep
        raise BadArguments(f"The arguments of {tool.name} are no JSON.") from None
    if len(raw) > MAX_BYTES or _depth(plain) > MAX_DEPTH:
        raise BadArguments(f"The arguments of {tool.name} are too large.")
    result: dict[str, Any] = plain
    return result


def _as_dict(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    children = value.values() if isinstance(value, dict) else value
    return 1 + max((_depth(child) for child in children), default=0)


def _without_nulls(value: dict[str, Any], schema: Schema) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return value
    required = schema.get("required", ())
    kept = {}
    for name, inner in value.items():
        child = properties.get(name)
        if inner is None and child is not None and name not in required and not _takes_null(child):
            continue
        kept[name] = _without_nulls(inner, child) if isinstance(inner, dict) and isinstance(child, Mapping) else inner
    return kept


def _takes_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return True
    if "enum" in schema and None not in schema["enum"]:
        return False
    kind = schema.get("type")
    if kind is not None:
        return kind == "null" or (isinstance(kind, list | tuple) and "null" in kind)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return any(_takes_null(member) for member in schema[key])
    return schema.get("const", None) is None


def _validator(tool: Tool) -> Any:
    return _compiled(orjson.dumps(tool.parameters, default=_as_dict, option=orjson.OPT_NON_STR_KEYS))


@functools.lru_cache(maxsize=512)
def _compiled(schema: bytes) -> Any:
    kind, checker = _validator_class()
    return kind(orjson.loads(schema), format_checker=checker)


@functools.cache
def _validator_class() -> tuple[Any, Any]:
    from jsonschema import Draft202012Validator, FormatChecker, validators  # a tenth of a second to import

    kind = validators.extend(Draft202012Validator, {"pattern": _pattern})
    return kind, FormatChecker(("date", "uuid", "ipv4", "ipv6"))


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    """As jsonschema's, except that a pattern which may take for ever is left to the API itself."""
    from jsonschema.exceptions import ValidationError

    if isinstance(value, str) and (compiled := safe_pattern(pattern)) is not None:
        if len(value) > PATTERNED:
            yield ValidationError(f"is longer than {PATTERNED} characters")
        elif compiled.search(value) is None:
            yield ValidationError("does not match", validator="pattern")


@functools.lru_cache(maxsize=1_024)
def safe_pattern(pattern: str) -> re.Pattern[str] | None:
    """The pattern compiled, or None where matching it may take time that grows faster than the cube of the text."""
    import re._constants as constants  # type: ignore[import-not-found]  # the only way to see a pattern's parts
    import re._parser as parser  # type: ignore[import-not-found]

    repeats = (constants.MAX_REPEAT, constants.MIN_REPEAT)

    def open_ended(parts: Any, inside: bool) -> int:
        """How many unbounded repeats there are; raises where one holds another, a choice, or a back-reference."""
        count = 0
        for code, argument in parts:
            if code in repeats or code is constants.POSSESSIVE_REPEAT:
                unbounded = argument[1] > 20
                if inside and argument[1] > 1:
                    raise ValueError("repeat within repeat")
                count += unbounded + open_ended(argument[2], inside or argument[1] > 1)
            elif code is constants.SUBPATTERN:
                count += open_ended(argument[3], inside)
            elif code is constants.BRANCH:
                if inside:
                    raise ValueError("choice within repeat")
                count += sum(open_ended(branch, inside) for branch in argument[1])
            elif code in (constants.ASSERT, constants.ASSERT_NOT, constants.GROUPREF, constants.GROUPREF_EXISTS):
                raise ValueError("looks around")
        return count

    if len(pattern) > 300:
        return None
    try:
        return re.compile(pattern) if open_ended(parser.parse(pattern), False) <= 2 else None
    except (re.error, ValueError, TypeError, OverflowError, RecursionError):
        return None


def _say(error: ValidationError) -> str:
    """A mistake in words, with the field's path."""
    where = ".".join(str(part) for part in error.absolute_path)
    wanted = error.validator_value
    instance = _short(error.instance)
    match error.validator:
        case "required":
            missing = [name for name in wanted if name not in error.instance]
            return f"{_field(where, missing[0] if missing else '?')} is missing"
        case "additionalProperties" if wanted is False:
            known = error.schema.get("properties", {})
            odd = [name for name in error.instance if name not in known]
            names = f"; there are {', '.join(known)}" if known else ""
            return f"{_field(where, odd[0] if odd else '?')} is no argument of it{names}"
        case "type":
            kinds = wanted if isinstance(wanted, list) else [wanted]
            return f"{where or 'it'} must be {' or '.join(map(_a, kinds))}, not {instance}"
        case "enum":
            return f"{where} must be one of {', '.join(map(_short, wanted))}, not {instance}"
        case "const":
            return f"{where} must be {_short(wanted)}"
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            words = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most"}
            return f"{where} must be {words.get(str(error.validator), 'less than')} {wanted}, not {instance}"
        case "minLength" | "maxLength" | "minItems" | "maxItems":
            unit = "characters" if "Length" in str(error.validator) else "items"
            return f"{where} must have at {'least' if 'min' in str(error.validator) else 'most'} {wanted} {unit}"
        case "pattern":
            return f"{where} must match {_short(wanted)}, not {instance}" if wanted else f"{where} {error.message}"
        case "format":
            return f"{where} must be a {wanted}, not {instance}"
    return f"{where or 'it'} does not fit: {_short(error.message)}"


def _field(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _a(kind: str) -> str:
    return {"integer": "a whole number", "object": "an object", "array": "a list", "null": "null"}.get(
        kind, f"a {kind}"
    )


def _short(value: object) -> str:
    if value == "":
        return "nothing"
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return text if len(text) <= 60 else text[:59] + "…"
