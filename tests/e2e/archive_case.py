"""What the tests of archive_command and restore_command share."""

import os
import pathlib
import shutil
import tempfile

import harness
from harness import OK, wait_until
from servers import Postgres
from wal_case import WalCase

CANNOT_TELL = 126


class ArchiveCase(WalCase):
    """With a repository that belongs to the server's user, who runs cairn."""

    has_repository = False

    @classmethod
    def setUpClass(cls):
        # Where that user may read it, wherever it was built.
        cls.programs = pathlib.Path(tempfile.mkdtemp(prefix="cairn-e2e-bin-"))
        cls.addClassCleanup(shutil.rmtree, cls.programs)
        cls.programs.chmod(0o755)
        cls.program = cls.programs / "cairn"
        shutil.copy(harness.PROGRAM, cls.program)
        cls.program.chmod(0o755)

    def setUp(self):
        super().setUp()
        self.home = self.server.folder / "home"
        self.server.run("mkdir", self.home)
        self.scratch = self.home
        self.repo = self.home / "repo"
        self.key = self.home / "owner.key"
        self.cache = self.home / "cache"
        self.state = self.home / "state"
        self.env.update({
            "HOME": str(self.home), "CAIRN_REPO": str(self.repo),
            "CAIRN_KEY_FILE": str(self.key),
            "CAIRN_CACHE_DIR": str(self.cache),
            "XDG_STATE_HOME": str(self.state),
            "PGPASSFILE": "/nonexistent"})
        self.cairn("init", "--recovery-key-out", self.key)
        self.data = self.server.folder / "data"
        self.calls_log = self.home / "calls"
        self.errors_log = self.home / "errors"
        self.script = self.home / "cairn.sh"
        exports = "".join(f"export {k}='{v}'\n" for k, v in self.env.items())
        self.script.write_text(
            f"#!/bin/sh\n{exports}"
            f"[ -e {self.home}/kill ] && prefix=\"timeout -s KILL "
            f"$(cat {self.home}/kill)\"\n"
            f"$prefix {self.program} -v \"$@\" 2>>{self.errors_log}\n"
            f"code=$?\necho \"$code $*\" >>{self.calls_log}\n"
            # The archiver would end, and come back ten seconds later.
            f"[ $code -eq 137 ] && exit 1\nexit $code\n")
        self.script.chmod(0o755)

    def cairn(self, *words, **how):
        how.setdefault("prefix", self.server.prefix)
        return super().cairn(*words, **how)

    def start(self, *words, **how):
        how.setdefault("prefix", self.server.prefix)
        return super().start(*words, **how)

    def archive(self, *words):
        """Has the server archive."""
        command = " ".join([str(self.script), "pg", "wal-push", *words, "%p"])
        self.server.sql("postgres", "alter system set archive_mode = on")
        self.server.sql("postgres",
                        f"alter system set archive_command = '{command}'")
        self.server.down()
        self.server.up()

    def switch(self):
        """The name of the segment that the server finished."""
        return self.server.sql(
            "postgres", "select txid_current(); "
            "select pg_walfile_name(pg_switch_wal())").splitlines()[-1]

    def wait_for_archive(self, segment, seconds=60):
        wait_until(lambda: self.server.sql(
            "postgres", "select last_archived_wal from pg_stat_archiver"
            ).removesuffix(".partial") >= segment, segment, seconds)

    def calls(self, verb=None):
        """[(code, words)...] of the script's runs."""
        if not self.calls_log.exists():
            return []
        found = []
        for line in self.calls_log.read_text().splitlines():
            code, _, words = line.partition(" ")
            if verb is None or words.startswith("pg " + verb):
                found.append((int(code), words))
        return found

    def base(self):
        """What its summary says."""
        return self.cairn("--json", "pg", "base", "--dsn",
                          self.server.dsn()).lines[-1]

    def restored(self, name="restored", **settings):
        """The newest base, to be started with these settings."""
        folder = self.server.folder / name
        self.cairn("restore", "latest", "--series", "pg", "--to", folder)
        settings = {
            "restore_command": f"{self.script} pg wal-fetch %f %p",
            "archive_mode": "off", **settings}
        with open(folder / "postgresql.auto.conf", "a", encoding="utf8") as f:
            for key, value in settings.items():
                f.write(f"{key} = '{value}'\n")
        self.server.run("touch", folder / "recovery.signal")
        return folder

    def recover(self, folder, *options):
        server = Postgres(*options, data=folder)
        self.addCleanup(server.stop)
        return server

    def push(self, name, code=OK, **how):
        return self.cairn("--json", "pg", "wal-push", f"pg_wal/{name}",
                          cwd=self.data, code=code, **how)

    def fetch(self, name, code=OK, target=None, words=(), **how):
        target = target or self.home / "target"
        how.setdefault("cwd", self.data)
        ran = self.cairn("-v", "pg", "wal-fetch", *words, name, target,
                         code=code, **how)
        if code != OK:
            self.assertFalse(os.path.exists(target))
            return ran
        data = pathlib.Path(target).read_bytes()
        pathlib.Path(target).unlink()
        return data, ran

    def fill(self, segments):
        """Segments of WAL that differ; their names."""
        names = []
        self.server.sql("postgres", "create table if not exists t (x text)")
        for _ in range(segments):
            self.server.sql("postgres", "insert into t select md5(random()"
                            "::text) from generate_series(1, 5000)")
            names.append(self.switch())
        return names

    def original(self, name):
        return (self.data / "pg_wal" / name).read_bytes()

    def ahead(self):
        """Segments that were fetched before anybody asked for them."""
        return sorted(p for p in (self.cache / "wal-ahead").rglob("0*")
                      if len(p.name) == 24)

    def pushed(self):
        return sorted(p.name for p in self.spool().glob("pushed/0*"))
