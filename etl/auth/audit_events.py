"""Accesses and happenings as FHIR AuditEvents, and the chain that holds them together.

R4 AuditEvent. An access follows the shape of IHE BALP's PatientRead and PatientQuery: the app as
requesting agent, the patient and what was read as entities, the query in the audit trail only.
The id of an event is the SHA-256 of the id before it and of the event itself: changing,
removing or inserting an event invalidates all later ids.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import orjson

from etl.auth.records import Action, Happening
from etl.smart.grants import Access

_TYPES: Final = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_INTERACTIONS: Final = "http://hl7.org/fhir/restful-interaction"
_DICOM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_ROLES: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_KINDS: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_PARTICIPANTS: Final = "http://terminology.hl7.org/CodeSystem/extra-security-role-type"
HAPPENINGS: Final = "urn:cpcds:audit-action"
"""Code system of what is not an access to data: `etl.auth.records.Action`."""

_INTERACTION_CODES: Final = {
    "read": "read",
    "vread": "vread",
    "search": "search-type",
    "everything": "operation",
}
_SIGN_INS: Final = ("developer-sign-in", "member-sign-in")
_ALERTS: Final = ("code-replayed", "refresh-replayed", "client-refused")

Json = dict[str, Any]


def of_access(access: Access) -> bytes:
    """Return an access to a member's data as AuditEvent, without id: canonical JSON.

    It is filled into a prepared template, because each request has one: building and sorting the
    document would take three times as long.

    Raises:
        TypeError: a value is not text that UTF-8 can encode.
    """
    is_search = access.interaction == "search"
    entities: list[bytes] = []
    if access.patient:
        entities.append(_PATIENT % _text(f"Patient/{access.patient}"))
    if "/" in access.what and not is_search:
        entities.append(_ONE % _text(access.what))
    else:
        # The type stands in the query: an entity has a name or a query, not both (sev-1).
        query = f"{access.what}?{access.query}" if access.query else access.what
        entities.append(_SEARCH % (b'"%b"' % base64.b64encode(query.encode())))
    entities.append(_NAMED % (b'"request"', _text(access.request)))
    if access.grant:
        entities.append(_NAMED % (b'"consent"', _text(access.grant)))
    if access.delivered and access.delivered != (access.what.split("/")[-1 if is_search else 0],):
        entities.append(_NAMED % (b'"delivered"', _text(", ".join(access.delivered))))
    for name, value in sorted(access.detail.items()):
        entities.append(_NAMED % (_text(name), _text(value)))
    return _ACCESS % (
        b'"E"' if is_search else b'"R"',
        _NETWORK % _text(access.address) if access.address else b"",
        _WHO % _text(access.client) if access.client else b"",
        b",".join(entities),
        *_outcome_texts(access.outcome),
        b'"%b"' % _instant(access.when).encode(),
        _text(_INTERACTION_CODES[access.interaction]),
    )


def of_happening(happening: Happening) -> Json:
    """Return a sign-in, a consent or a change of an app as AuditEvent, without id."""
    entities = [
        _named(name, value)
        for name, value in (
            ("app", happening.client),
            ("developer", happening.developer),
            ("consent", happening.consent),
            ("detail", happening.detail),
        )
        if value
    ]
    if happening.patient:
        entities.insert(0, _patient(happening.patient))
    agent_id = {"app": happening.client, "developer": happening.developer}.get(happening.by, "")
    event: Json = {
        "resourceType": "AuditEvent",
        "type": _coding(_DICOM, _kind(happening.action)),
        "subtype": [_coding(HAPPENINGS, happening.action)],
        "action": "E",
        "recorded": _instant(happening.when),
        "outcome": "0" if happening.succeeded else "4",
        "agent": [_agent(happening.by, agent_id, happening.address)],
        "source": _source(),
    }
    if entities:
        event["entity"] = entities
    return event


def chained(previous: str, body: bytes) -> tuple[str, bytes]:
    """Return an event's id and its line of NDJSON.

    Args:
        previous: id of the event before it, or the start of a file's chain (`start_of`).
        body: canonical JSON of an AuditEvent without id.
    """
    digest = sha256(b"%b\n%b" % (previous.encode(), body)).hexdigest()
    return digest, b'{"id":"%b",%b\n' % (digest.encode(), body[1:])


def start_of(file: str) -> str:
    """Return the start of a file's chain; it differs by file, so that files cannot be swapped."""
    return sha256(f"cpcds audit trail {file}".encode()).hexdigest()


def canonical(event: Json) -> bytes:
    """Return canonical JSON: equal content gives equal bytes."""
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)


def _kind(action: Action) -> str:
    """Return the DICOM event: user authentication, security alert, else application activity."""
    if action in _SIGN_INS:
        return "110114"
    return "110113" if action in _ALERTS else "110100"


def _outcome(status: int) -> str:
    if status < 400:
        return "0"
    return "4" if status < 500 else "8"


@lru_cache(maxsize=64)
def _outcome_texts(status: int) -> tuple[bytes, bytes]:
    return _text(_outcome(status)), _text(f"HTTP {status}")


def _instant(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _coding(system: str, code: str) -> Json:
    return {"system": system, "code": code}


def _agent(kind: str, agent_id: str, address: str) -> Json:
    agent: Json = {
        "type": {"coding": [_coding(_PARTICIPANTS, "dataprocessor")], "text": kind},
        "requestor": True,
    }
    if agent_id:
        agent["who"] = {"identifier": {"value": agent_id}}
    if address:
        agent["network"] = {"address": address, "type": "2"}
    return agent


def _source() -> Json:
    return {"observer": {"display": "CPCDS Blue Button"}}


def _patient(patient: str) -> Json:
    return {
        "what": {"reference": f"Patient/{patient}"},
        "type": _coding(_KINDS, "1"),
        "role": _coding(_ROLES, "1"),
    }


def _named(name: str, value: str) -> Json:
    return {"what": {"identifier": {"value": value}}, "name": name}


def parse(line: bytes) -> Json:
    """Return the event of a line.

    Raises:
        ValueError: the line is not an event.
    """
    event = orjson.loads(line)
    if not isinstance(event, dict):
        raise ValueError("no event")
    return event


def _text(value: str) -> bytes:
    return orjson.dumps(value)


def _pattern(shape: Json) -> bytes:
    """Return canonical JSON as a pattern for `%`, with holes where the shape has them."""
    return canonical(shape).replace(b'"%b"', b"%b")


_HOLE: Final = "%b"
"""Placeholder of a text, quotes included."""

_PATIENT: Final = _pattern(_patient(_HOLE) | {"what": {"reference": _HOLE}})
_ONE: Final = _pattern(
    {"type": _coding(_KINDS, "2"), "role": _coding(_ROLES, "4"), "what": {"reference": _HOLE}}
)
_SEARCH: Final = _pattern(
    {"type": _coding(_KINDS, "2"), "role": _coding(_ROLES, "24"), "query": _HOLE}
)
_NAMED: Final = _pattern(_named(_HOLE, _HOLE))
_NETWORK: Final = b'"network":{"address":%b,"type":"2"},'
_WHO: Final = b',"who":{"identifier":{"value":%b}}'
_ACCESS: Final = (
    _pattern(
        {
            "resourceType": "AuditEvent",
            "type": _coding(_TYPES, "rest"),
            "subtype": [_coding(_INTERACTIONS, _HOLE)],
            "action": _HOLE,
            "recorded": _HOLE,
            "outcome": _HOLE,
            "outcomeDesc": _HOLE,
            "agent": [_agent("app", "", "")],
            "source": _source(),
            "entity": [_HOLE],
        }
    )
    .replace(b'"agent":[{', b'"agent":[{%b')
    .replace(b'"text":"app"}}]', b'"text":"app"}%b}]')
)
