"""Tables of a lake and of a database as an extract: the published tree of the folder."""

import csv
import sys
from hashlib import sha256

import adbc_driver_postgresql.dbapi as postgresql
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg import catalog as catalogs
from pyiceberg.catalog import load_catalog
from pyiceberg.utils.config import Config

from etl.publish.reader import open_current
from etl.sources.extract.staging import stage_tables
from etl.sources.extract.tables import read_tables
from etl.sources.files.stored_files import FolderFiles
from etl.storage.open_store import open_store
from tests.e2e.commands import invoke
from tests.given.lakes import as_tables, toml_of, write_lake
from tests.given.tables import table
from tests.integration.auth.databases import postgres_programs, postgres_server
from tests.integration.nights import full, make_quick

pytestmark = pytest.mark.usefixtures("quick_commands")


CONNECTION = '[connections.w]\ndriver = "postgresql"\nuri = "WAREHOUSE"\n'


@pytest.fixture(scope="module")
def extract(tmp_path_factory):
    return full(tmp_path_factory.mktemp("lakes") / "extract", 0)


def resources(target):
    """Return what apps are served: every block, its index and the bulk files."""
    found = {
        str(path.relative_to(target)): path.read_bytes()
        for kind in ("patients", "directory", "bulk")
        for path in sorted((target / kind).rglob("*"))
        if path.is_file()
    }
    assert len(found) > 20
    return found


def inputs(target):
    """Return what the manifest of the present release says of its inputs."""
    release = open_current(open_store(str(target))).release
    return {str(one["name"]): dict(one) for one in release.manifest.facts.inputs}


def data_files(target, table):
    """Return what the manifest says of the data files of a table."""
    said = inputs(target)
    return {name: one for name, one in said.items() if name.startswith(f"{table}/")}


def publish(extract, target):
    called = invoke("run", extract, "--to", target)
    assert called.exit_code == 0, called.output
    return resources(target)


def refused(folder, text, code=2):
    """Have the command refuse an `extract.toml`, and return what comes of it."""
    (folder / "extract.toml").write_text(text)
    called = invoke("validate", folder / "extract.toml", "--report", folder / "report")
    assert called.exit_code == code
    return called


@pytest.fixture(scope="module")
def from_folder(extract, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        yield publish(extract, tmp_path_factory.mktemp("from-folder"))


@pytest.mark.slow
def test_delta_tables_publish_the_resources_of_the_folder_and_a_version_is_read_again(
    extract, from_folder, tmp_path
):
    tables = as_tables(extract)
    write_lake(tmp_path / "lake", tables)
    named = toml_of(tmp_path, extract, {name: f'delta = "lake/{name}"' for name in tables})
    assert publish(named, tmp_path / "tree") == from_folder
    said = data_files(tmp_path / "tree", "claim")
    assert len(said) == 2
    for name, one in said.items():
        location = str(tmp_path / "lake/claim")
        assert one["table"] == {"kind": "delta", "table": location, "version": "1"}
        data = (tmp_path / "lake" / name).read_bytes()
        assert (one["sha256"], one["bytes"]) == (sha256(data).hexdigest(), len(data))
    # The table goes on; the version that was published is read again by its number.
    DeltaTable(tmp_path / "lake/claim").delete()
    pinned = {name: f'delta = "lake/{name}"\nversion = 1' for name in tables}
    assert publish(toml_of(tmp_path, extract, pinned), tmp_path / "again") == from_folder
    assert data_files(tmp_path / "again", "claim") == said


def iceberg(folder, extract):
    (folder / "warehouse").mkdir()
    catalog = load_catalog(
        "made",
        type="sql",
        uri=f"sqlite:///{folder}/catalog.db",
        warehouse=f"file://{folder}/warehouse",
    )
    catalog.create_namespace("cpcds")
    made = {}
    for name, rows in as_tables(extract).items():
        made[name] = catalog.create_table(f"cpcds.{name}", schema=rows.schema)
        half = rows.num_rows // 2
        made[name].append(rows.slice(half))
        made[name].append(rows.slice(0, half))
    return made


@pytest.mark.slow
def test_iceberg_tables_publish_the_resources_of_the_folder_and_a_snapshot_is_read_again(
    extract, from_folder, tmp_path, monkeypatch
):
    made = iceberg(tmp_path, extract)
    monkeypatch.setenv("PYICEBERG_CATALOG__MADE__TYPE", "sql")
    monkeypatch.setenv("PYICEBERG_CATALOG__MADE__URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setattr(catalogs, "_ENV_CONFIG", Config())  # it was read when it was imported
    named = {name: f'iceberg = "cpcds.{name}"\ncatalog = "made"' for name in made}
    assert publish(toml_of(tmp_path, extract, named), tmp_path / "tree") == from_folder
    snapshots = {name: one.current_snapshot() for name, one in made.items()}
    ids = {name: shot.snapshot_id for name, shot in snapshots.items() if shot is not None}
    said = inputs(tmp_path / "tree")["claim.csv"]
    assert said["table"] == {
        "kind": "iceberg", "table": "cpcds.claim", "version": str(ids["claim"]),
    }  # fmt: skip
    made["claim"].delete("claim_id is not null")
    pinned = {
        name: f'iceberg = "{made[name].metadata_location}"\nsnapshot = {ids[name]}' for name in made
    }
    assert publish(toml_of(tmp_path, extract, pinned), tmp_path / "again") == from_folder


@pytest.fixture(scope="module")
def server():
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres_server(programs) as url:
        yield f"{url}/postgres"


@pytest.mark.slow
def test_queries_of_postgresql_publish_the_resources_of_the_folder(
    extract, from_folder, server, tmp_path, monkeypatch
):
    tables = as_tables(extract)
    with postgresql.connect(server) as connection, connection.cursor() as cursor:
        for name, rows in tables.items():
            cursor.adbc_ingest(name, rows, mode="create")
        connection.commit()
    monkeypatch.setenv("WAREHOUSE", server)
    files = {name: f'sql = "select * from {name}"\nconnection = "w"' for name in tables}  # noqa: S608
    named = toml_of(tmp_path, extract, files, CONNECTION)
    assert publish(named, tmp_path / "tree") == from_folder
    said = inputs(tmp_path / "tree")["claim.csv"]
    assert said["table"] == {"kind": "sql", "table": "claim", "version": ""}
    # The rows in another order have the same hash.
    named.write_text(
        named.read_text().replace('select * from claim"', 'select * from claim order by 1 desc"')
    )
    publish(named, tmp_path / "again")
    assert inputs(tmp_path / "again")["claim.csv"] == said


def staged(text, tmp_path):
    """Return the rows of the files that an `extract.toml` stands for."""
    (tmp_path / "extract.toml").write_text(text)
    folder = tmp_path / "staged"
    folder.mkdir()
    tables = read_tables(FolderFiles(tmp_path), "extract.toml")
    stage_tables(tables, "extract.toml", tmp_path, folder)
    return {
        path.stem: list(csv.reader(path.read_text(encoding="utf-8").splitlines(keepends=True)))
        for path in folder.glob("*.csv")
    }


@pytest.mark.slow
def test_values_of_postgresql_become_text_exactly(server, tmp_path, monkeypatch):
    monkeypatch.setenv("WAREHOUSE", server)
    query = """select '007'::text as a, 1234.50::numeric(12,2) as b, 1e20::numeric as c,
      date '2024-05-01' as d, timestamptz '2024-05-01 01:02:03.5+02' as e,
      timestamp '2024-05-01 01:02:03' as f, true as g, 9007199254740993::bigint as h,
      null::int as i, '550e8400-e29b-41d4-a716-446655440000'::uuid as k, e'a\\\\nb' as l"""
    text = (
        f"[files.claim]\nsql = '''{query.replace(chr(92) * 2, chr(92))}'''\nconnection = 'w'\n"
        f"{CONNECTION}"
    )
    assert staged(text, tmp_path)["claim"] == [
        list("abcdefghikl"),
        [
            "007", "1234.50", "100000000000000000000", "2024-05-01", "2024-04-30T23:02:03.500000Z",
            "2024-05-01T01:02:03", "Y", "9007199254740993", "",
            "550e8400-e29b-41d4-a716-446655440000",
            "a\nb",
        ],
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(*table(__file__, "refused_queries"))
def test_what_cannot_be_read_exactly_is_refused_without_a_value(
    query, sentence, server, tmp_path, monkeypatch
):
    monkeypatch.setenv("WAREHOUSE", server)
    called = refused(tmp_path, f'[files.claim]\nsql = "{query}"\nconnection = "w"\n{CONNECTION}')
    assert sentence in called.stderr
    assert "127.0.0.1" not in called.stderr


def test_a_database_that_does_not_answer_is_exit_code_5_and_its_secret_stays_unsaid(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("WAREHOUSE", "postgresql://reader:hunter2@127.0.0.1:1/claims")
    text = f'[files.claim]\nsql = "select 1"\nconnection = "w"\n{CONNECTION}'
    called = refused(tmp_path, text, code=5)
    assert "connection w: the database cannot be opened" in called.stderr
    assert "hunter2" not in called.output


def test_tables_and_states_that_are_not_there_are_named(tmp_path):
    write_deltalake(tmp_path / "there", pa.table({"claim_id": ["C1"]}))
    for said, sentence in {
        'delta = "gone"': "claim: there is no Delta table at",
        'delta = "there"\nversion = 7': "has no version 7; its newest is 0",
        'iceberg = "gone.metadata.json"': "claim: Iceberg table",
    }.items():
        assert sentence in refused(tmp_path, f"[files.claim]\n{said}\n").stderr


@pytest.mark.parametrize(
    ("said", "library", "extra"),
    [
        ('delta = "x"', "deltalake", "EXTRAS=delta"),
        ('iceberg = "x"', "pyiceberg.catalog", "EXTRAS=iceberg"),
        ('sql = "x"\nconnection = "w"', "adbc_driver_postgresql.dbapi", "EXTRAS=sql"),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    said, library, extra, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setenv("WAREHOUSE", "postgresql://127.0.0.1:1/x")
    assert extra in refused(tmp_path, f"[files.claim]\n{said}\n{CONNECTION}").stderr
