"""Counts and sums of a collector's tables, as read by DuckDB, chdb and delta-rs.

    readers.py FOLDER-OR-URL [READER ...]

FOLDER-OR-URL holds one Delta Lake table a class. Prints one JSON object: for each class the SQL that asks
`skep` for the same (over `events`), and what each reader found. Of every column: of text the bytes, of
numbers the sum, of times the first and the last, of lists the elements, of booleans how many are true.
All values are whole numbers, written as text.

DuckDB and chdb read the Parquet files that delta-rs names as those of the table's newest version: DuckDB's
own reader of Delta Lake is an extension that is downloaded when it is first used, which a test should
not do. So the log of the table is read by delta-rs alone, the files by three readers.
"""

import json
import os
import sys

from deltalake import DeltaTable, QueryBuilder

CLASSES = ["exec", "exit", "open", "connect", "session", "lost", "coverage", "finding"]
READERS = ["duckdb", "chdb", "delta-rs"]
# Sums of these would leave 64 bits.
TOO_LARGE = {"epoch"}


def storage_options():
    names = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ALLOW_HTTP"]
    return {name: os.environ[name] for name in names if name in os.environ}


def table(root, name):
    """The table of a class; None when there is none yet."""
    where = f"{root.rstrip('/')}/{name}"
    options = storage_options()
    if not DeltaTable.is_deltatable(where, storage_options=options):
        return None
    found = DeltaTable(where, storage_options=options)
    features = found.protocol().reader_features or []
    if "deletionVectors" in features:
        sys.exit(f"{where} has deletion vectors: its files alone are not what it holds")
    return found


def kind(column_type):
    """What is asked of a column, or None."""
    name = getattr(column_type, "type", None)
    if name == "array":
        return "elements"
    if name == "string":
        return "bytes"
    if name in ("byte", "short", "integer", "long"):
        return "sum"
    if str(name).startswith("decimal"):
        return "decimal"
    if name == "boolean":
        return "true"
    if name in ("timestamp", "timestamp_ntz"):
        return "range"
    return None


def columns(found):
    """(name, kind) of what is in the files themselves."""
    parts = set(found.metadata().partition_columns)
    wanted = [(field.name, kind(field.type)) for field in found.schema().fields if field.name not in parts]
    return [(name, "range_of_numbers" if name in TOO_LARGE else what) for name, what in wanted if what]


DATAFUSION = {
    "elements": ["coalesce(sum(array_length({c})), 0)"],
    "bytes": ["coalesce(sum(octet_length({c})), 0)"],
    "sum": ["coalesce(sum(CAST({c} AS BIGINT)), 0)"],
    "decimal": ["coalesce(sum({c}), 0)"],
    "true": ["coalesce(sum(CASE WHEN {c} THEN 1 ELSE 0 END), 0)"],
    "range": ["coalesce(CAST(min({c}) AS BIGINT), 0)", "coalesce(CAST(max({c}) AS BIGINT), 0)"],
    "range_of_numbers": ["coalesce(min({c}), 0)", "coalesce(max({c}), 0)"],
}
DUCKDB = DATAFUSION | {
    "elements": ["coalesce(sum(len({c})), 0)"],
    "bytes": ["coalesce(sum(strlen({c})), 0)"],
    "range": ["coalesce(epoch_us(min({c})), 0)", "coalesce(epoch_us(max({c})), 0)"],
}
CHDB = {
    "elements": ["sum(length({c}))"],
    "bytes": ["coalesce(sum(length({c})), 0)"],
    "sum": ["coalesce(sum(toInt64({c})), 0)"],
    "decimal": ["coalesce(sum({c}), 0)"],
    "true": ["countIf({c})"],
    "range": [
        "coalesce(toUnixTimestamp64Micro(min({c})), 0)",
        "coalesce(toUnixTimestamp64Micro(max({c})), 0)",
    ],
    "range_of_numbers": ["coalesce(min({c}), 0)", "coalesce(max({c}), 0)"],
}
RANGES = {"range", "range_of_numbers"}
# The collector takes statements of so many operators and no more.
COLUMNS_AT_ONCE = 20


def questions(wanted, dialect, source):
    names, terms = ["rows"], ["count(*)"]
    for column, what in wanted:
        ends = ["first", "last"] if what in RANGES else [what]
        for end, form in zip(ends, dialect[what]):
            names.append(f"{column}.{end}")
            terms.append(form.replace("{c}", f'"{column}"'))
    named = [f'{term} AS "{name}"' for name, term in zip(names, terms)]
    return names, f"SELECT {', '.join(named)} FROM {source}"


def whole(value):
    """One form for the numbers of all readers."""
    return str(int(str(value).split(".")[0]))


def quoted(files):
    return ", ".join("'" + file.replace("'", "''") + "'" for file in files)


def local(uri):
    return uri.removeprefix("file://")


def together(files):
    """Several files as one path, in the way chdb has for it."""
    if len(files) == 1:
        return files[0]
    folder = os.path.commonpath(files)
    return folder + "/{" + ",".join(file[len(folder) + 1 :] for file in files) + "}"


def duckdb_answers(found, wanted):
    import duckdb

    files = [local(uri) for uri in found.file_uris()]
    names, sql = questions(wanted, DUCKDB, f"read_parquet([{quoted(files)}], union_by_name = true)")
    row = duckdb.connect().execute(sql).fetchone()
    return {name: whole(value) for name, value in zip(names, row)}


def chdb_answers(found, wanted):
    import chdb

    files = [local(uri) for uri in found.file_uris()]
    names, sql = questions(wanted, CHDB, f"file('{together(files)}', 'Parquet')")
    row = json.loads(str(chdb.query(sql, "JSONCompactEachRow")).splitlines()[0])
    return {name: whole(value) for name, value in zip(names, row)}


def delta_answers(found, wanted):
    names, sql = questions(wanted, DATAFUSION, "stored")
    answer = QueryBuilder().register("stored", found).execute(sql).read_all()
    return {name: whole(answer.column(name)[0].as_py()) for name in names}


ANSWERS = {"duckdb": duckdb_answers, "chdb": chdb_answers, "delta-rs": delta_answers}


def main():
    root, readers = sys.argv[1], sys.argv[2:] or READERS
    answers = {}
    for name in CLASSES:
        found = table(root, name)
        if found is None or not found.file_uris():
            continue
        wanted = columns(found)
        parts = [wanted[at : at + COLUMNS_AT_ONCE] for at in range(0, len(wanted), COLUMNS_AT_ONCE)]
        sql = [questions(part, DATAFUSION, f"events WHERE class = '{name}'")[1] for part in parts]
        answers[name] = {"sql": sql, "files": len(found.file_uris())}
        for reader in readers:
            answers[name][reader] = ANSWERS[reader](found, wanted)
    json.dump(answers, sys.stdout)


main()
