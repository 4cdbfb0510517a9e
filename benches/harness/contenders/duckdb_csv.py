"""Parquet to CSV files in PostgreSQL's syntax through DuckDB: duckdb_csv.py FOLDER TENANTS OUT."""

import sys

import duckdb

from common import CHILDREN, TABLES, tenant_column, tenants


def array(column):
    escaped = f"""replace(replace(x, '\\', '\\\\'), '"', '\\"')"""
    return f"""'{{' || array_to_string(list_transform({column}, lambda x: '"' || {escaped} || '"'), ',') || '}}'"""


SPELLED = {"groups": array("groups"), "labels": array("labels"), "sha256": "'\\x' || hex(sha256)",
           "thumbnail": "'\\x' || hex(thumbnail)"}

if __name__ == "__main__":
    folder, list_of_tenants, out = sys.argv[1:]
    database = duckdb.connect()
    database.execute("set threads = 2; set TimeZone = 'UTC'")
    listed = ", ".join(f"'{tenant}'" for tenant in tenants(list_of_tenants))
    for table in TABLES:
        path = f"'{folder}/{table}.parquet'"
        columns = [row[0] for row in database.execute(f"describe select * from {path}").fetchall()]
        select = ", ".join(f'{SPELLED[c]} as {c}' if c in SPELLED else f'"{c}"' for c in columns)
        if table in CHILDREN:
            column, parent = CHILDREN[table]
            where = f"{column} in (select id from '{folder}/{parent}.parquet' where workspace_id in ({listed}))"
        else:
            where = f"{tenant_column(table)} in ({listed})"
        query = f"select {select} from {path} where {where}"
        database.execute(f"copy ({query}) to '{out}/{table}.csv' (format csv, header false, nullstr '\\N')")
