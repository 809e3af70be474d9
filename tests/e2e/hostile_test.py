#!/usr/bin/python3
"""Nothing that a repository says is trusted, and one that may only be read is
enough to read from."""

import os
import pathlib
import subprocess
import sys
import unittest

import harness
from harness import (DAMAGE, FAILED, IS_ROOT, MIB, OK, PARTIAL, REFUSED,
                     needs_root, noise)

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
try:
    import make_golden
except ImportError as missing:
    raise unittest.SkipTest(f"not installed: {missing.name}") from missing

# A writer that seals and signs as it should and lies in what it seals.
FAULTS = ("name with a slash", "name of dots", "names out of order",
          "a row that no entry takes", "wrong length of a folder",
          "overlapping holes", "base of equal depth", "oversize plain size",
          "row past the padding", "wrong id", "wide zstd window",
          "patch past its base",
          "wrong signature", "mark by a write key",
          "bundle of another repository")
# This hurts no file; check tells it all the same.
HARMLESS = ("wrong length of a folder",)


class Crafted(harness.Case):
    has_repository = False

    def setUp(self):
        super().setUp()
        self.env["CAIRN_KEY_FILE"] = str(self.private_key())

    def private_key(self):
        key = self.folder / "golden.key"
        key.write_bytes((GOLDEN / "owner.key").read_bytes())
        os.chmod(key, 0o600)
        return key

    def craft(self, fault=None):
        self.repo = self.folder / (fault or "sound").replace(" ", "-")
        make_golden.build(str(self.repo), fault, small=True)
        self.env["CAIRN_REPO"] = str(self.repo)

    def test_what_another_program_wrote_is_read(self):
        self.craft()
        snapshots = sorted(self.snapshots(), key=lambda one: one["time"])
        self.assertEqual(len(snapshots), 2)
        oldest = snapshots[0]["id"]
        self.assertEqual(self.cat(f"{oldest}:dump.sql"), b"".join(
            b"part %d of a stream\n" % i for i in range(11)))
        self.restore("latest~1", self.folder / "out", "--verify")
        self.assert_sound()

    def test_no_lie_gets_a_file_out_of_the_target(self):
        for fault in FAULTS:
            with self.subTest(fault):
                self.craft(fault)
                inside = self.folder / f"in {fault}" / "target"
                inside.parent.mkdir()
                limited = ["prlimit", "--cpu=60", "--"]
                codes = ((OK,) if fault in HARMLESS else
                         (FAILED, PARTIAL, DAMAGE, REFUSED))
                ran = self.cairn("restore", "latest~1", "--to", inside,
                                 code=codes, prefix=limited)
                self.assertNotIn("what():", ran.err)
                self.assertLessEqual(set(os.listdir(inside.parent)),
                                     {"target"})
                self.cairn("check", "--level", "data", prefix=limited,
                           code=(DAMAGE, REFUSED))

    def test_prune_deletes_nothing_where_something_is_wrong(self):
        for fault in ("wrong signature", "mark by a write key",
                      "base of equal depth"):
            with self.subTest(fault):
                self.craft(fault)
                for path in self.paths_of("sessions"):  # somebody else's
                    path.unlink()
                before = self.objects("packs")
                self.cairn("prune", code=(DAMAGE, REFUSED))
                self.assertEqual(self.objects("packs"), before)

    def test_a_tree_of_few_nodes_that_repeat_ends_what_walks_it(self):
        self.craft("folders that double")
        first, third = (s["id"] for s in sorted(
            self.snapshots(), key=lambda one: one["time"]))

        for words in (["find", "first.txt"], ["find", "two/none"],
                      ["ls", "-R", first], ["diff", first, third],
                      ["diff", third, first],
                      ["restore", first, "--to", self.folder / "out"]):
            with self.subTest(words):
                ran = self.cairn(*words, code=(DAMAGE,),
                                 prefix=["prlimit", "--cpu=5", "--"])
                self.assertIn("more than its snapshot says", ran.err)
        self.cairn("stats", prefix=["prlimit", "--cpu=5", "--"])

    def test_one_that_claims_to_come_from_the_future_stops_the_rules(self):
        self.craft("an arrival in the future")
        liar, = [s["id"] for s in self.snapshots()
                 if s["series"] == "golden/files"]
        series = ["--series", "golden/files"]
        marks = self.objects("marks")

        ran = self.cairn("backup", "--stdin", "--as", "x", *series, stdin=b"x")
        self.assertIn("claims to have arrived in the future", ran.err)
        self.assertIn(liar[:8], ran.err)
        told = self.backup("--stdin", "--as", "x", *series, stdin=b"x")
        self.assertIn("warnings", told)

        for words in (series, ["--prune"], []):
            ran = self.cairn("forget", "--keep-last", "1", *words,
                             code=REFUSED)
            self.assertIn(f"cairn forget {liar[:8]}", ran.err)
        self.assertEqual(self.objects("marks"), marks)
        for hold in self.cairn("hold", "list", "--json").value:
            self.cairn("hold", "remove", hold["id"])
        self.cairn("forget", liar)
        self.cairn("forget", "--keep-last", "1", *series)
        ran = self.cairn("backup", "--stdin", "--as", "x", *series, stdin=b"x")
        self.assertNotIn("future", ran.err)

    def test_an_ambiguous_prefix_is_told_with_its_candidates(self):
        ordinary = make_golden.rand
        self.addCleanup(setattr, make_golden, "rand", ordinary)
        first = ordinary("session first", 16)

        def alike(label, size):
            made = ordinary(label, size)
            return first[:3] + made[3:] if label == "session third" else made
        make_golden.rand = alike
        self.craft()
        ids = [s["id"] for s in self.snapshots()]
        self.assertEqual(ids[0][:6], ids[1][:6])

        ran = self.cairn("ls", ids[0][:6], code=FAILED)

        for snapshot in ids:
            self.assertIn(snapshot[:8], ran.err)
        self.cairn("ls", ids[0][:12])


class ReadOnly(harness.Case):
    def setUp(self):
        super().setUp()
        self.data = noise(2 * MIB)
        self.back_up_bytes(self.data)

    def assert_reads(self, prefix=()):
        fresh = {"CAIRN_CACHE_DIR": self.folder / "fresh"}
        self.assertEqual(len(self.cairn("snapshots", "--json", prefix=prefix,
                                        env=fresh).value), 1)
        self.cairn("ls", "latest", prefix=prefix, env=fresh)
        self.assertTrue(self.cairn("cat", "latest:data", prefix=prefix,
                                   env=fresh).out == self.data)
        self.cairn("restore", "latest", "--to", self.folder / "out",
                   prefix=prefix, env=fresh)
        self.cairn("check", "--level", "data", prefix=prefix, env=fresh)
        self.cairn("backup", "--stdin", "--as", "x", prefix=prefix, env=fresh,
                   code=(FAILED,))

    @needs_root
    def test_a_read_only_mount_is_read(self):
        for words in (["--bind", self.repo, self.repo],
                      ["-o", "remount,bind,ro", self.repo]):
            ran = subprocess.run(["mount", *words], capture_output=True,
                                 check=False)
            if ran.returncode != 0:
                self.skipTest("mount: " + ran.stderr.decode().strip())
        self.addCleanup(harness.unmounted, self.repo)
        self.assert_reads()

    @unittest.skipIf(IS_ROOT, "permissions do not bind root")
    def test_a_folder_that_may_not_be_written_is_read(self):
        subprocess.run(["chmod", "-R", "a-w", self.repo], check=True)
        self.assert_reads()


if __name__ == "__main__":
    harness.main()
