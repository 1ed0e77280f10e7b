"""Commands that publish nothing: `validate`, `convert`, and inspections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from etl.bootstrap import opened_extract, use_cases
from etl.bootstrap.brand import brand_document, brand_of
from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.mappings import in_view
from etl.bootstrap.settings import Settings, target_store
from etl.conform.findings import ConformanceReport
from etl.conform.resource_files import Lines, Source, file_sources
from etl.conform.run import conform
from etl.errors import MappingError, UsageError
from etl.gateway.supported_fhir import FACILITY, api_of
from etl.mapping.coverage import ProfileCoverage, find_misplaced_skips, must_support_coverage
from etl.mapping.plan import Plan
from etl.mapping.profile_checks import find_problems, find_search_problems
from etl.model.data_models import CLAIMS, DATA_MODELS, DataModel
from etl.pipeline.one_off import Conversion, Validation, check_report_folder, convert, validate
from etl.pipeline.progress import Emit
from etl.publish import object_keys
from etl.publish.public_files import PublicPage, WrittenFolder, public_pages, write_folder
from etl.publish.reader import open_current, open_index, read_all
from etl.smart.brands import BRANDS
from etl.storage.open_store import open_store
from etl.storage.port import Store


def convert_extract(settings: Settings, extract: Path, out: Path, emit: Emit) -> Conversion:
    """Write an extract as plain bulk NDJSON into a folder."""
    with opened_extract.opened(settings, extract, emit, out) as job:
        moment = use_cases.now()
        with opened_extract.work_folder(settings, out) as work:
            return convert(job.context(work, moment), out)


def validate_extract(settings: Settings, extract: Path, report: Path, emit: Emit) -> Validation:
    """Check an extract and write the report into a folder."""
    with opened_extract.opened(settings, extract, emit, report, suites_due=lambda: True) as job:
        moment = use_cases.now()
        check_report_folder(report)
        report.mkdir(parents=True, exist_ok=True)
        with opened_extract.work_folder(settings, report) as work:
            return validate(job.context(work, moment), report)


def mapping_coverage(settings: Settings) -> tuple[ProfileCoverage, ...]:
    """Return the coverage that the mappings can reach, independent of any rows.

    Raises:
        MappingError: a mapping or setting is invalid.
    """
    sets = [load_definitions(settings, model) for model in DATA_MODELS]
    return tuple(
        profile
        for definitions in sets
        for profile in must_support_coverage(definitions.mappings.plans, definitions.columns)
    )


def extract_coverage(settings: Settings, extract: Path, emit: Emit) -> tuple[ProfileCoverage, ...]:
    """Return the coverage of an extract's resources; it is converted for that.

    Raises:
        UsageError: there is no extract that can be read.
        MappingError: a mapping or setting is invalid.
        DataRejected: a limit does not hold.
    """
    with TemporaryDirectory(prefix="cpcds-coverage-", dir=settings.run.work) as folder:
        converted = convert_extract(settings, extract, Path(folder), emit)
    processed = converted.processed
    counts = {**processed.totals.elements, **converted.directory.elements}
    return processed.must_support(counts)  # of the extract's data model


def conform_to_guide(
    inputs: Sequence[str],
    *,
    profiles: Iterable[str],
    strict: bool,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> ConformanceReport:
    """Check files, or the current release of a published tree.

    Args:
        inputs: files and folders, or one published tree: a folder with `current.json` in it, or
            `s3://bucket/prefix`.
        profiles: profiles to check against, whatever `meta.profile` says.
        strict: whether breaches of the guide's text alone are errors everywhere.
        progress: called with the number of resources checked so far, and of all resources; each
            Bundle in files counts as one.

    Raises:
        UsageError: there is nothing that can be read.
    """
    total = 0

    def checked(_: str, resources: int) -> None:
        progress(resources, max(total, resources))

    trees = [
        name
        for name in inputs
        if name.startswith("s3://") or (Path(name) / object_keys.CURRENT).is_file()
    ]
    if trees and len(inputs) > 1:
        raise UsageError(f"{trees[0]} is a published tree: check it alone")
    if trees:
        store = open_store(trees[0])
        release = open_current(store).release
        total = 0 if release is None else sum(release.manifest.counts["resources"].values())
        return conform(
            _blocks(store), profiles=profiles, is_complete=True, strict=strict, progress=checked
        )
    sources = file_sources([Path(name) for name in inputs])
    total = sum(source.count() for source in sources)
    return conform(sources, profiles=profiles, strict=strict, progress=checked)


def _blocks(store: Store) -> Iterator[Source]:
    release = open_current(store).release
    if release is None:
        raise UsageError(f"{store.name}: nothing is published there")
    for unit in (*release.all_units(), *filter(None, release.manifest.directory)):
        if unit.block is not None:
            index = open_index(store, unit)
            yield Lines(unit.block, read_all(store, index))


def export_directory(settings: Settings, folder: Path) -> WrittenFolder:
    """Write the public files of the current release.

    Args:
        settings: name the target.
        folder: created if missing.

    Raises:
        UsageError: nothing has been published yet, or members' data, or without files.
        MappingError: something in `portal.toml` is wrong.
        StoreError: the target cannot be read, or the folder cannot be written.
    """
    release = open_current(target_store(settings)).release
    if release is None:
        raise UsageError(f"{settings.target}: nothing has been published yet")
    model = release.manifest.subject.model
    if model.has_members:
        raise UsageError(
            f"{settings.target} contains {model.contents}, but only what everyone may read can be "
            "exported to a public folder"
        )
    publish = settings.publish
    pages = public_pages(release.manifest, publish.base_url, publish.cadence)
    if not pages:
        raise UsageError(
            f"{settings.target}: release {release.id} has no such files; publish the extract "
            "again with publish.bulk = true"
        )
    brand = brand_of(settings)
    if brand is not None:
        document = brand_document(settings, brand, (CLAIMS, model))
        pages[BRANDS.lstrip("/")] = PublicPage(document, brand.instant)
    written = write_folder(release, pages, folder)
    if brand is None:  # it may have been configured before
        (folder / BRANDS.lstrip("/")).unlink(missing_ok=True)
    return written


@dataclass(frozen=True, slots=True)
class CheckedMappings:
    """Result of `cpcds mapping check`.

    Attributes:
        names: names of the mappings.
        views: names of the views; every mapping was checked in each.
        problems: the errors, each once.
    """

    names: tuple[str, ...]
    views: tuple[str, ...]
    problems: tuple[MappingError, ...]


def check_mappings(settings: Settings) -> CheckedMappings:
    """Return the names of all mappings and their errors, in every view of each set.

    Raises:
        MappingError: an error that prevents a mapping, layout or rule from being read at all.
    """
    mistakes: dict[str, MappingError] = {}
    names: list[str] = []
    all_views: list[str] = []
    for model in DATA_MODELS:
        views = load_definitions(settings, model).mappings.views
        all_views += [view for view in views if view not in all_views]
        plans: tuple[Plan, ...] = ()
        for view in views:
            compiled = load_definitions(in_view(settings, view, model), model).mappings
            plans = compiled.plans
            for plan in plans:
                wrong = list(find_problems(plan, compiled.crosswalks))
                if not compiled.view.version:  # another version may lack what this one skips
                    wrong += find_misplaced_skips(plan, compiled.crosswalks)
                wrong += find_search_problems(plan, _search_types(plan, model))
                mistakes |= {str(one): one for one in wrong}
        names += [plan.name for plan in plans]
    return CheckedMappings(tuple(names), tuple(all_views), tuple(mistakes.values()))


def _search_types(plan: Plan, model: DataModel) -> dict[str, str]:
    """Return the type of each index column that the gateway searches."""
    declared = api_of(model).types
    resource = declared.get(plan.resource)
    if resource is None:
        return {}
    followed = (FACILITY, *(one.through for one in declared.values() if one.through))
    return {
        **{column: "reference" for name, column in followed if name == plan.resource},
        **{name: one.type for name, one in resource.parameters.items()},
    }
