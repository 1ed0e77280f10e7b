"""An extract as it might come the next night: rows changed, moved, lost, doubled, put in order."""

import csv
import json
import shutil

TORN = " torn"
"""Key of a row that is written with one cell too many."""
_IDS = frozenset({"member_id", "claim_id", "coverage_id", "line_number", "sequence"})


def read_tables(folder):
    """Return the rows of an extract of CSV files, but for ragged ones."""
    found = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        found[path.stem] = [
            dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)
        ]
    return found


def write_tables(tables, folder, model, as_of):
    """Write an extract with the headers of another one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted(model.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            names = next(csv.reader(file))
        with (folder / path.name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for row in tables[path.stem]:
                writer.writerow([*(row[name] for name in names), *row.get(TORN, "")])
    (folder / "manifest.json").write_text(json.dumps({"layout": "cpcds", "as_of": as_of}))
    return folder


def cells(tables, random):
    """Change some cells of members' rows."""
    for name in random.sample(sorted(tables), 4):
        for row in random.sample(tables[name], min(2, len(tables[name]))):
            column = random.choice([column for column in row if column not in _IDS])
            row[column] = random.choice(["", "1", "12.50", "2025-06-01", "Müller", "zz", "9999"])


def rows_lost(tables, random):
    """Lose some rows, so that others hang in the air."""
    for name in random.sample(sorted(tables), 3):
        for _ in range(min(2, len(tables[name]) - 1)):
            tables[name].pop(random.randrange(len(tables[name])))


def rows_doubled(tables, random):
    """Send some rows twice, one of them perhaps changed."""
    for name in random.sample(sorted(tables), 3):
        if tables[name]:
            row = dict(random.choice(tables[name]))
            if random.random() < 0.5:
                row[random.choice(list(row))] = "17"
            tables[name].insert(random.randrange(len(tables[name]) + 1), row)


def torn(tables, random):
    """Tear rows, so that they cannot be read; of some, nobody can say what they belong to."""
    for name in random.sample(sorted(tables), 3):
        if tables[name]:
            random.choice(tables[name])[TORN] = "x"
    if random.random() < 0.3:
        row = dict(random.choice(tables["claim_line"]))
        tables["claim_line"].append(row | {"claim_id": "?", TORN: "x"})


def order(tables, random):
    """Put the rows of some tables in another order."""
    for name in random.sample(sorted(tables), 3):
        random.shuffle(tables[name])


def claims_moved(tables, random):
    """Give a claim to another member, and let another one stand under two."""
    members = [row["member_id"] for row in tables["member"]]
    random.choice(tables["claim"])["member_id"] = random.choice(members)
    shared = dict(random.choice(tables["claim"]))
    shared["member_id"] = random.choice(members)
    tables["claim"].append(shared)


def links(tables, random):
    """Let claims name claims that are there, elsewhere, or nowhere."""
    ids = [row["claim_id"] for row in tables["claim"]]
    for row in random.sample(tables["claim"], min(4, len(ids))):
        row["adjusted_from_claim_id"] = random.choice([*random.sample(ids, 2), "NOWHERE-1", ""])
    card = random.choice(tables["coverage"])
    card["card_member_id"] = random.choice(tables["member"])["member_id"]


def directory(tables, random):
    """Change, lose and add providers."""
    for name in ("organization", "practitioner"):
        rows = tables[name]
        rows.pop(random.randrange(len(rows)))
        changed = random.choice(rows)
        changed[random.choice(["npi", "phone", "name" if name == "organization" else "npi"])] = ""
        if name == "practitioner":
            random.choice(rows)["taxonomy_code"] = random.choice(["", "207Q00000X"])
    named = random.choice(tables["claim_care_team"])["provider_id"]
    if not any(row["practitioner_id"] == named for row in tables["practitioner"]):
        new = dict(tables["practitioner"][0])
        tables["practitioner"].append(new | {"practitioner_id": named, "npi": ""})


def members(tables, random):
    """Lose a member, and add one under a new number."""
    gone = tables["member"].pop(random.randrange(len(tables["member"])))
    new = dict(random.choice(tables["member"]))
    tables["member"].append(new | {"member_id": "NEW-" + gone["member_id"]})


CHANGES = (
    cells,
    rows_lost,
    rows_doubled,
    torn,
    order,
    claims_moved,
    links,
    directory,
    members,
)
