# SPDX-License-Identifier: Apache-2.0
"""What is read from files: the grammar of CSV, the types of Parquet, exact casts, and errors that say where."""
import json
import os
import sys

import pytest
from conftest import ROOT
from parquet import parquet
from world import World, running

sys.path.insert(0, os.path.join(ROOT, "tests", "fakes"))
from web import Web  # noqa: E402  (the path has to be there first)


class Table(World):
    """One dataset `kv` over files whose bytes the test gives."""

    def __init__(self, path, schema, mode="local_table"):
        super().__init__(path)
        self.dataset("kv", list(schema))
        self.endpoint("kv", "kv", serving_mode=mode)
        self.publish("kv", "s0", [])

    def put(self, snapshot, files, n_rows, **over):
        """@files: (name, bytes)."""
        listed = []
        for name, body in files:
            (self.path / "data" / name).write_bytes(body)
            listed.append({"path": name, "format": "parquet" if name.endswith(".parquet") else "csv"})
        self.publish("kv", snapshot, [], files=listed, row_count=n_rows, **over)


def both(server):
    """The rows of the store, which are those that a query finds in the files."""
    rows = rows_of(server)
    r = server.get("/v1/endpoints/scan?limit=1000")
    assert r.status == 200 and r.rows == rows, (r.body, rows)
    return rows


def attempt(server):
    r = server.post("/datasets/kv/refresh")
    if r.status == 200:
        return None
    a = r.json["attempt"]
    return a["status"], a["error"]["code"], a["error"]["message"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A running server for each schema that a test asks for."""
    with_close = []

    def make(*schema, scan=False):
        path = tmp_path_factory.mktemp("p")
        table = Table(path, schema)
        if scan:
            table.endpoint("scan", "kv", serving_mode="remote_scan")
        context = running(path, path / "cache")
        server = context.__enter__()
        with_close.append(context)
        return table, server

    yield make
    for context in with_close:
        context.__exit__(None, None, None)


ALL = (("t", "VARCHAR"), ("i", "INTEGER"), ("b", "BIGINT"), ("d", "DOUBLE"), ("f", "BOOLEAN"), ("day", "DATE"),
       ("at", "TIMESTAMP"), ("j", "JSON"))


@pytest.fixture(scope="module")
def every_type(tables):
    return tables(*ALL)


def rows_of(server):
    r = server.get("/v1/endpoints/kv?limit=1000")
    assert r.status == 200, r.body
    return r.rows


HEADER = b"t,i,b,d,f,day,at,j\n"
FINE = b'a,1,2,0.5,true,2026-02-28,2026-02-28T12:00:00Z,"{""a"": [1, null]}"\n'


def test_csv_in_every_form_that_is_allowed(every_type):
    table, server = every_type
    body = (b"\xef\xbb\xbf" + HEADER + FINE +
            b'"say ""hi"", you\nthere",-2147483648,-9223372036854775808,-1.5e300,false,0001-01-01,9999-12-31T23:59:59.999999Z,[]\r\n'
            b'"",,,,,,,\r\n' +
            b",2147483647,9223372036854775807,1e3,true,2024-02-29,2026-01-01T00:00:00+02:00,true")
    table.put("csv", [("a.csv", body)], 4)
    assert attempt(server) is None
    rows = rows_of(server)
    assert rows[0] == {"t": "a", "i": 1, "b": 2, "d": 0.5, "f": True, "day": "2026-02-28",
                       "at": "2026-02-28T12:00:00.000000", "j": {"a": [1, None]}}
    assert rows[1]["t"] == 'say "hi", you\nthere' and rows[1]["i"] == -2**31 and rows[1]["b"] == -2**63
    assert rows[1]["at"] == "9999-12-31T23:59:59.999999" and rows[1]["day"] == "0001-01-01"
    assert rows[2] == {**dict.fromkeys(rows[2]), "t": ""}, "an empty field is NULL, an empty quoted one is text"
    assert rows[3]["t"] is None and rows[3]["at"] == "2025-12-31T22:00:00.000000" and rows[3]["b"] == 2**63 - 1


def test_text_with_nul_and_long_text_from_csv_and_parquet(tables):
    table, server = tables(("id", "INTEGER"), ("t", "VARCHAR"), ("j", "JSON"), scan=True)
    long = 'say "hi", ' * 20000
    table.put("nul", [("a.csv", b'id,t,j\n1,a\0b,"""\\u0000"""\n2,"\0",1\n3,"' + long.replace('"', '""').encode() + b'",2\n'),
                      ("b.parquet", parquet("SELECT 1::INTEGER AS id, 'a' || chr(0) || 'b' AS t, '\"\\u0000\"' AS j UNION ALL "
                                            "SELECT 2, chr(0), '1' UNION ALL SELECT 3, repeat('say \"hi\", ', 20000), '2'"))], 6)
    assert attempt(server) is None
    expected = [{"id": 1, "t": "a\0b", "j": "\0"}, {"id": 2, "t": "\0", "j": 1}, {"id": 3, "t": long, "j": 2}]
    assert both(server) == expected * 2


def cell(column, text):
    cells = {"t": b"a", "i": b"1", "b": b"2", "d": b"0.5", "f": b"true", "day": b"2026-02-28",
             "at": b"2026-02-28T12:00:00Z", "j": b"[]", column: text}
    return b",".join(cells[c] for c in cells) + b"\n"


NO_VALUES = [
    ("i", b"1.0"), ("i", b"1e3"), ("i", b" 1"), ("i", b"2147483648"), ("i", b"0x10"), ("i", b'""'), ("i", b"1_000"),
    ("b", b"9223372036854775808"), ("b", b"1.5"), ("d", b"NaN"), ("d", b"inf"), ("d", b"1,5".replace(b",", b";")),
    ("d", b"0x1p3"), ("d", b"1e999"), ("f", b"yes"), ("f", b"TRUE"), ("f", b"1"), ("day", b"2026-02-30"),
    ("day", b"2026-6-1"), ("day", b"10000-01-01"), ("day", b"2026-02-28T00:00:00Z"), ("at", b"2026-02-28"),
    ("at", b"2026-02-28T25:00:00Z"), ("j", b"{"), ("j", b"NaN"), ("j", b'"[1,]"'), ("j", b"'a'"),
]


@pytest.mark.parametrize("column, text", NO_VALUES, ids=[f"{c}={t.decode()}" for c, t in NO_VALUES])
def test_a_value_that_is_none_names_file_column_and_row(every_type, column, text):
    table, server = every_type
    table.put(f"bad-{column}-{abs(hash(text))}", [("good.csv", HEADER + FINE), ("bad.csv", HEADER + FINE + cell(column, text))], 3)
    status, code, message = attempt(server)
    assert (status, code) == ("rejected", "cast_failed")
    assert "bad.csv" in message and f"`{column}`" in message and "data row 2" in message, message


NO_CSV = [
    ("a short row", HEADER + FINE + b"a,1\n", "unreadable_file", "data row 2"),
    ("a long row", HEADER + FINE[:-1] + b",more\n", "unreadable_file", "data row 1"),
    ("no UTF-8", HEADER + cell("t", b"\xff"), "unreadable_file", "row 1"),
    ("a quote that is not closed", HEADER + b'"a,1\n', "unreadable_file", "row 1"),
    ("text after a closing quote", HEADER + b'"a"b,1,2,0.5,true,2026-02-28,,[]\n', "unreadable_file", "row 1"),
    ("a column that is not declared", HEADER[:-1] + b",more\n", "schema_data_mismatch", "more"),
    ("a column less", b"t,i\n", "schema_data_mismatch", "lacks"),
    ("a column twice", b"t,t,b,d,f,day,at,j\n", "schema_data_mismatch", "twice"),
    ("no header", b"", "schema_data_mismatch", "number 1"),
    ("a space in the header", HEADER.replace(b"day", b"the day"), "schema_data_mismatch", "number 6 is no column name"),
]


@pytest.mark.parametrize("body, code, word", [row[1:] for row in NO_CSV], ids=[row[0] for row in NO_CSV])
def test_csv_that_is_none(every_type, body, code, word):
    table, server = every_type
    table.put(f"none-{abs(hash(body))}", [("x.csv", body)], 1)
    status, found, message = attempt(server)
    assert (status, found) == ("rejected", code) and "x.csv" in message and word in message, message


def test_columns_in_the_order_of_the_file(tables):
    table, server = tables(("a", "VARCHAR"), ("n", "BIGINT"))
    table.put("s1", [("1.csv", b"n,a\n1,x\n"), ("2.csv", b"a,n\ny,2\n")], 2)
    assert attempt(server) is None and rows_of(server) == [{"a": "x", "n": 1}, {"a": "y", "n": 2}]


# declared type, SQL of the value, answer
TYPES = [
    ("INTEGER", "1::TINYINT", 1), ("INTEGER", "255::UTINYINT", 255), ("INTEGER", "-3::SMALLINT", -3),
    ("INTEGER", "65535::USMALLINT", 65535), ("INTEGER", "7::INTEGER", 7),
    ("BIGINT", "4294967295::UINTEGER", 4294967295), ("BIGINT", "7::SMALLINT", 7), ("BIGINT", "(-9)::BIGINT", -9),
    ("DOUBLE", "0.1::FLOAT", 0.10000000149011612), ("DOUBLE", "'NaN'::DOUBLE", None), ("DOUBLE", "1.25::DECIMAL(9,2)", 1.25),
    ("DOUBLE", "9007199254740993.4::DECIMAL(38,1)", 9007199254740994.0), ("DOUBLE", "1e15::DECIMAL(18,0)", 1e15),
    ("DOUBLE", "(-90071992547409.93)::DECIMAL(18,2)", -90071992547409.93), ("DOUBLE", "NULL::DECIMAL(38,18)", None),
    ("DOUBLE", "3.100000000000000000::DECIMAL(38,18)", 3.1), ("DOUBLE", "9.863947385702569::DECIMAL(16,15)", 9.863947385702569),
    ("DOUBLE", "0.588698379800963383::DECIMAL(38,18)", 0.588698379800963383),
    ("DOUBLE", "0.00000000000000000000000000000000000031::DECIMAL(38,38)", 3.1e-37),
    ("DATE", "DATE '2026-02-28'", "2026-02-28"), ("BOOLEAN", "true", True),
    ("TIMESTAMP", "TIMESTAMP '2026-02-28 01:02:03.000004'", "2026-02-28T01:02:03.000004"),
    ("TIMESTAMP", "TIMESTAMP_MS '2026-02-28 01:02:03.5'", "2026-02-28T01:02:03.500000"),
    ("TIMESTAMP", "TIMESTAMP_NS '2026-02-28 01:02:03.123456789'", "2026-02-28T01:02:03.123456"),
    ("TIMESTAMP", "TIMESTAMP_NS '1969-12-31 23:59:59.999999999'", "1969-12-31T23:59:59.999999"),
    ("TIMESTAMP", "TIMESTAMP_NS '1969-12-31 23:59:59.999999'", "1969-12-31T23:59:59.999999"),
    ("TIMESTAMP", "TIMESTAMPTZ '2026-02-28 01:02:03+02:00'", "2026-02-27T23:02:03.000000"),
    ("VARCHAR", "'text'", "text"), ("VARCHAR", "'a'::ENUM('a','b')", "a"),
    ("VARCHAR", "'c0ffee00-0000-4000-8000-000000000001'::UUID", "c0ffee00-0000-4000-8000-000000000001"),
    ("JSON", "{'a': [1, NULL], 'b': MAP {'k': 2.5}}", {"a": [1, None], "b": {"k": 2.5}}),
    ("JSON", "[DATE '2026-01-01']", ["2026-01-01"]), ("JSON", "{'n': 'NaN'::DOUBLE}", {"n": None}),
    ("JSON", "{'at': TIMESTAMP '2026-01-01 00:00:00'}", {"at": "2026-01-01T00:00:00.000000"}),
    ("JSON", "[1.5::FLOAT, 'inf'::FLOAT, NULL]", [1.5, None, None]), ("JSON", "['-inf'::DOUBLE, 2]::DOUBLE[2]", [None, 2]),
    ("JSON", "{'m': MAP {'k': [{'x': 'nan'::DOUBLE, 'y': 'NaN'}]}, 'd': 0.1::DECIMAL(9,2)}",
     {"m": {"k": [{"x": None, "y": "NaN"}]}, "d": 0.1}),
    ("JSON", "MAP {'nan'::DOUBLE: 1, 1.5: 2}", {"nan": 1, "1.5": 2}),
    ("JSON", "MAP {DATE '0001-01-01': [DATE '9999-12-31', NULL]}", {"0001-01-01": ["9999-12-31", None]}),
    ("JSON", "MAP {TIMESTAMP '0001-01-01': {'d': NULL::DATE}}", {"0001-01-01T00:00:00.000000": {"d": None}}),
    ("JSON", "NULL::DATE[]", None), ("JSON", "NULL::MAP(DATE, DOUBLE)", None),
    ("JSON", "'\"NaN\"'", "NaN"), ("JSON", "[TIMESTAMP_NS '1969-12-31 23:59:59.999999999']", ["1969-12-31T23:59:59.999999"]),
    ("JSON", "'{\"a\": 1}'", {"a": 1}), ("JSON", "NULL::STRUCT(a INTEGER)", None),
]


def test_zero_finds_the_negative_zeros(tmp_path):
    """In a Parquet file's bloom filter 0 and -0 are two values; of many rows, for the filter is of a dictionary."""
    table = Table(tmp_path, (("x", "DOUBLE"), ("n", "INTEGER")))
    for name, mode in (("store", "local_table"), ("scan", "remote_scan")):
        table.endpoint(name, "kv", params=[{"name": "x", "type": "number"}], filters=[("x", "eq", "x")], serving_mode=mode)
    rows = [parquet(f"SELECT CASE WHEN range % 2 = 0 THEN {zero}::DOUBLE ELSE 7.5 END AS x, range::INTEGER AS n FROM range(20)") for zero in ("'-0.0'", "0")]
    table.put("s1", [("a.parquet", rows[0]), ("b.parquet", rows[1])], 40)
    with running(table.path, tmp_path / "cache") as server:
        for asked in ("0", "-0", "0.0", "7.5", "7"):
            store, scan = (server.get(f"/v1/endpoints/{name}?x={asked}&limit=100").rows for name in ("store", "scan"))
            assert len(store) == (0 if asked == "7" else 20) and scan == store, asked


def test_parquet_types_that_agree(tables):
    schema = [(f"c{i}", declared) for i, (declared, _, _) in enumerate(TYPES)]
    table, server = tables(("id", "VARCHAR"), *schema, scan=True)
    select = "SELECT 'x' AS id, " + ", ".join(f"{sql} AS c{i}" for i, (_, sql, _) in enumerate(TYPES))
    table.put("s1", [("a.parquet", parquet(select))], 1)
    assert attempt(server) is None
    (row,) = both(server)
    wrong = [(TYPES[i], row[f"c{i}"]) for i in range(len(TYPES)) if row[f"c{i}"] != TYPES[i][2]]
    assert wrong == []


def renamed(body, old, new):
    """A Parquet file with another name for a field: in its footer, each name stands behind its length."""
    n = int.from_bytes(body[-8:-4], "little")
    footer = body[-8 - n:-8].replace(bytes([len(old)]) + old, bytes([len(new)]) + new)
    return body[:-8 - n] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def test_names_of_fields_in_nested_columns(tables):
    table, server = tables(("id", "INTEGER"), ("j", "JSON"), scan=True)
    body = parquet("SELECT 1::INTEGER AS id, {'it''s \"x\"': {'qq': 'nan'::DOUBLE, 'a.b': DATE '2026-01-01'}, 'e0': [TIMESTAMP '2026-01-01'], "
                   "'end': {'select': 1.5::DOUBLE}} AS j")
    for name in (b"qq", b"A.B", b"", b"'"):
        table.put(f"s{name.hex()}", [("a.parquet", renamed(body, b"qq", name))], 1)
        assert attempt(server) is None, name
        ((_, j),) = (row.values() for row in both(server))
        first, second = j.pop('it\'s "x"').items()
        assert first[0].upper().startswith(name.decode().upper()) and first[1] is None and second[1] == "2026-01-01", name
        assert [*j.values()] == [["2026-01-01T00:00:00.000000"], {"select": 1.5}]
    beyond = parquet("SELECT 1::INTEGER AS id, {'qq': DATE '12026-01-01'} AS j")
    table.put("beyond", [("a.parquet", renamed(beyond, b"qq", b""))], 1)
    assert attempt(server)[1] == "cast_failed"


MISFITS = [
    ("INTEGER", "1::BIGINT"), ("INTEGER", "1::UINTEGER"), ("BIGINT", "1::UBIGINT"), ("BIGINT", "1::HUGEINT"),
    ("BIGINT", "1.0::DOUBLE"), ("DOUBLE", "1::INTEGER"), ("DATE", "TIMESTAMP '2026-01-01'"), ("TIMESTAMP", "DATE '2026-01-01'"),
    ("VARCHAR", "1"), ("VARCHAR", "'a'::BLOB"), ("BOOLEAN", "1"), ("JSON", "1"), ("DATE", "'2026-01-01'"),
]


@pytest.mark.parametrize("declared, sql", MISFITS, ids=[f"{d} from {s}" for d, s in MISFITS])
def test_parquet_types_that_could_lose_a_value(every_type, declared, sql):
    table, server = every_type
    values = {"t": "'x'", "i": "1::INTEGER", "b": "1::BIGINT", "d": "0.5::DOUBLE", "f": "true", "day": "DATE '2026-01-01'",
              "at": "TIMESTAMP '2026-01-01'", "j": "[1]"}
    (column,) = (n for n, t in ALL if t == declared)
    select = "SELECT " + ", ".join(f"{sql if n == column else v} AS {n}" for n, v in values.items())
    table.put(f"m{abs(hash(declared + sql))}", [("a.parquet", parquet(select))], 1)
    status, code, message = attempt(server)
    assert (status, code) == ("rejected", "schema_data_mismatch")
    assert "a.parquet" in message and f"`{column}`" in message, message


def test_numbers_are_cast_exactly_or_not_at_all(tmp_path):
    """A manifest may declare a wider type than the contract: each value must survive the narrowing."""
    w = World(tmp_path)
    w.dataset("kv", [("id", "VARCHAR"), ("n", "BIGINT"), ("i", "INTEGER")])
    w.endpoint("kv", "kv")
    w.publish("kv", "s0", [])
    with running(tmp_path, tmp_path / "cache") as s:
        for k, (n, i, n_type, i_type, column) in enumerate((
                ("1.0", "2.0", "DOUBLE", "DOUBLE", None), ("1.5", "2", "DOUBLE", "DOUBLE", "n"),
                ("9007199254740992", "2", "DOUBLE", "DOUBLE", None), ("9223372036854775808", "2", "DOUBLE", "DOUBLE", "n"),
                ("-9223372036854775808", "2", "DOUBLE", "DOUBLE", None), ("1", "2147483648", "BIGINT", "BIGINT", "i"),
                ("1", "-2147483648", "BIGINT", "BIGINT", None), ("1", "2147483648", "DOUBLE", "DOUBLE", "i"))):
            declared = [{"name": "id", "type": "VARCHAR"}, {"name": "n", "type": n_type}, {"name": "i", "type": i_type}]
            for form in ("csv", "parquet"):
                (w.path / "data/x.parquet").write_bytes(parquet(f"SELECT 'x' AS id, ({n})::{n_type} AS n, ({i})::{i_type} AS i"))
                files = {"files": [{"path": "x.parquet", "format": "parquet"}]} if form == "parquet" else {}
                w.publish("kv", f"s{k}{form}", [("x", n, i)], schema=declared, **files)
                found = attempt(s)
                assert (found is None) == (column is None), (n, i, form, found)
                if found:
                    assert found[1] == "cast_failed" and f"`{column}`" in found[2] and "data row 1" in found[2], found
                else:
                    assert s.get("/v1/endpoints/kv").rows == [{"id": "x", "n": int(float(n)), "i": int(float(i))}]


def test_a_decimal_that_is_declared_double_is_cast_exactly_to_integers(tmp_path):
    w = World(tmp_path)
    w.dataset("kv", [("n", "BIGINT"), ("i", "INTEGER")])
    w.endpoint("kv", "kv")
    w.endpoint("scan", "kv", serving_mode="remote_scan")
    w.publish("kv", "s0", [])
    declared = [{"name": "n", "type": "DOUBLE"}, {"name": "i", "type": "DOUBLE"}]
    with running(tmp_path, tmp_path / "cache") as s:
        for k, (n, i, column) in enumerate((
                ("9007199254740993.0", "2147483647.0", None), ("9223372036854775807.0", "-2147483648.0", None),
                ("NULL", "NULL", None), ("9007199254740993.4", "1", "n"), ("9223372036854775808.0", "1", "n"),
                ("1", "2147483647.5", "i"), ("1", "2147483648.0", "i"), ("-9223372036854775808.5", "1", "n"))):
            (w.path / "data/x.parquet").write_bytes(parquet(f"SELECT ({n})::DECIMAL(38,1) AS n, ({i})::DECIMAL(38,1) AS i"))
            w.publish("kv", f"d{k}", [], schema=declared, row_count=1, files=[{"path": "x.parquet", "format": "parquet"}])
            found = attempt(s)
            assert (found is None) == (column is None), (n, i, found)
            if found:
                assert found[1] == "cast_failed" and f"`{column}`" in found[2] and "data row 1" in found[2], found
            else:
                assert both(s) == [{c: None if v == "NULL" else int(v[:-2]) for c, v in (("n", n), ("i", i))}]


def test_what_a_cast_may_lose_is_counted_and_shown(tables):
    table, server = tables(("id", "VARCHAR"), ("d", "DOUBLE"), ("at", "TIMESTAMP"))
    select = " UNION ALL ".join(
        f"SELECT '{i}' AS id, {d}::DECIMAL(38,18) AS d, TIMESTAMP_NS '2026-01-01 00:00:00.{ns}' AS at" for i, (d, ns) in
        enumerate((("1.5", "123456000"), ("12345678901234567890.123456789012345678", "123456789"), ("0.1", "000000001"))))
    table.put("lossy", [("a.parquet", parquet(select))], 3)
    assert attempt(server) is None
    line = next(json.loads(x) for x in server.log().splitlines() if "rounded" in x)
    assert line["message"].startswith("1 decimal value(s) rounded to doubles, 2 time(s) cut") and line["dataset"] == "kv"


def test_digits_past_microseconds_are_cut_down_and_counted_in_csv(tables):
    table, server = tables(("id", "VARCHAR"), ("at", "TIMESTAMP"), scan=True)
    times = (("1969-12-31T23:59:59.999999999", "1969-12-31T23:59:59.999999", 1), ("2026-01-01T00:00:00.123456001", "2026-01-01T00:00:00.123456", 1),
             ("2026-01-01T00:00:00.5+12:34", "2025-12-31T11:26:00.500000", 0), ("2026-01-01T00:00:00.123456000", "2026-01-01T00:00:00.123456", 0),
             ("1969-12-31T23:59:59.000000001-00:30", "1970-01-01T00:29:59.000000", 1))
    texts = "".join(f"{i},{t}\n" for i, (t, _, _) in enumerate(times))
    table.put("csv", [("a.csv", b"id,at\n" + texts.encode())], len(times))
    assert attempt(server) is None
    assert [r["at"] for r in both(server)] == [answer for _, answer, _ in times]
    line = next(json.loads(x) for x in server.log().splitlines() if "rounded" in x)
    assert f"{sum(n for _, _, n in times)} time(s) cut" in line["message"]


def test_dates_that_have_no_answer_do_not_materialize(tables):
    table, server = tables(("id", "VARCHAR"), ("day", "DATE"))
    for i, day in enumerate(("'infinity'::DATE", "DATE '0001-01-01' - 1", "DATE '9999-12-31' + 1")):
        table.put(f"d{i}", [("a.parquet", parquet(f"SELECT 'x' AS id, {day} AS day"))], 1)
        status, code, message = attempt(server)
        assert (status, code) == ("rejected", "cast_failed") and "`day`" in message and "data row 1" in message


NO_JSON = [
    ("text with NaN", "'{\"a\":NaN}'"), ("text with Infinity", "'[1,-Infinity]'"), ("text that is a word", "'nan'"),
    ("an endless date", "['infinity'::DATE]"), ("a date before Christ", "{'a': [{'b': DATE '0044-03-15 (BC)'}]}"),
    ("a date past 9999", "[DATE '9999-12-31' + 1]::DATE[1]"), ("an endless time", "{'a': '-infinity'::TIMESTAMP}"),
    ("a time before Christ", "MAP {'k': TIMESTAMP '0044-03-15 (BC) 00:00:00'}"), ("an endless time with a zone", "['infinity'::TIMESTAMPTZ]"),
    ("a time past 9999", "[TIMESTAMP '9999-12-31 23:59:59.999999' + INTERVAL 1 MICROSECOND]"),
    ("a key past 9999", "MAP {DATE '12026-01-01': 1}"), ("the second of two fields", "{'a': DATE '2026-01-01', 'b': DATE '12026-01-01'}"),
]


@pytest.fixture(scope="module")
def json_columns(tables):
    return tables(("id", "INTEGER"), ("j", "JSON"))


@pytest.mark.parametrize("value", [row[1] for row in NO_JSON], ids=[row[0] for row in NO_JSON])
def test_json_that_has_no_answer_does_not_materialize(json_columns, value):
    table, server = json_columns
    rows = f"SELECT 1::INTEGER AS id, NULL AS j UNION ALL SELECT 2, {value} UNION ALL SELECT 3, {value} ORDER BY id"
    table.put(f"j{abs(hash(value))}", [("a.parquet", parquet(rows))], 3)
    status, code, message = attempt(server)
    assert (status, code) == ("rejected", "cast_failed") and "a.parquet: column `j`, data row 2" in message, message


def test_json_that_has_no_answer_fails_the_query(tmp_path):
    """Files read where they are are not looked at before: the query that meets such a value finds no row of it."""
    table = Table(tmp_path, (("id", "INTEGER"), ("j", "JSON")), "remote_scan")
    with Web() as web, running(tmp_path, tmp_path / "cache", OFFLOADER_ALLOW_LOOPBACK="1") as server:
        for k, (why, value) in enumerate(NO_JSON):
            web.files[f"/d/{k}.parquet"] = parquet(f"SELECT 1::INTEGER AS id, NULL AS j UNION ALL SELECT 2, {value} ORDER BY id")
            table.publish("kv", f"j{k}", [], row_count=2, files=[{"path": f"{web.url}/d/{k}.parquet", "format": "parquet"}])
            assert attempt(server) is None, why
            answer = server.get("/v1/endpoints/kv")
            assert answer.status == 500, (why, answer.body)
            assert server.get("/v1/endpoints/kv?columns=id").rows == [{"id": 1}, {"id": 2}], why
    assert server.log().count("cast_failed: ") >= len(NO_JSON)


def test_figures_of_a_manifest_must_be_those_of_the_files(tables):
    table, server = tables(("id", "VARCHAR"), ("n", "BIGINT"))
    body = b"id,n\na,1\nb,2\n"
    for i, (file, n_rows, code) in enumerate((
            ({}, 3, "row_count_mismatch"), ({"row_count": 1}, 2, "row_count_mismatch"),
            ({"size_bytes": len(body) - 1}, 2, "size_mismatch"), ({"sha256": "0" * 64}, 2, "checksum_mismatch"))):
        (table.path / "data/a.csv").write_bytes(body)
        table.publish("kv", f"f{i}", [], row_count=n_rows, files=[{"path": "a.csv", "format": "csv", **file}])
        status, found, message = attempt(server)
        assert (status, found) == ("rejected", code) and ("a.csv" in message or not file), message


def test_an_extra_column_of_a_parquet_file(tables):
    table, server = tables(("id", "VARCHAR"), ("n", "BIGINT"))
    body = parquet("SELECT 'x' AS id, 1::BIGINT AS n, 2 AS more")
    table.put("e1", [("a.parquet", body)], 1, compatibility_policy="exact")
    assert attempt(server)[1] == "schema_data_mismatch"
    table.put("e2", [("a.parquet", body)], 1)
    assert attempt(server) is None and rows_of(server) == [{"id": "x", "n": 1}]


def test_a_file_that_is_not_what_it_says(tables):
    table, server = tables(("id", "VARCHAR"), ("n", "BIGINT"))
    whole = parquet("SELECT 'x' AS id, 1::BIGINT AS n")
    for i, body in enumerate((b"", b"PAR1", whole[:-1], whole[: len(whole) // 2], b"id,n\nx,1\n")):
        table.put(f"u{i}", [("a.parquet", body)], 1)
        status, code, message = attempt(server)
        assert (status, code) == ("rejected", "unreadable_file") and "a.parquet" in message, (body[:8], message)
