#!/usr/bin/python3
"""Dumps loaded back into real PostgreSQL servers: as they were, beside what is
there, in its place, and not at all when anything is wrong."""

import re
import signal
import subprocess

import harness
from harness import (DAMAGE, FAILED, INTERRUPTED, PARTIAL, REFUSED,
                     SOURCE_FAILED, USAGE, flip, wait_until)
import pg_dump_test
import servers
from pg_dump_test import CANARY, ODD, ODD_NAME, Server, identifier

UNFINISHED = ("SELECT count(*) FROM pg_database "
              "WHERE datname LIKE 'cairn_restore%'")


class RestoreCase(pg_dump_test.DumpCase):
    def serve(self, *options):
        server = Server(*options)
        self.addCleanup(server.stop)
        return server

    def load(self, server, what, *words, code=harness.OK, **how):
        """What its summary says."""
        ran = self.cairn("--json", "restore", what, "--to-dsn", server.dsn,
                         *words, code=code, **how)
        summaries = [x for x in ran.lines if x["type"] == "summary"]
        self.assertEqual(len(summaries), 1, ran)
        summary = summaries[0]
        summary["databases"] = {x["into"]: x for x in summary["databases"]}
        return summary

    def databases(self, server):
        return set(server.sql("postgres", "SELECT datname FROM pg_database "
                              "WHERE NOT datistemplate").splitlines())

    def assert_same_rows(self, a, b, database, query, there=None):
        self.assertEqual(a.rows(database, query),
                         b.rows(there or database, query))


ORDERS = "SELECT * FROM stock.orders ORDER BY id"


@servers.needs_postgres
class Restores(RestoreCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        sql = cls.server.sql
        sql("postgres", f"""
            CREATE ROLE owner LOGIN PASSWORD '{CANARY}-of-a-role';
            CREATE ROLE "odd; ""role" LOGIN;
            COMMENT ON ROLE owner IS 'it''s; hers';
            GRANT owner TO "odd; ""role";
            CREATE DATABASE shop OWNER owner ENCODING 'LATIN1'
              LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0
              CONNECTION LIMIT 41;
            CREATE DATABASE n8n;
            CREATE DATABASE {identifier(ODD)};
            COMMENT ON DATABASE shop IS E'the \\\\ shop''s';
            ALTER DATABASE shop SET statement_timeout = '31s';
            ALTER DATABASE shop SET search_path = stock, "odd, schema", public;
            ALTER DATABASE shop SET "app.secret" = '{CANARY}-of-a-setting';
            ALTER DATABASE shop SET default_transaction_read_only = on;
            ALTER ROLE owner IN DATABASE shop SET work_mem = '17MB';
            REVOKE ALL ON DATABASE shop FROM PUBLIC;
            GRANT CONNECT ON DATABASE shop TO "odd; ""role"
              WITH GRANT OPTION;""")
        sql("shop", r"""
            SET default_transaction_read_only = off;
            CREATE EXTENSION pg_trgm SCHEMA public;
            SET ROLE owner;
            CREATE SCHEMA stock;
            CREATE TABLE stock.orders (id int PRIMARY KEY, what text);
            INSERT INTO stock.orders SELECT i, md5(i::text)
              FROM generate_series(1, 20000) i;
            CREATE INDEX ON stock.orders USING gin (what public.gin_trgm_ops);
            CREATE TABLE stock.lines (id int REFERENCES stock.orders);
            INSERT INTO stock.lines VALUES (1), (2);""")
        sql("n8n", """
            CREATE TABLE flows (id int, body text);
            INSERT INTO flows SELECT i, repeat(md5(i::text), 20)
              FROM generate_series(1, 40000) i;""")
        sql(ODD, "CREATE TABLE t AS SELECT 7 AS seven;")

    def test_all_of_a_server_into_an_empty_one(self):
        for form in ("custom", "plain"):
            with self.subTest(form):
                self.dump(self.server, "--format", form)
                new = self.serve()
                ran = self.load(new, "latest")

                self.assertEqual(self.databases(new),
                                 {"postgres", "shop", "n8n", ODD})
                self.assertEqual(set(ran["databases"]), {"shop", "n8n", ODD})
                self.assertEqual(ran["roles_made"], ['odd; "role', "owner"])
                self.assertEqual(ran["roles_kept"], ["postgres"])
                shop = ran["databases"]["shop"]
                self.assertTrue(shop["restored"] and shop["alike"], shop)
                self.assertEqual(shop["rows"], 20002)
                self.assertEqual(shop["indexes"], 2)
                self.assertEqual(shop["notes"], [])
                self.assertEqual(shop["differences"], [])
                self.assert_same_rows(self.server, new, "shop", ORDERS)
                self.assert_same_rows(self.server, new, "n8n",
                                      "SELECT * FROM flows ORDER BY id")
                self.assert_same_rows(self.server, new, ODD, "SELECT * FROM t")
                # And what no dump holds of the database itself.
                for query in (
                        """SELECT pg_get_userbyid(datdba), datcollate,
                           pg_encoding_to_char(encoding), datconnlimit,
                           shobj_description(oid, 'pg_database')
                           FROM pg_database WHERE datname = 'shop'""",
                        """SELECT s.setrole <> 0, unnest(setconfig) AS c
                           FROM pg_db_role_setting s JOIN pg_database d
                           ON d.oid = setdatabase
                           WHERE datname = 'shop' ORDER BY 2""",
                        """SELECT grantee::regrole::text, privilege_type,
                           is_grantable FROM pg_database,
                           aclexplode(datacl) WHERE datname = 'shop'
                           ORDER BY 1, 2""",
                        """SELECT rolname, rolpassword, rolcanlogin,
                           shobj_description(oid, 'pg_authid') FROM pg_authid
                           WHERE rolname !~ '^pg_' ORDER BY 1"""):
                    self.assert_same_rows(self.server, new, "postgres", query)

    def test_people_are_told_what_was_done(self):
        self.dump(self.server, "--database", "shop", "--database", "n8n")
        new = self.serve()
        ran = self.cairn("-v", "restore", "latest", "--to-dsn", new.dsn,
                         "--verify")
        self.assertIn('made roles: odd; "role, owner', ran.err)
        self.assertIn("there already, left as they are: postgres", ran.err)
        self.assertRegex(ran.err, r"restored shop\.dump into database shop: "
                         r"20,002 rows in 2 tables, as dumped, 2 valid indexes")
        self.assertNotIn("warning", ran.err)
        self.assertNotIn(CANARY, ran.err + ran.text)
        # What looked at it is gone again.
        self.assertEqual(new.sql("shop", """
            SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'"""),
                         "0")

    def test_one_beside_what_is_there(self):
        self.dump(self.server)
        ran = self.load(self.server, "latest", "--database", "n8n", "--into",
                        'n8n of "monday"')
        try:
            self.assertEqual(set(ran["databases"]), {'n8n of "monday"'})
            self.assert_same_rows(self.server, self.server, "n8n",
                                  "SELECT * FROM flows ORDER BY id",
                                  'n8n of "monday"')
        finally:
            self.server.sql("postgres",
                            'DROP DATABASE IF EXISTS "n8n of ""monday"""')

    def test_a_database_that_is_there_is_refused(self):
        self.dump(self.server)
        for words in ((), ("--database", "shop"),
                      ("--database", "n8n", "--into", "shop"),
                      ("--database", "n8n", "--into", "template1"),
                      ("--database", "postgres")):
            ran = self.cairn("restore", "latest", "--to-dsn", self.server.dsn,
                             *words, code=REFUSED)
            self.assertIn("is there already, and nothing was done", ran.err)
        # Before the first of several was restored.
        new = self.serve()
        new.sql("postgres", "CREATE DATABASE shop")
        self.cairn("restore", "latest", "--to-dsn", new.dsn, code=REFUSED)
        self.assertEqual(self.databases(new), {"postgres", "shop"})
        self.assertEqual(new.sql("postgres", "SELECT count(*) FROM pg_roles "
                                 "WHERE rolname = 'owner'"), "0")

    def test_clean_replaces_what_the_dump_holds_or_nothing(self):
        new = self.serve()
        new.sql("postgres", "CREATE DATABASE n8n")
        new.sql("n8n", "CREATE TABLE flows (id int, body text); "
                "INSERT INTO flows VALUES (1, 'live'); "
                "CREATE TABLE mine AS SELECT 1 AS one;")
        self.dump(self.server, "--database", "n8n")
        what = ("restore", "latest:n8n.dump", "--to-dsn", new.dsn, "--clean")
        ran = self.cairn(*what, code=REFUSED)
        self.assertIn("Replace what is in database n8n", ran.err)

        # In the middle of it: as it was.
        new.sql("n8n", "CREATE VIEW v AS SELECT * FROM flows;")
        ran = self.cairn("-y", *what, code=FAILED)
        self.assertRegex(ran.err, "as it was.*cannot drop table.*depend")
        self.assertEqual(new.sql("n8n", "SELECT body FROM v"), "live")
        new.sql("n8n", "DROP VIEW v")

        self.cairn("-y", *what)
        self.assert_same_rows(self.server, new, "n8n",
                              "SELECT * FROM flows ORDER BY id")
        self.assertEqual(new.sql("n8n", "SELECT one FROM mine"), "1")
        self.assertEqual(self.databases(new), {"postgres", "n8n"})

        self.dump(self.server, "--database", "n8n", "--format", "plain")
        ran = self.cairn("-y", "restore", "latest", "--to-dsn", new.dsn,
                         "--clean", code=REFUSED)
        self.assertIn("is SQL, which cannot replace", ran.err)
        # One that is not there is made.
        self.cairn("-y", "restore", "latest", "--to-dsn", new.dsn, "--clean",
                   "--into", "other")
        self.assert_same_rows(self.server, new, "n8n",
                              "SELECT * FROM flows ORDER BY id", "other")

    def test_damage_leaves_no_database_and_the_others_alone(self):
        self.dump(self.server, "--database", ODD, "--database", "n8n",
                  "--series", "d")
        new = self.serve()
        largest = max(self.paths_of("packs"), key=lambda x: x.stat().st_size)
        flip(largest, largest.stat().st_size // 2)

        ran = self.load(new, "latest", code=DAMAGE)
        self.assertTrue(ran["databases"][ODD]["restored"], ran)
        self.assertFalse(ran["databases"]["n8n"]["restored"])
        self.assertIn("blob", ran["databases"]["n8n"]["message"])
        self.assertEqual(self.databases(new), {"postgres", ODD})

    def test_a_dump_that_is_cut_leaves_no_database(self):
        whole = subprocess.run(
            [self.server.program("pg_dump"), *self.server.where(
                "-d", "n8n", "-Fc", "-Z0")],
            check=True, capture_output=True).stdout
        plain = subprocess.run(
            [self.server.program("pg_dump"), *self.server.where("-d", "n8n")],
            check=True, capture_output=True).stdout
        new = self.serve()
        for name, data, says in (
                ("n8n.dump", whole[:len(whole) // 2], "pg_restore"),
                ("n8n.dump", whole[:-1], "pg_restore"),
                ("n8n.sql", plain[:len(plain) // 2], "middle of the data"),
                ("n8n.sql", plain[:-100], "does not end with the line"),
                ("n8n.sql", plain.replace(b"\n\\.\n", b"\nx\n\\.\n"),
                 "psql: exited with 3: .*invalid input syntax"),
                ("n8n.dump", whole + bytes(4 << 20),
                 "ended before the dump did")):
            with self.subTest(name=name, size=len(data)):
                self.back_up_bytes(data, name)
                ran = self.cairn("restore", "latest:" + name, "--to-dsn",
                                 new.dsn, code=FAILED)
                self.assertRegex(ran.err, says)
                self.assertIn("no database is left", ran.err)
                self.assertEqual(self.databases(new), {"postgres"})

    def test_dumps_that_others_made(self):
        new = self.serve()
        for words, name in ((("-Fc",), "a.dump"), (("-Ft",), "b.tar"),
                            (("--inserts",), "c")):
            data = subprocess.run(
                [self.server.program("pg_dump"), *words, *self.server.where(
                    "-d", ODD)], check=True, capture_output=True).stdout
            self.back_up_bytes(data, name)
            into = () if name == "a.dump" else ("--into", name)
            self.cairn("restore", "latest:" + name, "--to-dsn", new.dsn, *into)
            self.assert_same_rows(self.server, new, ODD, "SELECT * FROM t",
                                  name.removesuffix(".dump"))
        ran = self.cairn("restore", "latest:b.tar", "--to-dsn", new.dsn,
                         code=USAGE)
        self.assertIn("does not say which database", ran.err)

    def test_a_server_that_is_down_is_named(self):
        self.back_up_bytes(b"--\n-- PostgreSQL database dump\n--\n", "n8n.sql")
        ran = self.cairn("restore", "latest:n8n.sql", "--to-dsn",
                         "host=/nonexistent user=postgres", code=SOURCE_FAILED)
        self.assertIn("/nonexistent", ran.err)
        self.assertIn("Is the server running", ran.err)

    def test_commands_in_a_dump_are_not_run(self):
        new = self.serve()
        plain = subprocess.run(
            [self.server.program("pg_dump"), *self.server.where("-d", "n8n")],
            check=True, capture_output=True).stdout
        trace = self.folder / "trace"
        command = f"\\! touch {trace}\n".encode()
        key = re.search(rb"^(\\restrict .*\n)", plain, re.M)
        bad = [plain.replace(b"\nSET ", b"\n" + command + b"SET ", 1),
               plain.replace(b"-- Dumped from", command + b"-- Dumped from", 1),
               plain.replace(b"\nCREATE ", b"\nSELECT 1 \\g |touch " +
                             str(trace).encode() + b"\nCREATE ", 1)]
        if key:
            end = key[1].replace(b"restrict", b"unrestrict")
            bad.append(plain.replace(b"\nSET ", b"\n" + end + command + b"SET ",
                                     1))
        for data in bad:
            self.assertNotEqual(data, plain)
            self.back_up_bytes(data, "n8n.sql")
            ran = self.cairn("restore", "latest:n8n.sql", "--to-dsn", new.dsn,
                             code=FAILED)
            self.assertIn("backslash commands are restricted", ran.err)
            self.assertFalse(trace.exists())
            self.assertEqual(self.databases(new), {"postgres"})

    def test_what_is_no_dump_or_leads_elsewhere_is_refused(self):
        new = self.serve()
        create = subprocess.run(
            [self.server.program("pg_dump"), "--create", *self.server.where(
                "-d", "n8n")], check=True, capture_output=True).stdout
        every = subprocess.run(
            [self.server.program("pg_dumpall"), *self.server.where()],
            check=True, capture_output=True).stdout
        for data, says in (
                (b"\x1f\x8b\x08\x00" + create, "compressed by gzip"),
                (b"DROP TABLE x;\n", "no dump by pg_dump"),
                (b"", "is empty"),
                (create, "names the database that it goes to"),
                (every, "holds databases, too")):
            self.back_up_bytes(data, "x.sql")
            ran = self.cairn("restore", "latest:x.sql", "--to-dsn", new.dsn,
                             code=REFUSED)
            self.assertIn(says, ran.err)
            self.assertEqual(self.databases(new), {"postgres"})
            self.assertEqual(new.sql("postgres", "SELECT count(*) FROM pg_roles"
                                     " WHERE rolname = 'owner'"), "0")

    def test_roles_that_are_there_stay_as_they_are(self):
        self.dump(self.server, "--database", "shop")
        new = self.serve()
        new.sql("postgres", "CREATE ROLE owner NOLOGIN")
        ran = self.load(new, "latest:globals.sql")
        self.assertEqual(ran["roles_kept"], ["owner", "postgres"])
        self.assertEqual(ran["roles_made"], ['odd; "role'])
        self.assertEqual(new.sql("postgres", """
            SELECT rolcanlogin, rolpassword IS NULL FROM pg_authid
            WHERE rolname = 'owner'"""), "f|t")
        self.assertEqual(new.sql("postgres", """
            SELECT roleid::regrole FROM pg_auth_members
            WHERE member::regrole::text LIKE '%odd%'"""), "owner")
        self.assertEqual(self.databases(new), {"postgres"})

    def test_without_roles_it_says_what_to_do(self):
        self.dump(self.server, "--database", "shop")
        new = self.serve()
        ran = self.cairn("restore", "latest:shop.dump", "--to-dsn", new.dsn,
                         code=FAILED)
        self.assertRegex(ran.err, 'role "owner" does not exist.*globals.sql')
        self.assertEqual(self.databases(new), {"postgres"})

    def test_an_extension_that_the_server_lacks_is_named_first(self):
        self.dump(self.server, "--database", "shop")
        document = self.cat("latest:shop.tables.json").replace(
            b'"pg_trgm"', b'"vector"')
        self.assertIn(b"vector", document)
        folder = self.folder / "in"
        folder.mkdir()
        (folder / "shop.dump").write_bytes(self.cat("latest:shop.dump"))
        (folder / "shop.tables.json").write_bytes(document)
        self.backup(folder)
        new = self.serve()
        ran = self.cairn("restore", f"latest:{folder}/shop.dump", "--to-dsn",
                         new.dsn, code=FAILED)
        self.assertRegex(ran.err, r"lacks .*extension vector \(1\.6\)")

    def test_rows_that_differ_are_told_of(self):
        self.dump(self.server, "--database", "n8n")
        folder = self.folder / "in"
        folder.mkdir()
        document = self.cat("latest:n8n.tables.json")
        (folder / "n8n.dump").write_bytes(self.cat("latest:n8n.dump"))
        (folder / "n8n.tables.json").write_bytes(document.replace(
            b'"rows":40000', b'"rows":40001').replace(
                b'"tables":[', b'"tables":[{"schema":"s","table":"gone",'
                b'"rows":1},'))
        self.backup(folder)
        new = self.serve()
        ran = self.load(new, f"latest:{folder}/n8n.dump", code=PARTIAL)
        n8n = ran["databases"]["n8n"]
        self.assertTrue(n8n["restored"])
        self.assertFalse(n8n["alike"])
        self.assertEqual(n8n["differences"], [
            "table s.gone is not there",
            "table public.flows has 40000 rows, its dump 40001"])
        # A document that is none is no reason to restore nothing.
        (folder / "n8n.tables.json").write_bytes(b'{"type":"pg_tables"}')
        self.backup(folder)
        ran = self.load(new, f"latest:{folder}/n8n.dump", "--into", "again")
        self.assertEqual(ran["databases"]["again"]["tables_compared"], 0)

    def test_an_invalid_index_is_told_of(self):
        source = self.serve()
        source.sql("postgres", "CREATE DATABASE parts")
        source.sql("parts", """
            CREATE TABLE p (id int) PARTITION BY RANGE (id);
            CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
            CREATE INDEX half ON ONLY p (id);""")
        self.dump(source, "--database", "parts")
        new = self.serve()
        ran = self.load(new, "latest", code=PARTIAL)
        self.assertEqual(ran["databases"]["parts"]["invalid_indexes"],
                         ["public.half (btree)"])

    def test_a_dump_that_failed_is_told_of(self):
        self.dump(self.server, "--database", "n8n", "--database", "absent",
                  code=PARTIAL)
        new = self.serve()
        ran = self.load(new, "latest", code=PARTIAL)
        self.assertIn("absent", ran["lacking"][0])
        self.assertTrue(ran["databases"]["n8n"]["restored"])

    def test_an_interruption_leaves_no_database(self):
        self.dump(self.server, "--database", "n8n")
        new = self.serve()
        folder = self.wrappers(
            new, pg_restore="""
                head -c 3000000 >$log/part; touch $log/in-the-middle
                cat >/dev/null; sleep 60""")
        running = self.start("restore", "latest", "--to-dsn", new.dsn,
                             "--bin-dir", folder)
        wait_until((self.folder / "in-the-middle").exists, "the restore")
        self.assertEqual(new.sql("postgres", UNFINISHED), "1")
        running.send_signal(signal.SIGINT)
        self.end(running, INTERRUPTED)
        self.assertEqual(self.databases(new), {"postgres"})

    def test_an_interrupted_check_leaves_nothing_in_a_database_that_lives(self):
        self.dump(self.server, "--database", "n8n")
        new = self.serve()
        new.sql("postgres", "CREATE DATABASE n8n")
        folder = self.wrappers(new)
        amcheck = self.folder / "bin" / "pg_amcheck"
        amcheck.write_text(f"#!/bin/sh\n[ $1 = --version ] && exit\n"
                           f"touch {self.folder}/checking; sleep 60\n")
        amcheck.chmod(0o755)
        running = self.start("-y", "restore", "latest", "--to-dsn", new.dsn,
                             "--clean", "--verify", "--bin-dir", folder)
        wait_until((self.folder / "checking").exists, "the check")
        ours = "SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'"
        self.assertEqual(new.sql("n8n", ours), "1")
        running.send_signal(signal.SIGINT)
        self.end(running, INTERRUPTED)
        self.assertEqual(new.sql("n8n", ours), "0")
        self.assertEqual(new.sql("n8n", "SELECT count(*) FROM pg_namespace "
                                 "WHERE nspname = 'cairn_amcheck'"), "0")

    def test_what_a_killed_restore_leaves_says_what_it_is(self):
        self.dump(self.server, "--database", "n8n")
        new = self.serve()
        folder = self.wrappers(new, pg_restore="cat >/dev/null; "
                               "touch $log/in-the-middle; sleep 60")
        running = self.start("restore", "latest", "--to-dsn", new.dsn,
                             "--bin-dir", folder)
        wait_until((self.folder / "in-the-middle").exists, "the restore")
        running.kill()
        running.wait()
        self.assertEqual(new.sql("postgres", UNFINISHED), "1")
        # It is no database to be saved, unless somebody says so.
        summary = self.dump(new, "--series", "new")
        self.assertEqual({x.get("database") for x in summary["dumps"]},
                         {None, "postgres"})
        self.assertRegex(summary["notes"][0], "cairn_restore_.* is not dumped")
        left, = self.databases(new) - {"postgres"}
        self.dump(new, "--series", "new", "--database", left)
        ran = self.cairn("restore", "latest", "--series", "pg", "--to-dsn",
                         new.dsn)
        self.assertRegex(ran.err, "database cairn_restore_[0-9a-f]{16} is what "
                         "a restore left")
        self.assert_same_rows(self.server, new, "n8n",
                              "SELECT * FROM flows ORDER BY id")

    def test_secrets_stay_out_of_arguments_and_messages(self):
        self.dump(self.server, "--database", "shop")
        new = self.serve()
        note = 'printf "%s\\n" "$0 $*" >>$log/arguments\nexec $real "$@"'
        folder = self.wrappers(new, psql=note, pg_restore=note)
        # Once all goes well, once every script fails.
        ran = self.cairn("-v", "--json", "restore", "latest", "--to-dsn",
                         new.dsn, "--bin-dir", folder)
        said = ran.text + ran.err + (self.folder / "arguments").read_text()
        self.assertIn("CREATE DATABASE", said)
        self.assertNotIn(CANARY, said)
        fails = note.replace("exec $real", '[[ "$*" != *file=-* ]] || '
                             "exec $real --set=AUTOCOMMIT=off -c 'garbage' "
                             "--set=x=\nexec $real")
        folder = self.wrappers(new, psql=fails)
        ran = self.cairn("-v", "--json", "restore", "latest", "--to-dsn",
                         new.dsn, "--bin-dir", folder, "--database", "shop",
                         "--into", "two", code=FAILED)
        self.assertNotIn(CANARY, ran.text + ran.err)

    def test_the_password_comes_from_a_command(self):
        self.dump(self.server, "--database", "shop")
        new = self.serve(servers.free_port())
        new.sql("postgres", f"CREATE ROLE loader SUPERUSER LOGIN PASSWORD "
                            f"'{CANARY}';")
        new.dsn = f"host=127.0.0.1 port={new.port} user=loader"
        (self.folder / "word").write_text(CANARY + "\n")
        self.load(new, "latest", env={"CAIRN_PG_PASSWORD_COMMAND":
                                      f"cat {self.folder}/word"})
        self.cairn("restore", "latest", "--to-dsn", new.dsn, "--into", "two",
                   env={"CAIRN_PG_PASSWORD_COMMAND": "echo wrong"},
                   code=SOURCE_FAILED)

    def test_a_statement_that_fails_is_not_repeated(self):
        source = self.serve()
        source.sql("postgres", "CREATE DATABASE far; CREATE ROLE mapped;")
        source.sql("far", f"""
            CREATE EXTENSION postgres_fdw;
            CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw;
            CREATE USER MAPPING FOR mapped SERVER away
              OPTIONS (user 'u', password '{CANARY}');""")
        self.dump(source)
        self.assertIn(CANARY.encode(), self.cat("latest:far.dump"))
        new = self.serve()
        ran = self.cairn("restore", "latest:far.dump", "--to-dsn", new.dsn,
                         code=FAILED)
        self.assertIn('role "mapped" does not exist; restore the roles first',
                      ran.err)
        self.assertNotIn(CANARY, ran.err)

    def test_what_the_server_refuses_of_a_database_is_told_of(self):
        source = self.serve()
        source.sql("postgres", f"""
            CREATE DATABASE lone; CREATE ROLE reader;
            GRANT CONNECT ON DATABASE lone TO reader;
            ALTER ROLE reader IN DATABASE lone SET "a.b" = '{CANARY}';
            ALTER DATABASE lone SET work_mem = '17MB';""")
        self.dump(source, "--database", "lone")
        new = self.serve()
        ran = self.cairn("restore", "latest:lone.dump", "--to-dsn", new.dsn,
                         code=PARTIAL)
        self.assertIn("CONNECT for role reader was not restored: ", ran.err)
        self.assertIn("setting a.b of role reader was not restored: ", ran.err)
        self.assertEqual(ran.err.count("not restored"), 2)
        self.assertNotIn(CANARY, ran.err)
        self.assertEqual(new.sql("lone", "SHOW work_mem"), "17MB")

    def test_in_a_container(self):
        # What `docker exec` does, without a container.
        self.dump(self.server, "--database", "n8n")
        new = self.serve()
        docker = self.folder / "docker"
        docker.write_text(f"""#!/bin/bash
            [ "$1 $2 $3 $4" = "exec -i db-1 $4" ] || exit 99
            shift 3
            echo "$1" >>{self.folder}/called
            exec env -i PATH={new.programs} "$@"
            """)
        docker.chmod(0o755)
        self.cairn("restore", "latest", "--to-dsn", new.dsn, "--docker", "db-1",
                   "--container-program", docker)
        self.assertIn("pg_restore",
                      (self.folder / "called").read_text().split())
        self.assert_same_rows(self.server, new, "n8n",
                              "SELECT * FROM flows ORDER BY id")

    def test_roles_that_the_server_refuses_are_told_of(self):
        self.dump(self.server, "--database", "n8n")
        new = self.serve()
        new.sql("postgres", "CREATE ROLE maker LOGIN CREATEDB")
        dsn = new.dsn.replace("user=postgres", "user=maker")
        ran = self.cairn("restore", "latest", "--to-dsn", dsn, code=FAILED)
        self.assertRegex(ran.err, "without which SNAP:NAME.dump restores.*"
                         "permission denied")
        self.assertEqual(self.databases(new), {"postgres"})

    def test_a_dry_run_says_what_it_would_do(self):
        self.dump(self.server)
        new = self.serve()
        ran = self.cairn("-n", "restore", "latest", "--to-dsn", new.dsn)
        self.assertRegex(ran.err, r"would restore shop\.dump, .* into new "
                         "database shop of PostgreSQL 15")
        value = self.cairn("-n", "--json", "restore", "latest", "--to-dsn",
                           new.dsn).lines[-1]
        self.assertEqual(set(value["databases"]), {"shop", "n8n", ODD})
        self.assertEqual(self.databases(new), {"postgres"})

    def test_what_makes_no_sense_is_refused(self):
        self.dump(self.server)
        here = ("--to-dsn", self.server.dsn)
        for words, code, why in (
                (("latest", "--database", "a"), USAGE, "go with --to-dsn"),
                (("latest", "--clean"), USAGE, "go with --to-dsn"),
                (("latest", "--to", "/x", *here), USAGE, "of folders"),
                (("latest", "--overwrite", "never", *here), USAGE,
                 "of folders"),
                (("latest", "--to-dsn", f"password={CANARY}"), USAGE,
                 "--to-dsn: it holds a password"),
                (("latest", *here, "--into", "x"), USAGE, "names one database"),
                (("latest", *here, "--into", "x" * 64, "--database", "n8n"),
                 USAGE, "cannot be the name"),
                (("latest", *here, "--database", "absent"), FAILED,
                 "no dump of database absent"),
                (("latest:n8n.dump", *here, "--database", "n8n"), USAGE,
                 "names one already"),
                (("latest:nothing", *here), FAILED, "nothing"),
                (("latest", "--to-dsn", "host=/nowhere"), SOURCE_FAILED,
                 '"/nowhere/.s.PGSQL.5432" failed')):
            ran = self.cairn("restore", *words, code=code)
            self.assertIn(why, ran.err, words)
            self.assertNotIn(CANARY, ran.err)
        self.back_up_bytes(b"no dumps", "x")
        ran = self.cairn("restore", "latest", *here, code=FAILED)
        self.assertIn("holds no dumps of databases", ran.err)
        self.assertIn(ODD_NAME + ".dump",
                      self.cairn("ls", "latest:" + ODD_NAME + ".dump").text)


@servers.needs_postgres
class OtherVersions(RestoreCase):
    def test_a_dump_goes_into_servers_of_other_versions(self):
        source = self.serve()
        source.sql("postgres", "CREATE ROLE owner; CREATE DATABASE shop OWNER "
                   "owner; ALTER DATABASE shop SET search_path = a, public")
        source.sql("shop", "SET ROLE owner; CREATE SCHEMA a; CREATE TABLE a.t "
                   "AS SELECT i FROM generate_series(1, 1000) i")
        for form in ("custom", "plain"):
            self.dump(source, "--format", form)
            for major in (13, 14, 17, 18):
                programs = servers.postgres_of(major)
                if not programs:
                    continue
                with self.subTest(form=form, major=major):
                    new = Server(programs=programs)
                    try:
                        ran = self.load(new, "latest")
                        self.assertEqual(ran["databases"]["shop"]["rows"], 1000)
                        self.assertTrue(ran["databases"]["shop"]["alike"])
                        self.assertEqual(new.sql("shop", """
                            SELECT sum(i), current_schemas(false),
                            pg_get_userbyid(relowner) FROM t, pg_class
                            WHERE relname = 't' GROUP BY relowner"""),
                                         "500500|{a,public}|owner")
                    finally:
                        new.stop()


if __name__ == "__main__":
    harness.main()
