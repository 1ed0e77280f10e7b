"""Accesses and other events as FHIR AuditEvents, the chain of them, and its verification.

R4 AuditEvent. An access follows the shape of IHE BALP's PatientRead and PatientQuery: the app as
requesting agent, the patient and what was read as entities, the query in the audit trail only.
The id of an event is the SHA-256 of the id before it and of the event itself: changing,
removing or inserting an event invalidates all later ids.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from etl.auth.database import Database
from etl.auth.database_tables import TrailRow
from etl.auth.records import Action, AuditEvent
from etl.smart.grants import Access

_TYPES: Final = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_INTERACTIONS: Final = "http://hl7.org/fhir/restful-interaction"
_DICOM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_ROLES: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_ENTITY_TYPES: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_PARTICIPANTS: Final = "http://terminology.hl7.org/CodeSystem/extra-security-role-type"
ACTIONS: Final = "urn:cpcds:audit-action"
"""Code system of what is not an access to data: `etl.auth.records.Action`."""

_INTERACTION_CODES: Final = {
    "read": "read",
    "vread": "vread",
    "search": "search-type",
    "everything": "operation",
}
_SOURCE: Final = {"observer": {"display": "CPCDS Blue Button"}}
_SIGN_INS: Final = ("developer-sign-in", "member-sign-in")
_ALERTS: Final = ("code-replayed", "refresh-replayed", "client-refused")

Json = dict[str, Any]


def access_event(access: Access) -> bytes:
    """Return the AuditEvent of an access to a member's data, without id, as canonical JSON.

    Raises:
        TypeError: a value is not text that UTF-8 can encode.
    """
    is_search = access.interaction == "search"
    entities: list[Json] = []
    if access.patient:
        entities.append(_patient_entity(access.patient))
    if "/" in access.what and not is_search:
        entities.append(_object_entity("4") | {"what": {"reference": access.what}})
    else:
        # The type stands in the query: an entity has a name or a query, not both (sev-1).
        query = f"{access.what}?{access.query}" if access.query else access.what
        entities.append(_object_entity("24") | {"query": base64.b64encode(query.encode()).decode()})
    entities.append(_identifier_entity("request", access.request))
    if access.grant:
        entities.append(_identifier_entity("consent", access.grant))
    if access.delivered and access.delivered != (access.what.split("/")[-1 if is_search else 0],):
        entities.append(_identifier_entity("delivered", ", ".join(access.delivered)))
    event = {
        "resourceType": "AuditEvent",
        "type": _coding(_TYPES, "rest"),
        "subtype": [_coding(_INTERACTIONS, _INTERACTION_CODES[access.interaction])],
        "action": "E" if is_search else "R",
        "recorded": _instant(access.when),
        "outcome": "0" if access.outcome < 400 else "4" if access.outcome < 500 else "8",
        "outcomeDesc": f"HTTP {access.outcome}",
        "agent": [_agent("app", access.client, access.address)],
        "source": _SOURCE,
        "entity": entities,
    }
    return canonical_json(event)


def trail_event(event: AuditEvent) -> Json:
    """Return the AuditEvent of a sign-in, a consent or a change of an app, without id."""
    entities = [_patient_entity(event.patient)] if event.patient else []
    entities += [
        _identifier_entity(name, value)
        for name, value in (
            ("app", event.client),
            ("developer", event.developer),
            ("consent", event.consent),
            ("detail", event.detail),
        )
        if value
    ]
    agent_id = {"app": event.client, "developer": event.developer}.get(event.by, "")
    document: Json = {
        "resourceType": "AuditEvent",
        "type": _coding(_DICOM, _event_type(event.action)),
        "subtype": [_coding(ACTIONS, event.action)],
        "action": "E",
        "recorded": _instant(event.when),
        "outcome": "0" if event.succeeded else "4",
        "agent": [_agent(event.by, agent_id, event.address)],
        "source": _SOURCE,
    }
    return document | {"entity": entities} if entities else document


def chain_event(previous: str, body: bytes) -> tuple[str, bytes]:
    """Return an event's id and its line of NDJSON.

    Args:
        previous: id of the event before it, or the start of a file's chain (`chain_start`).
        body: canonical JSON of an AuditEvent without id.
    """
    digest = sha256(b"%b\n%b" % (previous.encode(), body)).hexdigest()
    return digest, b'{"id":"%b",%b\n' % (digest.encode(), body[1:])


def chain_start(file: str) -> str:
    """Return the start of a file's chain; it differs by file, so that files cannot be swapped."""
    return sha256(f"cpcds audit trail {file}".encode()).hexdigest()


def canonical_json(event: Json) -> bytes:
    """Return canonical JSON: equal content gives equal bytes."""
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)


def _event_type(action: Action) -> str:
    """Return the DICOM event: user authentication, security alert, else application activity."""
    if action in _SIGN_INS:
        return "110114"
    return "110113" if action in _ALERTS else "110100"


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


def _patient_entity(patient: str) -> Json:
    return {
        "what": {"reference": f"Patient/{patient}"},
        "type": _coding(_ENTITY_TYPES, "1"),
        "role": _coding(_ROLES, "1"),
    }


def _object_entity(role: str) -> Json:
    return {"type": _coding(_ENTITY_TYPES, "2"), "role": _coding(_ROLES, role)}


def _identifier_entity(name: str, value: str) -> Json:
    return {"what": {"identifier": {"value": value}}, "name": name}


@dataclass(frozen=True, slots=True)
class TrailCheck:
    """Result of a check of the audit trail.

    Attributes:
        files: how many were read.
        events: how many they hold.
        problems: one sentence each; empty if the trail is intact.
    """

    files: int
    events: int
    problems: tuple[str, ...]


def verify_trail(folders: Sequence[Path], database: Database | None) -> TrailCheck:
    """Verify that no event of the audit trail was changed, removed or inserted.

    Args:
        folders: where the files are, those in an archive included.
        database: has the extent of each file; None to check the chains alone.
    """
    files = {
        path.name: path for folder in folders for path in sorted(folder.glob("audit-*.ndjson"))
    }
    ids: dict[str, list[str]] = {}
    problems: list[str] = []
    for name, path in sorted(files.items()):
        ids[name], problem = _verify_file(name, path)
        if problem:
            problems.append(problem)
    if database is not None:
        with database.read() as session:
            rows = session.query(TrailRow).order_by(TrailRow.file).all()
        for row in rows:
            file_ids = ids.get(row.file)
            if file_ids is None:
                problems.append(
                    f"{row.file}: the file is missing; it contained {row.events} events"
                )
            elif len(file_ids) < row.events:
                problems.append(
                    f"{row.file}: {row.events - len(file_ids)} events are missing at its end"
                )
            elif row.events and file_ids[row.events - 1] != row.head:
                problems.append(f"{row.file}: event {row.events} is not the one that was written")
        reported = {row.file for row in rows}
        problems.extend(
            f"{name}: the server never reported this file" for name in ids if name not in reported
        )
    return TrailCheck(len(files), sum(map(len, ids.values())), tuple(problems))


def _verify_file(name: str, path: Path) -> tuple[list[str], str]:
    """Return the event ids of a file up to its first broken event, and that problem."""
    ids: list[str] = []
    previous = chain_start(name)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                event = orjson.loads(line)
                stored_id = event.pop("id")
            except (ValueError, KeyError, AttributeError, TypeError):
                return ids, f"{name}: line {number} is not an event"
            previous, _ = chain_event(previous, canonical_json(event))
            if previous != stored_id:
                return ids, f"{name}: line {number} was changed, or one before it is missing"
            ids.append(previous)
    return ids, ""
