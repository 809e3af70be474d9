"""Throwaway PostgreSQL and Redis servers: each in a folder of its own, on a
unix socket in it, and gone with the test. No server that already runs is
touched."""

import atexit
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from harness import IS_ROOT, wait_until


def postgres_folder():
    """Where the programs of PostgreSQL 15 are."""
    debian = "/usr/lib/postgresql/15/bin"
    if os.path.exists(debian + "/initdb"):
        return debian
    found = shutil.which("initdb")
    return os.path.dirname(os.path.realpath(found)) if found else None


def postgres_of(major):
    """Where scripts/install-test-servers.sh has put that version, if it has."""
    folder = os.environ.get("CAIRN_TEST_SERVERS") or (
        "/var/cache/cairn-test-servers" if IS_ROOT else os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
            "cairn-test-servers"))
    programs = os.path.join(folder, str(major), "bin")
    return programs if os.path.exists(programs + "/initdb") else None


needs_postgres = unittest.skipUnless(
    postgres_folder() and shutil.which("psql"), "PostgreSQL is not installed")
needs_redis = unittest.skipUnless(
    shutil.which("redis-server") and shutil.which("redis-check-rdb"),
    "Redis is not installed")


def memory_with_room():
    """A cluster is a thousand files that a test makes and removes, which on
    ext4 takes more of a processor than all that is tested."""
    memory, room = "/dev/shm", 4 << 30  # bytes
    if not os.access(memory, os.W_OK):
        return None
    is_usable = shutil.disk_usage(memory).free >= room and \
        not os.statvfs(memory).f_flag & os.ST_NOEXEC
    return memory if is_usable else None


class Server:
    """Its folder, short enough for a socket's path, and its process. PostgreSQL
    refuses to run as root, so root runs servers as somebody else."""

    def __init__(self, within=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(
            prefix="cairn-e2e-db-", dir=within))
        self.prefix = []
        self.process = None
        if IS_ROOT:
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                user = pwd.getpwnam("nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.prefix = ["setpriv", f"--reuid={user.pw_uid}",
                           f"--regid={user.pw_gid}", "--clear-groups", "--"]

    def run(self, *words, **how):
        return subprocess.run([*self.prefix, *words], check=True,
                              cwd=self.folder, capture_output=True,
                              timeout=120, **how).stdout

    def start(self, *words, is_up):
        with open(self.folder / "server.log", "wb") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *words], cwd=self.folder, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL)
        try:
            wait_until(is_up, f"{words[0]} to answer")
        except BaseException:
            print((self.folder / "server.log").read_text())
            self.stop()
            raise

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # a fast, clean shutdown
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Clusters:
    """What initdb has made, and copies of it: it takes half a second of a
    processor, and a copy a tenth of that. A copy is the same cluster to all
    who ask for its identity, so that there is one at a time; what lives beside
    it gets an initdb of its own."""

    _folders = {}  # of the programs and words that made them
    _copied = set()  # those of which a copy lives

    @classmethod
    def make(cls, server, *words):
        """In `server`'s folder. False: it is nobody's copy."""
        if words in cls._copied:
            cls._initdb(server, words)
            return False
        if words not in cls._folders:
            template = Server(memory_with_room())
            cls._folders[words] = template.folder
            atexit.register(template.stop)
            cls._initdb(template, words)
        server.run("cp", "-a", cls._folders[words] / "data", ".")
        cls._copied.add(words)
        return True

    @classmethod
    def unmake(cls, *words):
        cls._copied.discard(words)

    @staticmethod
    def _initdb(server, words):
        server.run(*words, "-D", "data", "-A", "trust",
                   "--auth-host=scram-sha-256", "-U", "postgres", "-E", "UTF8",
                   "--locale=C.UTF-8", "--no-sync")


class Postgres(Server):
    """A cluster of its own, or, with `data`, one that lies there already.
    `programs` are those of another version. With a `port`, also on the
    loopback, where it wants a password."""

    def __init__(self, *options, initdb=(), data=None, programs=None,
                 port=None):
        super().__init__(memory_with_room())
        self.programs = programs or postgres_folder()
        self.clients = postgres_folder()
        # Those of another version bring the libraries that they need.
        self.loader = ["env", "LD_LIBRARY_PATH=" + os.path.join(
            os.path.dirname(programs), "lib")] if programs else []
        self.address = "127.0.0.1" if port else ""
        self.port = str(port or 5432)
        self.data = data or self.folder / "data"
        self.cluster = (*self.loader, self.program("initdb"), *initdb)
        try:
            if not data:
                self.is_copy = Clusters.make(self, *self.cluster)
            self.begin(*options)
        except BaseException:
            self.stop()
            raise

    is_copy = False

    def stop(self):
        super().stop()
        if self.is_copy:
            Clusters.unmake(*self.cluster)

    def begin(self, *options):
        self.start(*self.loader, self.program("postgres"), "-D", self.data,
                   "-k", self.folder, "-p", self.port, "-c",
                   "listen_addresses=" + self.address, "-c", "fsync=off", "-c",
                   "shared_buffers=16MB", "-c",
                   "dynamic_shared_memory_type=mmap",  # gone with its folder
                   *options, is_up=self.is_up)

    def end(self, how=signal.SIGINT):
        self.process.send_signal(how)
        self.process.wait(60)

    def program(self, name):
        return os.path.join(self.programs, name)

    def client(self, name):
        """Not Debian's of that name on the PATH: a Perl program before it."""
        return os.path.join(self.clients, name)

    def is_up(self):
        """Done with recovery, too."""
        if self.process.poll() is not None:
            raise AssertionError("the server has ended")
        return subprocess.run(
            [self.client("psql"),
             *self.where("-d", "postgres", "-X", "-A", "-t", "-c",
                         "SELECT pg_is_in_recovery()")],
            check=False, capture_output=True).stdout == self.up_says

    up_says = b"f\n"

    def where(self, *words):
        """The words by which PostgreSQL's programs find this server."""
        return ["-h", str(self.folder), "-p", self.port, "-U", "postgres",
                *words]

    def sql(self, database, text):
        return self.run(
            self.client("psql"), *self.where("-d", database, "-X", "-q", "-A",
                                             "-t", "-v", "ON_ERROR_STOP=1"),
            input=text.encode()).decode().strip()


class Redis(Server):
    def __init__(self):
        super().__init__()
        self.socket = self.folder / "socket"
        self.start("redis-server", "--port", "0", "--unixsocket", self.socket,
                   "--unixsocketperm", "777", "--dir", self.folder, "--save",
                   "", "--appendonly", "no", "--daemonize", "no",
                   is_up=self.is_up)

    def is_up(self):
        return self.socket.exists() and subprocess.run(
            ["redis-cli", "-s", self.socket, "ping"], check=False,
            capture_output=True).stdout == b"PONG\n"

    def ask(self, *words):
        return self.run("redis-cli", "-s", self.socket, *words).decode().strip()

    def fill(self, text):
        """Commands, one per line."""
        self.run("redis-cli", "-s", self.socket, "--pipe", input=text.encode())

    def saved(self):
        """The bytes of the RDB file of this moment."""
        self.ask("save")
        return (self.folder / "dump.rdb").read_bytes()
