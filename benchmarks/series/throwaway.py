"""Servers that live for one series: PostgreSQL and Redis on unix sockets.

Each one has a folder of its own under the temporary folder (a socket's path
must stay below 108 characters), listens on no network, and is gone together
with that folder when its `with` block ends. Durability is off: the data are
made to be read once.

PostgreSQL refuses to run as root, so root lends both servers the user
`postgres`, or `nobody` where that does not exist.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

POSTGRES_BIN = pathlib.Path("/usr/lib/postgresql/15/bin")


def _unprivileged():
    """Arguments of subprocess that leave root behind; none for a plain user."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid,
                    "extra_groups": []}
    raise SystemExit("compare: no unprivileged user for the servers")


@contextlib.contextmanager
def _folder(prefix):
    folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix))
    try:
        who = _unprivileged()
        if who:
            os.chown(folder, who["user"], who["group"])
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stop(process, how):
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(ready, process, what):
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"compare: {what} ended with {process.returncode}")
        if ready():
            return
        time.sleep(0.1)
    raise SystemExit(f"compare: {what} does not answer")


class Postgres:
    """A running server; `sql` and `output` speak to its database `shop`."""

    def __init__(self, folder, user):
        self._folder = folder
        self._user = user
        self.process = None

    @property
    def data(self):
        return self._folder / "data"

    @property
    def dsn(self):
        return f"host={self._folder} user={self._user} dbname=shop"

    def _argv(self, program, *args):
        return [str(POSTGRES_BIN / program), "-h", str(self._folder),
                "-U", self._user, *args]

    def answers(self):
        return subprocess.run(self._argv("pg_isready", "-q")).returncode == 0

    def sql(self, text, database="shop"):
        subprocess.run(
            self._argv("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1",
                       "-d", database, "-f", "-"),
            input=text.encode(), stdout=subprocess.DEVNULL, check=True)

    def dump(self, to):
        # Since 15.14 pg_dump puts a random word into every dump; a fixed one
        # keeps the series the same for the same seed.
        fixed = []
        usage = subprocess.run([POSTGRES_BIN / "pg_dump", "--help"],
                               stdout=subprocess.PIPE, check=True).stdout
        if b"--restrict-key" in usage:
            fixed = ["--restrict-key=cairn"]
        with open(to, "wb") as out:
            subprocess.run(self._argv("pg_dump", *fixed, "shop"), stdout=out,
                           check=True)

    def restore_anew(self, dump):
        """Replaces the database by one that is made from the dump."""
        self.sql("DROP DATABASE shop;", database="postgres")
        self.sql("CREATE DATABASE shop;", database="postgres")
        self.sql(dump.read_text())

    def base_backup(self, to):
        with open(to, "wb") as out:
            subprocess.run(
                self._argv("pg_basebackup", "-D", "-", "-Ft", "-X", "fetch",
                           "--checkpoint=fast"), stdout=out, check=True)


@contextlib.contextmanager
def postgres(more_settings=None):
    """`more_settings`: instead of those that make it quick, or beside them."""
    with _folder("cairn-pg-") as folder:
        who = _unprivileged()
        quiet = {"stdout": subprocess.DEVNULL, "cwd": folder, **who}
        subprocess.run([POSTGRES_BIN / "initdb", "-D", folder / "data",
                        "-A", "trust", "-U", "cairn", "-E", "UTF8",
                        "--locale=C", "--no-sync"], check=True, **quiet)
        settings = {"listen_addresses": "", "unix_socket_directories": folder,
                    "fsync": "off", "synchronous_commit": "off",
                    "full_page_writes": "off", "autovacuum": "off",
                    "max_wal_size": "4GB", "maintenance_work_mem": "128MB",
                    "max_parallel_workers_per_gather": "0",
                    "synchronize_seqscans": "off", **(more_settings or {})}
        argv = [POSTGRES_BIN / "postgres", "-D", folder / "data"]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                       stderr=log, **quiet)
        try:
            server = Postgres(folder, "cairn")
            server.process = process
            _wait_until(server.answers, process, "postgres")
            server.sql("CREATE DATABASE shop", database="postgres")
            yield server
        finally:
            _stop(process, signal.SIGINT)


class Redis:
    """A running server without persistence of its own."""

    def __init__(self, folder):
        self._folder = folder
        self._cli = ["redis-cli", "-s", str(folder / "redis.sock")]

    def answers(self):
        ping = subprocess.run([*self._cli, "ping"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        return ping.stdout.strip() == b"PONG"

    def send(self, commands):
        """Sends an iterable of commands, each a tuple of bytes."""
        pipe = subprocess.Popen([*self._cli, "--pipe"], stdin=subprocess.PIPE,
                                stdout=subprocess.DEVNULL)
        for command in commands:
            pipe.stdin.write(b"*%d\r\n" % len(command))
            for word in command:
                pipe.stdin.write(b"$%d\r\n%s\r\n" % (len(word), word))
        pipe.stdin.close()
        if pipe.wait() != 0:
            raise SystemExit("compare: redis refused a command")

    def save(self, to):
        subprocess.run([*self._cli, "save"], stdout=subprocess.DEVNULL,
                       check=True)
        shutil.copyfile(self._folder / "dump.rdb", to)


@contextlib.contextmanager
def redis():
    with _folder("cairn-redis-") as folder:
        process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket",
             str(folder / "redis.sock"), "--dir", str(folder),
             "--save", "", "--appendonly", "no", "--daemonize", "no"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=folder,
            **_unprivileged())
        try:
            server = Redis(folder)
            _wait_until(server.answers, process, "redis-server")
            yield server
        finally:
            _stop(process, signal.SIGTERM)
