"""Must-support coverage of the resources of a run."""

from __future__ import annotations

from etl.engine.must_support import ElementCounts
from etl.mapping.coverage import Filled, ProfileCoverage, coverage
from etl.pipeline.definitions import Definitions


def counted_coverage(
    definitions: Definitions, counts: ElementCounts
) -> tuple[ProfileCoverage, ...]:
    """Return how many resources have each must-support element, by profile.

    Args:
        definitions: mappings that made the resources.
        counts: of all resources.
    """
    filled: dict[str, Filled] = {}
    for plan in definitions.mappings.plans:
        if plan.profile in counts:
            resources, *elements = counts[plan.profile]
            ids = (element for element, _ in definitions.elements[plan.name])
            filled[plan.profile] = Filled(resources, dict(zip(ids, elements, strict=False)))
    return coverage(definitions.mappings.plans, definitions.crosswalks, filled)
