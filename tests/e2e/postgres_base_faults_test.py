#!/usr/bin/python3
"""Base backups that fail leave nothing and say why; the network between is a
stand-in where it has to fail."""

import os
import select
import shutil
import signal
import socket
import threading

import harness
from harness import (INTERRUPTED, MIB, PARTIAL, SOURCE_FAILED, USAGE,
                     wait_until)
from postgres_case import PASSWORD, Case, fill
from servers import needs_postgres


@needs_postgres
class Refusals(Case):
    def test_damaged_pages_are_kept_and_told_of(self):
        server = self.serve(initdb=["--data-checksums"])
        fill(server, 1)
        path = server.sql("bench",
                          "SELECT pg_relation_filepath('pgbench_accounts')")
        server.end()
        harness.flip(server.data / path, 5 * 8192 + 4000)
        server.begin()
        summary = self.base(server, code=PARTIAL)
        self.assertFalse(summary["complete"])
        told = " ".join(p["message"] for p in summary["problems"])
        self.assertIn(path, told)
        snapshot, = self.snapshots()
        self.assertFalse(snapshot["complete"])
        self.assertEqual(len(self.cat(f"latest:{path}")),
                         (server.data / path).stat().st_size)

    def test_a_wrong_password_is_15_and_shown_nowhere(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = self.serve("-c", "listen_addresses=127.0.0.1", port=port)
        (server.folder / "data/pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        server.sql("postgres", f"ALTER ROLE postgres PASSWORD '{PASSWORD}'; "
                   "SELECT pg_reload_conf()")
        dsn = f"host=127.0.0.1 port={port} user=postgres"
        self.fails("--dsn", dsn, says="password", env={
            "PGPASSWORD": PASSWORD + "!"})
        self.fails("--dsn", dsn, says="no password supplied.*PGPASSWORD")
        self.fails("--dsn", f"{dsn} password='{PASSWORD}'", code=USAGE,
                   says="holds a password")
        self.fails("--dsn", dsn, says="CAIRN_PG_PASSWORD_COMMAND.*failed",
                   env={"CAIRN_PG_PASSWORD_COMMAND": "false"})
        self.cairn("pg", "base", "--dsn", dsn, env={
            "CAIRN_PG_PASSWORD_COMMAND": f"echo '{PASSWORD}'"})
        passfile = self.folder / "pgpass"
        passfile.write_text(f"127.0.0.1:{port}:*:postgres:{PASSWORD}\n")
        passfile.chmod(0o600)
        self.cairn("pg", "base", "--dsn", f"{dsn} passfile={passfile}")

    def test_a_server_that_is_not_there_is_15(self):
        self.fails("--dsn", f"host={self.folder} user=postgres",
                   says=r"\.s\.PGSQL\.5432")

    def test_a_role_without_replication_is_told_what_it_lacks(self):
        server = self.serve()
        server.sql("postgres", "CREATE ROLE plain LOGIN")
        self.fails("--dsn", f"host={server.folder} user=plain",
                   says="ALTER ROLE .* REPLICATION")

    def test_a_server_with_all_senders_in_use_is_told_of(self):
        server = self.serve("-c", "max_wal_senders=1")
        slow = self.start_base(server)
        self.fails("--dsn", self.dsn(server), says="max_wal_senders")
        slow.send_signal(signal.SIGTERM)
        slow.wait(60)

    def test_too_little_wal_is_told_of(self):
        server = self.serve("-c", "wal_level=minimal", "-c",
                            "max_wal_senders=0")
        self.fails("--dsn", self.dsn(server), says="max_wal_senders|WAL level")

    def test_an_interrupt_leaves_nothing_and_the_next_one_works(self):
        server = self.serve()
        process = self.start_base(server)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(60), INTERRUPTED)
        self.assertEqual(self.snapshots(), [])
        wait_until(lambda: server.sql(
            "postgres", "SELECT count(*) FROM pg_stat_progress_basebackup"
        ) == "0", "the server to give the backup up")
        self.base(server)

    def test_a_server_that_dies_meanwhile_leaves_nothing(self):
        for how in (signal.SIGQUIT, signal.SIGINT):
            with self.subTest(how):
                server = self.serve()
                process = self.start_base(server)
                server.end(how)
                _, err = process.communicate(timeout=60)
                self.assertEqual(process.returncode, SOURCE_FAILED, err)
                self.assertIn(b"nothing was backed up", err)
                self.assertEqual(self.snapshots(), [])


class Wire:
    """A stand-in of the network between cairn and a server: passes bytes on
    until `spoil`, which is given all that has come from the server so far and
    the next piece, answers another piece, or None to cut the wire."""

    def __init__(self, folder, server, spoil):
        self.spoil = spoil
        self.server = str(server.folder / ".s.PGSQL.5432")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / ".s.PGSQL.5432"))
        self.listener.listen()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, socket.socket(socket.AF_UNIX) as server:
                server.connect(self.server)
                try:
                    self.pass_on(client, server)
                except OSError:
                    pass

    def pass_on(self, client, server):
        passed = 0
        while True:
            ready, _, _ = select.select([client, server], [], [])
            for one in ready:
                data = one.recv(1 << 16)
                if not data:
                    return
                if one is server:
                    data = self.spoil(passed, data)
                    if data is None:
                        return
                    passed += len(data)
                (client if one is server else server).sendall(data)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


@needs_postgres
class Wires(Case):
    def setUp(self):
        super().setUp()
        self.server = self.serve()
        self.server.sql("postgres", "CREATE TABLE t AS SELECT 'needle ' || i "
                        "AS t FROM generate_series(1, 20000) i; CHECKPOINT")

    def over(self, spoil, says):
        folder = self.folder / "wire"
        folder.mkdir(exist_ok=True)
        wire = Wire(folder, self.server, spoil)
        try:
            return self.fails("--dsn", f"host={folder} user=postgres",
                              says=says)
        finally:
            wire.close()
            shutil.rmtree(folder)

    def test_a_byte_that_changes_on_its_way_is_noticed(self):
        def flipped(text, by):
            def spoil(_, data):
                return data.replace(text, by)
            return spoil
        path = self.server.sql("postgres", "SELECT pg_relation_filepath('t')")
        ran = self.over(flipped(b"needle 777\0", b"needle 778\0"),
                        "not what the server's backup manifest says")
        self.assertIn(path, ran.err)
        # In the manifest itself, of what it says and of what it lacks.
        self.over(flipped(b'"Path": "PG_VERSION"', b'"Path": "PG_VERSIOM"'),
                  "manifest lists PG_VERSIOM, which was not sent")
        self.over(flipped(b'"Last-Modified": "20', b'"Last-Modified": "10'),
                  "its own checksum")
        self.over(flipped(b'Backup-Manifest-Version": 1',
                          b'Backup-Manifest-Version": 9'), "of version 9")

    def test_a_wire_that_is_cut_leaves_nothing(self):
        for after in (0, 500, 3000, 100_000, 5 * MIB, 20 * MIB):
            with self.subTest(after):
                def spoil(passed, data, after=after):
                    return data if passed < after else None
                self.over(spoil, "PostgreSQL: ")

    def test_a_stranger_in_place_of_the_server_is_refused(self):
        for answer in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", os.urandom(
                4000), b"R\0\0\0\x08\0\0\0\0" + b"d\x7f\xff\xff\xff"):
            with self.subTest(answer[:20]):
                def spoil(passed, _, answer=answer):
                    return answer if passed == 0 and answer else None
                self.over(spoil, ".")


if __name__ == "__main__":
    harness.main()
