#!/usr/bin/python3
"""Base backups of real PostgreSQL servers: a restored one starts, has every row
and passes PostgreSQL's own checks."""

import json
import re
import subprocess

import harness
from harness import MIB, wait_until
from postgres_case import SUMS, Case, Standby, fill
from servers import needs_postgres


@needs_postgres
class Bases(Case):
    def amcheck(self, server):
        server.run(server.client("pg_amcheck"), *server.where(
            "--all", "--install-missing", "--heapallindexed"))

    def test_restored_bases_start_and_have_every_row(self):
        server = self.serve(initdb=["--data-checksums"])
        fill(server)
        first = self.base(server, "--tag", "monday")
        was = server.sql("bench", SUMS)
        server.sql("bench", "UPDATE pgbench_accounts SET abalance = 7 "
                   "WHERE aid % 1000 = 0; INSERT INTO far VALUES (0, 'new')")
        second = self.base(server)

        # What changed, and little else, is stored the second time.
        self.assertGreater(first["logical_bytes"], 60 * MIB)
        self.assertLess(second["stored_bytes"], 1 * MIB)
        self.assertLess(second["stored_bytes"],
                        second["logical_bytes"] // 60)
        # And next to nothing where nothing did.
        third = self.base(server)
        self.assertLess(third["stored_bytes"], 200_000)

        for base, sums, far in ((first, was, "20000"),
                                (second, server.sql("bench", SUMS), "20001")):
            folder = self.restore_for(server, base["snapshot_id"],
                                      base["snapshot_id"][:8])
            self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
            self.verify(server, folder)
            self.assertTrue((folder / "backup_label").exists())
            again = self.serve(data=folder)
            self.assertEqual(again.sql("bench", SUMS), sums)
            self.assertEqual(again.sql("bench", "SELECT count(*) FROM far"),
                             far)
            # Nothing leads to where the live server has its tablespace.
            links = [p for p in folder.rglob("*") if p.is_symlink()]
            self.assertEqual(links, [])
            again.sql("bench", "INSERT INTO far VALUES (1, 'here only')")
            self.amcheck(again)
            again.end()
        self.assertEqual(server.sql("bench", "SELECT count(*) FROM far"),
                         "20001")
        self.assert_sound()

    def test_a_base_taken_under_load_is_consistent(self):
        # A spread checkpoint takes as long as it may.
        server = self.serve("-c", "checkpoint_timeout=30s")
        fill(server, 2)
        load = subprocess.Popen(
            [*server.prefix, server.client("pgbench"),
             *server.where("-n", "-T", "20", "-c", "2", "bench")],
            cwd=server.folder, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: server.sql(
                "bench", "SELECT count(*) > 50 FROM pgbench_history") == "t",
                       "the load to begin")
            self.base(server, "--checkpoint", "spread", "--max-rate", "30MiB")
        finally:
            load.terminate()
            load.wait()
        folder = self.restore_for(server, "latest")
        self.verify(server, folder)
        again = self.serve(data=folder)
        accounts, branches, tellers, history, count = again.sql(
            "bench", SUMS).split("|")
        self.assertEqual(accounts, branches)
        self.assertEqual(accounts, tellers)
        self.assertEqual(accounts, history)
        self.assertEqual(count, "200000")
        self.assertGreater(int(again.sql(
            "bench", "SELECT count(*) FROM pgbench_history")), 50)
        self.amcheck(again)

    def test_the_files_of_a_base_can_be_looked_at(self):
        server = self.serve()
        base = self.base(server)
        self.assertEqual(self.cat("latest:PG_VERSION"), b"15\n")
        listed = self.cairn("ls", "latest").text.split()
        self.assertIn("/global", listed)
        self.assertIn("/backup_label", listed)
        manifest = json.loads(self.cat("latest:backup_manifest"))
        listed = self.cairn("ls", "-R", "latest").text.split()
        for file in manifest["Files"]:
            self.assertIn("/" + file["Path"], listed)
        found = self.cairn("find", "pg_control").text
        self.assertIn("/global/pg_control", found)
        self.restore("latest:global", self.folder / "global")
        self.assertEqual((self.folder / "global/pg_control").stat().st_size,
                         8192)
        self.assertEqual(self.restore("latest", self.folder / "all")["files"],
                         base["files"])

    def test_a_snapshot_says_of_which_cluster_and_when_it_is(self):
        server = self.serve()
        fill(server, 1)
        summary = self.base(server)
        control = server.run(server.client("pg_controldata"), "-D",
                             "data").decode()
        identifier = re.search(r"system identifier: +(\d+)", control)[1]
        self.assertEqual(summary["system_identifier"], identifier)
        self.assertEqual(summary["timeline"], "1")
        self.assertEqual(summary["source"], "primary")
        self.assertEqual(summary["tablespaces"], [
            {"oid": server.sql("postgres", "SELECT oid FROM pg_tablespace "
                               "WHERE spcname = 'side'"),
             "location": str(server.folder / "side")}])
        snapshot, = self.snapshots()
        source, = snapshot["sources"]
        self.assertEqual((source["name"], source["kind"], source["status"]),
                         ("postgres", "postgres_base", "complete"))
        facts = source["facts"]
        label = self.cat("latest:backup_label").decode()
        self.assertIn(f"START WAL LOCATION: {facts['start_lsn']} ", label)
        manifest = json.loads(self.cat("latest:backup_manifest"))
        self.assertEqual(manifest["WAL-Ranges"][0]["End-LSN"],
                         facts["end_lsn"])
        self.assertEqual(facts["system_identifier"], identifier)
        self.assertRegex(facts["server_version"], r"^15\.")
        self.assertEqual(facts["wal_segment_bytes"], str(16 * MIB))
        self.assertRegex(facts["end_time"], r"^\d{4}-\d\d-\d\dT.*Z$")
        self.assertTrue(snapshot["series"].endswith("/pg"))
        # The name of the source finds it.
        self.assertEqual(self.cat("latest:PG_VERSION"), b"15\n")

    def test_no_slot_stays_behind(self):
        server = self.serve()
        self.base(server)
        self.assertEqual(server.sql(
            "postgres", "SELECT count(*) FROM pg_replication_slots"), "0")

    def test_without_a_free_slot_it_works_and_says_so(self):
        server = self.serve("-c", "max_replication_slots=0")
        summary = self.base(server)
        self.assertRegex("\n".join(summary["notes"]), "no replication slot")
        folder = self.restore_for(server, "latest")
        self.serve("-c", "max_replication_slots=0", data=folder)

    def test_a_dry_run_asks_the_server_and_stores_nothing(self):
        server = self.serve()
        ran = self.cairn("pg", "base", "--dsn", self.dsn(server), "-n")
        self.assertIn("would back up cluster", ran.err)
        self.assertEqual(self.objects("packs"), [])

    def test_an_ordinary_line_of_pg_hba_admits_it(self):
        server = self.serve()
        (server.folder / "data/pg_hba.conf").write_text(
            "local all all trust\n")
        server.sql("postgres", "SELECT pg_reload_conf()")
        self.base(server)

    def test_a_line_for_replication_alone_admits_it_too(self):
        server = self.serve()
        server.sql("postgres", "CREATE ROLE taker REPLICATION LOGIN; "
                   "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
        (server.folder / "data/pg_hba.conf").write_text(
            "local replication taker trust\nlocal all postgres trust\n")
        server.sql("postgres", "SELECT pg_reload_conf()")
        summary = json.loads(self.cairn(
            "--json", "pg", "base", "--dsn",
            f"host={server.folder} user=taker").out.splitlines()[-1])
        self.assertTrue(summary["complete"])
        self.assertRegex("\n".join(summary["notes"]), "was not saved")

    def test_configuration_outside_the_data_directory_is_saved(self):
        server = self.serve()
        outside = server.folder / "etc"
        server.run("mkdir", outside)
        server.run("mv", "data/pg_hba.conf", outside)
        server.run("mv", "data/postgresql.conf", outside)
        (outside / "more.conf").write_text("work_mem = '5MB'\n")
        with open(outside / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write(f"hba_file = '{outside}/pg_hba.conf'\n"
                       f"data_directory = '{server.data}'\n"
                       "include 'more.conf'\n")
        server.end()
        server.begin("-c", f"config_file={outside}/postgresql.conf")
        summary = self.base(server)
        self.assertEqual(summary["notes"], [])
        for name in ("postgresql.conf", "pg_hba.conf", "more.conf"):
            self.assertEqual(
                self.cat(f"latest:cairn_config{outside}/{name}"),
                (outside / name).read_bytes())
        folder = self.restore_for(server, "latest")
        self.verify(server, folder, "--ignore=cairn_config")

        # One that is too large is left out whole, and told of.
        (outside / "more.conf").write_text(
            "work_mem = '5MB'\n" + "# a line of twenty\n" * 60000)
        summary = self.base(server)
        self.assertEqual(len(summary["notes"]), 1)
        self.assertIn("more.conf was not saved", summary["notes"][0])
        self.assertNotIn("more.conf", self.cairn(
            "ls", f"latest:cairn_config{outside}").text)

        # A role that may not see it is told so.
        server.sql("postgres", "CREATE ROLE taker REPLICATION LOGIN")
        ran = self.cairn("pg", "base", "--dsn",
                         f"host={server.folder} user=taker")
        self.assertIn("pg_read_all_settings", ran.err)

    def test_a_standby_is_a_source_as_well(self):
        server = self.serve()
        fill(server, 1)
        self.base(server)
        folder = self.restore_for(server, "latest", "standby")
        with open(folder / "postgresql.auto.conf", "a",
                  encoding="utf-8") as file:
            file.write(f"primary_conninfo = 'host={server.folder} "
                       "user=postgres'\n")
        server.run("touch", folder / "standby.signal")
        standby = self.serve(kind=Standby, data=folder)
        server.sql("bench", "INSERT INTO far VALUES (0, 'streamed'); "
                   "CHECKPOINT")
        wait_until(lambda: standby.sql(
            "bench", "SELECT count(*) FROM far") == "20001", "the standby")
        summary = self.base(standby, "--series", "standby")
        self.assertEqual(summary["source"], "standby")
        self.assertIn("BACKUP FROM: standby",
                      self.cat("latest:backup_label").decode())
        again = server.folder / "again"
        ran = self.cairn("restore", "latest", "--series", "standby", "--to",
                         again)
        self.assertIn("standby.signal", ran.err)
        self.verify(server, again)
        (again / "standby.signal").unlink()
        copy = self.serve(data=again)
        self.assertEqual(copy.sql("bench", "SELECT count(*) FROM far"),
                         "20001")


if __name__ == "__main__":
    harness.main()
