"""Checks of what may be published over the present release, and the approvals that some need."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from etl.bootstrap.settings import Settings
from etl.errors import EtlError, MappingError, StoreError, UsageError
from etl.mapping.mapping_set import FINANCIAL, MappingSet
from etl.model.data_models import DataModel
from etl.pipeline.definitions import Definitions
from etl.pipeline.release_limits import ReleaseLimits
from etl.publish.history import holds
from etl.publish.manifest import changed_ids, id_facts
from etl.publish.reader import Current
from etl.storage.port import Store


@dataclass(frozen=True, slots=True)
class Approvals:
    """The caller's approvals of a run.

    Attributes:
        rekey: approves ids made with another key or payer id than those of the target.
        after_rollback: approves publishing over a rollback that is in effect.
    """

    rekey: bool = False
    after_rollback: bool = False


NO_APPROVALS: Final = Approvals()


def check_base(
    settings: Settings, store: Store, base: Current, definitions: Definitions, approvals: Approvals
) -> None:
    """Refuse to publish over the present release where that needs an approval.

    Raises:
        UsageError: the target holds another view, or another kind of extract.
        MappingError: its ids were made with another key or payer id.
        StoreError: a rollback is in effect.
    """
    check_model(settings, base, definitions.model)
    check_view(settings, base, definitions.mappings)
    refusal = refusal_of(settings, store, base, definitions, approvals)
    if refusal is not None:
        raise refusal


def refusal_of(
    settings: Settings, store: Store, base: Current, definitions: Definitions, approvals: Approvals
) -> EtlError | None:
    """Return why a run may not publish over the present release; None where it may."""
    if base.release is None:
        return None
    facts = base.release.manifest.facts
    changed = changed_ids(facts.ids, id_facts(definitions.payer, definitions.id_key))
    if changed and not approvals.rekey:
        where = {"key": "CPCDS_ID_KEY", "payer": "payer.id"}
        what = {"key": "another id key", "payer": f"payer id {facts.ids.get('payer')!r}"}
        return MappingError(
            ", ".join(where[name] for name in changed),
            "config-rekey",
            f"{settings.target} was published with {' and '.join(what[name] for name in changed)}, "
            "so that every resource would be retracted and added again under a new id",
            hint="set what it was published with, or pass --rekey where that is meant",
        )
    if holds(store, base.release) and not approvals.after_rollback:
        reason = facts.run.get("reason")
        return StoreError(
            f"{settings.target} was rolled back to {facts.run['rollbackTo']}"
            f"{f' ({reason})' if reason else ''}, and the rollback holds: `cpcds resume "
            f"{settings.target}` lets runs publish again, --after-rollback this one"
        )
    return None


def limits_against(settings: Settings, base: Current, definitions: Definitions) -> ReleaseLimits:
    """Return the limits against the present release; changed ids retract all of it on purpose."""
    limits = _release_limits(settings)
    before = base.release.manifest.facts.ids if base.release is not None else {}
    return (
        limits.of_other_ids()
        if changed_ids(before, id_facts(definitions.payer, definitions.id_key))
        else limits
    )


def check_model(settings: Settings, base: Current, model: DataModel) -> None:
    """Refuse claims where a directory was published, and the other way round.

    Raises:
        UsageError: the target was made of another kind of extract.
    """
    if base.release is None:
        return
    there = base.release.manifest.subject.model
    if there is not model:
        raise UsageError(
            f"{settings.target} holds {there.what}, and this would be {model.what}: "
            "each is published to a target of its own"
        )


def check_view(settings: Settings, base: Current, mappings: MappingSet) -> None:
    """Refuse to publish one view over another: readers of the one may not see the other.

    Raises:
        UsageError: the target holds another view of claims, or version of Plan-Net.
    """
    if base.release is None:
        return
    facts = base.release.manifest.facts.mapping
    there, wanted = str(facts.get("view", FINANCIAL)), mappings.view.name
    if there == wanted:
        return
    if base.release.manifest.subject.is_directory:
        raise UsageError(
            f"{settings.target} holds Plan-Net {facts['version']}, and this would be "
            f"{mappings.version}: name another target, or set publish.plan_net"
        )
    raise UsageError(
        f"{settings.target} holds the {there} view of claims, and the {wanted} view is not for "
        f"the same readers: name another target, or --view {there}"
    )


def _release_limits(settings: Settings) -> ReleaseLimits:
    """Return the limits of change of one run against the previous release."""
    names = set(ReleaseLimits.__annotations__)
    named = settings.limits.model_dump(include=names)
    return ReleaseLimits(**{name: Decimal(str(most)) for name, most in named.items()})
