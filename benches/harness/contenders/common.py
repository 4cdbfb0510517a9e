"""What the contenders' programs share. They run in a virtual environment of their own, one process a run."""

import os

# Large ones first; parents before the three that are found through them.
TABLES = ["task", "comment", "change_set", "page", "audit_event", "change", "attachment", "worklog", "task_link",
          "reaction", "member", "project", "workspace"]
CHILDREN = {"change": ("change_set_id", "change_set"), "task_link": ("source_id", "task"),
            "reaction": ("comment_id", "comment")}
PARENTS = {parent for _, parent in CHILDREN.values()}
UUIDS = {"id of workspace", "workspace_id", "account", "actor"}
JSON = {"settings", "config", "custom", "access", "payload"}
ENUMS = {"tier", "area", "state", "kind"}
DECIMALS = {"points": (10, 2), "cost": (12, 4)}


def tenant_column(table):
    return "id" if table == "workspace" else "workspace_id"


def is_uuid(table, column):
    return column in UUIDS or f"{column} of {table}" in UUIDS


def tenants(path):
    with open(path) as lines:
        return lines.read().split()


def uri(database):
    where = "&".join(f"{key}={os.environ['PG' + key.upper()]}" for key in ("host", "port", "user"))
    return f"postgresql:///{database}?{where}"
