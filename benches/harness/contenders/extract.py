"""Reads the tenants' rows of all tables out of Parquet files into memory: extract.py ENGINE FOLDER TENANTS.
Prints the rows and the seconds without the start of the interpreter and the import of the engine."""

import json
import sys
import time

from common import CHILDREN, TABLES, tenant_column, tenants


def of_duckdb(folder, wanted):
    import duckdb
    yield
    database = duckdb.connect()
    database.execute("set threads = 2")
    listed = ", ".join(f"'{tenant}'" for tenant in wanted)
    for table in TABLES:
        yield database.execute(sql(table, lambda name: f"'{folder}/{name}.parquet'", listed)).to_arrow_table().num_rows


def of_polars(folder, wanted):
    import polars
    yield
    tenant = polars.DataFrame({"tenant": wanted}).lazy()
    for table in TABLES:
        rows = polars.scan_parquet(f"{folder}/{table}.parquet")
        if table in CHILDREN:
            column, parent = CHILDREN[table]
            keys = polars.scan_parquet(f"{folder}/{parent}.parquet")
            keys = keys.join(tenant, left_on="workspace_id", right_on="tenant", how="semi").select("id")
            rows = rows.join(keys, left_on=column, right_on="id", how="semi")
        else:
            rows = rows.join(tenant, left_on=tenant_column(table), right_on="tenant", how="semi")
        yield rows.collect(engine="streaming").height


def of_datafusion(folder, wanted):
    import datafusion
    import pyarrow
    yield
    settings = datafusion.SessionConfig().with_target_partitions(2)
    context = datafusion.SessionContext(settings.set("datafusion.execution.parquet.pushdown_filters", "true"))
    context.register_record_batches("wanted", [[pyarrow.record_batch([pyarrow.array(wanted)], names=["tenant"])]])
    for table in TABLES:
        context.register_parquet(table, f"{folder}/{table}.parquet")
    # A short list is pushed down and prunes row groups; a long one is better joined.
    listed = ", ".join(f"'{t}'" for t in wanted) if len(wanted) < 20 else "select tenant from wanted"
    for table in TABLES:
        yield sum(batch.num_rows for batch in context.sql(sql(table, str, listed)).collect())


def sql(table, name, listed):
    if table in CHILDREN:
        column, parent = CHILDREN[table]
        keys = f"select id from {name(parent)} where workspace_id in ({listed})"
        return f"select * from {name(table)} where {column} in ({keys})"
    return f"select * from {name(table)} where {tenant_column(table)} in ({listed})"


if __name__ == "__main__":
    engine, folder, list_of_tenants = sys.argv[1:]
    engines = {"duckdb": of_duckdb, "polars": of_polars, "datafusion": of_datafusion}
    steps = engines[engine](folder, tenants(list_of_tenants))
    next(steps)
    started = time.monotonic()
    rows = sum(steps)
    print(json.dumps({"rows": rows, "seconds": time.monotonic() - started}))
