"""What the tests of PostgreSQL's WAL share."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from harness import Case, MIB, OK, wait_until
from servers import Postgres, postgres_folder

SEGMENT = 16 * MIB


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def gather_lines(process):
    """What it writes while it runs gathers in its `log`, as JSON, and its
    `errors`; its `threads` end after it."""
    process.log = []
    process.errors = []

    def gather(stream, into, read):
        for line in stream:
            into.append(read(line))
    process.threads = [
        threading.Thread(target=gather, args=a, daemon=True) for a in (
            (process.stdout, process.log, json.loads),
            (process.stderr, process.errors, bytes.decode))]
    for thread in process.threads:
        thread.start()


class WalServer(Postgres):
    """Keeps its WAL, to be compared with."""

    options = ["-c", "fsync=off", "-c", "shared_buffers=16MB",
               "-c", "listen_addresses=", "-c", "wal_keep_size=2GB",
               "-c", "max_wal_size=2GB",
               "-c", "dynamic_shared_memory_type=mmap"]

    def __init__(self, programs=None):
        super().__init__(programs=programs)
        self.sql("postgres", "alter system set wal_keep_size = '2GB';"
                             "alter system set max_wal_size = '2GB'")
        self.sql("postgres", "select pg_reload_conf()")

    def up(self, data="data"):
        self.start(*self.loader, self.program("postgres"), "-D", data, "-k",
                   self.folder, *self.options, is_up=self.is_up)

    def down(self, how=signal.SIGINT):
        self.process.send_signal(how)
        self.process.wait(60)
        if how == signal.SIGKILL:  # its children go by themselves
            time.sleep(0.5)
            (self.folder / "data/postmaster.pid").unlink(missing_ok=True)

    def bench(self, *words):
        return self.run(self.client("pgbench"), *self.where(), *words,
                        "postgres")

    def load(self, seconds, clients=2):
        """pgbench beside the test."""
        process = subprocess.Popen(
            [*self.prefix, self.client("pgbench"), *self.where(), "-n", "-c",
             str(clients), "-T", str(seconds), "postgres"], cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return process

    def flushed(self):
        return lsn(self.sql("postgres", "select pg_current_wal_flush_lsn()"))

    def slots(self):
        return self.sql("postgres",
                        "select slot_name, active from pg_replication_slots")

    def dsn(self):
        return f"host={self.folder} user=postgres"


class WalCase(Case):
    def setUp(self):
        super().setUp()
        self.server = WalServer()
        self.addCleanup(self.server.stop)
        self.scratch = self.folder  # where whoever runs cairn may write

    def receive(self, *words, server=None, env=None):
        """A receiver beside the test; answers once it receives. What it writes
        gathers in its `log`."""
        server = server or self.server
        return self.watch(self.start("--json", "pg", "wal-receive", "--dsn",
                                     server.dsn(), *words, env=env))

    def watch(self, process):
        gather_lines(process)
        wait_until(lambda: self.said(process, "wal_receiving") or
                   process.poll() is not None, "a receiver")
        self.assertIsNone(process.poll(), process.errors)
        return process

    @staticmethod
    def said(process, what):
        return [line for line in process.log if line["type"] == what]

    def finish(self, process, code=OK, how=signal.SIGTERM):
        if process.poll() is None and how is not None:
            process.send_signal(how)
        process.wait(60)
        for thread in process.threads:
            thread.join(10)
        self.assertEqual(process.returncode, code, "".join(process.errors))
        return "".join(process.errors)

    def flush(self, process):
        """On demand; answers what it said."""
        before = len(self.said(process, "wal_flushed"))
        self.assertIsNone(process.poll(), process.errors)
        asked = 0

        def has_flushed():
            nonlocal asked
            if time.monotonic() - asked > 1:  # there may be nothing new yet
                asked = time.monotonic()
                process.send_signal(signal.SIGUSR1)
            return self.said(process, "wal_flushed")[before:]
        return wait_until(has_flushed, "a flush")[0]

    def streams(self, series="pg"):
        """What is stored: (timeline, start) to bytes, from all snapshots."""
        found = {}
        for number, one in enumerate(
                self.wal_snapshots(series)):
            target = self.scratch / f"restored-{number}-{time.monotonic()}"
            self.cairn("restore", one["id"], "--to", target)
            for path in target.glob("wal/*/*/*"):
                key = int(path.parent.name, 16), int(path.name, 16)
                data = path.read_bytes()
                if len(data) > len(found.get(key, b"")):
                    found[key] = data
            shutil.rmtree(target)
        return found

    def assert_stored(self, upto, timeline=1, data="data", series="pg",
                      server=None, may_have_gaps=False):
        """From the first byte to `upto` there is no hole, and all is as in
        pg_wal."""
        server = server or self.server
        streams = {start: bytes_ for (tli, start), bytes_ in
                   self.streams(series).items() if tli == timeline}
        self.assertTrue(streams)
        end = min(streams)
        for start, stored in sorted(streams.items()):
            if not may_have_gaps:
                self.assertLessEqual(start, end)
            end = max(end, start + len(stored))
            for at in range(start, start + len(stored), SEGMENT):
                name = f"{timeline:08X}{at >> 32:08X}" \
                       f"{(at & 0xffffffff) // SEGMENT:08X}"
                part = stored[at - start:at - start + SEGMENT]
                original = (server.folder / data / "pg_wal" / name)
                self.assertEqual(original.read_bytes()[:len(part)], part, name)
        self.assertGreaterEqual(end, upto)
        return streams

    def wal_snapshots(self, series="pg"):
        return self.snapshots("--series",
                              f"{socket.gethostname()}/{series}/wal")

    def spool(self):
        return next(self.state.glob("cairn/*/wal-*/*"))


class Proxy:
    """Between a client and a server's socket; breaks when told to."""

    def __init__(self, server):
        self.server = str(server)
        self.folder = tempfile.mkdtemp(prefix="cairn-e2e-px-")
        self.left = None
        self.is_broken = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.folder + "/.s.PGSQL.5432")
        self.listener.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def break_after(self, size):
        """Once the server has sent so many bytes more."""
        self.is_broken = False
        self.left = size

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.relay, args=(client,),
                             daemon=True).start()

    def relay(self, client):
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self.server)
            up = threading.Thread(target=self.copy,
                                  args=(client, server, server), daemon=True)
            up.start()
            self.copy(server, client, server)
            up.join()

    def copy(self, source, target, server):
        try:
            while data := source.recv(65536):
                if source is server and self.left is not None:
                    if len(data) >= self.left:
                        target.sendall(data[:self.left])
                        self.left = None
                        self.is_broken = True
                        break
                    self.left -= len(data)
                target.sendall(data)
        except OSError:
            pass
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        shutil.rmtree(self.folder)


class WalStandby(WalServer):
    """Of another one, in a folder of its own."""

    up_says = b"t\n"  # it is in recovery

    def __init__(self, primary):  # pylint: disable=super-init-not-called
        super(Postgres, self).__init__()
        self.programs = self.clients = postgres_folder()
        self.loader = []
        self.port = "5432"
        self.run(self.program("pg_basebackup"), *primary.where("-D", "data",
                 "-X", "stream", "-R", "-c", "fast"))
        self.up()


def keep_owner(source, target):
    shutil.copy2(source, target)
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)


def keep_owner_of_tree(folder):
    status = os.stat(folder.parent / "data")
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            os.chown(path, status.st_uid, status.st_gid)
            os.chmod(path, 0o700)
