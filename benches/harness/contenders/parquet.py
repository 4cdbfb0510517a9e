"""Writes the shard as Parquet files, with the types of a cloud provider's export: uuid, enum and jsonb as strings.

    parquet.py export FOLDER            one file a table, in the order of the primary key
    parquet.py cluster FROM FOLDER      the same rows, in the order of their tenants
    parquet.py merge FROM FOLDER LIST   the same rows, where those of all listed tenants are the first one's
"""

import os
import sys

import adbc_driver_postgresql.dbapi as postgres
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common import CHILDREN, DECIMALS, ENUMS, JSON, TABLES, is_uuid, tenant_column, tenants, uri

ROW_GROUP = 131_072


def export(folder):
    os.makedirs(folder, exist_ok=True)
    with postgres.connect(uri("whole")) as connection, connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"""select column_name from information_schema.columns
                where table_schema = 'public' and table_name = '{table}' order by ordinal_position""")
            columns = [row[0] for row in cursor.fetchall()]
            as_text = lambda c: is_uuid(table, c) or c in JSON | ENUMS or c in DECIMALS
            select = ", ".join(f"{c}::text as {c}" if as_text(c) else c for c in columns)
            order = "comment_id, member_id, emoji" if table == "reaction" else "1"
            cursor.execute(f"select {select} from {table} order by {order}")
            write(cursor.fetch_record_batch(), f"{folder}/{table}.parquet")


def write(batches, path):
    """Batches come small; row groups are written large."""
    writer, waiting = None, []
    def flush():
        nonlocal writer, waiting
        if waiting:
            rows = exported(pa.Table.from_batches(waiting))
            writer = writer or pq.ParquetWriter(path, rows.schema, compression="zstd")
            writer.write_table(rows, row_group_size=ROW_GROUP)
            waiting = []
    for batch in batches:
        waiting.append(batch)
        if sum(b.num_rows for b in waiting) >= ROW_GROUP:
            flush()
    flush()
    writer.close()


def exported(rows):
    for at, field in enumerate(rows.schema):
        if field.name in DECIMALS:
            rows = rows.set_column(at, field.name, rows[field.name].cast(pa.decimal128(*DECIMALS[field.name])))
        elif pa.types.is_timestamp(field.type):
            rows = rows.set_column(at, field.name, rows[field.name].cast(pa.timestamp("us", "UTC")))
    return rows


def cluster(source, folder):
    os.makedirs(folder, exist_ok=True)
    database = duckdb.connect()
    database.execute("set threads = 2; set TimeZone = 'UTC'")
    database.execute(f"set temp_directory = '{folder}/spill'")
    for table in TABLES:
        query = f"select r.* from '{source}/{table}.parquet' r"
        if table in CHILDREN:
            column, parent = CHILDREN[table]
            query += f" join '{source}/{parent}.parquet' p on p.id = r.{column} order by p.workspace_id, r.{column}"
        else:
            query += f" order by r.{tenant_column(table)}" + ("" if table == "workspace" else ", r.id")
        options = "format parquet, compression zstd, row_group_size 122880"
        database.execute(f"copy ({query}) to '{folder}/{table}.parquet' ({options})")


def merge(source, folder, list_of_tenants):
    os.makedirs(folder, exist_ok=True)
    wanted = tenants(list_of_tenants)
    for table in TABLES:
        if table in CHILDREN or table == "workspace":
            os.link(f"{source}/{table}.parquet", f"{folder}/{table}.parquet")
            continue
        rows = pq.ParquetFile(f"{source}/{table}.parquet")
        with pq.ParquetWriter(f"{folder}/{table}.parquet", rows.schema_arrow, compression="zstd") as writer:
            at = rows.schema_arrow.get_field_index("workspace_id")
            for number in range(rows.num_row_groups):
                group = rows.read_row_group(number)
                is_listed = pc.is_in(group["workspace_id"], pa.array(wanted))
                merged = pc.if_else(is_listed, wanted[0], group["workspace_id"])
                group = group.set_column(at, rows.schema_arrow.field(at), merged)
                writer.write_table(group, row_group_size=ROW_GROUP)


if __name__ == "__main__":
    {"export": export, "cluster": cluster, "merge": merge}[sys.argv[1]](*sys.argv[2:])
