#!/usr/bin/python3
"""WAL of every version of PostgreSQL that can be had: received, handed over,
and asked for again; and of one that nobody knows yet."""

import shutil
import signal
import time
import unittest

from archive_case import ArchiveCase
import harness
from harness import OK, wait_until
from servers import needs_postgres, postgres_of
from wal_case import SEGMENT, Proxy, WalCase, WalServer


@needs_postgres  # for its clients
class Versions(ArchiveCase):
    def check_version(self, major):
        programs = postgres_of(major)
        if not programs:
            self.skipTest(f"PostgreSQL {major} is not there; "
                          "scripts/install-test-servers.sh fetches it")
        server = WalServer(programs)
        self.addCleanup(server.stop)
        receiver = self.receive(server=server)
        start, = self.said(receiver, "wal_receiving")
        self.assertTrue(start["server_version"].startswith(str(major)))
        server.bench("-i", "-q", "-s", "2")
        load = server.load(4)
        time.sleep(1)
        self.finish(receiver, -signal.SIGKILL, signal.SIGKILL)
        receiver = self.receive(server=server)
        load.wait()
        server.down()
        server.up()
        wait_until(lambda: "|t" in server.slots(), "the receiver to come back")
        server.bench("-n", "-t", "200")
        upto = server.flushed()
        self.finish(receiver)
        self.assertEqual(len(self.assert_stored(upto, server=server)), 1)
        self.assertEqual(len(self.wal_snapshots()), 1)
        # Each segment as a server hands it over, the received ones again.
        server.sql("postgres", "select pg_switch_wal()")
        last = server.flushed() // SEGMENT - 1
        names = [f"{1:08X}{0:08X}{n:08X}" for n in range(1, last + 1)]
        data = server.folder / "data"
        said = [self.cairn("--json", "pg", "wal-push", f"pg_wal/{name}",
                           cwd=data).lines[0]["outcome"] for name in names]
        self.assertEqual(said[0], "was_there")
        self.assertEqual(said[-1], "added")
        self.cairn("pg", "wal-push", "--flush")
        self.assertEqual(len(self.assert_stored(0, server=server)), 1)
        for name in (names[0], names[-1]):
            fetched, _ = self.fetch(name, cwd=data)
            self.assertEqual(fetched, (data / "pg_wal" / name).read_bytes())
        # Of a host that has lost what it knew, read back and compared.
        shutil.rmtree(self.state)
        for name in (names[0], names[-1]):
            self.cairn("pg", "wal-push", f"pg_wal/{name}", cwd=data)
        self.assertEqual(len(self.wal_snapshots()), 1)

    def test_13(self):
        self.check_version(13)

    def test_14(self):
        self.check_version(14)

    def test_17(self):
        self.check_version(17)

    def test_18(self):
        self.check_version(18)


class Future(Proxy):
    """A server that says it is of version 99."""

    def copy(self, source, target, server):
        if source is server:
            source = Renamed(source)
        super().copy(source, target, server)


class Renamed:
    def __init__(self, source):
        self.source = source

    def recv(self, size):
        return self.source.recv(size).replace(b"server_version\0" b"15.",
                                              b"server_version\0" b"99.")

    def shutdown(self, how):
        self.source.shutdown(how)


@needs_postgres
class UnknownVersion(WalCase):
    def test_wal_of_a_newer_version_is_stored_with_a_word_of_it(self):
        future = Future(self.server.folder / ".s.PGSQL.5432")
        self.addCleanup(future.stop)
        dsn = f"host={future.folder} user=postgres"
        receiver = self.watch(self.start("--json", "pg", "wal-receive",
                                         "--dsn", dsn))
        self.server.bench("-i", "-q")
        upto = self.server.flushed()
        self.assertIn("newer than this program",
                      self.finish(receiver, OK))
        self.assert_stored(upto)
        ran = self.cairn("pg", "check", "--dsn", dsn, "--no-switch",
                         code=harness.SOURCE_FAILED)
        self.assertRegex(ran.text, "warning +version: PostgreSQL 99")


if __name__ == "__main__":
    unittest.main(verbosity=2)
