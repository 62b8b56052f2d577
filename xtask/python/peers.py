"""Answers SQL over the Parquet files of a collector's tables, in one warm process.

    peers.py duckdb|chdb FOLDER

FOLDER holds one Delta Lake table a class; each is there under the name of its class. Reads one JSON text (the
SQL) a line and answers with one line: {"micros": …, "rows": [{…}]} or {"error": "…"}. The time is that from
asking to having all rows. Prints {"version": "…"} first.
"""

import json
import os
import sys
import time

from deltalake import DeltaTable

CLASSES = ["exec", "exit", "open", "connect", "session", "lost", "coverage", "finding"]


def files(folder, name):
    where = f"{folder}/{name}"
    if not DeltaTable.is_deltatable(where):
        return []
    return [uri.removeprefix("file://") for uri in DeltaTable(where).file_uris()]


def together(files):
    """Several files as one path, in the way chdb has for it."""
    if len(files) == 1:
        return files[0]
    folder = os.path.commonpath(files)
    return folder + "/{" + ",".join(file[len(folder) + 1 :] for file in files) + "}"


class DuckDb:
    def __init__(self, folder):
        import duckdb

        self.version = f"DuckDB {duckdb.__version__}"
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        for name in CLASSES:
            found = files(folder, name)
            if found:
                listed = ", ".join(f"'{file}'" for file in found)
                source = f"read_parquet([{listed}], union_by_name = true)"
                self.connection.execute(f'CREATE VIEW "{name}" AS SELECT * FROM {source}')

    def ask(self, sql):
        begun = time.perf_counter()
        answer = self.connection.execute(sql)
        rows = answer.fetchall()
        took = time.perf_counter() - begun
        names = [column[0] for column in answer.description]
        return took, [dict(zip(names, row)) for row in rows]


class Chdb:
    def __init__(self, folder):
        import chdb
        from chdb import session

        self.session = session.Session()
        self.version = f"chdb {chdb.__version__}"
        self.session.query("CREATE DATABASE skep ENGINE = Atomic")
        self.session.query("USE skep")
        for name in CLASSES:
            found = files(folder, name)
            if found:
                source = f"file('{together(found)}', 'Parquet')"
                self.session.query(f"CREATE VIEW `{name}` AS SELECT * FROM {source}")

    def ask(self, sql):
        begun = time.perf_counter()
        answer = str(self.session.query(sql, "JSONEachRow"))
        took = time.perf_counter() - begun
        return took, [json.loads(line) for line in answer.splitlines()]


def main():
    engine = {"duckdb": DuckDb, "chdb": Chdb}[sys.argv[1]](sys.argv[2])
    print(json.dumps({"version": engine.version}), flush=True)
    for line in sys.stdin:
        try:
            took, rows = engine.ask(json.loads(line))
            answer = {"micros": int(took * 1e6), "rows": rows}
        except Exception as error:  # A query that an engine does not take is a row of the report.
            answer = {"error": str(error).splitlines()[0]}
        print(json.dumps(answer, default=str), flush=True)


main()
