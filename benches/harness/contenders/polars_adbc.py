"""Parquet to a live shard through Polars and ADBC, as strong as it gets: polars_adbc.py FOLDER TENANTS.

One pass of Polars finds all tenants' rows, column operations of Polars bring them into PostgreSQL's binary form, and
two connections load them at the same time by COPY BINARY, triggers off, each in one transaction."""

import json
import queue
import sys
import threading
import time

import adbc_driver_postgresql.dbapi as postgres
import polars as pl

from common import CHILDREN, JSON, PARENTS, TABLES, is_uuid, tenant_column, tenants, uri

CONNECTIONS = 2
ROWS = 25_000  # of one COPY: small enough that both connections end at the same time


def wire(table, schema):
    """Column expressions whose Arrow values ADBC writes as the binary form of PostgreSQL's type."""
    for name in schema.names():
        column = pl.col(name)
        if is_uuid(table, name):
            column = column.str.replace_all("-", "", literal=True).str.decode("hex")
        elif name in JSON:
            column = pl.concat_str(pl.lit("\x01"), column)  # jsonb begins with its version
        yield column.alias(name)


def extract(folder, wanted, waiting):
    tenant = pl.DataFrame({"tenant": wanted}).lazy()
    keys = {}
    for table in TABLES:
        rows = pl.scan_parquet(f"{folder}/{table}.parquet")
        if table in CHILDREN:
            column, parent = CHILDREN[table]
            rows = rows.join(keys[parent].lazy(), left_on=column, right_on="id", how="semi")
        else:
            rows = rows.join(tenant, left_on=tenant_column(table), right_on="tenant", how="semi")
        found = rows.select(*wire(table, rows.collect_schema())).collect(engine="streaming")
        if table in PARENTS:
            keys[table] = found.select("id")
        for part in found.iter_slices(ROWS):
            waiting.put((table, part.to_arrow(compat_level=pl.CompatLevel.oldest())))
    for _ in range(CONNECTIONS):
        waiting.put(None)


def load(waiting, failures):
    try:
        with postgres.connect(uri("live")) as connection, connection.cursor() as cursor:
            cursor.execute("set session_replication_role = replica")
            while (part := waiting.get()) is not None:
                cursor.adbc_ingest(part[0], part[1], mode="append")
            connection.commit()
    except Exception as error:
        failures.append(error)
        while waiting.get() is not None:  # let the other thread end
            pass


if __name__ == "__main__":
    folder, list_of_tenants = sys.argv[1:]
    started = time.monotonic()
    waiting, failures = queue.Queue(maxsize=16), []
    loaders = [threading.Thread(target=load, args=(waiting, failures)) for _ in range(CONNECTIONS)]
    for loader in loaders:
        loader.start()
    extract(folder, tenants(list_of_tenants), waiting)
    extracted = time.monotonic() - started
    for loader in loaders:
        loader.join()
    if failures:
        raise failures[0]
    print(json.dumps({"seconds": time.monotonic() - started, "extract_seconds": extracted}))
