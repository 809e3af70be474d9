"""Which system calls change something, and where."""

import ctypes
import dataclasses
import os
import re

# Name -> number, and how its arguments name files: "f0" is a descriptor in the
# first, "p1" a path there, "a1,2" a path in the third beneath the second.
MUTATING = {
    "write": (1, "f0"), "pwrite64": (18, "f0"), "writev": (20, "f0"),
    "pwritev": (296, "f0"), "pwritev2": (328, "f0"),
    "copy_file_range": (326, "f2"), "sendfile": (40, "f0"),
    "fsync": (74, "f0"), "fdatasync": (75, "f0"), "syncfs": (306, "f0"),
    "sync_file_range": (277, "f0"), "fallocate": (285, "f0"),
    "ftruncate": (77, "f0"), "truncate": (76, "p0"),
    "open": (2, "p0"), "creat": (85, "p0"), "openat": (257, "a0,1"),
    "openat2": (437, "a0,1"),
    "rename": (82, "p1"), "renameat": (264, "a2,3"),
    "renameat2": (316, "a2,3"), "link": (86, "p1"), "linkat": (265, "a2,3"),
    "symlink": (88, "p1"), "symlinkat": (266, "a1,2"),
    "unlink": (87, "p0"), "unlinkat": (263, "a0,1"), "rmdir": (84, "p0"),
    "mkdir": (83, "p0"), "mkdirat": (258, "a0,1"),
    "mknod": (133, "p0"), "mknodat": (259, "a0,1"),
    "chmod": (90, "p0"), "fchmod": (91, "f0"), "fchmodat": (268, "a0,1"),
    "chown": (92, "p0"), "fchown": (93, "f0"), "utimensat": (280, "a0,1"),
    "setxattr": (188, "p0"), "fsetxattr": (190, "f0"),
}
NAMES = {number: name for name, (number, _) in MUTATING.items()}
# Where flags lie in calls that change nothing without one of these.
FLAGS = {"open": (1, os.O_CREAT | os.O_TRUNC),
         "openat": (2, os.O_CREAT | os.O_TRUNC),
         "sync_file_range": (3, 7)}

SYNCS = {"fsync", "fdatasync", "syncfs"}
# Where a disk without room says so; it removes as ever.
NEEDS_SPACE = SYNCS | {
    "write", "pwrite64", "writev", "pwritev", "pwritev2", "copy_file_range",
    "fallocate", "ftruncate", "open", "creat", "openat", "openat2", "rename",
    "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mkdir",
    "mkdirat"}

# write(descriptor, address, size)
FROM_MEMORY = frozenset({"write", "pwrite64"})

AT_FDCWD = -100


@dataclasses.dataclass
class Call:
    """One that changes something: the `number`th of a run, from 1."""
    number: int
    name: str
    path: str

    def __str__(self):
        return f"{self.name} {self.path}"

    @property
    def write(self):
        """The same for two runs, which draw different random names."""
        return f"{self.name} {without_names(self.path)}"


def name_and_path(tid, number, arguments):
    """Of a call that a thread is about to make. No path: it changes nothing."""
    name = NAMES[number]
    at, wanted = FLAGS.get(name, (0, None))
    if wanted and not arguments[at] & wanted:
        return name, ""
    return name, path_of(tid, MUTATING[name][1], arguments)


def path_of(tid, how, arguments):
    places = [int(i) for i in how[1:].split(",")]
    try:
        if how[0] == "f":
            return os.readlink(f"/proc/{tid}/fd/{arguments[places[0]]}")
        with open(f"/proc/{tid}/mem", "rb", buffering=0) as memory:
            path = string_at(memory, arguments[places[-1]])
        if path.startswith("/"):
            return path
        folder = ctypes.c_int(arguments[places[0]]).value
        if how[0] == "p" or folder == AT_FDCWD:
            return os.path.join(os.readlink(f"/proc/{tid}/cwd"), path)
        return os.path.join(os.readlink(f"/proc/{tid}/fd/{folder}"), path)
    except OSError:
        return ""


def string_at(memory, address):
    text = b""
    while b"\0" not in text:
        memory.seek(address + len(text))
        text += memory.read(4096 - (address + len(text)) % 4096)
    return os.fsdecode(text[:text.index(b"\0")])


def without_names(path):
    """Stars for random names, N for numbers of RocksDB's files."""
    path = re.sub(r"^.*/here/", "", path)
    path = re.sub(r"\b[0-9a-f]{16,}\b", "*", path)
    path = re.sub(r"[0-9]{6}|(?<=#)[0-9]+", "N", path)
    return re.sub(r"/packs/[0-9a-f]{2}\b", "/packs/**", path)
