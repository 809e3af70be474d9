#!/usr/bin/python3
"""Real PostgreSQL clusters recovered to moments: from a base backup and WAL,
by the server's own word and to the row."""

import datetime
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import harness
from harness import (INTERRUPTED, OK, REFUSED, SOURCE_FAILED, USAGE,
                     wait_until)
from postgres_case import SUMS, Case, fill
from servers import Postgres, needs_postgres, postgres_folder, postgres_of
from wal_case import gather_lines, lsn

VERIFY_FAILED = 5
NOT_FOUND = 1


class Recovering(Case):
    def receive(self, server, *words):
        """A receiver beside the test; answers once it receives."""
        process = self.start("--json", "pg", "wal-receive", "--dsn",
                             self.dsn(server), *words)
        gather_lines(process)
        wait_until(lambda: process.log or process.poll() is not None,
                   "a receiver")
        self.assertIsNone(process.poll(), process.errors)
        return process

    def finish(self, process):
        """All that the server has by now is stored."""
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        for thread in process.threads:
            thread.join(10)
        self.assertEqual(process.returncode, OK, "".join(process.errors))

    def moment(self, server):
        """By the server's clock, and apart from what was and what comes."""
        time.sleep(0.05)
        now = server.sql("postgres", "SELECT clock_timestamp()")
        time.sleep(0.05)
        return now

    def range(self, *words):
        found = self.cairn("pg", "range", "--json", *words).value
        self.assertEqual(found["type"], "pg_range")
        cluster, = found["clusters"]
        return cluster

    def windows(self, timeline=1):
        one, = [t for t in self.range()["timelines"]
                if t["timeline"] == timeline]
        return one["windows"]

    def recover(self, server, *words, name="recovered", code=OK):
        """Answers the folder, and what was said of the recovery."""
        folder = server.folder / name
        ran = self.cairn("--json", "restore", *words, "--to", folder,
                         code=code)
        return folder, ran.lines[-1].get("recovery")

    def refused(self, *words, says, code=REFUSED, name="refused"):
        folder = self.folder / name
        ran = self.cairn("restore", *words, "--to", folder, code=code)
        self.assertRegex(ran.err, says)
        self.assertFalse(folder.exists())
        return ran.err

    def load(self, server, database="bench"):
        process = subprocess.Popen(
            [*server.prefix, server.client("pgbench"),
             *server.where("-n", "-T", "60", "-c", "2", database)],
            cwd=server.folder, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        self.addCleanup(process.kill)
        return process

    def assert_nothing_runs_in(self, folder):
        for cmdline in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = cmdline.read_bytes().split(b"\0")
            except OSError:
                continue
            if os.fsencode(folder) in words:
                # Of the test's own servers, sh and cairn none is left.
                raise AssertionError(words)


@needs_postgres
class Recovery(Recovering):
    def test_a_table_that_was_dropped_under_load_is_there_again(self):
        server = self.serve(initdb=["--data-checksums"])
        fill(server, 2)
        receiver = self.receive(server)
        self.base(server)
        load = self.load(server)
        wait_until(lambda: int(server.sql(
            "bench", "SELECT count(*) FROM pgbench_history")) > 200,
                   "some load")
        server.sql("bench", "CREATE TABLE precious AS SELECT i, md5(i::text) "
                   "AS t FROM generate_series(1, 5000) i")
        last = server.sql("bench", "INSERT INTO precious VALUES (0, 'last') "
                          "RETURNING pg_current_wal_insert_lsn()")
        before = self.moment(server)
        history = int(server.sql("bench",
                                 "SELECT count(*) FROM pgbench_history"))
        server.sql("bench", "DROP TABLE precious")
        wait_until(lambda: int(server.sql(
            "bench", "SELECT count(*) FROM pgbench_history")) > history + 200,
                   "more load")
        load.terminate()
        load.wait()
        self.finish(receiver)

        began = time.monotonic()
        folder, said = self.recover(server, "--at", before)
        seconds = time.monotonic() - began
        self.assertEqual(said["timeline"], 1)
        self.assertGreater(lsn(said["stop_lsn"]), lsn(last))
        self.assertTrue((folder / "recovery.signal").exists())
        self.assertFalse((folder / "recovery.conf").exists())
        self.verify(server, folder, "--ignore", "cairn_wal")
        # The server needs nothing of ours, and the folder may be moved.
        os.rename(self.repo, self.folder / "away")
        moved = server.folder / "it's moved"
        os.rename(folder, moved)
        began = time.monotonic()
        again = self.serve(data=moved)
        print(f"restored in {seconds:.1f} s, recovered in "
              f"{time.monotonic() - began:.1f} s, up to {said['stop_lsn']}, "
              f"{said['wal_segments']} segments")
        self.assertEqual(again.sql("bench", "SELECT count(*) FROM precious"),
                         "5001")
        self.assertEqual(again.sql("postgres",
                                   "SELECT pg_last_wal_replay_lsn()"),
                         said["stop_lsn"])
        accounts, branches, tellers, sum_, count = again.sql(
            "bench", SUMS).split("|")
        self.assertEqual({accounts, branches, tellers, sum_}, {accounts})
        self.assertEqual(count, "200000")
        self.assertGreater(int(again.sql(
            "bench", "SELECT count(*) FROM pgbench_history")), 200)
        self.assertLessEqual(int(again.sql(
            "bench", "SELECT count(*) FROM pgbench_history")), history)
        self.assertEqual(again.sql(
            "postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())")[:8],
            "00000002")
        again.run(again.client("pg_amcheck"), *again.where(
            "--all", "--install-missing", "--heapallindexed"))
        again.end()
        os.rename(self.folder / "away", self.repo)

        # The same, verified by ourselves; and still to be used.
        folder, said = self.recover(
            server, "--at", before, "--verify", "--verify-db", "bench",
            "--verify-sql", "SELECT count(*) = 5001 FROM precious",
            "--verify-sql", "SELECT 1 FROM pgbench_accounts LIMIT 1",
            name="verified")
        verified = said["verified"]
        self.assertEqual(verified["replayed_lsn"], said["stop_lsn"])
        self.assertEqual(verified["timeline"], 2)
        self.assertEqual(verified["checks_passed"], 2)
        self.assertEqual(verified["not_checked"], [])
        self.assertGreaterEqual(verified["databases_checked"], 3)
        self.assert_nothing_runs_in(folder)
        self.assertFalse((folder / "recovery.signal").exists())
        self.assertFalse((folder / "postmaster.pid").exists())
        again = self.serve(data=folder)
        self.assertEqual(again.sql("bench", "SELECT count(*) FROM precious"),
                         "5001")
        self.assertEqual(again.sql("bench", "SELECT count(*) FROM "
                                   "pg_extension WHERE extname = 'amcheck'"),
                         "0")

    def test_every_kind_of_target_ends_where_it_was_said(self):
        server = self.serve()
        server.sql("postgres", "CREATE TABLE t (i int)")
        receiver = self.receive(server)
        self.base(server)
        server.sql("postgres", "INSERT INTO t VALUES (1)")
        at = self.moment(server)
        xid = server.sql("postgres", "BEGIN; INSERT INTO t VALUES (2); "
                         "SELECT txid_current(); COMMIT")
        server.sql("postgres", "INSERT INTO t VALUES (3); "
                   "SELECT pg_create_restore_point('it''s here')")
        server.sql("postgres", "INSERT INTO t VALUES (4)")
        place = server.sql("postgres", "SELECT pg_current_wal_insert_lsn()")
        server.sql("postgres", "INSERT INTO t VALUES (5)")
        self.finish(receiver)
        self.base(server)  # behind all of them
        with_zone = datetime.datetime.fromisoformat(at).astimezone(
            datetime.timezone(datetime.timedelta(hours=5, minutes=30)))
        iso = datetime.datetime.fromisoformat(at).astimezone(
            datetime.timezone.utc).isoformat().replace("+00:00", "Z")
        for number, (words, rows) in enumerate((
                (("--at", at), "1"), (("--at", str(with_zone)), "1"),
                (("--at", iso), "1"), (("--target-xid", xid), "2"),
                (("--target-name", "it's here"), "3"),
                # The next record behind it is of a row that is not committed.
                (("--target-lsn", place), "4"),
                (("--at", "latest"), "5"), (("--immediate",), "5"))):
            with self.subTest(words=words):
                folder, said = self.recover(server, *words,
                                            name=f"r{number}")
                again = self.serve(data=folder)
                self.assertEqual(again.sql("postgres", "SELECT max(i) FROM t"),
                                 rows)
                if words != ("--immediate",):
                    self.assertEqual(
                        again.sql("postgres",
                                  "SELECT pg_last_wal_replay_lsn()"),
                        said["stop_lsn"])
                again.end()

    def test_both_branches_of_a_promotion_can_be_recovered(self):
        server = self.serve()
        server.sql("postgres", "CREATE TABLE t (i int)")
        receiver = self.receive(server)
        self.base(server)
        server.sql("postgres", "INSERT INTO t VALUES (1)")
        shared = self.moment(server)
        server.sql("postgres", "INSERT INTO t VALUES (2)")
        mistake = self.moment(server)
        server.sql("postgres", "DELETE FROM t")
        empty = self.moment(server)
        server.sql("postgres", "INSERT INTO t VALUES (3)")
        self.finish(receiver)
        server.end()

        folder, _ = self.recover(server, "--at", mistake, name="second")
        second = self.serve(data=folder)
        receiver = self.receive(second)
        second.sql("postgres", "INSERT INTO t VALUES (10)")
        # With all that its own recovery left in it: a target, old WAL.
        self.assertTrue((folder / "cairn_wal").exists())
        newest = self.base(second)
        on_second = self.moment(second)
        second.sql("postgres", "INSERT INTO t VALUES (11)")
        self.finish(receiver)
        second.end()

        found = {t["timeline"]: t for t in self.range()["timelines"]}
        self.assertEqual(set(found), {1, 2})
        self.assertEqual(len(found[2]["windows"]), 1)
        self.assertIn("branched_off_lsn", found[2])

        for number, (words, rows) in enumerate((
                (("--at", shared), "1"),  # before they parted
                (("--at", on_second), "1 2 10"),
                (("--at", "latest"), "1 2 10 11"),
                (("--at", empty, "--timeline", "1"), ""),
                (("--at", "latest", "--timeline", "1"), "3"))):
            with self.subTest(words=words):
                folder, said = self.recover(second, *words, name=f"r{number}")
                self.assertEqual(
                    said["base_id"] == newest["snapshot_id"],
                    words in (("--at", on_second), ("--at", "latest")))
                again = self.serve(data=folder)
                self.assertEqual(again.sql(
                    "postgres", "SELECT string_agg(i::text, ' ' ORDER BY i) "
                    "FROM t"), rows)
                # A timeline that none of the others is.
                self.assertEqual(again.sql(
                    "postgres",
                    "SELECT pg_walfile_name(pg_current_wal_lsn())")[:8],
                    "00000003")
                again.end()
        self.refused("--at", "latest", "--timeline", "3", says="timeline 3")

    def test_what_cannot_be_reached_is_refused_with_what_can(self):
        server = self.serve()
        early = self.moment(server)
        server.sql("postgres", "CREATE TABLE t (i int)")
        self.refused("--at", early, says="neither a base backup nor WAL",
                     code=NOT_FOUND)
        self.base(server)
        alone = self.moment(server)
        # A base without WAL behind it.
        self.refused("--at", alone, says="--immediate")
        self.assertIn("no WAL behind it", self.cairn("pg", "range").err)
        receiver = self.receive(server)
        server.sql("postgres", "INSERT INTO t VALUES (1)")
        good = self.moment(server)
        server.sql("postgres", "INSERT INTO t VALUES (2)")
        self.finish(receiver)
        window, = self.windows()
        late = self.moment(server)
        said = self.refused("--at", late, says="can be reached: timeline 1")
        self.assertIn(window["to_lsn"], said)
        self.assertIn("'--at latest' is all of it", said)
        self.refused("--at", early, says="before the end of the oldest base")
        self.refused("--target-lsn", "FF/0", says="behind all WAL")
        self.refused("--target-xid", "4000000000", says="in no WAL")
        self.refused("--target-name", "none", says="in no WAL")
        for words, says in (
                (("--at", late[:19]), "no time zone"),
                (("--at", "yesterday"), "no time such as"),
                (("--at", good, "--immediate"), "one target"),
                (("--target-lsn", "7"), "no place in WAL"),
                (("--target-xid", "2"), "no transaction"),
                (("--target-name", "two\nlines"), "restore point"),
                (("latest", "--at", good), "leave SNAP out"),
                (("latest", "--timeline", "1"), "--timeline goes with"),
                (("--at", good, "--overwrite", "always"), "empty folder"),
                (("--at", good, "--wal", "fetch", "--verify"), "--wal fetch"),
                (("--at", good, "--verify-sql", "SELECT 1"), "--verify"),
                ((), "say what")):
            self.refused(*words, says=says, code=USAGE)
        full = self.folder / "full"
        full.mkdir()
        (full / "mine").write_text("mine")
        self.cairn("restore", "--at", good, "--to", full, code=REFUSED)
        self.assertEqual(os.listdir(full), ["mine"])
        # What a dry run says of it, it does.
        ran = self.cairn("--json", "-n", "restore", "--at", good, "--to",
                         self.folder / "dry")
        self.assertFalse((self.folder / "dry").exists())
        folder, done = self.recover(server, "--at", good)
        self.assertEqual(ran.lines[0]["stop_lsn"], done["stop_lsn"])
        again = self.serve(data=folder)
        self.assertEqual(again.sql("postgres", "SELECT count(*) FROM t"), "1")

    def test_a_gap_is_told_and_healed_by_a_base(self):
        server = self.serve("-c", "max_wal_size=32MB", "-c",
                            "min_wal_size=32MB")
        server.sql("postgres", "CREATE TABLE t (i int)")
        receiver = self.receive(server, "--slot", "ours")
        self.base(server)
        server.sql("postgres", "INSERT INTO t VALUES (1)")
        first = self.moment(server)
        server.sql("postgres", "INSERT INTO t VALUES (2)")
        self.finish(receiver)
        server.sql("postgres", "SELECT pg_drop_replication_slot('ours')")
        for _ in range(6):
            server.sql("postgres", "INSERT INTO t VALUES (3); "
                       "SELECT pg_switch_wal()")
            server.sql("postgres", "CHECKPOINT")
        lost = self.moment(server)
        server.sql("postgres", "INSERT INTO t VALUES (4)")
        receiver = self.receive(server, "--slot", "ours")
        server.sql("postgres", "INSERT INTO t VALUES (5)")
        self.finish(receiver)
        timeline, = self.range()["timelines"]
        gap, = timeline["gaps"]
        self.assertIsNone(gap["healed_by"])
        self.assertIn("take one now with 'cairn pg base'",
                      self.cairn("pg", "range").err)
        self.refused("--at", lost, says="behind all WAL")
        receiver = self.receive(server, "--slot", "ours")
        base = self.base(server)
        server.sql("postgres", "INSERT INTO t VALUES (6)")
        after = self.moment(server)
        server.sql("postgres", "INSERT INTO t VALUES (7)")
        self.finish(receiver)
        timeline, = self.range()["timelines"]
        self.assertEqual(len(timeline["windows"]), 2)
        gap, = timeline["gaps"]
        self.assertEqual(gap["healed_by"], base["snapshot_id"])
        self.refused("--at", lost, says="behind all WAL")
        for at, rows in ((first, "1"), (after, "6")):
            folder, _ = self.recover(server, "--at", at, name=f"r{rows}")
            again = self.serve(data=folder)
            self.assertEqual(again.sql("postgres", "SELECT max(i) FROM t"),
                             rows)
            again.end()

    def test_of_two_clusters_in_a_series_the_one_of_that_time_comes_back(self):
        moments = []
        for name in ("first", "second"):
            server = self.serve()
            server.sql("postgres", f"CREATE TABLE {name} (i int)")
            receiver = self.receive(server)
            self.base(server)
            moments.append(self.moment(server))
            server.sql("postgres", f"INSERT INTO {name} VALUES (1)")
            self.finish(receiver)
            server.end()
        found = self.cairn("pg", "range", "--json").value["clusters"]
        self.assertEqual(len(found), 2)
        for words, name in ((("--at", moments[0]), "first"),
                            (("--at", moments[1]), "second"),
                            (("--at", "latest"), "second")):
            with self.subTest(words=words):
                folder, _ = self.recover(server, *words, name=words[1][:26])
                again = self.serve(data=folder)
                again.sql("postgres", f"SELECT * FROM {name}")
                again.end()
                shutil.rmtree(folder)

    def test_a_base_older_than_all_wal_is_told(self):
        server = self.serve()
        self.base(server)
        server.sql("postgres", "CREATE TABLE t (i int)")
        for _ in range(3):
            server.sql("postgres", "INSERT INTO t VALUES (1); "
                       "SELECT pg_switch_wal()")
        server.sql("postgres", "CHECKPOINT")  # a new slot begins there
        receiver = self.receive(server)
        server.sql("postgres", "INSERT INTO t VALUES (2)")
        at = self.moment(server)
        server.sql("postgres", "INSERT INTO t SELECT generate_series(1, "
                   "100000)")
        self.finish(receiver)
        timeline, = self.range()["timelines"]
        self.assertIsNone(timeline["gaps"][0]["healed_by"])
        self.assertIn("wal_without_base", timeline)
        self.assertIn("older than the WAL behind it",
                      self.cairn("pg", "range").err)
        self.refused("--at", at, says="behind all WAL")
        self.refused("--at", "latest", says="there is more")
        folder, _ = self.recover(server, "--immediate")
        again = self.serve(data=folder)
        self.assertEqual(again.sql("postgres", "SELECT count(*) FROM pg_class "
                                   "WHERE relname = 't'"), "0")

    def test_range_says_what_would_be_lost(self):
        server = self.serve()
        server.sql("postgres", "CREATE TABLE t (i int)")
        receiver = self.receive(server, "--flush-interval", "1h")
        self.base(server)
        self.assertIsNone(self.range()["wal_stored_at"])
        server.sql("postgres", "INSERT INTO t SELECT generate_series(1, 1000)")
        receiver.send_signal(signal.SIGUSR1)
        wait_until(lambda: [x for x in receiver.log
                            if x["type"] == "wal_flushed"], "a flush")
        self.assertIsNotNone(self.range()["wal_stored_at"])
        server.sql("postgres", "INSERT INTO t SELECT generate_series(1, 9000)")
        wait_until(lambda: self.range()["spooled_bytes"] > 100_000,
                   "WAL in the spool")
        self.assertRegex(self.cairn("pg", "range").text,
                         "would be lost now.*wait in the spool")
        self.finish(receiver)
        self.assertEqual(self.range()["spooled_bytes"], 0)
        window, = self.windows()
        self.assertTrue(window["has_commit"])
        self.assertLess(window["from"], window["to"])

    def test_a_tablespace_made_on_the_way_is_not_replayed_over_others(self):
        server = self.serve()
        location = server.folder / "fast"
        receiver = self.receive(server)
        self.base(server)
        before = self.moment(server)
        # Whose commit a recovery to `before` ends at. Without it, it would
        # replay the tablespace's creation, up to that one's commit.
        server.sql("postgres", "CREATE TABLE s AS SELECT 1")
        server.run("mkdir", location)
        server.sql("postgres", f"CREATE TABLESPACE fast LOCATION '{location}'")
        server.sql("postgres", "CREATE TABLE t TABLESPACE fast AS SELECT 1")
        after = self.moment(server)
        server.sql("postgres", "CREATE TABLE u AS SELECT 1")
        self.finish(receiver)
        self.refused("--at", after, "-y", says="lies there on this machine")
        server.end()
        shutil.rmtree(location)
        # Neither is what cannot be looked into; as another user, say.
        location.symlink_to(location)
        self.refused("--at", after, "-y", says="lies there on this machine")
        location.unlink()
        self.refused("--at", after, says="creates a tablespace")
        self.recover(server, "--at", before)
        folder, _ = self.recover(server, "--at", after, "-y", name="after")
        server.run("mkdir", location)
        again = self.serve(data=folder)
        self.assertEqual(again.sql("postgres", "SELECT count(*) FROM t"), "1")

    def test_a_server_may_fetch_wal_itself(self):
        server = self.serve()
        receiver = self.receive(server)
        self.base(server)
        server.sql("postgres", "CREATE TABLE t AS SELECT 1")
        self.finish(receiver)
        folder, said = self.recover(server, "--at", "latest", "--wal", "fetch")
        self.assertEqual(said["wal"], "fetch")
        self.assertFalse((folder / "cairn_wal").exists())
        settings = (folder / "postgresql.auto.conf").read_text()
        command = re.search("restore_command = '(.*)'", settings)[1]
        self.assertIn(f"''--repo'' ''{self.repo}'' ''pg'' ''wal-fetch''",
                      command)
        self.assertIn(f"''{socket.gethostname()}/pg'' %f", command)
        self.assertNotIn("owner.key", command)

    def test_a_standby_is_a_source_like_another(self):
        server = self.serve()
        server.sql("postgres", "CREATE TABLE t (i int)")
        receiver = self.receive(server)
        folder = server.folder / "standby"
        server.run(server.client("pg_basebackup"), *server.where(
            "-D", folder, "-R", "-c", "fast"))
        standby = self.serve(data=folder, kind=StandbyServer)
        server.sql("postgres", "INSERT INTO t VALUES (1); CHECKPOINT")
        wait_until(lambda: standby.sql("postgres", "SELECT count(*) FROM t")
                   == "1", "the standby to follow")
        self.base(standby)
        server.sql("postgres", "INSERT INTO t VALUES (2)")
        at = self.moment(server)
        server.sql("postgres", "INSERT INTO t VALUES (3)")
        self.finish(receiver)
        folder, _ = self.recover(server, "--at", at)
        self.assertFalse((folder / "standby.signal").exists())
        again = self.serve(data=folder)
        self.assertEqual(again.sql("postgres", "SELECT max(i) FROM t"), "2")


class StandbyServer(Postgres):
    up_says = b"t\n"


@needs_postgres
class Verification(Recovering):
    def setUp(self):
        super().setUp()
        self.server = self.serve()
        self.server.sql("postgres", "CREATE TABLE t (i int PRIMARY KEY)")
        receiver = self.receive(self.server)
        self.base(self.server)
        self.server.sql("postgres",
                        "INSERT INTO t SELECT generate_series(1, 100000)")
        self.finish(receiver)

    def fails(self, *words, says, name, code=VERIFY_FAILED):
        folder = self.server.folder / name
        ran = self.cairn("restore", "--at", "latest", "--verify", *words,
                         "--to", folder, code=code)
        self.assertRegex(ran.err, says)
        self.assert_nothing_runs_in(folder)
        return folder

    def test_a_check_that_says_no_fails(self):
        checks = self.folder / "check.sql"
        checks.write_text("SELECT count(*) = 7 FROM t;\n")
        for number, (sql, says) in enumerate((
                ("SELECT false", "answered false"),
                ("SELECT 1 WHERE false", "no row"),
                ("SELECT NULL", "answered nothing"),
                ("SELECT * FROM nowhere", "nowhere"),
                (checks, "answered false"))):
            folder = self.fails("--verify-sql", sql, says=says,
                                name=f"v{number}")
            self.assertFalse((folder / "postmaster.pid").exists())
        # What does something and answers nothing may pass.
        self.recover(self.server, "--at", "latest", "--verify",
                     "--verify-sql", "DO $$ BEGIN ASSERT true; END $$")

    def test_settings_of_the_live_server_do_not_get_in_the_way(self):
        """For another machine, or against writing, or against long reads."""
        sql = self.server.sql
        sql("postgres", "CREATE DATABASE shop")
        sql("shop", "CREATE TABLE t AS SELECT generate_series(1, 100000) i")
        sql("postgres", "ALTER DATABASE shop SET "
            "default_transaction_read_only = on")
        for name, value in (("huge_pages", "on"), ("statement_timeout", "1"),
                            ("default_transaction_read_only", "on"),
                            ("lock_timeout", "1"),
                            ("dynamic_shared_memory_type", "sysv")):
            sql("postgres", f"ALTER SYSTEM SET {name} = '{value}'")
        self.base(self.server)
        _, recovery = self.recover(
            self.server, "--at", "latest", "--verify", "--verify-db", "shop",
            "--verify-sql", "SELECT count(*) = 100000 FROM t",
            "--verify-sql", "SELECT current_setting("
            "'dynamic_shared_memory_type') = 'mmap'")
        self.assertEqual(recovery["verified"]["not_checked"], [])
        self.assertEqual(recovery["verified"]["databases_checked"], 3)

    def test_without_a_server_of_that_version_nothing_is_written(self):
        folder = self.fails("--bin-dir", self.folder, says="install one",
                            name="none", code=SOURCE_FAILED)
        self.assertFalse(folder.exists())

    def test_damage_in_the_base_and_an_early_end_are_noticed(self):
        # A server that stands in for one whose WAL is cut short: it gets other
        # WAL than was planned.
        os.chmod(self.folder, 0o755)  # the server's user comes here
        broken = self.folder / "bin"
        broken.mkdir()
        for name in ("pg_verifybackup", "postgres"):
            real = os.path.join(postgres_folder(), name)
            script = broken / name
            script.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
            script.chmod(0o755)
        (broken / "pg_verifybackup").write_text(
            "#!/bin/sh\n"
            'for last; do :; done; echo broken >>"$last/PG_VERSION"\n'
            f'exec {postgres_folder()}/pg_verifybackup "$@"\n')
        self.fails("--bin-dir", broken, says="PG_VERSION", name="damaged")
        (broken / "pg_verifybackup").write_text(
            "#!/bin/sh\n"
            'for last; do :; done\n'
            'rm "$last"/cairn_wal/0*[0-9A-F]\n')
        self.fails("--bin-dir", broken, says="recovery ended before",
                   name="early")

    def start_slow(self, name):
        folder = self.server.folder / name
        process = self.start("-v", "restore", "--at", "latest", "--verify",
                             "--verify-sql", "SELECT pg_sleep(100)", "--to",
                             folder)
        for line in process.stderr:
            if b"given checks" in line:
                break
        server = int((folder / "postmaster.pid").read_text().split()[0])

        def is_asked():
            backends = subprocess.run(
                ["ps", "-o", "args=", "--ppid", str(server)],
                capture_output=True, check=False).stdout
            return b"[local] SELECT" in backends
        wait_until(is_asked, "the server to be at work")
        return folder, process

    def test_an_interrupt_leaves_no_server(self):
        folder, process = self.start_slow("slow")
        process.send_signal(signal.SIGINT)
        process.wait(60)
        self.assertEqual(process.returncode, INTERRUPTED)
        self.assert_nothing_runs_in(folder)

    def test_who_is_killed_leaves_no_server(self):
        folder, process = self.start_slow("killed")
        process.kill()
        process.wait(60)

        def is_gone():
            try:
                self.assert_nothing_runs_in(folder)
            except AssertionError:
                return False
            return True
        wait_until(is_gone, "the server to end")

    def test_configuration_from_outside_is_used(self):
        server = self.serve(initdb=["--data-checksums"])
        server.end()
        outside = server.folder / "etc"
        server.run("mkdir", "-p", outside / "conf.d")
        for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
            os.rename(server.data / name, outside / name)
        with open(outside / "postgresql.conf", "a",
                  encoding="utf-8") as config:
            config.write(f"hba_file = '{outside}/pg_hba.conf'\n"
                         f"ident_file = '{outside}/pg_ident.conf'\n"
                         "include_dir = 'conf.d'\n")
        (outside / "conf.d/ours.conf").write_text(
            "max_prepared_transactions = 7\n")
        (outside / "conf.d/ours.conf").chmod(0o644)
        server.begin("-c", f"config_file={outside}/postgresql.conf")
        receiver = self.receive(server, "--series", "debian")
        self.base(server, "--series", "debian")
        server.sql("postgres", "CREATE TABLE t (i int)")
        server.sql("postgres", "BEGIN; INSERT INTO t VALUES (1); "
                   "PREPARE TRANSACTION 'open'")
        self.finish(receiver)
        # Without that setting it could not be recovered.
        self.recover(server, "--at", "latest", "--series", "debian",
                     "--verify", "--verify-sql",
                     "SELECT gid = 'open' FROM pg_prepared_xacts")


@needs_postgres  # for its psql
class Versions(Recovering):
    def check_version(self, major):
        programs = postgres_of(major)
        if not programs:
            self.skipTest(f"PostgreSQL {major} is not there; "
                          "scripts/install-test-servers.sh fetches it")
        wrapped = self.folder / "bin"
        wrapped.mkdir()
        script = wrapped / "postgres"
        libraries = os.path.join(os.path.dirname(programs), "lib")
        script.write_text(f"#!/bin/sh\nexec env LD_LIBRARY_PATH={libraries} "
                          f'{programs}/postgres "$@"\n')
        script.chmod(0o755)
        os.chmod(self.folder, 0o755)

        server = self.serve(programs=programs, initdb=["--data-checksums"])
        server.sql("postgres", "CREATE TABLE accounts AS SELECT i AS id, "
                   "0 AS balance FROM generate_series(1, 10000) i; "
                   "CREATE INDEX ON accounts (id)")
        receiver = self.receive(server)
        self.base(server)
        for _ in range(20):
            server.sql("postgres", "UPDATE accounts SET balance = balance + 1 "
                       "WHERE id % 100 = 0")
        server.sql("postgres", "CREATE TABLE kept AS SELECT 1")
        at = self.moment(server)
        server.sql("postgres", "DROP TABLE accounts")
        server.sql("postgres", "CREATE TABLE late AS SELECT 1")
        # Behind the last commit a checkpoint tells the time.
        time.sleep(1.1)
        idle = self.moment(server)
        time.sleep(1.1)
        beyond = datetime.datetime.fromisoformat(
            self.moment(server)) + datetime.timedelta(hours=1)
        server.sql("postgres", "CHECKPOINT")
        self.finish(receiver)
        window, = self.windows()
        self.assertTrue(window["has_commit"])
        self.cairn("-n", "restore", "--at", idle, "--to", self.folder / "no")
        self.refused("--at", str(beyond), says="behind all WAL")
        folder, said = self.recover(
            server, "--at", at, "--verify", "--bin-dir", wrapped,
            "--verify-sql", "SELECT sum(balance) = 2000 FROM accounts")
        self.assertEqual(said["verified"]["replayed_lsn"], said["stop_lsn"])
        again = self.serve(programs=programs, data=folder)
        self.assertEqual(again.sql(
            "postgres", "SELECT sum(balance), count(*) FROM accounts"),
            "2000|10000")
        self.assertEqual(again.sql(
            "postgres", "SET enable_seqscan = off; SELECT balance "
            "FROM accounts WHERE id = 5000"), "20")
        self.assertEqual(again.sql(
            "postgres", "SELECT count(*) FROM pg_class WHERE relname IN "
            "('kept', 'late')"), "1")

    def test_13(self):
        self.check_version(13)

    def test_14(self):
        self.check_version(14)

    def test_17(self):
        self.check_version(17)

    def test_18(self):
        self.check_version(18)


if __name__ == "__main__":
    harness.main()
