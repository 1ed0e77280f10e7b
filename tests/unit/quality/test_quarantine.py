"""The quarantine holds the rejected rows as they were."""

import csv
import io

import pyarrow as pa

from etl.quality.quarantine import quarantine_csv, reasons
from tests.unit.quality.world import run, world


def source(*rows):
    columns = list(zip(*rows, strict=True))
    arrays = [
        pa.array(columns[0], pa.string()),
        pa.array(columns[1], pa.string()),
        pa.array(columns[2], pa.int32()),
        pa.array(columns[3], pa.int64()),
    ]
    return pa.table(arrays, names=["CLAIM ID", "AMT", "_file", "_row"])


def test_rejected_rows_stand_in_the_order_of_their_file_with_their_rules():
    tables = [
        source(("K3", '1,234.50 "net"', 6, 9), ("K1", None, 6, 2), ("K9", "1", 5, 9)),
        source(("K2", "1.00", 6, 4), ("K4", "1\r2", 6, 11)),
    ]
    got = b"".join(
        quarantine_csv(tables, ["CLAIM ID", "AMT"], {9: "amount-unreadable", 2: "a;b", 11: "c"}, 6)
    )
    assert got.decode() == (
        'cpcds_row,cpcds_rules,CLAIM ID,AMT\n2,a;b,K1,\n9,amount-unreadable,K3,"1,234.50 ""net"""\n'
        '"11","c","K4","1\r2"\n'
    )


def test_nothing_rejected_is_a_file_with_a_header_alone():
    assert list(quarantine_csv([source(("K", "1", 0, 2))], ["AMT"], {}, 0)) == [
        b"cpcds_row,cpcds_rules,AMT\n"
    ]


def test_reasons_name_every_rule_of_a_row_and_where_the_chain_began():
    of = world()
    of["claim"][2] |= {"amount_copay": "five", "claim_type": "veterinary"}
    found = reasons([run(of).rejected, run(world()).rejected])
    assert found[6] == {4: "amount-unreadable;claim-type-unknown"}
    assert found[7] == {4: "hangs-on-rejected;amount-unreadable"}
    assert list(found) == sorted(found)


def test_a_row_that_is_a_claim_and_a_line_stands_there_once():
    columns = ["table", "file", "row", "rule", "cause", "rules"]
    rejected = pa.table(
        [["claim", "claim_line"], [0, 0], [7, 7], ["a", "h"], ["a", "a"], ["a;b", "h"]],
        names=columns,
    )
    assert reasons([rejected]) == {0: {7: "a;b;h"}}
    got = b"".join(quarantine_csv([source(("K", "1", 0, 7))], ["AMT"], {7: "a;b;h"}, 0))
    assert list(csv.reader(io.StringIO(got.decode())))[1:] == [["7", "a;b;h", "1"]]
