"""A small repository with all that belongs to it, in memory where there is
room, and the program that works on it."""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import stat
import subprocess
import tempfile

import tracer

PROGRAM = os.path.abspath(os.environ.get("CAIRN_PROGRAM", "/usr/bin/cairn"))
OK, DAMAGE, FENCED, NO_SPACE = 0, 4, 11, 14
MEMORY = pathlib.Path("/dev/shm")
NEW_PROCESSES = ["/usr/bin/unshare", "--pid", "--fork", "--mount-proc"]


class Finding(Exception):
    """The program did what it must not do."""


def expect(truth, what, ran=None):
    if not truth:
        said = f"; it ended with {ran.code} and said: {ran.err.strip()}" \
            if ran else ""
        raise Finding(f"{what}{said}"[:2000])


@dataclasses.dataclass
class Ran:
    code: int
    out: bytes
    err: str


def lines_of(ran):
    """Of a command that writes JSON lines, the last of which may be torn."""
    lines = []
    for line in ran.out.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def noise(size, seed):
    return random.Random(seed).randbytes(size)


def tree_of(top):
    """Path -> all that a restore has to bring back."""
    top, found = os.fspath(top), {}
    for folder, folders, files in os.walk(top):
        for name in ["."] * (folder == top) + folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
            found[os.path.relpath(path, top)] = (
                status.st_mode, status.st_uid, status.st_gid,
                status.st_mtime_ns, content)
    return found


class Place:
    """`here` holds what a run may change: repository, cache, state and keys;
    beside it lie the source, which none may, and copies of `here`."""

    def __init__(self):
        big = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 1 << 30
        self.top = pathlib.Path(tempfile.mkdtemp(
            prefix="cairn-fault-", dir=MEMORY if big else None))
        self.here = self.top / "here"
        self.source = self.top / "source"
        self.out = self.top / "restored"
        self.names = {"here": self.here, "source": self.source}
        self.elsewhere = self.top / "elsewhere"
        for folder in (self.here, self.source, self.top / "io",
                       self.top / "tmp", self.elsewhere):
            folder.mkdir()

    def remove(self):
        shutil.rmtree(self.top)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def environment(self, key="owner.key"):
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TZ": "UTC",
            "LC_ALL": "C.UTF-8", "HOME": str(self.here / "home"),
            "TMPDIR": str(self.top / "tmp"),
            "CAIRN_REPO": str(self.here / "repo"),
            "CAIRN_KEY_FILE": str(self.here / key),
            "CAIRN_LIKE_KEY_FILE": str(self.here / "owner.key"),
            "CAIRN_TO_KEY_FILE": str(self.here / "owner.key"),
            "CAIRN_CACHE_DIR": str(self.here / "cache"),
            "XDG_STATE_HOME": str(self.here / "state"),
            "CAIRN_SETTLING": "0s",
        }

    def words(self, words):
        """With what is only known here in them."""
        return [str(word).format(**self.names) for word in words]

    def cairn_elsewhere(self, *words, code=OK):
        """A run as on another machine: it knows nothing of this one, and sees
        none of its processes."""
        environment = self.environment() | {
            "HOME": str(self.elsewhere),
            "CAIRN_CACHE_DIR": str(self.elsewhere / "cache"),
            "XDG_STATE_HOME": str(self.elsewhere / "state")}
        return self.cairn(*words, environment=environment, code=code,
                          command=[*NEW_PROCESSES, PROGRAM])

    def cairn(self, *words, stdin=b"", key="owner.key", code=OK,
              environment=None, command=(PROGRAM,)):
        """An ordinary run, which has to end with `code`; None: with any."""
        try:
            ended = subprocess.run(
                [*command, *self.words(words)], input=stdin,
                capture_output=True,
                env=environment or self.environment(key),
                timeout=tracer.TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            raise Finding(f"'{' '.join(map(str, words))}' hangs") from None
        ran = Ran(ended.returncode, ended.stdout,
                  ended.stderr.decode(errors="backslashreplace"))
        expect(code is None or ran.code == code,
               f"'{' '.join(self.words(words))}' does not end with {code}", ran)
        return ran

    def traced(self, words, stdin=b"", key="owner.key", fault=None,
               recorder=None):
        """A run whose changes of anything but its output are counted."""
        outputs = str(self.top / "io") + "/"
        return tracer.run(
            [PROGRAM, *self.words(words)], self.environment(key),
            self.top / "io", stdin,
            lambda path: path.startswith("/") and
            not path.startswith((outputs, "/proc/", "/dev/null")), fault,
            recorder)

    def save(self, name):
        shutil.rmtree(self.top / name, ignore_errors=True)
        copy(self.here, self.top / name)

    def load(self, name):
        shutil.rmtree(self.here)
        copy(self.top / name, self.here)

    def objects(self, *folders):
        """Name -> size of what lies in the repository."""
        repo = self.here / "repo"
        tops = [repo / folder for folder in folders] or [repo]
        return {str(p.relative_to(repo)): p.stat().st_size
                for top in tops for p in top.rglob("*") if p.is_file()}

    def snapshots(self):
        return json.loads(self.cairn("snapshots", "--json").out)

    def restored(self, snapshot):
        shutil.rmtree(self.out, ignore_errors=True)
        self.cairn("restore", snapshot, "--to", self.out)
        source = self.out / str(self.source).lstrip("/")
        return tree_of(source if source.exists() else self.out)

    def outside(self):
        """What no run may change, however it ends."""
        return {"source": tree_of(self.source),
                "top": sorted(p.name for p in self.top.iterdir()
                              if p != self.out),
                "tmp": tree_of(self.top / "tmp").keys() - {"."},
                "here": {p.name for p in self.here.iterdir()} -
                        {"repo", "cache", "state", "home"}}


def copy(folder, to):
    subprocess.run(["cp", "-a", folder, to], check=True)


def make_tree(top, state):
    """Of which the second state leaves half as it was."""
    shutil.rmtree(top)
    (top / "inner").mkdir(parents=True)
    for i in range(6):
        path = top / ("inner" if i % 2 else "") / f"file {i}"
        path.write_bytes(noise(9000 + i, i if i < 3 else 100 * state + i))
        os.utime(path, ns=(i * 10**18, i * 10**18 + (i >= 3) * state))
    (top / "link").symlink_to("inner")
    (top / f"only in state {state}").touch()
