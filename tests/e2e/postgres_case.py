"""What the tests of PostgreSQL's base backups share."""

import subprocess

import harness
from harness import OK, SOURCE_FAILED, wait_until
from servers import Postgres

SLOW = ("--max-rate", "64KiB")
PASSWORD = "tr0ub4dor and 3"


class Standby(Postgres):
    up_says = b"t\n"


class Case(harness.Case):
    def setUp(self):
        super().setUp()
        # So that nothing of the user's own is asked.
        self.env["PGPASSFILE"] = "/nonexistent"

    def serve(self, *options, kind=Postgres, **how):
        server = kind(*options, **how)
        self.addCleanup(server.stop)
        return server

    def dsn(self, server):
        return f"host={server.folder} user=postgres"

    def base(self, server, *words, code=OK, **how):
        """What its summary says."""
        ran = self.cairn("--json", "pg", "base", "--dsn", self.dsn(server),
                         *words, code=code, **how)
        found = [x for x in ran.lines if x["type"] == "summary"]
        self.assertEqual(len(found), 1, ran)
        return found[0]

    def fails(self, *words, says, code=SOURCE_FAILED, **how):
        """Answers what it wrote, which must leave no snapshot."""
        before = self.objects("snapshots")
        ran = self.cairn("pg", "base", *words, code=code, **how)
        self.assertRegex(ran.err, says)
        self.assertNotIn(PASSWORD, ran.err + ran.text)
        self.assertEqual(self.snapshots(), [])
        return ran

    def start_base(self, server, *words):
        """One that takes long; answers once data flows."""
        process = self.start("pg", "base", "--dsn", self.dsn(server), *SLOW,
                             *words)
        wait_until(lambda: process.poll() is not None or server.sql(
            "postgres", "SELECT count(*) FROM pg_stat_progress_basebackup "
            "WHERE phase = 'streaming database files'") == "1",
                   "the backup to begin")
        self.assertIsNone(process.poll())
        return process

    def restore_for(self, server, what, name="restored"):
        """Into a folder that the server's user may read."""
        folder = server.folder / name
        self.restore(what, folder)
        return folder

    def verify(self, server, folder, *words):
        subprocess.run([server.client("pg_verifybackup"), *words, folder],
                       check=True, capture_output=True)


def fill(server, scale=4):
    """pgbench's tables, and one in a tablespace."""
    location = server.folder / "side"
    server.run("mkdir", location)
    server.sql("postgres", f"CREATE TABLESPACE side LOCATION '{location}'")
    server.sql("postgres", "CREATE DATABASE bench")
    server.run(server.client("pgbench"), *server.where("-i", "-q", "-s",
                                                       str(scale), "bench"))
    server.sql("bench", "CREATE TABLE far TABLESPACE side AS SELECT i, "
               "md5(i::text) AS t FROM generate_series(1, 20000) i; CHECKPOINT")


SUMS = """SELECT (SELECT sum(abalance) FROM pgbench_accounts),
 (SELECT sum(bbalance) FROM pgbench_branches),
 (SELECT sum(tbalance) FROM pgbench_tellers),
 (SELECT coalesce(sum(delta), 0) FROM pgbench_history),
 (SELECT count(*) FROM pgbench_accounts)"""
