#!/usr/bin/python3
"""Bits flip in the memory of a backup at random moments. Then it has failed
and there is no snapshot, or the snapshot can be restored and holds what was
read: the source, or the source with a few bits changed, where they flipped
before anything could be known about them. What was stored before is there in
any case.

Anywhere is mostly in contents. With `--at ids` it is in one of the places where
the id of a blob lies that is being stored.
"""

import argparse
import functools
import os
import random
import re
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.append(os.path.join(os.path.dirname(__file__), ".."))

import acts  # noqa: E402
import independent_reader  # noqa: E402
import place  # noqa: E402
import tracer  # noqa: E402
from place import Finding, OK, expect, noise  # noqa: E402
from torture import seconds  # noqa: E402

PAGE = 4096
ID_BYTES = 32
STEP = 0.002  # seconds that it goes on for between two looks
ENOUGH_RUNS = 10
LARGE = 256 << 10  # bytes of a mapping that holds contents
IS_PRESENT = 1 << 63


def present_pages(pid, smallest):
    """Of private memory that is written to, in mappings of so many bytes:
    addresses."""
    pages = []
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, \
            open(f"/proc/{pid}/pagemap", "rb") as pagemap:
        for line in maps:
            places, rights, _, _, inode, *name = line.split()
            first, last = (int(x, 16) for x in places.split("-"))
            if not rights.startswith("rw-p") or inode != "0" or \
                    last - first < smallest or name == ["[stack]"]:
                continue
            pagemap.seek(first // PAGE * 8)
            entries = pagemap.read((last - first) // PAGE * 8)
            pages += [first + i // 8 * PAGE for i in range(0, len(entries), 8)
                      if int.from_bytes(entries[i:i + 8], "little") &
                      IS_PRESENT]
    return pages


class Anywhere:
    counts = [1, 1, 2, 4, 16]  # bits in one run
    latest = 0.2  # seconds, about what a run takes

    @staticmethod
    def flip(pid, chance):
        """False: there is nothing to flip."""
        pages = present_pages(pid, LARGE)
        return bool(pages) and acts.flip_bit(pid, chance.choice(pages), PAGE,
                                             chance)


class InIds:
    counts = [1]
    latest = 0.1  # seconds; from then on there are some, until it ends

    def __init__(self, ids):
        expect(ids, "the backup stores nothing")
        self.ids = re.compile(b"|".join(map(re.escape, ids)), re.DOTALL)

    def flip(self, pid, chance):
        """In one of the places where one of them lies, once one does."""
        while True:
            os.kill(pid, signal.SIGSTOP)
            try:
                pages = present_pages(pid, PAGE)
                if not pages:
                    return False  # it has ended
                if places := self.places(pid, pages):
                    return acts.flip_bit(pid, chance.choice(places), ID_BYTES,
                                         chance)
            finally:
                os.kill(pid, signal.SIGCONT)
            time.sleep(STEP)

    def places(self, pid, pages):
        places = []
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for page in pages:
                memory.seek(page)
                places += [page + found.start()
                           for found in self.ids.finditer(memory.read(PAGE))]
        return places


def flip_bits(process, chance, where):
    """Answers how many."""
    done = 0
    moments = sorted(chance.random() * where.latest
                     for _ in range(chance.choice(where.counts)))
    began = time.monotonic()
    for moment in moments:
        time.sleep(max(0, began + moment - time.monotonic()))
        try:
            done += where.flip(process.pid, chance)
        except (OSError, ValueError):
            break  # it has ended
    return done


def bytes_that_differ(one, other):
    """Not bits: a flip is a byte read and written, between which the process
    may have written another."""
    if len(one) != len(other):
        return abs(len(one) - len(other))
    differing = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return sum(byte != 0 for byte in differing.to_bytes(len(one), "little"))


class Memory:
    def __init__(self, where):
        self.where = where
        rows = [b"INSERT INTO t VALUES (%d, '%s');\n" % (
            i, noise(9, i).hex().encode()) for i in range(40_000)]
        self.data = b"".join([noise(2 << 20, 1), bytes(1 << 20), *rows])
        where.cairn("init", "--recovery-key-out", "{here}/owner.key")
        self.old = self.data[:1 << 20] + noise(1 << 20, 2)
        where.cairn("backup", "--stdin", "--as", "db", stdin=self.old)
        where.save("kept")

    def ids(self):
        """Of the blobs that the backup stores."""
        where = self.where

        def stored():
            repository = independent_reader.Repository(where.here / "repo")
            text = (where.here / "owner.key").read_text(encoding="ascii")
            repository.unlock(
                key_file=independent_reader.key_file_bytes(text))
            repository.load_packs()
            return set(repository.copies)

        where.load("kept")
        before = stored()
        where.cairn("backup", "--stdin", "--as", "db", stdin=self.data)
        return sorted(stored() - before)

    def try_once(self, chance, places):
        """Answers how many bits flipped and how it ended."""
        where = self.where
        where.load("kept")
        process = subprocess.Popen(
            [place.PROGRAM, "--json", "backup", "--stdin", "--as", "db"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=where.environment())
        feeder = os.fork()
        if feeder == 0:
            try:
                process.stdin.write(self.data)
                process.stdin.close()
            finally:
                os._exit(0)
        process.stdin.close()
        process.stdin = None
        flipped = flip_bits(process, chance, places)
        try:
            out, err = process.communicate(timeout=tracer.TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            out, err = b"", b"it hung, and was killed"
        os.waitpid(feeder, 0)
        ran = place.Ran(process.returncode, out, err.decode(errors="replace"))
        self.judge(ran, flipped)
        return flipped, ran.code

    def judge(self, ran, flipped):
        where = self.where
        snapshots = where.snapshots()
        said = [line["snapshot_id"] for line in place.lines_of(ran)
                if line.get("type") == "summary"]
        expect(said or ran.code != OK, "all is well, and it says nothing", ran)
        new = snapshots[1:]
        expect(len(new) <= 1, f"{len(new)} snapshots are new", ran)
        expect(set(said) <= {s["id"] for s in snapshots},
               f"{said} is reported, and is not there", ran)
        old = where.restored(snapshots[0]["id"])["db"][-1]
        expect(old == self.old, "what was there is not what it was", ran)
        if not new:
            return
        restored = where.cairn("restore", new[0]["id"], "--to", "{here}/back",
                               code=None)
        expect(restored.code == OK, "what it stored cannot be restored: "
               f"{restored.err.strip()}", ran)
        back = (where.here / "back" / "db").read_bytes()
        differing = bytes_that_differ(back, self.data)
        expect(differing <= flipped,
               f"{flipped} bits flipped, and {differing} bytes differ", ran)
        checked = where.cairn("check", "--level", "data", code=None)
        expect(checked.code == OK,
               f"check finds damage: {checked.out.decode()}", ran)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time", type=seconds, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from", type=int, default=0, dest="first",
                        help="the number of the first run")
    parser.add_argument("--at", choices=["anywhere", "ids"],
                        default="anywhere")
    options = parser.parse_args()
    if reason := tracer.why_not():
        print(f"skipped: {reason}")
        return 77
    findings = runs = bits = failed = 0
    deadline = time.monotonic() + options.time
    with place.Place() as where:
        memory = Memory(where)
        places = InIds(memory.ids()) if options.at == "ids" else Anywhere()
        while time.monotonic() < deadline:
            number = options.first + runs
            runs += 1
            try:
                flipped, code = memory.try_once(
                    random.Random(f"{options.seed} {number}"), places)
                bits += flipped
                failed += code != OK
            except Finding as finding:
                findings += 1
                print(f"FINDING: run {number} of seed {options.seed}: "
                      f"{finding}", flush=True)
    if runs >= ENOUGH_RUNS and bits == 0:
        findings += 1
        print("FINDING: no bit was flipped")
    print(f"{bits} bits flipped in {runs} runs, {failed} of which failed, "
          f"{findings} findings, next {options.first + runs}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
