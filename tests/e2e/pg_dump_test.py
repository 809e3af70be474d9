#!/usr/bin/python3
"""Dumps of real PostgreSQL servers: all of a server in one snapshot, what
fails alone, and that what is saved can be restored."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess

import harness
from harness import (INTERRUPTED, KIB, PARTIAL, SOURCE_FAILED, USAGE,
                     wait_until)
import servers

ODD = "odd 'q\" 100%/x"
ODD_NAME = "odd 'q\" 100%25%2Fx"
CANARY = "canary-password-4c1e"
README = pathlib.Path(__file__).parents[2] / "README.md"


def identifier(name):
    return '"' + name.replace('"', '""') + '"'


class DumpCase(harness.Case):
    """With the programs of the server's version in PATH, as after installing
    them, and wrappers around them where a test wants some."""

    def dump(self, server, *words, code=harness.OK, **how):
        """What its summary says."""
        ran = self.cairn("--json", "pg", "dump", "--dsn", server.dsn, *words,
                         code=code, **how)
        summaries = [x for x in ran.lines if x["type"] == "summary"]
        self.assertEqual(len(summaries), 1, ran)
        return summaries[0]

    def statuses(self, summary):
        return {x["name"]: x["status"] for x in summary["sources"]}

    def message(self, summary, source):
        return next(x["message"] for x in summary["sources"]
                    if x["name"] == source)

    def names_in(self, what="latest"):
        listed = self.cairn("ls", what).text.splitlines()
        return sorted(name.removeprefix("/") for name in listed)

    def wrappers(self, server, **scripts):
        """A folder with the programs, where some are scripts of our own, which
        find the real ones as $real."""
        folder = self.folder / "bin"
        subprocess.run(["rm", "-rf", folder], check=True)
        folder.mkdir()
        for name in ("psql", "pg_dump", "pg_dumpall", "pg_restore"):
            real = server.program(name)
            script = scripts.get(name)
            if script is None:
                (folder / name).symlink_to(real)
                continue
            (folder / name).write_text(
                f"#!/bin/bash\nreal={shlex.quote(real)}\n"
                f"log={shlex.quote(str(self.folder))}\n{script}\n")
            (folder / name).chmod(0o755)
        return str(folder)


class Server(servers.Postgres):
    def __init__(self, port=None, **how):
        super().__init__(port=port, **how)
        self.dsn = f"host={self.folder} port={self.port} user=postgres"

    def rows(self, database, query):
        return self.sql(database, f"COPY ({query}) TO STDOUT")

    def dumping(self, database):
        """How many pg_dump there are in a database, waiting for a lock."""
        return int(self.sql("postgres", f"""
            SELECT count(*) FROM pg_stat_activity
            WHERE application_name = 'pg_dump' AND datname = '{database}'
            AND wait_event_type = 'Lock'"""))


@servers.needs_postgres
class Dumps(DumpCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        sql = cls.server.sql
        sql("postgres", f"""
            CREATE ROLE owner LOGIN PASSWORD '{CANARY}-of-a-role';
            CREATE DATABASE shop OWNER owner;
            CREATE DATABASE n8n;
            CREATE DATABASE {identifier(ODD)};
            ALTER DATABASE shop SET statement_timeout = '31s';""")
        sql("shop", r"""
            CREATE EXTENSION pg_trgm;
            SET ROLE owner;
            CREATE SCHEMA stock;
            CREATE TABLE stock.orders (id int PRIMARY KEY, what text);
            INSERT INTO stock.orders SELECT i, md5(i::text)
              FROM generate_series(1, 20000) i;
            CREATE INDEX ON stock.orders USING gin (what public.gin_trgm_ops);
            CREATE TABLE "we""ird
        name" (x text);
            INSERT INTO "we""ird
        name" VALUES ('\.'), (E'a\nb'), (E'\\.'), (NULL),
              ('-- PostgreSQL database dump complete');
            CREATE MATERIALIZED VIEW totals AS
              SELECT count(*) AS n FROM stock.orders;
            CREATE FUNCTION body() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
        RETURN '
        COPY x FROM stdin;
        -- PostgreSQL database dump complete
        '; END $$;
            SELECT lo_from_bytea(0, 'large object');""")
        sql("n8n", """
            CREATE TABLE flows (id int, body text);
            INSERT INTO flows SELECT i, repeat(md5(i::text), 20)
              FROM generate_series(1, 40000) i;""")
        sql(ODD, "CREATE TABLE t AS SELECT 7 AS seven;")

    def test_all_databases_are_in_one_snapshot(self):
        summary = self.dump(self.server)

        self.assertTrue(summary["complete"])
        self.assertTrue(summary["series"].endswith("/pg"), summary)
        expected = ["globals.sql"]
        for name in ("n8n", ODD_NAME, "postgres", "shop"):
            expected += [name + ".dump", name + ".tables.json"]
        self.assertEqual(self.names_in(), sorted(expected))
        self.assertEqual(set(self.statuses(summary)), set(expected))
        self.assertEqual(len(self.snapshots()), 1)
        # Each one's moment, and that they are several.
        dumps = {x.get("database"): x for x in summary["dumps"]}
        self.assertEqual(set(dumps), {None, "n8n", ODD, "postgres", "shop"})
        for dump in dumps.values():
            self.assertTrue(dump["whole"])
            self.assertLessEqual(dump["began"], dump["ended"])
        self.assertEqual(
            len([x for x in summary["notes"] if "not of one moment" in x]), 1)
        # The numbers of rows are of the dump, the sizes of the server.
        self.assertEqual(dumps["shop"]["rows"], 20005)
        shop = json.loads(self.cat("latest:shop.tables.json"))
        self.assertEqual(shop["began"], dumps["shop"]["began"])
        tables = {(x["schema"], x["table"]): x for x in shop["tables"]}
        self.assertEqual(set(tables), {
            ("stock", "orders"), ("public", 'we"ird\n        name'),
            ("public", "totals")})
        orders = tables["stock", "orders"]
        self.assertEqual(orders["rows"], 20000)
        self.assertGreater(orders["dump_bytes"], 20000 * 33)
        self.assertEqual(orders["total_bytes"], int(self.server.sql(
            "shop", "SELECT pg_total_relation_size('stock.orders')")))
        self.assertEqual(tables["public", 'we"ird\n        name']["rows"], 5)
        self.assertNotIn("rows", tables["public", "totals"])
        roles = self.cat("latest:globals.sql").decode()
        self.assertIn("CREATE ROLE owner;", roles)
        self.assertIn("SCRAM-SHA-256$", roles)

    def test_people_are_told_of_when_each_database_is(self):
        ran = self.cairn("pg", "dump", "--dsn", self.server.dsn, "--tag", "t")

        self.assertRegex(
            ran.text, r"shop\.dump is of 20\S+ \S+ .*: 20,005 rows in 2 tables")
        self.assertEqual(ran.err.count("not of one moment"), 1)
        self.assertEqual(self.snapshots()[0]["tags"], ["t"])

    def test_some_databases(self):
        summary = self.dump(self.server, "--database", "n8n", "--database",
                            "n8n", "--series", "flows", "--format", "plain")

        self.assertEqual(self.names_in(),
                         ["globals.sql", "n8n.sql", "n8n.tables.json"])
        self.assertTrue(summary["series"].endswith("/flows"))
        self.assertEqual(summary["notes"], [])

    def test_one_that_is_not_there_fails_alone(self):
        summary = self.dump(self.server, "--database", "absent", "--database",
                            "n8n", code=PARTIAL)

        self.assertFalse(summary["complete"])
        self.assertEqual(self.names_in(),
                         ["globals.sql", "n8n.dump", "n8n.tables.json"])
        self.assertIn('database "absent" does not exist',
                      self.message(summary, "absent.dump"))
        absent = [x for x in summary["dumps"] if x.get("database") == "absent"]
        self.assertFalse(absent[0]["whole"])
        self.assertIsNone(absent[0]["ended"])

    def test_what_has_not_changed_costs_next_to_nothing(self):
        for form, limit in (("custom", 600 * KIB), ("plain", 20 * KIB)):
            with self.subTest(form):
                first = self.dump(self.server, "--format", form, "--series",
                                  form)
                second = self.dump(self.server, "--format", form, "--series",
                                   form)
                self.assertGreater(first["logical_bytes"], 20 * limit)
                self.assertLess(second["new_bytes"], limit)
                self.assertLess(second["stored_bytes"], 100 * KIB)
        # Down to the last byte, whatever pg_dump makes up for psql.
        for name in ("shop.sql", "globals.sql"):
            self.assertEqual(self.cat(f"latest:{name}"),
                             self.cat(f"latest~2:{name}"
                                      if name == "globals.sql"
                                      else f"latest~1:{name}"))

    def test_a_role_that_may_not_read_everything(self):
        self.server.sql("postgres", "CREATE ROLE little LOGIN;")
        self.server.sql("n8n", "GRANT SELECT ON flows TO little;")
        try:
            summary = self.dump(self.server, "--dsn",
                                self.server.dsn.replace("user=postgres",
                                                        "user=little"),
                                code=PARTIAL)
        finally:
            self.server.sql("n8n", "DROP OWNED BY little; DROP ROLE little;")
        whole = [name for name, status in self.statuses(summary).items()
                 if status == "complete"]
        self.assertEqual(sorted(whole), sorted([
            "globals.sql", "n8n.dump", "n8n.tables.json", "postgres.dump",
            "postgres.tables.json"]))
        self.assertEqual(self.names_in(), sorted(whole))
        self.assertIn("permission denied", self.message(summary, "shop.dump"))
        self.assertIn("since there is no shop.dump",
                      self.message(summary, "shop.tables.json"))
        roles = self.cat("latest:globals.sql").decode()
        self.assertIn("CREATE ROLE owner;", roles)
        self.assertNotIn("SCRAM-SHA-256$", roles)
        self.assertEqual(
            len([x for x in summary["notes"] if "passwords" in x]), 1)

    def test_a_role_that_knows_one_database_alone(self):
        sql = self.server.sql
        sql("postgres", "CREATE ROLE one LOGIN; GRANT pg_read_all_data TO one; "
            "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
        services = self.folder / "services"
        services.write_text("[one]\ndbname=n8n\n")
        dsn = self.server.dsn.replace("user=postgres", "user=one")
        words = ("pg", "dump", "--dsn", dsn, "--database", "n8n")
        try:
            for env in ({"PGDATABASE": "n8n"},
                        {"PGSERVICE": "one", "PGSERVICEFILE": services}):
                self.cairn(*words, env=env)
            self.cairn(*words, code=SOURCE_FAILED)
        finally:
            sql("postgres", "GRANT CONNECT ON DATABASE postgres TO PUBLIC; "
                "DROP OWNED BY one; DROP ROLE one")

    def hold(self, database, table, name):
        """A session that keeps a table locked until it or the test ends."""
        psql = subprocess.Popen(
            [self.server.client("psql"),
             *self.server.where("-d", database, "-X", "-q")],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)

        def end():
            psql.kill()
            psql.stdin.close()
            psql.wait()
        self.addCleanup(end)
        psql.stdin.write(
            f"SET application_name = '{name}'; BEGIN; LOCK {table};\n".encode())
        psql.stdin.flush()
        wait_until(lambda: self.server.sql("postgres", f"""
            SELECT count(*) FROM pg_stat_activity
            WHERE application_name = '{name}'
            AND state = 'idle in transaction'""") == "1", "the lock")
        return psql

    def test_a_database_that_is_dropped_meanwhile_fails_alone(self):
        self.server.sql("postgres", "CREATE DATABASE victim;")
        self.server.sql("victim", "CREATE TABLE t AS SELECT 1 AS one;")
        self.hold("victim", "t", "holder")
        running = self.start("--json", "pg", "dump", "--dsn", self.server.dsn,
                             "--database", "victim", "--database", "shop")
        wait_until(lambda: self.server.dumping("victim"), "pg_dump")
        self.server.sql("postgres", "DROP DATABASE victim WITH (FORCE);")

        summary = self.end(running, PARTIAL).lines[-1]
        self.assertEqual(self.statuses(summary), {
            "globals.sql": "complete", "victim.dump": "failed",
            "victim.tables.json": "failed", "shop.dump": "complete",
            "shop.tables.json": "complete"})
        self.assertIn("terminat", self.message(summary, "victim.dump"))
        self.assertEqual(self.names_in(),
                         ["globals.sql", "shop.dump", "shop.tables.json"])

    def test_two_databases_are_dumped_at_a_time(self):
        holders = [self.hold("n8n", "flows", "holder of flows"),
                   self.hold("shop", "stock.orders", "holder of orders")]
        running = self.start("--json", "pg", "dump", "--dsn", self.server.dsn)
        wait_until(lambda: self.server.dumping("n8n")
                   and self.server.dumping("shop"), "two pg_dump")
        for holder in holders:
            holder.kill()

        summary = self.end(running).lines[-1]
        self.assertTrue(summary["complete"])
        self.assertEqual({x["rows"] for x in summary["dumps"] if "rows" in x},
                         {40000, 20005, 1, 0})

    def test_an_interruption_commits_nothing_and_leaves_no_program(self):
        self.hold("n8n", "flows", "holder of flows")
        running = self.start("pg", "dump", "--dsn", self.server.dsn,
                             "--database", "n8n", "--database", "shop")
        wait_until(lambda: self.server.dumping("n8n"), "pg_dump")
        running.send_signal(signal.SIGINT)

        self.end(running, INTERRUPTED)
        self.assertEqual(self.snapshots(), [])
        self.assertEqual(self.objects("sessions"), [])
        wait_until(lambda: self.server.sql("postgres", """
            SELECT count(*) FROM pg_stat_activity
            WHERE application_name IN ('pg_dump', 'pg_dumpall', 'psql')
            AND pid <> pg_backend_pid()
            AND state IS DISTINCT FROM 'idle in transaction'""") == "0",
                   "the programs to end")

    def test_a_dump_that_is_cut_is_found_although_pg_dump_says_0(self):
        for form, name in (("custom", "n8n.dump"), ("plain", "n8n.sql")):
            whole = self.dump(self.server, "--database", "n8n", "--format",
                              form, "--series", "whole-" + form)
            size = next(x["bytes"] for x in whole["sources"]
                        if x["name"] == name)
            self.assertEqual(whole["dumps"][1]["rows"], 40000)
            # The end of plain SQL are comments and an \unrestrict.
            last = 1 if form == "custom" else 60
            for bytes_left in (0, 5, 3000, size // 2, size - last):
                with self.subTest(form=form, left=bytes_left):
                    folder = self.wrappers(
                        self.server,
                        pg_dump='[[ "$*" == *dbname* ]] || exec $real "$@"\n'
                                f'$real "$@" | head -c {bytes_left}; exit 0')
                    summary = self.dump(
                        self.server, "--database", "n8n", "--format", form,
                        "--series", "cut-" + form, "--bin-dir", folder,
                        code=PARTIAL)
                    self.assertIn("what was dumped is not whole",
                                  self.message(summary, name))
                    self.assertEqual(self.names_in(summary["snapshot_id"]),
                                     ["globals.sql"])
        self.assertEqual(self.snapshots()[-1]["complete"], False)

    def test_a_cut_or_failing_list_of_roles_is_found(self):
        for script in ('$real "$@" | head -c 200; exit 0',
                       '$real "$@"; exit 1'):
            folder = self.wrappers(self.server, pg_dumpall=script)
            summary = self.dump(self.server, "--database", "n8n", "--bin-dir",
                                folder, code=PARTIAL)
            self.assertEqual(self.statuses(summary), {
                "globals.sql": "failed", "n8n.dump": "complete",
                "n8n.tables.json": "complete"})
            self.assertEqual(self.names_in(), ["n8n.dump", "n8n.tables.json"])

    def test_nothing_is_saved_when_everything_fails(self):
        fail = ('[[ "$*" == *dbname* ]] || exec $real "$@"\n'
                'echo torn >&2; exit 1')
        folder = self.wrappers(self.server, pg_dump=fail, pg_dumpall=fail)

        ran = self.cairn("pg", "dump", "--dsn", self.server.dsn, "--bin-dir",
                         folder, code=SOURCE_FAILED)
        self.assertIn("nothing was backed up", ran.err)
        self.assertIn("torn", ran.err)
        self.assertEqual(self.snapshots(), [])

    def test_an_older_pg_dump_is_refused_and_a_newer_one_noted(self):
        says = ('[[ "$*" == --version ]] || exec $real "$@"\n'
                'echo "pg_dump (PostgreSQL) {}.3"')
        folder = self.wrappers(self.server, pg_dump=says.format(14))
        ran = self.cairn("pg", "dump", "--dsn", self.server.dsn, "--bin-dir",
                         folder, code=SOURCE_FAILED)
        self.assertIn("the server is of version 15", ran.err)
        self.assertIn("14.3", ran.err)
        self.assertIn("postgresql-client-15", ran.err)
        self.assertEqual(self.objects("packs"), [])

        folder = self.wrappers(self.server, pg_dump=says.format(16))
        summary = self.dump(self.server, "--bin-dir", folder)
        self.assertEqual(summary["pg_dump_version"], "16.3")
        self.assertEqual(
            len([x for x in summary["notes"] if "16.3, newer than" in x]), 1)

    def test_in_a_container(self):
        # What `docker exec` does, without a container: other programs, and no
        # variables but those that are handed in.
        docker = self.folder / "docker"
        docker.write_text(f"""#!/bin/bash
            [ "$1 $2" = "exec -i" ] || exit 99
            shift 2
            variables=()
            while [ "$1" = -e ]; do variables+=("$2=${{!2}}"); shift 2; done
            [ "$1" = db-1 ] || {{ echo "No such container: $1" >&2; exit 1; }}
            shift
            echo "${{variables[*]}}" >>{self.folder}/variables
            exec env -i PATH={self.server.programs} "${{variables[@]}}" "$@"
            """)
        docker.chmod(0o755)
        how = ("--container-program", docker)
        where = self.server.dsn.replace("user=postgres", "")

        summary = self.dump(self.server, "--dsn", where, "--docker", "db-1",
                            *how, env={"PGUSER": "postgres",
                                       "PGHOST": "/not/in/there"})
        self.assertTrue(summary["complete"])
        self.assertIn("shop.dump", self.names_in())
        said = set((self.folder / "variables").read_text().splitlines())
        self.assertEqual(said, {"PGUSER=postgres"})
        ran = self.cairn("pg", "dump", "--dsn", "", "--docker", "db-2", *how,
                         code=SOURCE_FAILED)
        self.assertIn("No such container: db-2", ran.err)

    def test_a_dry_run_says_what_it_would_do(self):
        ran = self.cairn("-n", "pg", "dump", "--dsn", self.server.dsn)
        self.assertIn("n8n", ran.err)
        value = self.cairn("-n", "--json", "pg", "dump", "--dsn",
                           self.server.dsn).lines[-1]
        self.assertEqual(set(value["databases"]),
                         {"n8n", ODD, "postgres", "shop"})
        self.assertEqual(self.snapshots(), [])

    def test_what_makes_no_sense_is_refused(self):
        for words, why in (
                ((), "which server?"),
                (("--dsn", f"host=db password={CANARY}"), "holds a password"),
                (("--dsn", f"postgres://me:{CANARY}@db/"), "holds a password"),
                (("--dsn", "", "--format", "tar"), "neither custom nor plain"),
                (("--dsn", "", "--docker", "-x"), "not the name of a contain"),
                (("--dsn", "", "--docker", "a", "--bin-dir", "/"), "exclude"),
                (("--dsn", "", "--container-program", "a"), "needs --docker"),
                (("--dsn", "", "--database", ""), "without a name")):
            ran = self.cairn("pg", "dump", *words, code=USAGE)
            self.assertIn(why, ran.err, words)
            self.assertNotIn(CANARY, ran.err)
        ran = self.cairn("pg", "dump", "--dsn", "host=/nowhere",
                         code=SOURCE_FAILED)
        self.assertIn('"/nowhere/.s.PGSQL.5432" failed', ran.err)

    def test_what_the_readme_says_of_restores(self):
        section = README.read_text().split("### Restoring databases")[1]
        blocks = re.findall(r"```\n(.*?)```", re.split("\n##", section)[0], re.S)
        self.assertEqual(len(blocks), 2)
        self.dump(self.server)
        new = Server()
        self.addCleanup(new.stop)
        env = {"PGHOST": new.folder, "PGUSER": "postgres",
               "PATH": f"{os.path.dirname(harness.PROGRAM)}:{new.programs}:"
                       + self.env["PATH"]}
        for block in blocks:
            ran = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", block],
                env=self.environment(env), capture_output=True, timeout=120,
                check=False, cwd=self.folder)
            self.assertEqual(ran.returncode, 0, (block, ran.stderr))
        restored = ["shop", "shop_of_monday", "shop_fast"]
        for database in restored:
            for query in ("SELECT * FROM stock.orders ORDER BY id",
                          'SELECT * FROM "we""ird\n        name" ORDER BY x',
                          "SELECT * FROM totals", "SELECT body()",
                          "SELECT lo_get(oid) FROM pg_largeobject_metadata"):
                self.assertEqual(new.rows(database, query),
                                 self.server.rows("shop", query),
                                 (database, query))
            self.assertEqual(new.sql(database, """
                SELECT tableowner FROM pg_tables WHERE tablename = 'orders'"""),
                             "owner")
            self.assertEqual(new.sql(database, """
                SELECT count(*) FROM pg_index WHERE indisvalid AND
                indrelid = 'stock.orders'::regclass"""), "2")
        self.assertEqual(new.sql("shop", "SHOW statement_timeout"), "31s")


@servers.needs_postgres
class DyingServers(DumpCase):
    def test_a_server_that_stops_in_the_middle(self):
        server = Server()
        self.addCleanup(server.stop)
        server.sql("postgres", "CREATE DATABASE big;")
        server.sql("big", """
            CREATE TABLE t AS SELECT i, repeat(md5(i::text), 30) AS x
              FROM generate_series(1, 60000) i;""")
        folder = self.wrappers(
            server, pg_dump="""
                [[ "$*" == *dbname=*big* ]] || exec $real "$@"
                set -o pipefail
                $real "$@" | { head -c 1000000; touch $log/in-the-middle
                  while [ ! -e $log/go-on ]; do sleep 0.05; done; cat; }""")
        running = self.start("--json", "pg", "dump", "--dsn", server.dsn,
                             "--bin-dir", folder)
        wait_until((self.folder / "in-the-middle").exists, "the dump")
        server.process.send_signal(signal.SIGQUIT)
        server.process.wait(30)
        (self.folder / "go-on").touch()

        summary = self.end(running, PARTIAL).lines[-1]
        statuses = self.statuses(summary)
        self.assertEqual(statuses["globals.sql"], "complete")
        self.assertEqual(statuses["big.dump"], "failed")
        self.assertRegex(self.message(summary, "big.dump"),
                         "server closed the connection|terminat")
        self.assertNotIn("big.dump", self.names_in())
        self.assert_sound()


@servers.needs_postgres
class Passwords(DumpCase):
    def test_come_by_the_environment_or_a_file_and_are_left_nowhere(self):
        server = Server(servers.free_port())
        self.addCleanup(server.stop)
        server.sql("postgres", f"CREATE ROLE backup SUPERUSER LOGIN PASSWORD "
                               f"'{CANARY}';")
        server.dsn = f"host=127.0.0.1 port={server.port} user=backup"
        note = 'printf "%s\\n" "$0 $*" >>$log/arguments\nexec $real "$@"'
        folder = self.wrappers(server, psql=note, pg_dump=note,
                               pg_dumpall=note, pg_restore=note)
        passfile = self.folder / "passfile"
        passfile.write_text(f"127.0.0.1:*:*:backup:{CANARY}\n")
        passfile.chmod(0o600)
        (self.folder / "word").write_text(CANARY + "\n")
        uri = f"postgresql://backup@127.0.0.1:{server.port}"
        said = ""
        for dsn, env in (
                (server.dsn, {"PGPASSWORD": CANARY}),
                (server.dsn, {"PGPASSFILE": passfile}),
                (f"{server.dsn} passfile={passfile}", {}),
                (uri, {"PGPASSWORD": CANARY}),
                (server.dsn, {"PGPASSWORD": "another",
                              "CAIRN_PG_PASSWORD_COMMAND":
                              f"cat {self.folder}/word"})):
            ran = self.cairn("-v", "--json", "pg", "dump", "--dsn", dsn,
                             "--bin-dir", folder, env=env)
            said += ran.text + ran.err
        for env in ({}, {"PGPASSWORD": CANARY + "-wrong"}):
            ran = self.cairn("pg", "dump", "--dsn", server.dsn, "--bin-dir",
                             folder, env=env, code=SOURCE_FAILED)
            self.assertRegex(ran.err, "no password supplied|"
                                      "password authentication failed")
            said += ran.err
        ran = self.cairn("pg", "dump", "--dsn", server.dsn, "--bin-dir", folder,
                         env={"CAIRN_PG_PASSWORD_COMMAND": "false"},
                         code=SOURCE_FAILED)
        self.assertIn("CAIRN_PG_PASSWORD_COMMAND", ran.err)
        self.assertEqual(len(self.snapshots()), 5)

        passfile.unlink()
        (self.folder / "word").unlink()
        said += (self.folder / "arguments").read_text()
        self.assertIn("pg_dumpall --globals-only", said)
        self.assertNotIn(CANARY, said)
        for path in self.folder.rglob("*"):
            if path.is_file():
                self.assertNotIn(CANARY.encode(), path.read_bytes(), path)
        restored = self.folder / "out"
        self.restore("latest", restored)
        for path in restored.rglob("*"):
            if path.is_file():
                self.assertNotIn(CANARY.encode(), path.read_bytes(), path)


if __name__ == "__main__":
    harness.main()
