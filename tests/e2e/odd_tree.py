"""Makes a tree of files with every oddity that a backup has to bring back, and
says what this machine would not let it make."""

import os
import socket
import stat
import subprocess

from harness import IS_ROOT, KIB, MIB, noise, prose

NAMES = [
    b"plain", b"n" * 255, "\u00fc".encode() * 127, b"line\nbreak", b"\xff\xfe caf\xe9",
    b"-rf", b"--help", b"*", b" space ", b"tab\t", b"quote'\"", b"back\\slash",
    b"$HOME", b"%s", b"[a]", b"~", b"...", b"\x01\x1b[31m\x7f", b"a:b", b"\\134",
    "\U0001f5c4 \u0438\u043c\u044f".encode(),
]

# Seconds and nanoseconds: ordinary, before 1970, the ends of what ext4 keeps.
TIMES = [1795132800123456789, -1, -86400 * 10**9 * 365 + 5, -(2**31) * 10**9,
         2**33 * 10**9 + 1, 0]

# Each with its extents of data; what lies between is a hole.
SPARSE = {
    "starts with a hole": (3 * MIB, [(2 * MIB, 64 * KIB), (3 * MIB - 9, 9)]),
    "hole in the middle": (2 * MIB, [(0, 4 * KIB), (1900 * KIB, 148 * KIB)]),
    "ends with a hole": (5 * MIB, [(0, 300 * KIB)]),
    "all hole": (8 * MIB, []),
    "many holes": (4 * MIB, [(i * 64 * KIB, 4 * KIB) for i in range(64)]),
    "odd size": (1 * MIB + 4711, [(0, 5)]),
}


def make_sparse(path, size, extents):
    with open(path, "wb") as file:
        for offset, length in extents:
            file.seek(offset)
            file.write(noise(length, offset + 1))
        file.truncate(size)


def at_time(path, nanoseconds, follow=False):
    os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=follow)


class OddTree:
    """`refused` lists what could not be made, each with the reason."""

    def __init__(self, top):
        self.top = os.fsencode(top)
        self.refused = []
        self.sockets = 0
        os.mkdir(self.top)
        for part in (self.contents, self.names, self.symlinks, self.hard_links,
                     self.sparse_files, self.modes, self.special_files,
                     self.times, self.xattrs, self.acls, self.capabilities,
                     self.owners, self.folders):
            part()
        # Last, since making entries changes it.
        at_time(self.top, 1700000000000000007)
        os.chmod(self.top, 0o2751)

    def path(self, *names):
        return os.path.join(self.top, *(os.fsencode(n) for n in names))

    def folder(self, name):
        os.mkdir(self.path(name))
        return lambda *names: self.path(name, *names)

    def file(self, path, data=b"", mode=0o644):
        with open(path, "xb") as file:
            file.write(data)
        os.chmod(path, mode)
        return path

    def tries(self, what, action):
        try:
            action()
        except (OSError, subprocess.CalledProcessError) as error:
            self.refused.append(f"{what}: {error}")

    def contents(self):
        below = self.folder("contents")
        sizes = [0, 1, 4095, 4096, 65536, 65537, 300 * KIB, 3 * MIB + 1]
        for size in sizes:
            self.file(below(f"noise {size}"), noise(size, size))
        self.file(below("text"), prose(40000))
        self.file(below("the same text"), prose(40000))
        self.file(below("zeros that are stored"), bytes(256 * KIB))

    def names(self):
        below = self.folder("names")
        for i, name in enumerate(NAMES):
            self.file(below(name), b"%d" % i)
        deep = below("deep")
        for _ in range(40):
            os.mkdir(deep)
            deep = os.path.join(deep, b"d" * 80)
        self.file(deep, b"far down")

    def symlinks(self):
        below = self.folder("symlinks")
        targets = {"dangling": "nowhere", "absolute": "/etc/passwd",
                   "to folder": "../names", "to itself": "to itself",
                   "up": "../../..", "long": "x/" * 2000 + "y",
                   b"\xfe": b"\xff\n", "slash at end": "../names/"}
        for i, (name, target) in enumerate(targets.items()):
            os.symlink(target, below(name))
            at_time(below(name), TIMES[i % len(TIMES)])

    def hard_links(self):
        one, two = self.folder("links one"), self.folder("links two")
        self.file(one("first"), noise(100 * KIB, 7))
        for path in (one("again"), two("elsewhere"), self.path("top link")):
            os.link(one("first"), path)
        self.file(two("empty"))
        os.link(two("empty"), one("empty too"))
        os.symlink("target", one("symlink"))
        os.link(one("symlink"), two("same symlink"), follow_symlinks=False)
        make_sparse(two("holes"), 1 * MIB, [(512 * KIB, 4 * KIB)])
        os.link(two("holes"), one("the same holes"))

    def sparse_files(self):
        below = self.folder("sparse")
        for name, (size, extents) in SPARSE.items():
            make_sparse(below(name), size, extents)

    def modes(self):
        below = self.folder("modes")
        for mode in (0o600, 0o755, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777,
                     0o444):
            self.file(below(f"{mode:04o}"), b"x", mode)
        if IS_ROOT:
            self.file(below("0000"), b"only root", 0)

    def special_files(self):
        below = self.folder("special")
        os.mkfifo(below("fifo"))
        os.chmod(below("fifo"), 0o622)
        if IS_ROOT:
            self.tries("character device", lambda: os.mknod(
                below("char"), stat.S_IFCHR | 0o620, os.makedev(1, 3)))
            self.tries("block device", lambda: os.mknod(
                below("block"), stat.S_IFBLK | 0o660, os.makedev(259, 70000)))
            os.link(below("fifo"), below("fifo again"))
        with socket.socket(socket.AF_UNIX) as made:
            here = os.getcwd()
            os.chdir(below())  # a socket's path is short
            made.bind("a.socket")
            os.chdir(here)
        self.sockets += 1

    def times(self):
        below = self.folder("times")
        for i, nanoseconds in enumerate(TIMES):
            at_time(self.file(below(f"{i}"), b"%d" % i), nanoseconds)
        at_time(below(), -12345678900)

    def xattrs(self):
        below = self.folder("xattrs")

        def on(path, **values):
            for name, value in values.items():
                os.setxattr(path, "user." + name, value)
        self.tries("xattrs", lambda: on(
            self.file(below("several"), b"x"), empty=b"", binary=b"\0\xff\n",
            text=b"value", large=noise(2000)))
        self.tries("xattrs", lambda: os.setxattr(
            self.file(below("odd name")), b"user.\xff\n", b"x"))
        os.mkdir(below("folder"))
        self.tries("xattrs", lambda: on(below("folder"), of=b"a folder"))
        if IS_ROOT:
            self.tries("trusted xattrs", lambda: os.setxattr(
                self.file(below("trusted")), "trusted.cairn", b"root's"))

    def acls(self):
        below = self.folder("acls")

        def grant(path, *flags):
            subprocess.run(["setfacl", *flags, path], check=True,
                           capture_output=True)
        self.tries("ACLs", lambda: grant(
            self.file(below("file"), b"x", 0o640), "-m",
            "u:54321:rwx,g:12345:r,m::rx"))
        os.mkdir(below("folder"))
        self.tries("ACLs", lambda: grant(
            below("folder"), "-m", "u:54321:x,d:u:54321:rwx,d:g::r,d:o::-"))
        self.file(below("folder", "heir"), b"x")

    def capabilities(self):
        if IS_ROOT:
            below = self.folder("capabilities")
            self.tries("capabilities", lambda: subprocess.run(
                ["setcap", "cap_net_bind_service,cap_net_raw+ep",
                 self.file(below("ping"), b"#!", 0o755)], check=True,
                capture_output=True))

    def owners(self):
        if IS_ROOT:
            below = self.folder("owners")
            os.chown(self.file(below("unknown"), b"x"), 54321, 12345)
            os.chown(self.file(below("large"), b"x"), 2**32 - 2, 2**31)
            # A change of owner takes the bits away; a restore must not.
            path = self.file(below("setuid"), b"x")
            os.chown(path, 54321, 12345)
            os.chmod(path, 0o6755)
            os.symlink("unknown", below("symlink"))
            os.lchown(below("symlink"), 54321, 12345)
            os.mkdir(below("folder"))
            os.chown(below("folder"), 1, 54321)

    def folders(self):
        below = self.folder("folders")
        for name, mode in (("empty", 0o755), ("0555", 0o555),
                           ("sticky", 0o1777), ("setgid", 0o2775)):
            os.mkdir(below(name))
            if name != "empty":
                self.file(below(name, "inside"), b"x")
            os.chmod(below(name), mode)
        if IS_ROOT:
            os.mkdir(below("0000"))
            self.file(below("0000", "inside"), b"x")
            os.chmod(below("0000"), 0)
        for i, name in enumerate(sorted(os.listdir(below()))):
            at_time(below(name), TIMES[i % len(TIMES)] + 7)
        at_time(below(), 1000000000)
