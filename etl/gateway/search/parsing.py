"""Parse the parameters of a search into a query, or refuse them with a helpful message.

FHIR R4, search 3.1.1.2 and 3.1.1.3: a parameter that is not supported or has no value is ignored,
and named in the answer; with `Prefer: handling=strict` it is refused. An invalid value of a
supported parameter, or an unsupported modifier, is always refused (3.1.1.4.4: SHALL).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final, NamedTuple, get_args

from etl.gateway.http.responses import ParameterIssue, refused, safe_name
from etl.gateway.search import comparisons, query
from etl.gateway.search.comparisons import count, plain, split
from etl.gateway.supported_fhir import ResourceType, revincludes
from etl.profiles.structures import choice_names, load_type

MOST_PARAMETERS: Final = 100
MOST_VALUES: Final = 500
MOST_ELEMENTS: Final = 100
MOST_SORTS: Final = 10
EMPTY: Final = "has no value"
HTTP: Final = ("_format", "_pretty")
_ELEMENT: Final = re.compile(r"[a-z][A-Za-z]{0,63}")
_INCLUDED: Final = re.compile(r"[A-Z][A-Za-z]*:([A-Za-z_-]+|\*)(:[A-Z][A-Za-z]*)?")
_SORTED: Final = re.compile(r"-?[A-Za-z_][A-Za-z_-]*")
_INCLUDES: Final = ("_include", "_include:iterate")
_REVINCLUDE: Final = "_revinclude"
_HAS: Final = "_has:"
MOST_LINKS: Final = 4
"""References that one chain may follow."""

_ONCE: Final = ("_count", "_sort", "_summary", "_elements", "_total")
_SUMMARIES: Final[tuple[query.Summary, ...]] = get_args(query.Summary)


def parse(
    kind: ResourceType,
    parameters: Sequence[tuple[str, str]],
    *,
    kinds: Mapping[str, ResourceType],
    base: str,
    strict: bool,
    now: int,
    chains: bool = False,
) -> query.Query:
    """Parse the parameters of a search.

    Args:
        kind: the searched type.
        parameters: names and values, decoded, in order.
        kinds: the API's types, for `_include`.
        base: the FHIR base URL.
        strict: whether an unsupported or empty parameter is refused.
        now: nanoseconds, for the prefix `ap`.
        chains: whether the API follows chains, `_has` and `_revinclude`.

    Raises:
        FhirError: 400.
    """
    if len(parameters) > MOST_PARAMETERS:
        raise refused("", "too-costly", f"list of more than {MOST_PARAMETERS} is too long")
    context = _Context(kind, kinds, base, now, chains)
    parsed = _Parsed(strict)
    for name, value in parameters:
        if name not in HTTP:
            _parse_parameter(parsed, context, name, value)
    conditions, result = parsed.conditions, parsed.result
    includes = tuple(dict.fromkeys(parsed.includes))
    revincludes = tuple(dict.fromkeys(parsed.revincludes))
    sorts = _parse_sorts(result)
    cost = query.require_affordable(parsed.cost + query.SORT_KEY * len(sorts))
    summary = _summary(result, includes)
    matches = count(result["_count"], 0) if "_count" in result else None
    total = _one_of(result, "_total", ("accurate", "estimate", "none"), "accurate")
    return query.Query(
        kind,
        tuple(conditions),
        includes,
        revincludes,
        matches,
        sorts,
        summary,
        _parse_elements(result),
        total != "none" or summary == "count" or matches == 0,
        cost,
        tuple(parsed.used),
        tuple(parsed.ignored),
    )


def parse_shape(
    kind: ResourceType, parameters: Sequence[tuple[str, str]], *, strict: bool
) -> tuple[query.Summary, tuple[str, ...]]:
    """Return the requested elements of one resource, by `_summary` and `_elements`.

    Raises:
        FhirError: 400.
    """
    parsed = _Parsed(strict)
    for name, value in parameters:
        if name in HTTP:
            continue
        if not value:
            parsed.ignore(name, "invalid", EMPTY)
        elif name not in ("_summary", "_elements"):
            parsed.ignore(
                name, "not-supported", "is no parameter here: _summary, _elements, _format"
            )
        elif name in parsed.result:
            raise refused(name, "invalid", "may be given once")
        elif name == "_summary" or (value := _known_elements(parsed, (kind.name,), value)):
            parsed.result[name] = value
    summary = _summary(parsed.result, [])
    if summary == "count":
        raise refused("_summary", "invalid", f"takes no count where one {kind.name} is read")
    return summary, _parse_elements(parsed.result)


@dataclass(slots=True)
class UnsupportedParameters:
    """Parameters that are not supported.

    Attributes:
        strict: whether they are refused.
        ignored: which were ignored and why, one sentence each.
    """

    strict: bool
    ignored: list[str] = field(default_factory=list)

    def ignore(self, name: str, issue: ParameterIssue, text: str, *, in_part: bool = False) -> None:
        """Ignore a parameter that is not supported, or refuse it in strict handling.

        Args:
            name: the parameter.
            issue: kind of the error.
            text: the reason; continues the sentence after the name.
            in_part: whether other values of the parameter are used.
        """
        if self.strict:
            raise refused(name, issue, text)
        ignored_part = "a value of " if in_part else ""
        ignored = f"{ignored_part}{safe_name(name) or 'a parameter'}"
        self.ignored.append(f"{ignored} was ignored: it {text}")


@dataclass(slots=True)
class _Parsed(UnsupportedParameters):
    """Parameters parsed so far."""

    conditions: list[query.SearchCondition] = field(default_factory=list)
    includes: list[query.RequestedInclude] = field(default_factory=list)
    revincludes: list[query.RequestedInclude] = field(default_factory=list)
    result: dict[str, str] = field(default_factory=dict)
    used: list[tuple[str, str]] = field(default_factory=list)
    cost: int = 0

    def spend(self, points: int) -> None:
        """Add to the cost; refuse the search if it exceeds the budget."""
        self.cost = query.require_affordable(self.cost + points)


class _Context(NamedTuple):
    """The context that parameters are parsed in.

    Attributes:
        kind: the searched type.
        kinds: the API's types.
        base: the FHIR base URL.
        now: nanoseconds.
        chains: whether conditions may follow references.
    """

    kind: ResourceType
    kinds: Mapping[str, ResourceType]
    base: str
    now: int
    chains: bool


def _parse_parameter(parsed: _Parsed, context: _Context, name: str, value: str) -> None:
    """Parse one parameter into `parsed`."""
    kind = context.kind
    if not value:
        parsed.ignore(name, "invalid", EMPTY)
        return
    if name in _INCLUDES:
        includes = _parse_include(context, name, value)
        if not includes:
            parsed.ignore(name, "not-supported", _describe_includes(context.kinds))
            return
        parsed.spend(query.INCLUDE * len(includes))
        parsed.includes += includes
    elif name == _REVINCLUDE and context.chains:
        revinclude_list = _parse_revinclude(context, value)
        if not revinclude_list:
            parsed.ignore(name, "not-supported", _describe_revincludes(context))
            return
        parsed.spend(query.REVINCLUDE * len(revinclude_list))
        parsed.revincludes += revinclude_list
    elif name in _ONCE:
        if name in parsed.result:
            raise refused(name, "invalid", "may be given once")
        if name == "_sort":
            value = _supported_sorts(parsed, kind, value)
        elif name == "_elements":
            value = _known_elements(parsed, tuple(context.kinds), value)
        if not value:
            return
        parsed.result[name] = value
    elif name.partition(":")[0] in _ONCE:
        raise refused(name, "not-supported", "takes no modifier")
    elif name.startswith("_include:"):
        raise refused(name, "not-supported", "is not supported; use _include or _include:iterate")
    else:
        condition = _parse_linked(context, name, value)
        if condition is None:
            parsed.ignore(name, "not-supported", _describe_unknown(context, name))
            return
        parsed.spend(query.condition_cost(condition))
        parsed.conditions.append(replace(condition, text=(name, value)))
        innermost = condition
        while innermost.link:
            innermost = innermost.link.condition
        if innermost.parameter.type == "reference":
            # The base may be another one when a page link is followed.
            value = ",".join(comparisons.relative(date, context.base) for date in split(value, ","))
    parsed.used.append((name, value))


def _parse_linked(
    context: _Context, written: str, value: str, follows: int = MOST_LINKS
) -> query.SearchCondition | None:
    """Return the condition of a parameter, a chain or `_has`; None if it is not supported.

    A chain is `parameter.rest` or `parameter:Type.rest`, `_has` is `_has:Type:parameter:rest`; the
    rest is again a parameter, a chain or `_has`, of the other type.
    """
    first, dot, rest = written.partition(".")
    is_reverse = written.startswith(_HAS)
    if not (context.chains and (dot or is_reverse)):
        return _parse_condition(context, written, value)
    if not follows:
        raise refused(written, "too-costly", f"follows more than {MOST_LINKS} references")
    if is_reverse:
        source_name, _, rest = written.removeprefix(_HAS).partition(":")
        name, _, rest = rest.partition(":")
        source = context.kinds.get(source_name)
        parameter = None if source is None else source.parameters.get(name)
        types = [source_name] if parameter and context.kind.name in parameter.targets else []
    else:
        name, _, target = first.partition(":")
        parameter = context.kind.parameters.get(name)
        types = [one for one in parameter.targets if target in ("", one)] if parameter else []
    if parameter is None or len(types) != 1:  # the type has to be named if there are several
        return None
    linked_context = context._replace(kind=context.kinds[types[0]])
    condition = _parse_linked(linked_context, rest, value, follows - 1)
    if condition is None:
        return None
    link = query.ReferenceLink(types[0], name, is_reverse, condition)
    return query.SearchCondition(parameter, bool, link=link)


def _parse_condition(context: _Context, written: str, value: str) -> query.SearchCondition | None:
    """Return the condition of a parameter; None if the type has no such parameter."""
    kind = context.kind
    name, _, modifier = written.partition(":")
    parameter = kind.parameters.get(name)
    if parameter is None or "." in written:
        return None
    target = modifier if modifier in parameter.targets else None
    if (modifier or ":" in written) and target is None and modifier not in parameter.modifiers:
        names = ", ".join(f":{modifier}" for modifier in (*parameter.modifiers, *parameter.targets))
        raise refused(name, "not-supported", f"takes {names or 'no modifier'}")
    if modifier == "missing":
        if value not in ("true", "false"):
            raise refused(name, "invalid", "with :missing takes true or false")
        return query.SearchCondition(parameter, bool, missing=value == "true")
    values = split(value, ",")
    if not all(values):
        raise refused(name, "invalid", "has an empty value among others")
    if len(values) > MOST_VALUES:
        raise refused(name, "too-costly", f"takes no more than {MOST_VALUES} values")
    if name == "_id":
        ids = frozenset(plain(value).removeprefix(f"{kind.name}/") for value in values)
        return query.SearchCondition(parameter, ids.__contains__, ids=ids)
    compared = len(values)
    match parameter.type:
        case "token" if modifier == "text":
            test = comparisons.string(values, "")
            return query.SearchCondition(
                parameter, test, is_folded=True, compared=compared, column=written
            )
        case "token" if modifier == "of-type":
            test = comparisons.typed_identifier(parameter, values)
            return query.SearchCondition(parameter, test, column=written)
        case "token":
            test = comparisons.token(parameter, values)
            return query.SearchCondition(parameter, test, modifier == "not")
        case "reference":
            references = comparisons.references(parameter, values, target, context.base)
            return query.SearchCondition(parameter, references.__contains__, references=references)
        case "string":
            test = comparisons.string(values, modifier)
            is_folded = modifier != "exact"
            return query.SearchCondition(parameter, test, is_folded=is_folded, compared=compared)
        case "uri":
            return query.SearchCondition(parameter, {*map(plain, values)}.__contains__)
        case "date":
            test = comparisons.date(parameter, values, context.now)
        case "special":
            test = comparisons.near(parameter, values)
    return query.SearchCondition(parameter, test, compared=compared)


def _describe_unknown(context: _Context, name: str) -> str:
    """Return why a parameter is not supported, to continue a sentence after its name."""
    kind = context.kind
    if context.chains and ("." in name or name.startswith("_has")):
        return "follows no reference to a parameter of the type there"
    if "." in name or name.startswith("_has"):
        return "is a chain, which is not supported"
    if name.startswith("_revinclude"):
        return "is not supported; use _include or _include:iterate"
    if name == "_since":
        everything = "" if context.chains else "Patient/[id]/$everything?_since=… or "
        return f"is not supported in a search; use {everything}_lastUpdated=ge…"
    return f"is no search parameter of {kind.name}: {', '.join(kind.parameters)}"


def _parse_include(context: _Context, name: str, value: str) -> list[query.RequestedInclude]:
    """Return the references that an include follows; empty if it is not supported."""
    iterate = name != "_include"
    if value == "*":
        types = context.kinds.values() if iterate else (context.kind,)
        return [
            query.RequestedInclude(kind.name, inc.name, None, iterate)
            for kind in types
            for inc in kind.includes
        ]
    if not _INCLUDED.fullmatch(value):
        raise refused(name, "invalid", _describe_includes(context.kinds))
    source, _, rest = value.partition(":")
    code, _, target = rest.partition(":")
    resource = context.kinds.get(source)
    includes = [inc for inc in (resource.includes if resource else ()) if code in (inc.name, "*")]
    if target and not any(target in inc.targets for inc in includes):
        return []
    return [query.RequestedInclude(source, inc.name, target or None, iterate) for inc in includes]


def _parse_revinclude(context: _Context, value: str) -> list[query.RequestedInclude]:
    """Return the references to the searched type that a `_revinclude` names; empty for none."""
    if not _INCLUDED.fullmatch(value):
        raise refused(_REVINCLUDE, "invalid", _describe_revincludes(context))
    source, _, rest = value.partition(":")
    code, _, target = rest.partition(":")
    kind = context.kinds.get(source)
    if kind is None or target not in ("", context.kind.name):
        return []
    return [
        query.RequestedInclude(source, inc.name, None, False)
        for inc in kind.includes
        if code == inc.name and context.kind.name in inc.targets
    ]


def _describe_revincludes(context: _Context) -> str:
    """Return the values of `_revinclude`, to continue a sentence after its name."""
    codes = revincludes(context.kind, context.kinds.values())
    return f"takes {', '.join(codes)}" if codes else "is not there: nothing refers to this type"


def _describe_includes(kinds: Mapping[str, ResourceType]) -> str:
    """Return the values of `_include`, to continue a sentence after its name."""
    names = ", ".join(f"{kind.name}:{inc.name}" for kind in kinds.values() for inc in kind.includes)
    return f"takes {names}, Type:* or *"


def _supported_sorts(parsed: _Parsed, kind: ResourceType, text: str) -> str:
    """Return the keys of `_sort` that a type supports."""
    if text.count(",") >= MOST_SORTS:
        raise refused("_sort", "too-costly", f"takes no more than {MOST_SORTS} parameters")
    keys = text.split(",")
    message = f"takes {', '.join(kind.sorts)}"
    if not all(map(_SORTED.fullmatch, keys)):
        raise refused("_sort", "invalid", message)
    supported = [key for key in keys if key.removeprefix("-") in kind.sorts]
    if len(supported) < len(keys):
        parsed.ignore("_sort", "not-supported", message, in_part=bool(supported))
    return ",".join(supported)


def _parse_sorts(result: dict[str, str]) -> tuple[query.SortKey, ...]:
    text = result.get("_sort")
    if text is None:
        return ()
    return tuple(
        query.SortKey(key.removeprefix("-"), key.startswith("-")) for key in text.split(",")
    )


def _summary(result: dict[str, str], includes: Sequence[query.RequestedInclude]) -> query.Summary:
    value = _one_of(result, "_summary", _SUMMARIES, "false")
    summary = _SUMMARIES[_SUMMARIES.index(value)]
    if summary != "false" and "_elements" in result:
        raise refused("_summary", "invalid", "and _elements cannot be asked for together")
    if summary == "text" and includes:
        raise refused("_summary", "invalid", "takes no text together with _include")
    return summary


def _parse_elements(result: dict[str, str]) -> tuple[str, ...]:
    text = result.get("_elements")
    return () if text is None else tuple(text.split(","))


def _known_elements(parsed: UnsupportedParameters, types: tuple[str, ...], text: str) -> str:
    """Return the names in `_elements` that some of the resource types have."""
    names = text.split(",")
    if len(names) > MOST_ELEMENTS:
        raise refused("_elements", "too-costly", f"takes no more than {MOST_ELEMENTS} names")
    if not all(_ELEMENT.fullmatch(name) for name in names):
        raise refused("_elements", "invalid", "takes names of top-level elements")
    supported = [name for name in names if name in _element_names(types)]
    if len(supported) < len(names):
        message = "names no top-level element of these resources"
        parsed.ignore("_elements", "not-supported", message, in_part=bool(supported))
    return ",".join(supported)


@cache
def _element_names(types: tuple[str, ...]) -> frozenset[str]:
    """Return the JSON names of the top-level elements of resource types."""
    return frozenset(
        name
        for resource in map(load_type, types)
        for element in resource.children(resource.root.id)
        for name in choice_names(element)
    )


def _one_of(result: dict[str, str], name: str, values: Sequence[str], otherwise: str) -> str:
    value = result.get(name, otherwise)
    if value not in values:
        raise refused(name, "invalid", f"takes {', '.join(values)}")
    return value
