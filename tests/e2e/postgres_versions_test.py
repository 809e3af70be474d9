#!/usr/bin/python3
"""Base backups of every version of PostgreSQL that can be had: both ways in
which BASE_BACKUP is answered, both versions of the manifest."""

import hashlib
import json
import re
import signal

import harness
from harness import SOURCE_FAILED, MIB
from postgres_case import Case
from servers import needs_postgres, postgres_of


@needs_postgres  # for its psql
class Versions(Case):
    def assert_manifest_fits(self, folder):
        """pg_verifybackup of our own: Debian's knows its own version."""
        manifest = json.loads((folder / "backup_manifest").read_text())
        listed = {file["Path"]: file for file in manifest["Files"]}
        self.assertGreater(len(listed), 500)
        for path, file in listed.items():
            content = (folder / path).read_bytes()
            self.assertEqual(len(content), file["Size"], path)
            self.assertEqual(hashlib.sha256(content).hexdigest(),
                             file["Checksum"], path)
        there = {str(p.relative_to(folder)) for p in folder.rglob("*")
                 if p.is_file()}
        self.assertEqual({p for p in there - listed.keys()
                          if not p.startswith("pg_wal/")}, {"backup_manifest"})

    def check_version(self, major):
        programs = postgres_of(major)
        if not programs:
            self.skipTest(f"PostgreSQL {major} is not there; "
                          "scripts/install-test-servers.sh fetches it")
        server = self.serve(programs=programs, initdb=["--data-checksums"])
        location = server.folder / "side"
        server.run("mkdir", location)
        server.sql("postgres", f"CREATE TABLESPACE side LOCATION '{location}'")
        server.sql("postgres", """
            CREATE TABLE accounts AS SELECT i AS id, md5(i::text) AS name,
              0 AS balance FROM generate_series(1, 200000) i;
            CREATE INDEX ON accounts (id);
            CREATE TABLE far TABLESPACE side AS SELECT * FROM accounts
              WHERE id <= 1000;
            VACUUM; CHECKPOINT""")
        first = self.base(server)
        self.assertTrue(first["server_version"].startswith(str(major)), first)
        self.assertGreater(first["logical_bytes"], 40 * MIB)
        server.sql("postgres", "UPDATE accounts SET balance = 1 "
                   "WHERE id % 5000 = 0; INSERT INTO far VALUES (0, 'new', 0)")
        second = self.base(server)
        self.assertLess(second["stored_bytes"], 600_000)

        for base, balance, far in ((first, "0", "1000"),
                                   (second, "40", "1001")):
            folder = self.restore_for(server, base["snapshot_id"],
                                      base["snapshot_id"][:8])
            # What the restore adds; it is in no manifest's checksum.
            settings = folder / "postgresql.auto.conf"
            text = settings.read_text()
            self.assertIn("allow_in_place_tablespaces", text)
            settings.write_text(re.sub("allow_in_place.*\n", "", text))
            self.assert_manifest_fits(folder)
            settings.write_text(text)
            again = self.serve(programs=programs, data=folder)
            self.assertEqual(again.sql(
                "postgres", "SELECT sum(balance) FROM accounts"), balance)
            self.assertEqual(again.sql(
                "postgres", "SELECT count(*) FROM far"), far)
            self.assertEqual(again.sql(
                "postgres", "SET enable_seqscan = off; "
                "SELECT name FROM accounts WHERE id = 77777"),
                hashlib.md5(b"77777").hexdigest())
            # Each page with its checksum.
            again.sql("postgres", "SELECT count(*) FROM accounts; VACUUM")
            again.end()

        # One that dies in the middle leaves nothing.
        before = len(self.snapshots())
        process = self.start_base(server)
        server.end(signal.SIGQUIT)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, SOURCE_FAILED, err)
        self.assertEqual(len(self.snapshots()), before)

    def test_13_has_a_copy_for_each_archive(self):
        self.check_version(13)

    def test_14_has_a_copy_for_each_archive(self):
        self.check_version(14)

    def test_17_has_a_manifest_of_version_2(self):
        self.check_version(17)

    def test_18_has_page_checksums_of_its_own_accord(self):
        self.check_version(18)


if __name__ == "__main__":
    harness.main()
