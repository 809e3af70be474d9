"""What a disk may hold after the power went: what was synced, and of all else
any part that a file system may have written by then.

A recording of an operation has all that changed files and folders, in order.
A cut plays it up to one of its calls and chooses. Names and contents are
independent of each other: a file that is synced may have no name yet, and one
with a name no contents. What happened to one name happened in its order, and a
rename is one step.
"""

import hashlib
import os
import shutil

import calls

ROOT = 0
UNITS = 512, 4096  # that are written whole

# What is lost with a cut: all that is not synced; contents, so that files are
# empty; or are zeros; names; one file or a part of it; anything.
CUTS = ("cut-all", "cut-contents", "cut-zeros", "cut-names", "cut-file",
        "cut-torn", "cut-some", "cut-others")

CREATES = {"open", "openat", "openat2", "creat"}
RENAMES = {"rename", "renameat", "renameat2"}
LINKS = {"link", "linkat"}
REMOVES = {"unlink", "unlinkat", "rmdir"}
MAKES_FOLDERS = {"mkdir", "mkdirat"}
WRITES = {"write", "pwrite64", "writev", "pwritev", "pwritev2",
          "copy_file_range", "sendfile", "fallocate", "ftruncate", "truncate"}


class Recorder:
    """Of what happens below a folder, and of what was said meanwhile. Events
    are (number of the call, what, ...):

      names     ((folder, name, node or None), ...), in one step
      contents  node, bytes: all of it, as it is from now on
      sync      node
      said      bytes: all of it so far
    """

    def __init__(self, top, output):
        self.top, self.output = str(top), str(output)
        self.events = []
        self.nodes = {}  # (device, inode) -> number
        self.count = 0
        self.first_names = {}  # folder -> {name: node}
        self.first_contents = {}  # file -> bytes
        self.latest = {}
        self.scan(self.top)
        self.call = None

    def scan(self, path):
        node = self.add(os.stat(path))
        self.first_names[node] = {}
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                self.first_names[node][entry.name] = self.scan(entry.path)
                continue
            inner = self.node_of(entry.stat(follow_symlinks=False))
            if inner is None:
                inner = self.add(entry.stat(follow_symlinks=False))
                with open(entry.path, "rb") as file:
                    self.first_contents[inner] = file.read()
            self.first_names[node][entry.name] = inner
        self.latest = dict(self.first_contents)
        return node

    def add(self, status):
        number = self.count
        self.count += 1
        self.nodes[status.st_dev, status.st_ino] = number
        return number

    def node_of(self, status):
        return self.nodes.get((status.st_dev, status.st_ino))

    # Around a call

    def before(self, number, tid, name, arguments):
        how = calls.MUTATING[name][1]
        paths = []
        if how[0] != "f":
            paths.append(calls.path_of(tid, how, arguments))
        if name in RENAMES | LINKS:
            first = "p0" if how[0] == "p" else "a0,1"
            paths.append(calls.path_of(tid, first, arguments))
        file = f"/proc/{tid}/fd/{arguments[int(how[1])]}"
        self.call = (number, name, paths, file, tid, arguments,
                     bool(paths) and os.path.lexists(paths[0]))

    def after(self, result):
        number, name, paths, file, tid, arguments, was_there = self.call
        if result < 0:
            return
        if name in CREATES:
            self.opened(number, paths[0], f"/proc/{tid}/fd/{result}",
                        was_there)
        elif name in RENAMES:
            self.note(number, "names", (*self.place(paths[1], None),
                                        *self.place(paths[0])))
        elif name in LINKS | MAKES_FOLDERS:
            self.note(number, "names", self.place(paths[0]))
        elif name in REMOVES:
            self.note(number, "names", self.place(paths[0], None))
        elif name in WRITES:
            self.written(number, paths[0] if paths else file)
        elif name in calls.SYNCS:
            node = self.node_of(os.stat(file))
            if node is not None:
                self.note(number, "sync", node)

    def note(self, number, what, *facts):
        if facts[0] != ():
            self.events.append((number, what, *facts))

    def place(self, path, *node):
        """Where a name is, and what has it now, as a step; () if elsewhere."""
        if not path.startswith(self.top + "/"):
            return ()
        folder, name = os.path.split(path)
        if not node:
            status = os.lstat(path)
            node = [self.node_of(status)]
            if node == [None]:
                node = [self.add(status)]
        return ((self.node_of(os.stat(folder)), name, *node),)

    def opened(self, number, path, file, was_there):
        if not path.startswith(self.top + "/"):
            return
        if not was_there:
            status = os.stat(file)
            self.nodes.pop((status.st_dev, status.st_ino), None)
            self.note(number, "names", self.place(path))
            node = self.node_of(status)
            if node is not None:
                self.latest[node] = b""
                self.note(number, "contents", node, b"")
        else:
            self.written(number, file)  # it may have been cut to nothing

    def written(self, number, path):
        if os.path.realpath(path) == self.output:
            with open(self.output, "rb") as file:
                return self.note(number, "said", file.read())
        node = self.node_of(os.stat(path))
        if node is None or node not in self.latest:
            return None
        with open(path, "rb") as file:
            contents = file.read()
        if contents != self.latest[node]:
            self.latest[node] = contents
            self.note(number, "contents", node, contents)
        return None


class Disk:
    """As far as it is known after the first calls of a recording."""

    def __init__(self, recorder, last):
        self.names = {f: dict(n) for f, n in recorder.first_names.items()}
        self.steps = []  # of names, not synced
        # What is synced of a file, and what it held after each write since.
        self.contents = {f: [c] for f, c in recorder.first_contents.items()}
        self.said = b""
        play = {"names": self.steps.append, "contents": self.write,
                "sync": self.sync, "said": self.say}
        for number, what, *facts in recorder.events:
            if number <= last:
                play[what](*facts)

    def say(self, text):
        self.said = text

    def write(self, node, contents):
        self.contents.setdefault(node, [b""]).append(contents)

    def sync(self, node):
        """Of a folder: also what happened before to the same names."""
        if node in self.contents:
            del self.contents[node][:-1]
            return
        wanted, synced = set(), []
        for step in reversed(self.steps):
            places = {(folder, name) for folder, name, _ in step}
            if places & wanted or any(f == node for f, _ in places):
                wanted |= places
                synced.append(step)
        for step in reversed(synced):
            take(self.names, step)
            self.steps.remove(step)

    def unsynced_files(self):
        return [f for f, kept in self.contents.items() if len(kept) > 1]


class Cut:
    """One of the states that a disk may be left in."""

    def __init__(self, disk, kind, chance):
        self.disk, self.chance = disk, chance
        self.names = {f: dict(n) for f, n in disk.names.items()}
        self.contents = {f: kept[-1] for f, kept in disk.contents.items()}
        getattr(self, kind.replace("-", "_"))()

    # Which one

    def cut_all(self):
        self.lose_contents()

    def cut_contents(self):
        self.take_steps()
        self.lose_contents()

    def cut_zeros(self):
        self.take_steps()
        for file in self.disk.unsynced_files():
            first, *_, last = self.disk.contents[file]
            same = len(os.path.commonprefix([first, last]))
            self.contents[file] = last[:same] + bytes(len(last) - same)

    def cut_names(self):
        pass

    def cut_torn(self):
        self.take_steps()
        for file in self.disk.unsynced_files():
            self.contents[file] = self.torn(file)

    def cut_file(self):
        """One file is not there, or not whole; all else is."""
        named = [n for step in self.disk.steps for _, _, n in step
                 if n is not None]
        files = sorted({*self.disk.unsynced_files(), *named})
        one = self.chance.choice(files) if files else None
        is_lost = one in named and self.chance.random() < 0.3
        self.take_steps(lambda step: not is_lost or
                        all(node != one for _, _, node in step))
        if one in self.disk.contents:
            kept = self.disk.contents[one]
            self.contents[one] = self.chance.choice([kept[0], self.torn(one)])

    def cut_some(self):
        self.take_steps(lambda step: self.chance.random() < 0.5)
        for file in self.disk.unsynced_files():
            self.contents[file] = self.chance.choice(
                [self.torn(file), *self.disk.contents[file]])

    cut_others = cut_some  # with other chances

    # Parts of that

    def lose_contents(self):
        for file in self.disk.unsynced_files():
            self.contents[file] = self.disk.contents[file][0]

    def torn(self, file):
        """In the midst of a write: of a unit all or nothing is there."""
        kept = self.disk.contents[file]
        if len(kept) < 2:
            return kept[-1]
        i = self.chance.randrange(1, len(kept))
        before, after = kept[i - 1], kept[i]
        unit = self.chance.choice(UNITS)
        size = self.chance.randrange(0, len(after) + 1, unit)
        return after[:size] + before[size:]

    def take_steps(self, is_taken=lambda step: True):
        """Of what happened to one name none without those before."""
        left = set()
        for step in self.disk.steps:
            places = {(folder, name) for folder, name, _ in step}
            if places & left or not is_taken(step):
                left |= places
            else:
                take(self.names, step)

    def digest(self):
        """The same for the same state."""
        text = hashlib.sha256()
        for folder, names in sorted(self.names.items()):
            for name, node in sorted(names.items()):
                text.update(f"{folder} {name} {node}\0".encode())
        for _, contents in sorted(self.contents.items()):
            text.update(hashlib.sha256(contents).digest())
        return text.hexdigest()[:16]

    # In a folder

    def write(self, top):
        shutil.rmtree(top)
        self.write_folder(ROOT, str(top), {})

    def write_folder(self, node, path, written):
        os.mkdir(path, 0o700)
        for name, inner in self.names.get(node, {}).items():
            where = os.path.join(path, name)
            if inner in written:
                os.link(written[inner], where)
            elif inner in self.contents:
                fd = os.open(where, os.O_WRONLY | os.O_CREAT, 0o600)
                with open(fd, "wb") as file:
                    file.write(self.contents[inner])
                written[inner] = where
            else:
                self.write_folder(inner, where, written)


def take(names, step):
    for folder, name, node in step:
        inside = names.setdefault(folder, {})
        if node is None:
            inside.pop(name, None)
        else:
            inside[name] = node
