#!/usr/bin/python3
"""One database, or one table, of a real cluster at a moment: out of a server
that is recovered for that and is gone afterwards."""

import signal
import subprocess

import harness
from harness import FAILED, INTERRUPTED, OK, REFUSED, USAGE, wait_until
import pg_recovery_test
from servers import needs_postgres


@needs_postgres
class Extracts(pg_recovery_test.Recovering):
    """All of them go back to one moment of one server."""

    def setUp(self):
        super().setUp()
        server = self.server = self.serve()
        server.sql("postgres", "CREATE ROLE owner; CREATE DATABASE shop OWNER "
                   "owner; ALTER DATABASE shop SET work_mem = '17MB'")
        receiver = self.receive(server)
        self.base(server)
        server.sql("shop", """
            SET ROLE owner;
            CREATE SCHEMA stock;
            CREATE TABLE stock.orders (id int PRIMARY KEY, what text);
            INSERT INTO stock.orders SELECT i, md5(i::text)
              FROM generate_series(1, 5000) i;
            CREATE TABLE stock."odd ""t" (
              id int GENERATED ALWAYS AS IDENTITY,
              o int REFERENCES stock.orders);
            INSERT INTO stock."odd ""t" (o)
              SELECT generate_series(1, 100);""")
        self.rows = server.sql("shop", self.ORDERS)
        self.at = self.moment(server)
        server.sql("shop", """
            DROP TABLE stock."odd ""t";
            DELETE FROM stock.orders WHERE id > 7;
            UPDATE stock.orders SET what = 'live';""")
        self.finish(receiver)
        # Where the server's user may go, too.
        self.scratch = server.folder / "scratch"
        self.scratch.mkdir()
        self.env["TMPDIR"] = str(self.scratch)

    ORDERS = "SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM {} o"
    ORDERS = ORDERS.format("stock.orders")

    def extract(self, *words, code=OK, database="shop", **how):
        ran = self.cairn("--json", "restore", "--at", self.at, "--database",
                         database, *words, code=code, **how)
        self.assert_nothing_is_left()
        return ran

    def assert_nothing_is_left(self):
        self.assertEqual(list(self.scratch.iterdir()), [])
        self.assert_nothing_runs_in(self.scratch)

    def assert_nothing_runs_in(self, folder):
        found = subprocess.run(["pgrep", "-f", str(folder)], check=False,
                               capture_output=True, text=True).stdout.split()
        self.assertEqual(found, [])

    def to(self):
        return "--to-dsn", self.dsn(self.server)

    def test_a_database_beside_the_one_that_lives(self):
        ran = self.extract("--into", "shop then", *self.to())
        restored = ran.lines[-1]["restored"]
        self.assertTrue(restored["alike"], restored)
        self.assertEqual(restored["rows"], 5100)
        sql = self.server.sql
        self.assertEqual(sql("shop then", self.ORDERS), self.rows)
        self.assertEqual(sql("shop then", 'SELECT count(*) FROM '
                             'stock."odd ""t"'), "100")
        self.assertEqual(sql("shop then", "SHOW work_mem"), "17MB")
        self.assertEqual(sql("shop then", "SELECT pg_get_userbyid(datdba) FROM "
                             "pg_database WHERE datname = 'shop then'"),
                         "owner")
        self.assertEqual(sql("shop", "SELECT count(*), max(what) FROM "
                             "stock.orders"), "7|live")

    def test_tables_into_a_schema_beside(self):
        ran = self.extract("--table", "stock.orders", "--table",
                           'stock."odd ""t"', "--schema", "then", *self.to())
        self.assertEqual(ran.lines[-1]["rows"], 5100)
        sql = self.server.sql
        self.assertEqual(sql("shop", self.ORDERS.replace("stock.", '"then".')),
                         self.rows)
        self.assertEqual(sql("shop", 'SELECT count(*), max(o) FROM '
                             '"then"."odd ""t"'), "100|100")
        self.assertEqual(sql("shop", "SELECT count(*), max(what) FROM "
                             "stock.orders"), "7|live")
        # It takes no schema's place.
        err = self.cairn("restore", "--at", self.at, "--database", "shop",
                         "--table", "stock.orders", "--schema", "then",
                         *self.to(), code=REFUSED).err
        self.assertIn("schema then of database shop is there already", err)

    def test_a_table_and_a_database_into_files(self):
        for words, name, rows in (
                (("--table", "stock.orders"), "orders.dump", 5000),
                (("--table", 'stock."odd ""t"'), "odd.sql", 100),
                ((), "shop.sql", 5100)):
            file = self.folder / name
            ran = self.extract(*words, "--to-dump", file)
            self.assertEqual(ran.lines[-1]["rows"], rows)
            self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.server.sql("postgres", "CREATE DATABASE again")
        self.server.sql("again", "CREATE SCHEMA stock")
        subprocess.run(
            [self.server.program("pg_restore"), "--exit-on-error",
             *self.server.where("-d", "again"), self.folder / "orders.dump"],
            check=True)
        self.assertEqual(self.server.sql("again", self.ORDERS), self.rows)
        self.assertIn("database dump complete",
                      (self.folder / "shop.sql").read_text())
        self.assertEqual(sorted(x.name for x in self.folder.glob("*.partial")),
                         [])
        err = self.cairn("restore", "--at", self.at, "--database", "shop",
                         "--to-dump", self.folder / "shop.sql",
                         code=REFUSED).err
        self.assertIn("exists already", err)

    def test_what_was_not_there_then_is_named(self):
        self.server.sql("postgres", "CREATE DATABASE later")
        ran = self.extract("--to-dump", self.folder / "x.dump", code=FAILED,
                           database="later")
        self.assertIn("there was no database later at that moment; there were "
                      "postgres, shop", ran.err)
        ran = self.extract("--to-dump", self.folder / "x.dump", "--table",
                           "stock.orders", "--table", "stock.later",
                           code=FAILED)
        self.assertIn("no table stock.later at that moment", ran.err)
        ran = self.extract(*self.to(), code=REFUSED)
        self.assertIn("database shop is there already", ran.err)
        self.assertFalse((self.folder / "x.dump").exists())

    def test_an_interruption_leaves_nothing(self):
        self.server.sql("postgres", "CREATE DATABASE other")
        wrappers = self.server.folder / "bin"
        wrappers.mkdir()
        for name in ("postgres", "psql", "pg_restore", "pg_dumpall"):
            (wrappers / name).symlink_to(self.server.program(name))
        (wrappers / "pg_dump").write_text(
            f'#!/bin/bash\n[[ "$*" == *dbname* ]] || exec '
            f'{self.server.program("pg_dump")} "$@"\n'
            f"touch {self.folder}/dumping; sleep 60\n")
        (wrappers / "pg_dump").chmod(0o755)
        running = self.start("restore", "--at", self.at, "--database", "shop",
                             "--to-dump", self.folder / "x.dump", "--bin-dir",
                             wrappers)
        wait_until(lambda: running.poll() is not None
                   or (self.folder / "dumping").exists(), "the dump")
        if running.poll() is not None:
            self.fail(running.communicate())
        self.assertNotEqual(list(self.scratch.iterdir()), [])
        running.send_signal(signal.SIGINT)
        self.end(running, INTERRUPTED)
        self.assert_nothing_is_left()
        self.assertEqual(list(self.folder.glob("x.dump*")), [])

    def test_a_dry_run_recovers_nothing(self):
        ran = self.extract("-n", "--to-dump", self.folder / "x.dump")
        self.assertEqual(ran.lines[-1]["type"], "dry_run")
        self.assertFalse((self.folder / "x.dump").exists())


@needs_postgres
class Words(harness.Case):
    def test_what_makes_no_sense_is_refused(self):
        at = ("--at", "latest")
        one = (*at, "--database", "d")
        for words, why in (
                ((*at, "--to-dump", "f"), "named by --database D"),
                ((*one, "--database", "e", "--to-dump", "f"),
                 "named by --database D"),
                (one, "goes into a file"),
                ((*one, "--to-dump", "f", "--to-dsn", ""), "goes into a file"),
                ((*one, "--to-dump", "f", "--into", "x"), "go with --to-dsn"),
                ((*one, "--to-dsn", "", "--schema", "x"), "takes tables"),
                ((*one, "--to-dsn", "", "--table", "x"), "into a schema"),
                ((*one, "--to-dsn", "", "--table", "x", "--schema", "s",
                  "--into", "y"), "leave --into out"),
                ((*one, "--to-dump", "f", "--table", "a.b.c"),
                 "no name of a table"),
                ((*one, "--to-dump", "f", "--clean"), "without --clean"),
                ((*one, "--to-dump", "f", "--verify"), "of a folder"),
                ((*one, "--to-dump", "f", "--to", "d"), "of folders"),
                (("latest", "--to-dump", "f"), "go with --to-dsn"),
                (("latest", "--to-dsn", "", "--table", "x"), "go with --at"),
                (("latest", "--to", "d", "--bin-dir", "/"), "go with --to-dsn"),
                ((*one, "--to-dsn", "password=x"), "holds a password")):
            ran = self.cairn("restore", *words, code=USAGE)
            self.assertIn(why, ran.err, words)


if __name__ == "__main__":
    harness.main()
