# SPDX-License-Identifier: Apache-2.0
"""The trial data and its project: 3,000,000 rows of usage (100 tenants x 50 accounts x 600 days) and
200 nested documents of about 50 KB. Deterministic: the same rows on every machine.

    /usr/bin/python3 bench/trial.py DIRECTORY [--keys N]
"""
import argparse
import datetime
import hashlib
import importlib.machinery
import importlib.util
import json
import os

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TENANTS, ACCOUNTS, DAYS, DOCUMENTS = 100, 50, 600, 200
ROWS = TENANTS * ACCOUNTS * DAYS
FIRST_DAY = datetime.date(2025, 1, 1)
TOKEN = "offl_" + "b" * 48
TENANT = "tenant_042"
USAGE = [("tenant_id", "VARCHAR"), ("account_id", "VARCHAR"), ("day", "DATE"), ("region", "VARCHAR"),
         ("calls", "BIGINT"), ("errors", "INTEGER"), ("cost", "DOUBLE")]
DOCUMENT = [("id", "INTEGER"), ("document", "JSON")]

# Rows leave the generator in an order that no query wants, as an export would.
USAGE_SQL = f"""
SELECT printf('tenant_%03d', i // {ACCOUNTS * DAYS}) AS tenant_id,
       printf('acct_%05d', i // {DAYS}) AS account_id,
       (DATE '{FIRST_DAY}' + (i % {DAYS})::INTEGER)::DATE AS day,
       ['eu-west', 'eu-north', 'us-east', 'us-west', 'ap-south'][1 + (hash(i) % 5)::INTEGER] AS region,
       (hash(i + 7) % 100000)::BIGINT AS calls,
       (hash(i + 13) % 50)::INTEGER AS errors,
       ((hash(i + 29) % 1000000)::DOUBLE / 100) AS cost
FROM range({ROWS}) t(i) ORDER BY hash(i)"""
DOCUMENT_SQL = f"""
SELECT i::INTEGER AS id,
       {{'id': i, 'title': printf('Report %d', i), 'sections':
         [{{'name': printf('section %d', s), 'score': (hash(i * 1000 + s) % 10000)::DOUBLE / 100,
           'notes': [printf('note %d of section %d: all is well', n, s) for n in range(10)],
           'flags': {{'reviewed': s % 2 = 0, 'owner': printf('team_%d', s % 7)}}}} for s in range(110)]}} AS document
FROM range({DOCUMENTS}) t(i) ORDER BY i"""


def tools():
    """tools/make-examples as a module: its DuckDB helper and manifest writer are what is needed here."""
    loader = importlib.machinery.SourceFileLoader("make_examples", os.path.join(ROOT, "tools", "make-examples"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("make_examples", loader))
    loader.exec_module(module)
    return module


def endpoint(name, dataset, tenant, body):
    head = f"name: {name}\nversion: 1\ndataset: {dataset}\n"
    return head + ("tenant: { column: tenant_id }\n" if tenant else "") + body


SUM = """params:
  - { name: account_id, type: string, required: true }
  - { name: from, type: date, required: true }
  - { name: to, type: date, required: true }
query:
  select:
    - { as: account_id, column: account_id }
    - { as: calls, column: calls, agg: sum }
    - { as: errors, column: errors, agg: sum }
    - { as: cost, column: cost, agg: sum }
    - { as: days, column: day, agg: count }
  group_by: [account_id]
  filters:
    - { column: account_id, op: eq, param: account_id }
    - { column: day, op: gte, param: from }
    - { column: day, op: lte, param: to }
columns: [account_id, calls, errors, cost, days]
"""
ROWS_BODY = """params:
  - { name: account_id, type: string, required: true }
query:
  select:
    - { as: day, column: day }
    - { as: calls, column: calls }
    - { as: errors, column: errors }
    - { as: cost, column: cost }
  filters:
    - { column: account_id, op: eq, param: account_id }
  order_by:
    - { column: day, dir: asc }
columns: [day, calls, errors, cost]
pagination: { default_limit: 200, max_limit: 500 }
"""
GROUPS = """query:
  select:
    - {{ as: {key}, column: {key} }}
    - {{ as: calls, column: calls, agg: sum }}
    - {{ as: errors, column: errors, agg: max }}
    - {{ as: days, column: day, agg: count }}
  group_by: [{key}]
columns: [{key}, calls, errors, days]
"""
DOCUMENT_BODY = """params:
  - { name: id, type: integer, required: true }
query:
  select:
    - { as: id, column: id }
    - { as: document, column: document }
  filters:
    - { column: id, op: eq, param: id }
columns: [id, document]
"""
CACHED = "cache: { policy: snapshot }\n"
ENDPOINTS = {
    "account_sum": ("usage", True, SUM), "account_sum_cached": ("usage", True, SUM + CACHED),
    "account_rows": ("usage", True, ROWS_BODY), "account_rows_cached": ("usage", True, ROWS_BODY + CACHED),
    "tenant_groups": ("usage", True, GROUPS.format(key="account_id")),
    "all_groups": ("usage_all", False, GROUPS.format(key="region")),
    "document": ("documents", False, DOCUMENT_BODY), "document_cached": ("documents", False, DOCUMENT_BODY + CACHED),
}


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def dataset(name, schema, data, tenant):
    lines = [f"id: {name}", f"manifest: data/{data}/{name}.json"] + (["tenant_column: tenant_id"] if tenant else [])
    return "\n".join(lines + ["schema:"] + [f"  - {{ name: {n}, type: {t} }}" for n, t in schema]) + "\n"


def write_manifest(make, directory, name, schema, data, n_rows):
    path = os.path.join(directory, "data", data)
    make.manifest(path, name, schema, f"{data}.parquet", "parquet", n_rows, "trial-1")
    os.rename(os.path.join(path, "manifest.json"), os.path.join(path, f"{name}.json"))


def keys_text(n_keys, grants):
    def key(i, token, tenant):
        digest = hashlib.sha256(token.encode()).hexdigest()
        return (f'  - {{ id: key{i}, hash: "{digest}", tenant: {tenant}, endpoints: [{", ".join(grants)}], '
                "status: active }\n")
    others = "".join(key(i, f"offl_other_{i}", f"tenant_{i % TENANTS:03d}") for i in range(1, n_keys))
    return "keys:\n" + key(0, TOKEN, TENANT) + others


def project(directory, endpoints, datasets, n_keys=1):
    """Project files over data that is there already."""
    write(os.path.join(directory, "offloader.yml"),
          "version: 1\ndatasets_dir: datasets\nendpoints_dir: endpoints\nkeys: keys/keys.yml\nauth: required\n")
    for name in datasets:
        schema, data = (DOCUMENT, "documents") if name == "documents" else (USAGE, "usage")
        write(os.path.join(directory, f"datasets/{name}.yml"), dataset(name, schema, data, name == "usage"))
    for name in endpoints:
        write(os.path.join(directory, f"endpoints/{name}.yml"), endpoint(name, *ENDPOINTS[name]))
    write(os.path.join(directory, "keys/keys.yml"), keys_text(n_keys, list(endpoints)))


def make(directory, n_keys=1):
    module = tools()
    duck = module.Duck()
    for data, sql in (("usage", USAGE_SQL), ("documents", DOCUMENT_SQL)):
        path = os.path.join(directory, "data", data)
        os.makedirs(path, exist_ok=True)
        duck.run(f"COPY ({sql}) TO '{path}/{data}.parquet' (FORMAT PARQUET, COMPRESSION ZSTD)")
    write_manifest(module, directory, "usage", USAGE, "usage", ROWS)
    write_manifest(module, directory, "usage_all", USAGE, "usage", ROWS)
    write_manifest(module, directory, "documents", DOCUMENT, "documents", DOCUMENTS)
    project(directory, ENDPOINTS, ("usage", "usage_all", "documents"), n_keys)


def accounts():
    """Of the tenant whose key the load uses."""
    first = int(TENANT[-3:]) * ACCOUNTS
    return [f"acct_{i:05d}" for i in range(first, first + ACCOUNTS)]


def windows():
    """(account, from, to) of the 30-day sums that are asked for: each is another key of the cache."""
    for account in accounts():
        for start in range(0, DAYS - 30, 30):
            first = FIRST_DAY + datetime.timedelta(days=start)
            yield account, first.isoformat(), (first + datetime.timedelta(days=29)).isoformat()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--keys", type=int, default=1)
    given = parser.parse_args()
    make(os.path.abspath(given.directory), given.keys)
    print(json.dumps({"rows": ROWS, "token": TOKEN, "tenant": TENANT}))
