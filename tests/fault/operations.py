"""The prepared repositories, and what is done to each of them."""

import dataclasses
import json
import os

import place
from place import DAMAGE, OK, expect, noise
from tracer import Fault

STREAM = [b"".join(b"INSERT INTO t VALUES (%d, '%s');\n" % (
    i, noise(12, i + state * (i % 7 == 0)).hex().encode())
    for i in range(900)) for state in range(3)]
BOTH = noise(90_000, 20), noise(90_000, 21)
OWN, OTHER, ADDED = "owner.key", "second.key", "added.key"
SISTER = "sister.key"


@dataclasses.dataclass
class Operation:
    name: str
    base: str  # the prepared repository
    words: list
    stdin: bytes = b""
    key: str = OWN
    adds: object = None  # what the new snapshot has to hold
    drops: tuple = ()  # the snapshots that it takes away
    key_added: str = None
    key_removed: str = None
    leans_on: str = None  # the snapshot from before
    is_repair: bool = False  # of what is damaged until it has run
    is_without_cache: bool = False
    replaces: str = None  # a damaged snapshot, by a new one without the rest
    done: int = OK  # how it ends when all is well

    @property
    def is_done_once(self):
        """Done again, it finds the key there or gone."""
        return bool(self.key_added or self.key_removed)


def operations():
    stream = {"shop.sql": STREAM[2]}
    by_stdin = ["--json", "backup", "--stdin", "--as", "shop.sql"]
    return [
        Operation("first-backup", "empty", ["--json", "backup", "{source}"],
                  adds="source"),
        Operation("backup", "kept", ["--json", "backup", "{source}"],
                  adds="source", leans_on="tree 1"),
        Operation("stream", "kept", by_stdin, STREAM[2], adds=stream,
                  leans_on="shop 2"),
        Operation("write-key", "kept", by_stdin, STREAM[2], key="web.key",
                  adds=stream, leans_on="web 2"),
        Operation("forget", "kept", ["forget", "--keep-last", "1"],
                  drops=("shop 1", "web 1")),
        Operation("forget-prune", "kept",
                  ["forget", "--keep-last", "1", "--prune"],
                  drops=("shop 1", "web 1")),
        Operation("prune", "loose", ["prune", "--max-unused", "0%"]),
        Operation("prune-open", "condemned", ["prune", "--max-unused", "0%"]),
        Operation("prune-doomed", "doomed", ["prune", "--max-unused", "0%"]),
        Operation("check", "kept", ["check", "--level", "data"]),
        Operation("key-add", "kept",
                  ["key", "add", "--key-file-out", "{here}/" + ADDED],
                  key_added=ADDED, is_without_cache=True),
        Operation("key-remove", "kept", ["key", "remove", "{second_key}"],
                  key_removed=OTHER, is_without_cache=True),
        Operation("repair-index", "kept", ["repair", "index"]),
        Operation("repair-lost-index", "unindexed", ["repair", "index"],
                  is_repair=True),
        Operation("repair-packs", "hurt", ["repair", "packs"],
                  is_repair=True),
        Operation("repair-snapshots", "torn", ["repair", "snapshots"],
                  adds="source", is_repair=True, replaces="torn",
                  done=DAMAGE),
        Operation("copy", "sister",
                  ["-r", "{here}/sister", "copy", "--to", "{here}/repo"],
                  key=SISTER, adds=stream),
    ]


class Bases:
    """The prepared repositories: copies in the place, made one out of the
    other; `held` says what the snapshots of each hold."""

    def __init__(self, where):
        self.where = where
        self.held = {}  # base -> {snapshot id: tree}
        self.named = {}  # a name of ours -> snapshot id
        self.make()

    def backup(self, name, stdin, series, key=OWN, held=None):
        ran = self.where.cairn("--json", "backup", "--stdin", "--as", series,
                               stdin=stdin, key=key)
        self.named[name] = place.lines_of(ran)[-1]["snapshot_id"]
        held[self.named[name]] = {series: stdin}

    def make(self):
        where, held = self.where, {}
        where.cairn("init", "--recovery-key-out", "{here}/" + OWN)
        place.make_tree(where.source, 2)
        self.save("empty", held)

        first, = self.keys()
        where.cairn("key", "add", "--key-file-out", "{here}/" + OTHER)
        where.names["second_key"], = self.keys() - {first}
        where.cairn("key", "add", "--role", "write", "--key-file-out",
                    "{here}/web.key")
        place.make_tree(where.source, 1)
        ran = where.cairn("--json", "backup", "{source}")
        self.named["tree 1"] = place.lines_of(ran)[-1]["snapshot_id"]
        held[self.named["tree 1"]] = place.tree_of(where.source)
        for state in (0, 1):
            self.backup(f"shop {state + 1}", STREAM[state], "shop.sql",
                        held=held)
            self.backup(f"web {state + 1}", BOTH[0] + STREAM[state], "web",
                        key="web.key", held=held)
        place.make_tree(where.source, 2)
        self.save("kept", held)

        for name in list(where.objects("index"))[:2]:
            (where.here / "repo" / name).unlink()
        self.save("unindexed", held)

        # Directories, which index objects know: nothing in them is lost.
        where.load("kept")
        for name in list(where.objects("packs"))[:3]:
            with open(where.here / "repo" / name, "r+b") as pack:
                pack.seek(-9000, 2)
                byte = pack.read(1)[0]
                pack.seek(-1, 1)
                pack.write(bytes([byte ^ 4]))
        self.save("hurt", held)

        where.load("kept")
        self.make_torn(dict(held))

        where.load("kept")
        where.cairn("-r", "{here}/sister", "init", "--like", "{here}/repo",
                    "--recovery-key-out", "{here}/" + SISTER)
        where.cairn("-r", "{here}/sister", "backup", "--stdin", "--as",
                    "shop.sql", stdin=STREAM[2], key=SISTER)
        self.save("sister", held)

        where.load("kept")
        self.make_loose(dict(held))

    def make_torn(self, held):
        """A snapshot that has lost a file, and as `repair packs` leaves it."""
        where = self.where
        ran = where.cairn("--json", "backup", "{source}")
        snapshot = place.lines_of(ran)[-1]["snapshot_id"]
        held[snapshot] = place.tree_of(where.source)
        torn = where.source / "torn"
        torn.write_bytes(noise(100_000, 30))
        changed = where.source.stat().st_mtime_ns
        before = where.objects("packs")
        ran = where.cairn("--json", "backup", "{source}")
        self.named["torn"] = place.lines_of(ran)[-1]["snapshot_id"]
        torn.unlink()
        os.utime(where.source, ns=(changed, changed))
        new = {name: size for name, size in where.objects("packs").items()
               if name not in before}
        (where.here / "repo" / max(new, key=new.get)).unlink()
        where.cairn("repair", "packs", code=DAMAGE)
        self.save("torn", held)

    def make_loose(self, held):
        """Much to collect: packs without use and half used ones, a dead
        session with packs of its own, an unfinished file."""
        where = self.where
        self.backup("both", BOTH[0] + BOTH[1], "both", held=held)
        self.backup("half", BOTH[1] + b"more", "both", held=held)
        where.cairn("check", "--level", "data")  # what write keys stored, too
        gone = [self.named[n] for n in ("both", "shop 1", "tree 1", "web 1")]
        where.cairn("forget", "-y", *gone)
        for snapshot in gone:
            del held[snapshot]
        self.stopped(["backup", "{source}"], "snapshots/", 1)
        where.traced(["backup", "{source}"], fault=Fault(
            lambda call: call.name == "fdatasync" and "/repo/" in call.path,
            "before"))
        self.save("loose", held)

        self.stopped(["prune", "--max-unused", "0%"], "epochs/", 2)
        self.save("condemned", held)

        self.where.load("loose")
        self.stopped(["prune", "--max-unused", "0%"], "epochs/", 2, "after")
        self.save("doomed", held)

    def stopped(self, words, folder, count, kind="before"):
        """Kills it where it publishes its `count`th object in a folder."""
        seen = []

        def is_it(call):
            if call.name == "linkat" and f"/repo/{folder}" in call.path:
                seen.append(call)
            return len(seen) == count
        ran = self.where.traced(words, fault=Fault(is_it, kind))
        expect(ran.hit, f"{words} publishes too little in {folder}", ran)

    def keys(self):
        listed = json.loads(self.where.cairn("key", "list", "--json").out)
        return {key["id"] for key in listed}

    def save(self, name, held):
        self.where.save(name)
        self.held[name] = dict(held)
