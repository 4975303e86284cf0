# SPDX-License-Identifier: Apache-2.0
"""`offloader validate`: every rule of a project file has a row with the code and path of its finding."""
import copy
import hashlib
import json
import os
import subprocess

import pytest
from conftest import BIN


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


PROJECT = {
    "offloader.yml": {"version": 1, "keys": "keys/keys.yml"},
    "datasets/usage.yml": {
        "id": "usage", "manifest": "data/usage.json", "tenant_column": "tenant",
        "schema": [{"name": n, "type": t} for n, t in (
            ("tenant", "VARCHAR"), ("account", "VARCHAR"), ("day", "DATE"), ("at", "TIMESTAMP"), ("calls", "BIGINT"),
            ("cost", "DOUBLE"), ("paid", "BOOLEAN"), ("doc", "JSON"))]},
    "endpoints/usage.yml": {
        "name": "usage", "version": 1, "dataset": "usage", "tenant": {"column": "tenant"},
        "params": [{"name": "account", "type": "string"}, {"name": "since", "type": "date"}],
        "query": {
            "select": [{"as": "account", "column": "account"}, {"as": "calls", "column": "calls", "agg": "sum"}],
            "group_by": ["account"],
            "filters": [{"column": "account", "op": "eq", "param": "account"},
                        {"column": "day", "op": "gte", "param": "since"}],
            "order_by": [{"column": "calls", "dir": "desc"}]},
        "columns": ["account", "calls"]},
    "endpoints/rows.yml": {
        "name": "rows", "version": 1, "dataset": "usage", "tenant": {"column": "tenant"},
        "query": {"select": [{"as": "account", "column": "account"}, {"as": "doc", "column": "doc"}]},
        "columns": ["account", "doc"]},
    "keys/keys.yml": {"keys": [{"id": "one", "hash": digest("one"), "tenant": "t", "endpoints": ["usage", "rows"],
                                "status": "active"}]},
}
TOP, DATA, END, ROWS, KEYS = PROJECT
GONE = object()


def write(directory, documents):
    for name, document in documents.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(document, bytes):
            path.write_bytes(document)
        else:
            path.write_text(document if isinstance(document, str) else json.dumps(document, indent=1))
    return directory


def validate(directory, *flags):
    return subprocess.run([BIN, "validate", "--config", str(directory), *flags], capture_output=True, text=True,
                          check=False)


def findings(directory):
    done = validate(directory, "--json")
    document = json.loads(done.stdout)
    assert (done.returncode == 0) == document["valid"], done
    assert document["errors"] == sum(f["severity"] == "error" for f in document["findings"]) and done.stderr == ""
    return document["findings"]


def put(file, path, value):
    """An edit: the value at a dotted path of a file; GONE removes it."""
    def edit(documents):
        at = documents[file]
        *steps, last = [int(s) if s.isdigit() else s for s in path.split(".")]
        for step in steps:
            at = at.setdefault(step, {}) if isinstance(at, dict) else at[step]
        if value is GONE:
            del at[last]
        elif isinstance(at, list) and last == len(at):
            at.append(value)
        else:
            at[last] = value
    return edit


def param(**fields):
    return put(END, "params.2", {"name": "p", **fields})


def source(**fields):
    def edit(documents):
        del documents[DATA]["manifest"]
        documents[DATA]["source"] = fields
    return edit


DATABRICKS = {"type": "databricks", "bucket": "b", "prefix": "p"}

# why, edit, code, path
WRONG = [
    ("a later version of the format", put(TOP, "version", 2), "invalid_value", "version"),
    ("version as text", put(TOP, "version", "1"), "invalid_type", "version"),
    ("no version", put(TOP, "version", GONE), "missing", "version"),
    ("version null", put(TOP, "version", None), "missing", "version"),
    ("unknown field", put(TOP, "dataset_dir", "d"), "unknown_field", "dataset_dir"),
    ("a directory outside", put(TOP, "datasets_dir", "../d"), "unsafe_path", "datasets_dir"),
    ("an absolute directory", put(TOP, "endpoints_dir", "/d"), "unsafe_path", "endpoints_dir"),
    ("a step out in the middle", put(TOP, "endpoints_dir", "a/../../d"), "unsafe_path", "endpoints_dir"),
    ("a directory that is not there", put(TOP, "endpoints_dir", "nowhere"), "missing_file", "endpoints_dir"),
    ("directory as number", put(TOP, "datasets_dir", 5), "invalid_type", "datasets_dir"),
    ("keys outside", put(TOP, "keys", "../keys.yml"), "unsafe_path", "keys"),
    ("keys not there", put(TOP, "keys", "keys/none.yml"), "missing_file", ""),
    ("keys at an absolute path that is not there", put(TOP, "keys", "/nowhere/keys.yml"), "missing_file", ""),
    ("auth of another kind", put(TOP, "auth", "sso"), "invalid_value", "auth"),
    ("auth as a list", put(TOP, "auth", ["none"]), "invalid_type", "auth"),
    ("public, but an endpoint is tenant-scoped", put(TOP, "auth", "none"), "public_tenant_endpoint", "auth"),
    ("object_store_mode as number", put(TOP, "object_store_mode", 1), "invalid_type", "object_store_mode"),

    ("no id", put(DATA, "id", GONE), "missing", "id"),
    ("id with a capital", put(DATA, "id", "Usage"), "unsafe_identifier", "id"),
    ("id of 64 characters", put(DATA, "id", "a" * 64), "unsafe_identifier", "id"),
    ("id that begins with a digit", put(DATA, "id", "1a"), "unsafe_identifier", "id"),
    ("id as list", put(DATA, "id", ["a"]), "invalid_type", "id"),
    ("unknown field of a dataset", put(DATA, "owner", "x"), "unknown_field", "owner"),
    ("two datasets of one id", lambda d: d.update({"datasets/z.yml": d[DATA]}), "duplicate_dataset", "id"),
    ("no schema", put(DATA, "schema", GONE), "missing", "schema"),
    ("empty schema", put(DATA, "schema", []), "missing", "schema"),
    ("schema as mapping", put(DATA, "schema", {"a": "DATE"}), "invalid_type", "schema"),
    ("a column as text", put(DATA, "schema.0", "tenant"), "invalid_type", "schema[0]"),
    ("a column with a space", put(DATA, "schema.5.name", "a b"), "unsafe_identifier", "schema[5].name"),
    ("a column of 64 characters", put(DATA, "schema.5.name", "a" * 64), "unsafe_identifier", "schema[5].name"),
    ("a column without a name", put(DATA, "schema.5.name", GONE), "missing", "schema[5].name"),
    ("two columns that differ by case", put(DATA, "schema.5.name", "CALLS"), "duplicate_column", "schema[5].name"),
    ("a type there is not", put(DATA, "schema.5.type", "DECIMAL"), "unsupported_type", "schema[5].type"),
    ("a type in lower case", put(DATA, "schema.5.type", "double"), "unsupported_type", "schema[5].type"),
    ("a column without a type", put(DATA, "schema.5.type", GONE), "missing", "schema[5].type"),
    ("unknown field of a column", put(DATA, "schema.5.null", True), "unknown_field", "schema[5].null"),
    ("tenant column that is not there", put(DATA, "tenant_column", "nope"), "unknown_column", "tenant_column"),
    ("tenant column of a double", put(DATA, "tenant_column", "cost"), "type_mismatch", "tenant_column"),
    ("tenant column of a date", put(DATA, "tenant_column", "day"), "type_mismatch", "tenant_column"),
    ("tenant column of a document", put(DATA, "tenant_column", "doc"), "type_mismatch", "tenant_column"),
    ("tenant column with a quote", put(DATA, "tenant_column", 'a"b'), "unsafe_identifier", "tenant_column"),
    ("manifest outside", put(DATA, "manifest", "../m.json"), "unsafe_path", "manifest"),
    ("manifest at an absolute path", put(DATA, "manifest", "/m.json"), "unsafe_path", "manifest"),
    ("manifest empty", put(DATA, "manifest", ""), "unsafe_path", "manifest"),
    ("manifest as number", put(DATA, "manifest", 1), "invalid_type", "manifest"),
    ("manifest and source", put(DATA, "source", DATABRICKS), "conflicting_origin", "source"),
    ("neither", put(DATA, "manifest", GONE), "missing", "manifest"),
    ("source of another type", source(type="kafka"), "invalid_value", "source.type"),
    ("source without a type", source(bucket="b"), "missing", "source.type"),
    ("source as text", lambda d: (d[DATA].pop("manifest"), d[DATA].update(source="s3://b")), "invalid_type", "source"),
    ("databricks without a bucket", source(type="databricks", prefix="p"), "missing", "source.bucket"),
    ("databricks without a prefix", source(type="databricks", bucket="b"), "missing", "source.prefix"),
    ("a bucket with a slash", source(**{**DATABRICKS, "bucket": "b/c"}), "invalid_value", "source.bucket"),
    ("a prefix with a leading slash", source(**{**DATABRICKS, "prefix": "/p"}), "invalid_value", "source.prefix"),
    ("another store", source(**DATABRICKS, store="azure"), "invalid_value", "source.store"),
    ("interval of 0", source(**DATABRICKS, interval_seconds=0), "invalid_value", "source.interval_seconds"),
    ("interval as text", source(**DATABRICKS, interval_seconds="60"), "invalid_type", "source.interval_seconds"),
    ("a url with databricks", source(**DATABRICKS, url="s3://b/m"), "unknown_field", "source.url"),
    ("a bucket with a manifest", source(type="manifest", url="s3://b/m", bucket="b"), "unknown_field", "source.bucket"),
    ("manifest source without a url", source(type="manifest"), "missing", "source.url"),
    ("a url of another kind", source(type="manifest", url="ftp://b/m"), "invalid_value", "source.url"),
    ("a relative url", source(type="manifest", url="m.json"), "invalid_value", "source.url"),
    ("allow as text", source(**DATABRICKS, allow="b"), "invalid_type", "source.allow"),

    ("checks as list", put(DATA, "checks", []), "invalid_type", "checks"),
    ("a check there is not", put(DATA, "checks", {"min_row": 1}), "unknown_field", "checks.min_row"),
    ("min_rows below 0", put(DATA, "checks.min_rows", -1), "invalid_value", "checks.min_rows"),
    ("min_rows as double", put(DATA, "checks.min_rows", 1.5), "invalid_type", "checks.min_rows"),
    ("drop above 1", put(DATA, "checks.max_row_drop_ratio", 1.1), "invalid_value", "checks.max_row_drop_ratio"),
    ("drop below 0", put(DATA, "checks.max_row_drop_ratio", -0.1), "invalid_value", "checks.max_row_drop_ratio"),
    ("growth of 0", put(DATA, "checks.max_row_growth_ratio", 0), "invalid_value", "checks.max_row_growth_ratio"),
    ("growth as text", put(DATA, "checks.max_row_growth_ratio", "1"), "invalid_type", "checks.max_row_growth_ratio"),
    ("not_null of no column", put(DATA, "checks.not_null", ["nope"]), "unknown_column", "checks.not_null[0]"),
    ("not_null as text", put(DATA, "checks.not_null", "day"), "invalid_type", "checks.not_null"),
    ("unique as flat list", put(DATA, "checks.unique", ["day"]), "invalid_type", "checks.unique[0]"),
    ("unique of no column", put(DATA, "checks.unique", [["day", "nope"]]), "unknown_column", "checks.unique[0][1]"),
    ("unique of nothing", put(DATA, "checks.unique", [[]]), "missing", "checks.unique[0]"),
    ("null ratio of no column", put(DATA, "checks.max_null_ratio", {"nope": 0.5}), "unknown_column",
     "checks.max_null_ratio.nope"),
    ("null ratio above 1", put(DATA, "checks.max_null_ratio", {"day": 2}), "invalid_value", "checks.max_null_ratio.day"),
    ("null ratio as text", put(DATA, "checks.max_null_ratio", {"day": "0.1"}), "invalid_type",
     "checks.max_null_ratio.day"),
    ("null ratio as list", put(DATA, "checks.max_null_ratio", ["day"]), "invalid_type", "checks.max_null_ratio"),
    ("tenant ratio above 1", put(DATA, "checks.min_tenant_ratio", 1.01), "invalid_value", "checks.min_tenant_ratio"),
    ("max age of 0", put(DATA, "checks.max_age_minutes", 0), "invalid_value", "checks.max_age_minutes"),

    ("no name", put(END, "name", GONE), "missing", "name"),
    ("name with a dash", put(END, "name", "a-b"), "unsafe_identifier", "name"),
    ("two endpoints of one name", put(ROWS, "name", "usage"), "duplicate_endpoint", "name"),
    ("version 0", put(END, "version", 0), "invalid_value", "version"),
    ("version as double", put(END, "version", 1.0), "invalid_type", "version"),
    ("unknown dataset", put(END, "dataset", "nope"), "unknown_dataset", "dataset"),
    ("owner as number", put(END, "owner", 1), "invalid_type", "owner"),
    ("another serving mode", put(END, "serving_mode", "table"), "invalid_value", "serving_mode"),
    ("no tenant", put(END, "tenant", GONE), "missing", "tenant"),
    ("tenant without column", put(END, "tenant", {}), "missing", "tenant.column"),
    ("tenant of another column", put(END, "tenant.column", "account"), "tenant_mismatch", "tenant.column"),
    ("tenant by another case", put(END, "tenant.column", "TENANT"), "tenant_mismatch", "tenant.column"),
    ("tenant on a dataset without", lambda d: d[DATA].pop("tenant_column"), "tenant_forbidden", "tenant"),
    ("freshness without its field", put(END, "freshness", {}), "missing", "freshness.max_staleness_minutes"),
    ("freshness below 0", put(END, "freshness.max_staleness_minutes", -5), "invalid_value",
     "freshness.max_staleness_minutes"),
    ("default_limit of 0", put(END, "pagination", {"default_limit": 0, "max_limit": 1}), "invalid_value",
     "pagination.default_limit"),
    ("default above max", put(END, "pagination", {"default_limit": 2, "max_limit": 1}), "invalid_value",
     "pagination.default_limit"),
    ("another cache policy", put(END, "cache", {"policy": "ttl"}), "invalid_value", "cache.policy"),
    ("integers as words", put(END, "integers", "words"), "invalid_value", "integers"),

    ("a param as text", put(END, "params.2", "p"), "invalid_type", "params[2]"),
    ("params as mapping", put(END, "params", {"p": "string"}), "invalid_type", "params"),
    ("a param without a type", param(), "missing", "params[2].type"),
    ("a param of another type", param(type="int"), "invalid_value", "params[2].type"),
    ("a param twice", param(name="since", type="date"), "duplicate_param", "params[2].name"),
    *[(f"a param called {n}", param(name=n, type="integer"), "reserved_name", "params[2].name")
      for n in ("limit", "offset", "columns", "cursor")],
    ("required as text", param(type="string", required="yes"), "invalid_type", "params[2].required"),
    ("a list on a string", param(type="string", enum=["a"]), "invalid_value", "params[2].enum"),
    ("an enum without a list", param(type="enum"), "missing", "params[2].enum"),
    ("an enum with an empty list", param(type="enum", enum=[]), "missing", "params[2].enum"),
    ("an enum of numbers", param(type="enum", enum=[1]), "invalid_type", "params[2].enum[0]"),
    ("bounds on a date", param(type="date", min=1), "invalid_value", "params[2].min"),
    ("bounds on a string", param(type="string", max=1), "invalid_value", "params[2].max"),
    ("a bound of half an integer", param(type="integer", max=1.5), "invalid_type", "params[2].max"),
    ("a bound as text", param(type="number", min="1"), "invalid_type", "params[2].min"),
    ("max below min", param(type="integer", min=2, max=1), "invalid_value", "params[2].max"),
    ("aliases on a boolean", param(type="boolean", aliases={"y": "true"}), "invalid_value", "params[2].aliases"),
    ("an alias to no value of the enum", param(type="enum", enum=["a"], aliases={"x": "b"}), "invalid_value",
     "params[2].aliases.x"),
    ("an alias to a number", param(type="string", aliases={"x": 1}), "invalid_type", "params[2].aliases.x"),
    *[(f"default {v!r} of type {t}", param(type=t, default=v, **more), "invalid_default", "params[2].default")
      for t, v, more in (("integer", "1.5", {}), ("integer", 1.5, {}), ("integer", True, {}), ("integer", 0, {"min": 1}),
                         ("number", "x", {}), ("number", 2.5, {"max": 2}), ("boolean", 1, {}), ("boolean", "yes", {}),
                         ("date", "2026-02-30", {}), ("date", 20260101, {}), ("timestamp", "2026-01-01", {}),
                         ("enum", "c", {"enum": ["a", "b"]}), ("string", 5, {}), ("string", ["a"], {}))],
    ("a combination of an undeclared param", put(END, "combinations", [["nope"]]), "unknown_param",
     "combinations[0][0]"),
    ("a combination that names one twice", put(END, "combinations", [["since", "since"]]), "duplicate_param",
     "combinations[0][1]"),
    ("a combination as text", put(END, "combinations", ["since"]), "invalid_type", "combinations[0]"),

    ("no query", put(END, "query", GONE), "missing", "query"),
    ("query as text", put(END, "query", "SELECT 1"), "invalid_type", "query"),
    ("SQL in a query", put(END, "query.where", "1=1"), "unknown_field", "query.where"),
    ("no select", put(END, "query.select", GONE), "missing", "query.select"),
    ("empty select", put(END, "query.select", []), "missing", "query.select"),
    ("select of an expression", put(END, "query.select.1.column", "calls * 2"), "unsafe_identifier",
     "query.select[1].column"),
    ("select of no column", put(END, "query.select.1.column", "nope"), "unknown_column", "query.select[1].column"),
    ("an output twice", put(END, "query.select.1.as", "account"), "duplicate_column", "query.select[1].as"),
    ("an output without a name", put(END, "query.select.1.as", GONE), "missing", "query.select[1].as"),
    ("another aggregate", put(END, "query.select.1.agg", "median"), "invalid_value", "query.select[1].agg"),
    *[(f"{agg} of a document", put(END, "query.select.1", {"as": "calls", "column": "doc", "agg": agg}),
       "invalid_agg_on_json", "query.select[1].agg") for agg in ("count", "min", "sum")],
    *[(f"{agg} of {column}", put(END, "query.select.1", {"as": "calls", "column": column, "agg": agg}),
       "invalid_agg_type", "query.select[1].agg")
      for agg in ("sum", "avg") for column in ("account", "day", "at", "paid")],
    ("an aggregate without groups", put(END, "query.group_by", GONE), "missing_group_by", "query.group_by"),
    ("an aggregate with no group", put(END, "query.group_by", []), "missing_group_by", "query.group_by"),
    ("groups as text", put(END, "query.group_by", "account"), "invalid_type", "query.group_by"),
    ("a group that is not selected", put(END, "query.group_by.1", "day"), "unknown_column", "query.group_by[1]"),
    ("a group of an aggregate", put(END, "query.group_by.1", "calls"), "invalid_value", "query.group_by[1]"),
    ("an output outside the groups", put(END, "query.select.2", {"as": "day", "column": "day"}), "ungrouped_column",
     "query.select[2]"),
    ("filters as mapping", put(END, "query.filters", {}), "invalid_type", "query.filters"),
    ("a filter of no column", put(END, "query.filters.0.column", "nope"), "unknown_column", "query.filters[0].column"),
    ("a filter of the tenant", put(END, "query.filters.0.column", "tenant"), "tenant_filter_forbidden",
     "query.filters[0].column"),
    ("a filter of a document", put(END, "query.filters.0.column", "doc"), "type_mismatch", "query.filters[0].column"),
    ("another operator", put(END, "query.filters.0.op", "in"), "invalid_value", "query.filters[0].op"),
    ("no operator", put(END, "query.filters.0.op", GONE), "missing", "query.filters[0].op"),
    ("a filter by no param", put(END, "query.filters.0.param", "nope"), "unknown_param", "query.filters[0].param"),
    ("a filter without a param", put(END, "query.filters.0.param", GONE), "missing", "query.filters[0].param"),
    ("unknown field of a filter", put(END, "query.filters.0.value", 1), "unknown_field", "query.filters[0].value"),
    *[(f"{t} against {column} by {op}", lambda d, t=t, column=column, op=op: (
        put(END, "params.1.type", t)(d), put(END, "query.filters.1", {"column": column, "op": op, "param": "since"})(d)),
       "type_mismatch", "query.filters[1].param")
      for t, column, op in (("string", "calls", "gte"), ("string", "day", "lte"), ("integer", "account", "eq"),
                            ("integer", "day", "eq"), ("number", "paid", "eq"), ("boolean", "calls", "eq"),
                            ("date", "calls", "gte"), ("date", "account", "eq"), ("timestamp", "cost", "eq"))],
    ("order by a column that is no output", put(END, "query.order_by.0.column", "day"), "unknown_column",
     "query.order_by[0].column"),
    ("order without a direction", put(END, "query.order_by.0.dir", GONE), "missing", "query.order_by[0].dir"),
    ("another direction", put(END, "query.order_by.0.dir", "DESC"), "invalid_value", "query.order_by[0].dir"),
    ("order by a document", put(ROWS, "query.order_by", [{"column": "doc", "dir": "asc"}]), "type_mismatch",
     "query.order_by[0].column"),
    ("no columns", put(END, "columns", GONE), "missing", "columns"),
    ("empty columns", put(END, "columns", []), "missing", "columns"),
    ("a column too many", put(END, "columns.2", "day"), "column_not_selected", "columns[2]"),
    ("a column too few", put(END, "columns", ["account"]), "column_not_allowlisted", "columns"),

    ("keys as mapping", put(KEYS, "keys", {}), "invalid_type", "keys"),
    ("no list of keys", put(KEYS, "keys", GONE), "missing", "keys"),
    ("a key as text", put(KEYS, "keys.0", "one"), "invalid_type", "keys[0]"),
    ("two keys of one id", put(KEYS, "keys.1", {"id": "one", "hash": digest("2"), "tenant": "t", "endpoints": ["rows"],
                                                "status": "active"}), "duplicate_key", "keys[1].id"),
    ("two keys of one token", put(KEYS, "keys.1", {"id": "two", "hash": digest("one"), "tenant": "t",
                                                   "endpoints": ["rows"], "status": "active"}),
     "duplicate_key", "keys[1].hash"),
    ("a token instead of its hash", put(KEYS, "keys.0.hash", "offl_secret"), "invalid_value", "keys[0].hash"),
    ("a hash in capitals", put(KEYS, "keys.0.hash", digest("one").upper()), "invalid_value", "keys[0].hash"),
    ("a hash one digit short", put(KEYS, "keys.0.hash", digest("one")[1:]), "invalid_value", "keys[0].hash"),
    ("an empty tenant", put(KEYS, "keys.0.tenant", ""), "invalid_value", "keys[0].tenant"),
    ("a tenant as number", put(KEYS, "keys.0.tenant", 7), "invalid_type", "keys[0].tenant"),
    ("no tenant for a tenant's endpoint", put(KEYS, "keys.0.tenant", None), "tenant_required", "keys[0].tenant"),
    ("no endpoints", put(KEYS, "keys.0.endpoints", []), "missing", "keys[0].endpoints"),
    ("an endpoint there is not", put(KEYS, "keys.0.endpoints.2", "nope"), "unknown_endpoint", "keys[0].endpoints[2]"),
    ("no status", put(KEYS, "keys.0.status", GONE), "missing", "keys[0].status"),
    ("another status", put(KEYS, "keys.0.status", "paused"), "invalid_value", "keys[0].status"),
    ("expiry as date", put(KEYS, "keys.0.expires_at", "2027-01-01"), "invalid_value", "keys[0].expires_at"),
    ("expiry without offset", put(KEYS, "keys.0.expires_at", "2027-01-01T00:00:00"), "invalid_value",
     "keys[0].expires_at"),
    ("expiry as number", put(KEYS, "keys.0.expires_at", 1), "invalid_type", "keys[0].expires_at"),
    ("a rate of 0", put(KEYS, "keys.0.rate_limit", {"requests_per_second": 0, "burst": 1}), "invalid_value",
     "keys[0].rate_limit.requests_per_second"),
    ("a burst of 0", put(KEYS, "keys.0.rate_limit", {"requests_per_second": 1, "burst": 0}), "invalid_value",
     "keys[0].rate_limit.burst"),
    ("a rate without a burst", put(KEYS, "keys.0.rate_limit", {"requests_per_second": 1}), "missing",
     "keys[0].rate_limit.burst"),
    ("an empty rate limit", put(KEYS, "keys.0.rate_limit", {}), "missing", "keys[0].rate_limit.requests_per_second"),
    ("unknown field of a key", put(KEYS, "keys.0.role", "admin"), "unknown_field", "keys[0].role"),
]


@pytest.mark.parametrize("edit, code, path", [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_broken_rule_is_found(edit, code, path, tmp_path):
    documents = copy.deepcopy(PROJECT)
    edit(documents)
    found = findings(write(tmp_path, documents))
    assert (code, path) in [(f["code"], f["path"]) for f in found], found
    for f in found:
        assert f["message"] and f["file"] and (f["code"] == "missing_file" or f["line"] >= 1 and f["column"] >= 1), f


RIGHT = [
    ("as it stands", lambda d: None),
    ("a tenant of integers", put(DATA, "schema.0.type", "INTEGER")),
    ("gates of every kind", put(DATA, "checks", {
        "min_rows": 0, "max_row_drop_ratio": 1, "max_row_growth_ratio": 0.01, "not_null": ["day"],
        "unique": [["account", "day"], ["at"]], "max_null_ratio": {"cost": 0, "paid": 1}, "min_tenant_ratio": 0.5,
        "max_age_minutes": 1})),
    ("a source in a bucket", source(**DATABRICKS, store="s3", interval_seconds=1)),
    ("a manifest at a URL", source(type="manifest", url="https://example.com/m.json", interval_seconds=60)),
    ("params of every kind", lambda d: [param(name=f"p{i}", **p)(d) or d[END]["params"].append(d[END]["params"].pop(2))
                                        for i, p in enumerate((
        {"type": "integer", "min": -5, "max": 5, "default": 0}, {"type": "number", "min": 0.5, "default": 1},
        {"type": "boolean", "default": False}, {"type": "timestamp", "default": "2026-01-01T00:00:00+02:00"},
        {"type": "enum", "enum": ["a", "b"], "default": "X", "aliases": {"X": "a"}}, {"type": "date", "required": True},
        {"type": "string", "default": ""}))]),
    ("no param or just one", put(END, "combinations", [[], ["since"]])),
    ("text against any column for equality", lambda d: (
        put(END, "params.1.type", "string")(d), put(END, "query.filters.1", {"column": "calls", "op": "eq",
                                                                             "param": "since"})(d))),
    ("a date against a timestamp", put(END, "query.filters.1.column", "at")),
    ("groups without an aggregate", lambda d: (put(END, "query.select.1.agg", GONE)(d),
                                               put(END, "query.group_by", ["calls", "account"])(d))),
    ("count, min and max of text", lambda d: [put(END, f"query.select.{i + 1}", {
        "as": f"c{i}", "column": "account", "agg": agg})(d) or put(END, f"columns.{i + 1}", f"c{i}")(d) or put(
            END, "query.order_by", [])(d) for i, agg in enumerate(("count", "min", "max"))]),
    ("columns in another order", put(END, "columns", ["calls", "account"])),
    ("a revoked key that expires and is limited", lambda d: d[KEYS]["keys"][0].update(
        status="revoked", expires_at="2027-01-31T00:00:00Z", rate_limit={"requests_per_second": 0.5, "burst": 1})),
    ("public without keys", lambda d: [d[TOP].update(auth="none"), d[TOP].pop("keys"), d[DATA].pop("tenant_column"),
                                       d[END].pop("tenant"), d[ROWS].pop("tenant")]),
]


@pytest.mark.parametrize("edit", [row[1] for row in RIGHT], ids=[row[0] for row in RIGHT])
def test_a_right_project_has_no_errors(edit, tmp_path):
    documents = copy.deepcopy(PROJECT)
    edit(documents)
    assert [f for f in findings(write(tmp_path, documents)) if f["severity"] == "error"] == []


YAML_WRONG = [
    ("an open bracket", "id: [a\n", 2),
    ("a key twice", "id: a\nid: b\n", 2),
    ("an anchor", "id: &x a\ndescription: *x\n", 1),
    ("a tag", "id: !!str a\n", 1),
    ("two documents", "id: a\n---\nid: b\n", 2),
    ("a mapping as key", "? {a: b}\n: c\n", 1),
    ("33 levels", "a: " + "[" * 33 + "]" * 33 + "\n", 1),
    ("a tab as indentation", "a:\n\tb: c\n", 2),
    ("a directive", "%YAML 1.1\n---\nid: a\n", 1),
    ("what stands after a NUL", b"id: a\nmanifest: b\0\nid: [\n", 2),
    ("no UTF-8", b"id: a\ndescription: \xff\n", 2),
]


@pytest.mark.parametrize("text, line", [row[1:] for row in YAML_WRONG], ids=[row[0] for row in YAML_WRONG])
def test_yaml_that_is_none(text, line, tmp_path):
    found = findings(write(tmp_path, {**PROJECT, "datasets/bad.yml": text}))
    assert [(f["file"], f["code"], f["line"]) for f in found if f["severity"] == "error"] == \
        [("datasets/bad.yml", "yaml_error", line)], found


@pytest.mark.parametrize("text", ["", "# nothing\n", "just text\n", "[1, 2]\n"])
def test_a_file_that_is_no_mapping(text, tmp_path):
    found = findings(write(tmp_path, {**PROJECT, "datasets/bad.yml": text}))
    assert [(f["code"], f["line"]) for f in found if f["severity"] == "error"][0][0] == "not_a_map"
    assert found[0]["line"] >= 1


def test_every_problem_at_once_with_its_place(tmp_path):
    write(tmp_path, {
        TOP: "version: 1\nauth: none\nkeys: keys/keys.yml\n",
        DATA: "id: usage\nmanifest: data/m.json\ntenant_column: tenant\nschema:\n  - { name: tenant, type: TEXT }\n"
              "  - { name: a b, type: DATE }\n",
        END: "name: usage\nversion: 0\ndataset: usage\ntenant: { column: tenant }\nwhere: x\nquery:\n  select:\n"
             "    - { as: tenant, column: tenant }\n  filter: []\ncolumns: [tenant, more]\n",
        KEYS: "keys:\n  - id: k\n    hash: nope\n    endpoints: [none]\n    status: active\n"})
    done = validate(tmp_path)
    assert done.returncode == 1 and done.stderr == ""
    for line in (
            "offloader.yml:2:7: auth: public_tenant_endpoint: ",
            "datasets/usage.yml:5:27: schema[0].type: unsupported_type: ",
            "datasets/usage.yml:6:13: schema[1].name: unsafe_identifier: ",
            "endpoints/usage.yml:2:10: version: invalid_value: ",
            "endpoints/usage.yml:5:1: where: unknown_field: ",
            "endpoints/usage.yml:9:3: query.filter: unknown_field: `filter` is not a field here (did you mean `filters`?)",
            "endpoints/usage.yml:10:19: columns[1]: column_not_selected: ",
            "keys/keys.yml:3:11: keys[0].hash: invalid_value: ",
            "keys/keys.yml:4:17: keys[0].endpoints[0]: unknown_endpoint: ",
            "9 error(s), 0 warning(s)"):
        assert line in done.stdout, f"{line}\n{done.stdout}"


def test_an_index_counts_the_items_of_the_file(tmp_path):
    documents = copy.deepcopy(PROJECT)
    documents[END]["query"]["select"][0:0] = [{"as": "a b", "column": "day"}]
    documents[END]["query"]["select"].append({"as": "day", "column": "day"})
    assert "query.select[3]" in [f["path"] for f in findings(write(tmp_path, documents))
                                 if f["code"] == "ungrouped_column"]


def test_text_of_a_file_does_not_reach_the_terminal_as_it_is(tmp_path):
    documents = {**PROJECT, "datasets/bad.yml": '"\\e[31m\\nred": 1\n'}
    done = validate(write(tmp_path, documents))
    assert "\x1b" not in done.stdout and "\\x1b[31m\\x0ared: unknown_field" in done.stdout


def test_warnings_fail_with_strict_only(tmp_path):
    documents = copy.deepcopy(PROJECT)
    del documents[TOP]["keys"], documents[KEYS]
    documents["data/usage.json"] = "{"
    write(tmp_path, documents)
    assert validate(tmp_path).returncode == 1  # a manifest that is none, under its dataset
    os.remove(tmp_path / "data/usage.json")
    done = validate(tmp_path)
    assert done.returncode == 0 and "keys: no_keys: warning: " in done.stdout
    assert validate(tmp_path, "--strict").returncode == 1


def test_a_project_that_is_not_there(tmp_path):
    found = findings(tmp_path / "nowhere")
    assert [f["code"] for f in found] == ["missing_file"]
    done = validate(tmp_path / "nowhere", "--wat")
    assert done.returncode == 2 and done.stdout == "" and "--wat" in done.stderr


def test_keys_at_an_absolute_path_and_as_many_as_are_allowed(tmp_path):
    keys = "".join(f'  - {{id: k{i}, hash: "{digest(str(i))}", tenant: t, endpoints: [rows], status: active}}\n'
                   for i in range(300000))
    assert len(keys) < 64 << 20
    mounted = tmp_path / "secrets/keys.yml"
    documents = {**PROJECT, TOP: {"version": 1, "keys": str(mounted)}}
    write(tmp_path / "project", documents)
    write(tmp_path / "secrets", {"keys.yml": "keys:\n" + keys})
    done = validate(tmp_path / "project")
    assert done.returncode == 0 and "300000 key(s)" in done.stdout, done.stdout
    with open(mounted, "a", encoding="utf-8") as f:
        f.write(f'  - {{id: more, hash: "{digest("more")}", tenant: t, endpoints: [rows], status: active}}\n')
    found = findings(tmp_path / "project")
    assert (str(mounted), "keys", "invalid_value") in [(f["file"], f["path"], f["code"]) for f in found]


def test_names_that_count_are_those_of_yaml_files(tmp_path):
    documents = {**PROJECT, "datasets/README.md": "not: [yaml", "endpoints/old.yml.bak": "x", "endpoints/.hidden.yml": "x"}
    assert [f for f in findings(write(tmp_path, documents)) if f["severity"] == "error"] == []


def test_a_manifest_outside_the_project_is_looked_at_too(tmp_path):
    documents = copy.deepcopy(PROJECT)
    source(type="manifest", url=str(tmp_path / "published.json"))(documents)
    write(tmp_path / "project", documents)
    assert [f["code"] for f in findings(tmp_path / "project")] == ["missing_file"]
    (tmp_path / "published.json").write_text("[]")
    assert [f["severity"] for f in findings(tmp_path / "project")] == ["error"]


def test_manifests_that_cannot_be_read_stop_nothing(tmp_path):
    """Each is a finding at its own name, and so is what is wrong with the last one's text."""
    documents = copy.deepcopy(PROJECT)
    for name in ("d", "link", "large", "text"):
        documents[f"datasets/{name}.yml"] = {**documents[DATA], "id": name, "manifest": f"data/{name}.json"}
    documents["data/text.json"] = "{"
    write(tmp_path, documents)
    (tmp_path / "data/d.json").mkdir()
    (tmp_path / "data/link.json").symlink_to("link.json")
    with open(tmp_path / "data/large.json", "wb") as f:
        f.truncate((32 << 20) + 1)
    want = {"data/d.json": "unreadable_file", "data/link.json": "unreadable_file", "data/large.json": "file_too_large",
            "data/text.json": "invalid_json", "data/usage.json": "missing_file"}
    assert {f["file"]: f["code"] for f in findings(tmp_path)} == want
    del want["data/usage.json"]
    for name, code in want.items():
        done = subprocess.run([BIN, "manifest", "validate", str(tmp_path / name)], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 1 and f"{code}: " in done.stdout and done.stderr == "", done


def test_more_findings_than_are_shown_are_counted(tmp_path):
    keys = [{"id": f"k{i}", "hash": digest(str(i)), "tenant": "t", "endpoints": ["gone"], "status": "active"}
            for i in range(10050)]
    write(tmp_path, {**PROJECT, KEYS: {"keys": keys}})
    done = validate(tmp_path)
    assert done.returncode == 1 and done.stdout.endswith("10050 error(s), 0 warning(s)\n"), done.stdout[-200:]
    assert "only the first 10000 findings are shown" in done.stdout
    document = json.loads(validate(tmp_path, "--json").stdout)
    assert (document["errors"], document["warnings"], document["truncated"]) == (10050, 0, True)
