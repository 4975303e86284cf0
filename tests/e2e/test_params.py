# SPDX-License-Identifier: Apache-2.0
"""api.md "Request" and "What is computed": every param type, combinations, reserved names, order of checks."""
from urllib.parse import quote

import pytest

from world import World, running

SCHEMA = [("id", "BIGINT"), ("small", "INTEGER"), ("x", "DOUBLE"), ("day", "DATE"), ("at", "TIMESTAMP"), ("ok", "BOOLEAN"), ("name", "VARCHAR")]
ROWS = [(1, 10, 0.5, "2026-06-01", "2026-06-01T00:00:00Z", True, "plain"), (2, 20, 1.0, "2026-06-02", "2026-06-02T12:30:00Z", False, "EMERALD+"),
        (3, 30, 2.0, "2026-06-03", "2026-06-03T00:00:00Z", True, "größe €"), (4, None, None, None, None, None, None),
        (9007199254740993, 40, 9007199254740992.0, "2026-06-05", "2026-06-05T23:59:59.999999Z", False, "a,b"),
        (-9223372036854775808, -40, -1.5, "0001-01-01", "0001-01-01T00:00:00Z", True, "A"), (9223372036854775807, 50, 1e300, "9999-12-31", "9999-12-31T23:59:59Z", False, "ALL")]


def param(name, kind="string", **more):
    return {"name": name, "type": kind, **more}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("params")
    w = World(base / "project")
    w.dataset("t", SCHEMA)
    w.publish("t", "s1", ROWS)
    w.dataset("none", [("id", "BIGINT")])
    w.write("data/none.json", {})
    columns = [c for c, _ in SCHEMA]
    kinds = (("i", "integer"), ("n", "number"), ("b", "boolean"), ("d", "date"), ("ts", "timestamp"), ("s", "string"))
    pairs = {"i": ("id", "small", "x"), "n": ("id", "small", "x"), "b": ("ok",), "d": ("day", "at"), "ts": ("at", "day"), "s": ("name",)}
    params, filters = [], []
    for short, kind in kinds:
        for column in pairs[short]:
            for op in ("eq", "gte", "lte"):
                if short == "b" and op != "eq":
                    continue
                name = f"{short}_{column}_{op}"
                params.append(param(name, kind))
                filters.append((column, op, name))
    for column in ("id", "small", "x", "day", "at", "ok"):
        params.append(param(f"s_{column}_eq"))
        filters.append((column, "eq", f"s_{column}_eq"))
    w.endpoint("all", "t", columns, params=params, filters=filters)
    w.endpoint("one", "t", ["id", "name"], params=[
        param("rank", "enum", enum=["GOLD", "13+", "EMERALD+"], aliases={"gold": "GOLD", "x ": "13+"}), param("who", aliases={"me+": "EMERALD+", "p": "plain"}),
        param("low", "integer", min=1, max=5, default=2), param("ratio", "number", min=0.5, max=1.5), param("need", "integer", required=True)],
        filters=[("name", "eq", "rank"), ("name", "eq", "who"), ("id", "gte", "low")])
    w.endpoint("combo", "t", ["id"], params=[param("a", "integer"), param("b", "integer"), param("c", "integer", default=1)],
               combinations=[["a"], ["a", "b"], []], filters=[("id", "eq", "a"), ("id", "eq", "b"), ("small", "gte", "c")])
    w.endpoint("many", "t", ["id"], params=[param(f"p{i}") for i in range(64)], filters=[("name", "eq", "p0")])
    w.endpoint("page", "t", ["id", "small", "name"], pagination={"default_limit": 2, "max_limit": 4}, order_by=[("id", "asc")])
    w.endpoint("cold", "none", ["id"], params=[param("a", "integer")], filters=[("id", "eq", "a")])
    with running(w.path, base / "cache", ready=False, OFFLOADER_CORS_ORIGINS="*") as s:
        from conftest import wait_for
        wait_for(lambda: s.get("/v1/endpoints/page").status == 200, "the first snapshot")
        yield s


def ids(s, endpoint, query):
    r = s.get(f"/v1/endpoints/{endpoint}?{query}")
    assert r.status == 200, (query, r.body)
    return [x["id"] for x in r.rows]


def refused(s, endpoint, query, *words, family="invalid_param", status=422):
    r = s.get(f"/v1/endpoints/{endpoint}?{query}")
    assert (r.status, r.json["error"]["family"]) == (status, family), (query, r.status, r.body)
    for word in words:
        assert word in r.json["error"]["message"], (query, r.body)
    return r


def test_what_values_mean(server):
    table = [
        ("i_id_eq=1", [1]), ("i_id_eq=%2B1", [1]), ("i_id_eq=0001", [1]), ("i_id_eq=-9223372036854775808", [-9223372036854775808]),
        ("i_id_gte=9223372036854775807", [9223372036854775807]), ("i_id_lte=-9223372036854775808", [-9223372036854775808]),
        ("i_small_eq=99999999999", []), ("i_small_lte=99999999999&i_id_lte=3&i_id_gte=1", [1, 2, 3]), ("i_small_gte=-99999999999&i_id_eq=1", [1]),
        ("i_x_eq=1", [2]), ("i_x_gte=2", [3, 9007199254740993, 9223372036854775807]), ("i_x_eq=9007199254740993", []),  # no such double
        ("i_x_gte=9007199254740993", [9223372036854775807]), ("i_x_lte=9007199254740993&i_x_gte=3", [9007199254740993]),
        ("n_id_eq=1", [1]), ("n_id_eq=1.5", []), ("n_id_gte=1.5&n_id_lte=3", [2, 3]), ("n_id_lte=1e300&i_id_eq=1", [1]), ("n_id_gte=1e300", []),
        ("n_id_eq=1e0", [1]), ("n_x_eq=0.5", [1]), ("n_x_eq=5e-1", [1]), ("n_x_lte=-1.5", [-9223372036854775808]), ("n_x_gte=-0&n_x_lte=1", [1, 2]),
        ("n_small_gte=10.5&n_small_lte=30.5", [2, 3]), ("b_ok_eq=true&i_id_gte=0", [1, 3]), ("b_ok_eq=false&i_id_lte=3", [2]),
        ("d_day_eq=2026-06-01", [1]), ("d_day_gte=2026-06-02&d_day_lte=2026-06-03", [2, 3]), ("d_day_eq=0001-01-01", [-9223372036854775808]),
        ("d_at_eq=2026-06-01", [1]), ("d_at_eq=2026-06-02", []), ("d_at_gte=2026-06-02&d_at_lte=2026-06-03", [2, 3]),  # midnight
        ("ts_at_eq=2026-06-02T12:30:00Z", [2]), ("ts_at_eq=2026-06-02T14:30:00%2B02:00", [2]), ("ts_at_eq=2026-06-02T14:30:00+02:00", [2]),
        ("ts_at_eq=2026-06-02t12:30:00.000z", [2]), ("ts_at_gte=2026-06-05T23:59:59.999999Z&i_id_gte=0", [9007199254740993, 9223372036854775807]),
        ("ts_at_eq=2026-06-02T07:00:00-05:30", [2]), ("ts_day_eq=2026-06-01T00:00:00Z", [1]), ("ts_day_eq=2026-06-01T01:00:00Z", []),
        ("ts_day_gte=2026-06-02T01:00:00Z&i_id_lte=5", [3]), ("s_name_eq=plain", [1]), ("s_name_eq=gr%C3%B6%C3%9Fe+%E2%82%AC", [3]),
        ("s_name_eq=a,b", [9007199254740993]), ("s_name_eq=a%2Cb", [9007199254740993]), ("s_name_eq=", []), ("s_name_eq", []), ("s_name_gte=b&i_id_lte=3", [1, 3]),
        ("s_name_lte=B", [-9223372036854775808, 9223372036854775807]), ("s_id_eq=1", [1]), ("s_id_eq=01", []), ("s_id_eq=ALL", []), ("s_small_eq=ALL", []),
        ("s_x_eq=0.5", [1]), ("s_x_eq=.5", []), ("s_x_eq=1", [2]), ("s_x_eq=1.0", []), ("s_day_eq=2026-06-01", [1]), ("s_day_eq=2026-6-1", []),
        ("s_at_eq=2026-06-02T12:30:00.000000", [2]), ("s_ok_eq=true&i_id_eq=1", [1]), ("s_ok_eq=1", []), ("s_ok_eq=TRUE", []),
        ("%73_name_eq=%70lain", [1]), ("i_id_eq=1&", [1]), ("&&i_id_eq=1", [1]), ("i_id_eq=1&limit=1&offset=0&columns=id", [1]),
    ]
    for query, want in table:
        assert sorted(ids(server, "all", query)) == sorted(want), query


def test_what_is_no_value(server):
    table = {
        "i_id_eq": ["", "+", "-", " 1", "1 ", "1.0", "1e3", "0x1", "1_0", "9223372036854775808", "-9223372036854775809", "9" * 40, "١", "--1", "NULL"],
        "n_x_eq": ["", "NaN", "nan", "inf", "Infinity", "-inf", "1e999", "0x1p3", " 1", "1 ", "1,5", ".", "e5", "1e", "--1"],
        "b_ok_eq": ["", "TRUE", "True", "1", "0", "yes", "t", "true "], "d_day_eq": ["", "2026-6-1", "2026-02-30", "2026-13-01", "0000-01-01", "20260601",
                                                                             "2026-06-01T00:00:00Z", " 2026-06-01", "10000-01-01", "2025-02-29"],
        "ts_at_eq": ["", "2026-06-01", "2026-06-01T00:00:00", "2026-06-01 00:00:00Z", "2026-06-01T24:00:00Z", "2026-06-01T00:60:00Z", "2026-02-30T00:00:00Z",
                     "2026-06-01T00:00:00%2B25:00", "2026-06-01T00:00:00 Z", "1780272000"],
    }
    for name, values in table.items():
        for value in values:
            text = quote(value, safe="%")
            r = refused(server, "all", f"{name}={text}", f"`{name}`")
            assert len(value) < 5 or value not in r.json["error"]["message"], value


def test_defaults_aliases_bounds_and_enums(server):
    for query, want in (("need=1&low=1&rank=EMERALD%2B", [2]), ("need=1&low=1&rank=EMERALD+", [2]), ("need=1&who=me%2B", [2]), ("need=1&who=me+", [2]),
                        ("need=1&low=1&who=p", [1]), ("need=1&who=p", []), ("need=1&rank=gold", []), ("need=1&rank=x+", []), ("need=1&ratio=0.5&who=me%2B", [2])):
        assert ids(server, "one", query) == want, query
    for query, words in (("need=1&rank=EMERALD", ["`rank`"]), ("need=1&rank=GOLD+", ["`rank`"]), ("need=1&rank=emerald%2B", ["`rank`"]), ("need=1&rank=", ["`rank`"]),
                         ("need=1&low=0", ["`low`", "below"]), ("need=1&low=6", ["`low`", "above"]), ("need=1&ratio=0.4999", ["`ratio`"]), ("need=1&ratio=1.51", ["`ratio`"]),
                         ("low=1", ["`need`", "required"]), ("", ["`need`"]), ("need=", ["`need`"])):
        refused(server, "one", query, *words)


def test_order_of_checks(server):
    """unknown names, then combinations, each param as declared, columns, limit, offset; auth: none still has readiness last."""
    refused(server, "one", "zzz=1&rank=bad&need=x&columns=&limit=0&offset=-1", "`zzz`")
    refused(server, "one", "need=x&rank=bad&columns=&limit=0&offset=-1", "`rank`")
    refused(server, "one", "need=x&columns=&limit=0&offset=-1", "`need`")
    refused(server, "one", "need=1&columns=&limit=0&offset=-1", "`columns`")
    refused(server, "one", "need=1&limit=0&offset=-1", "`limit`")
    refused(server, "one", "need=1&offset=-1", "`offset`")
    refused(server, "combo", "b=x&limit=0", "combinations")
    refused(server, "cold", "a=x", "`a`")
    r = refused(server, "cold", "a=1", family="not_ready", status=503)
    assert int(r.headers["retry-after"]) >= 1


def test_combinations_count_what_was_sent(server):
    assert ids(server, "combo", "") == ids(server, "combo", "limit=50")
    assert ids(server, "combo", "a=1") == [1] and ids(server, "combo", "a=1&b=1&offset=0&columns=id") == [1]
    for query in ("b=1", "c=1", "a=1&c=1", "a=1&b=1&c=1", "limit=5&b=1"):
        refused(server, "combo", query, "combinations")


def test_query_strings_that_are_not_well_formed(server):
    for query in ("s_name_eq=%", "s_name_eq=%4", "s_name_eq=%zz", "s_name_eq=%ff", "s_name_eq=%c3%28", "s_name_eq=%00", "%00=1", "s_name_eq=%ed%a0%80", "%zz=1",
                  "s_name_eq=%f4%90%80%80", "s_name_eq=%c0%af", "=", "=1", "s_name_eq=1&s_name_eq=1", "s_name_eq=1&%73_name_eq=1", "limit=1&limit=1",
                  "columns=id&columns=id", "S_NAME_EQ=1", "s_name_eq[]=1", "unknown", "tenant=1", "i_id_eq=1;i_id_eq=2"):
        refused(server, "all", query)
    for query, said in (("secret_name=SECRETVALUE", True), ("Secret-Name=SECRETVALUE", False), ("%22inject%22=1", False), ("a" * 64 + "=1", False), ("a" * 63 + "=1", True)):
        r = refused(server, "all", query)
        name = query.split("=")[0]
        assert (name in r.json["error"]["message"]) == said and b"SECRETVALUE" not in r.body
    assert ids(server, "many", "&".join(f"p{i}=ALL" for i in range(64))) == [9223372036854775807]
    refused(server, "many", "&".join(f"p{i}=ALL" for i in range(64)) + "&limit=1", "64")
    refused(server, "many", "&".join(f"q{i}=1" for i in range(65)), "64")


def test_paging(server):
    first = sorted(r[0] for r in ROWS)
    for query, want, limit, offset, more in (("", first[:2], 2, 0, True), ("limit=4", first[:4], 4, 0, True), ("limit=4&offset=3", first[3:], 4, 3, False),
                                             ("offset=7", [], 2, 7, False), ("offset=9223372036854775807", [], 2, 2**63 - 1, False), ("limit=%2B1", first[:1], 1, 0, True)):
        r = server.get(f"/v1/endpoints/page?{query}")
        assert [x["id"] for x in r.rows] == want, query
        page = r.meta["page"]
        assert (page["limit"], page["offset"], page["has_more"], "next_cursor" in page, "total" in page) == (limit, offset, more, more, False)
    for query in ("limit=0", "limit=5", "limit=-1", "limit=", "limit=1.0", "limit=a", "limit=99999999999999999999"):
        refused(server, "page", query, "`limit`")
    for query in ("offset=-1", "offset=9223372036854775808", "offset=", "offset=x", "offset=1e3"):
        refused(server, "page", query, "`offset`")


def test_columns_narrow_in_select_order(server):
    for query, want in (("columns=name,id", ["id", "name"]), ("columns=%20id%20,%20name", ["id", "name"]), ("columns=id,id", ["id"]), ("columns=small", ["small"])):
        assert list(server.get(f"/v1/endpoints/page?{query}").rows[0]) == want
    for query in ("columns=", "columns=,", "columns=id,", "columns=,id", "columns=id,,name", "columns=x", "columns=ID", "columns=*", "columns=id%00", "columns=+"):
        refused(server, "page", query)


def test_exact_totals(server):
    for query, total in (("page", 7), ("page?limit=1&offset=5", 7), ("all?b_ok_eq=true", 3), ("all?i_id_eq=77", 0), ("all?columns=id&limit=1&b_ok_eq=true", 3)):
        r = server.get(f"/v1/endpoints/{query}", headers={"Prefer": "count=exact"})
        assert r.meta["page"]["total"] == total, query
    for prefer in ("respond-async, count=exact", "count=exact; foo", "COUNT=exact"):
        assert "total" in server.get("/v1/endpoints/page", headers={"Prefer": prefer}).meta["page"]
    for prefer in ("count=planned", "", "count", "xcount=exact"):
        assert "total" not in server.get("/v1/endpoints/page", headers={"Prefer": prefer}).meta["page"]
