"""Drives the built cairn as a user would: by its command line alone.

CAIRN_PROGRAM names the program. Every test gets a folder of its own that holds
a repository, the key file that opens it, and what cairn keeps on a machine.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True

PROGRAM = os.path.abspath(os.environ.get("CAIRN_PROGRAM", "/usr/bin/cairn"))
PASSPHRASE = "correct horse battery staple"
TIMEOUT = 120
IS_ROOT = os.geteuid() == 0
KIB = 1 << 10
MIB = 1 << 20

# Exit codes, by the names of the contract.
OK, FAILED, USAGE, PARTIAL, DAMAGE = 0, 1, 2, 3, 4
NO_REPOSITORY, LOCKED, WRONG_KEY, NO_SPACE = 10, 11, 12, 14
SOURCE_FAILED, REFUSED = 15, 16
HUNG_UP, INTERRUPTED, TERMINATED = 129, 130, 143

needs_root = unittest.skipUnless(IS_ROOT, "only root can do this")


def needs(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    return unittest.skipIf(missing, "not installed: " + ", ".join(missing))


@dataclasses.dataclass
class Ran:
    """How a run ended and what it wrote."""
    code: int
    out: bytes
    err: str

    @property
    def text(self):
        return self.out.decode()

    @property
    def lines(self):
        """Of a command that writes JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def value(self):
        """Of a command that writes one JSON value."""
        return json.loads(self.out)


def noise(size, seed=1):
    """Bytes that neither compress nor repeat."""
    return random.Random(seed).randbytes(size)


def prose(lines, seed=1):
    """Text as a dump holds it: compressible, hardly repeating."""
    rng = random.Random(seed)
    return b"".join(
        b"INSERT INTO orders VALUES (%d, 'customer %d', %d.%02d);\n" % (
            i, rng.randrange(10**6), rng.randrange(1000), rng.randrange(100))
        for i in range(lines))


def sha256(data):
    return hashlib.sha256(data).digest()


def flip(path, at):
    """Changes one bit of one byte; negative places count from the end."""
    with open(path, "r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


def wait_until(condition, what, seconds=60):
    """Answers the first truth that `condition` gives. To ask may cost as much as
    what is waited for, so it asks less and less often."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(pause)
        pause = min(1.2 * pause, 0.1)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


def settle():
    """Lets the clock that stamps files go on: a file that was changed this very
    tick is read again, since it could be changed once more unseen."""
    time.sleep(0.05)


def bytes_below(folder):
    """What the objects in a repository take."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def unmounted(path):
    subprocess.run(["umount", "--lazy", path], check=False)


class Case(unittest.TestCase):
    has_repository = True

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cairn-e2e-"))
        self.addCleanup(self.remove_folder)
        self.repo = self.folder / "repo"
        self.key = self.folder / "owner.key"
        self.cache = self.folder / "cache"
        self.state = self.folder / "state"
        self.env = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder / "home"),
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
            "CAIRN_REPO": str(self.repo),
            "CAIRN_KEY_FILE": str(self.key),
            "CAIRN_CACHE_DIR": str(self.cache),
            "XDG_STATE_HOME": str(self.state),
            "CAIRN_SETTLING": "0s",  # or each test would wait a minute
        }
        if self.has_repository:
            self.cairn("init", "--recovery-key-out", self.key)

    def remove_folder(self):
        if not IS_ROOT:
            subprocess.run(["chmod", "-R", "u+rwX", self.folder], check=False)
        subprocess.run(["rm", "-rf", self.folder], check=False)

    # Running it

    def environment(self, env=None):
        """Ours with changes; None takes a variable away."""
        merged = {**self.env, **(env or {})}
        return {k: str(v) for k, v in merged.items() if v is not None}

    def cairn(self, *words, code=OK, stdin=b"", env=None, cwd=None, prefix=()):
        """Runs to the end, which must be as expected."""
        ran = subprocess.run(
            [*prefix, PROGRAM, *words], input=stdin, capture_output=True,
            env=self.environment(env), cwd=cwd, timeout=TIMEOUT, check=False)
        result = Ran(ran.returncode, ran.stdout,
                     ran.stderr.decode(errors="backslashreplace"))
        expected = code if isinstance(code, tuple) else (code,)
        self.assertIn(
            result.code, expected,
            f"{words}\n{result.out[-2000:]!r}\n{result.err[-4000:]}")
        self.assertNotIn("terminate called", result.err)
        return result

    def start(self, *words, stdin=subprocess.DEVNULL, env=None, prefix=()):
        """Runs beside the test, and ends with it at the latest."""
        process = subprocess.Popen(
            [*prefix, PROGRAM, *words], stdin=stdin, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=self.environment(env))

        def end():
            if process.poll() is None:
                process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
            process.wait()
        self.addCleanup(end)
        return process

    def backup(self, *words, code=OK, **how):
        """What its summary says."""
        ran = self.cairn("--json", "backup", *words, code=code, **how)
        summaries = [x for x in ran.lines if x["type"] == "summary"]
        self.assertEqual(len(summaries), 1, ran)
        return summaries[0]

    def back_up_bytes(self, data, name="data", *words, **how):
        """Answers the snapshot's id."""
        return self.backup("--stdin", "--as", name, *words, stdin=data,
                           **how)["snapshot_id"]

    def begin_stream(self, data=b"", name="slow", **how):
        """A backup that waits for the rest of its standard input. Answers once
        it is at work in the repository."""
        before = set(self.objects("sessions"))
        process = self.start("--json", "backup", "--stdin", "--as", name,
                             stdin=subprocess.PIPE, **how)

        def is_at_work():
            self.assertIsNone(process.poll(), "it ended by itself")
            return set(self.objects("sessions")) - before
        wait_until(is_at_work, "a session of the backup")
        if data:
            process.stdin.write(data)
            process.stdin.flush()
        return process

    def end(self, process, code=OK, data=None):
        """Closes its input and takes what it wrote."""
        out, err = process.communicate(input=data, timeout=TIMEOUT)
        self.assertEqual(process.returncode, code, err)
        return Ran(process.returncode, out, err.decode())

    def snapshots(self, *words):
        return self.cairn("snapshots", "--json", *words).value

    def restore(self, what, to, *words, code=OK):
        """What its summary says."""
        ran = self.cairn("--json", "restore", what, "--to", to, *words,
                         code=code)
        return ran.lines[-1]

    def cat(self, what, **how):
        return self.cairn("cat", what, **how).out

    def assert_sound(self, level="data"):
        self.cairn("check", "--level", level)

    # What lies in the repository

    def objects(self, folder, repo=None):
        """The names of the objects in one folder of the repository."""
        top = (repo or self.repo) / folder
        return sorted(p.name for p in top.rglob("*") if p.is_file())

    def paths_of(self, folder):
        return sorted(p for p in (self.repo / folder).rglob("*")
                      if p.is_file())

    # Comparing trees, by tools that are not ours

    def assert_same_trees(self, a, b):
        a, b = os.fsencode(a), os.fsencode(b)
        ours, theirs = listing(a), listing(b)
        self.assertEqual(
            [(p, ours.get(p), theirs.get(p)) for p in ours.keys() | theirs
             if ours.get(p) != theirs.get(p)], [])
        compared = subprocess.run(
            ["rsync", "-aHAXn", "--modify-window=-1", "--checksum", "--delete",
             "--exclude=*.socket", "--itemize-changes", a + b"/", b + b"/"],
            capture_output=True, check=False, timeout=TIMEOUT)
        self.assertEqual((compared.returncode, compared.stdout,
                          compared.stderr), (0, b"", b""))
        for tool in (["getfattr", "-d", "-h", "-m", "-", "-R", "."],
                     ["getfacl", "-n", "-R", "."]):
            self.assertEqual(blocks(tool, a), blocks(tool, b), tool)


def blocks(tool, top):
    """What a tool says of each path but sockets, which nobody can restore."""
    ran = subprocess.run(tool, cwd=top, capture_output=True, check=True,
                         timeout=TIMEOUT)
    return sorted(block for block in ran.stdout.split(b"\n\n")
                  if b".socket\n" not in block)


def listing(top):
    """Path -> everything that stat(2) says and a restore can bring back, and
    which paths are the same file."""
    found, by_inode = {}, {}
    pending = [top]
    while pending:
        path = pending.pop()
        status = os.lstat(path)
        name = os.path.relpath(path, top)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFSOCK:
            continue
        facts = [oct(status.st_mode), status.st_uid, status.st_gid,
                 status.st_mtime_ns]
        if kind == stat.S_IFLNK:
            facts.append(os.readlink(path))
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            facts.append(status.st_rdev)
        elif kind == stat.S_IFREG:
            facts += [status.st_size, holes_of(path, status)]
        elif kind == stat.S_IFDIR:
            pending += [os.path.join(path, n) for n in os.listdir(path)]
        if kind != stat.S_IFDIR:
            by_inode.setdefault(status.st_ino, []).append(name)
        found[name] = facts
    for names in by_inode.values():
        for name in names:
            found[name].append(sorted(names))
    return found


def holes_of(path, status=None):
    """[(offset, end)...] of what SEEK_HOLE calls holes."""
    size = (status or os.stat(path)).st_size
    holes, at = [], 0
    if size == 0 or (not IS_ROOT and not os.access(path, os.R_OK)):
        return holes
    fd = os.open(path, os.O_RDONLY)
    try:
        while at < size:
            hole = os.lseek(fd, at, os.SEEK_HOLE)
            if hole >= size:
                break
            try:
                at = os.lseek(fd, hole, os.SEEK_DATA)
            except OSError:  # ENXIO: a hole up to the end
                at = size
            holes.append((hole, at))
    finally:
        os.close(fd)
    return holes


def main():
    if not os.access(PROGRAM, os.X_OK):
        sys.exit(f"{PROGRAM} is no program; set CAIRN_PROGRAM to the cairn "
                 "that is to be tested")
    unittest.main(verbosity=2)
