#!/usr/bin/python3
"""On a full disk what is there stays readable, and forgetting and pruning make
room again."""

import os
import subprocess

import harness
from harness import MIB, NO_SPACE, needs_root, noise


@needs_root
class FullDisk(harness.Case):
    has_repository = False

    def setUp(self):
        super().setUp()
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        ran = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "none", self.disk],
            capture_output=True, check=False)
        if ran.returncode != 0:
            self.skipTest("mount: " + ran.stderr.decode().strip())
        # Before the folder is removed.
        self.addCleanup(harness.unmounted, self.disk)
        self.repo = self.disk / "repo"
        self.env["CAIRN_REPO"] = str(self.repo)
        self.cairn("init", "--recovery-key-out", self.key)

    def content(self, i):
        return noise(4 * MIB, i)

    def fill(self):
        """Backs up until the disk is full. Answers how many are whole."""
        for i in range(20):
            ran = self.cairn("backup", "--stdin", "--as", "db",
                             stdin=self.content(i), code=(0, NO_SPACE))
            if ran.code == NO_SPACE:
                self.assertIn(f"the disk of {self.repo} is full", ran.err)
                self.assertIn("'cairn forget' and 'cairn prune' still work",
                              ran.err)
                return i
        self.fail("the disk is never full")

    def stuff(self):
        """Takes what is left of the disk, to the last byte."""
        with open(self.disk / "stuffing", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass

    def free(self):
        status = os.statvfs(self.disk)
        return status.f_bavail * status.f_frsize

    def test_a_full_disk_of_the_host_s_state_is_told_as_one(self):
        self.stuff()
        repo = self.folder / "other"
        key = self.folder / "other.key"
        env = {"CAIRN_REPO": repo, "CAIRN_KEY_FILE": key,
               "XDG_STATE_HOME": self.disk / "state"}
        self.cairn("init", "--recovery-key-out", key, env=env)
        ran = self.cairn("backup", "--stdin", "--as", "x", stdin=b"x", env=env,
                         code=NO_SPACE)
        self.assertIn(str(self.disk / "state"), ran.err)

    def test_what_is_whole_stays_readable(self):
        count = self.fill()
        self.assertGreater(count, 2)
        self.assertEqual(len(self.snapshots()), count)
        for back in range(count):
            self.assertTrue(self.cat(f"latest~{back}:db") ==
                            self.content(count - 1 - back))
        self.restore("latest", self.folder / "out", "--verify")
        self.assert_sound()
        self.stuff()
        self.assertEqual(self.free(), 0)
        self.assert_sound()

    def test_forget_and_prune_make_room_on_a_disk_without_any(self):
        count = self.fill()
        self.stuff()
        self.assertEqual(self.free(), 0)

        self.cairn("forget", "--keep-last", "1")
        self.cairn("prune", code=(0, NO_SPACE))
        self.cairn("prune")

        self.assertGreater(self.free(), (count - 2) * 4 * MIB)
        self.assertTrue(self.cat("latest:db") == self.content(count - 1))
        self.assert_sound()
        reserve = (self.repo / "reserve").stat()
        self.assertEqual(reserve.st_size, MIB)
        self.assertGreaterEqual(reserve.st_blocks * 512, MIB)
        self.back_up_bytes(self.content(50), "db")
        self.assertTrue(self.cat("latest:db") == self.content(50))
        self.assert_sound()

    def test_half_used_packs_are_pruned_as_far_as_there_is_room(self):
        first = self.back_up_bytes(self.content(0) + self.content(1), "both")
        self.back_up_bytes(self.content(1), "both")
        whole = self.back_up_bytes(self.content(2), "whole")
        self.stuff()

        self.cairn("forget", "-y", first, whole)
        self.cairn("prune", code=(0, NO_SPACE))
        self.assertGreater(self.free(), 3 * MIB)
        self.cairn("prune")

        self.assertGreater(self.free(), 7 * MIB)
        self.assertTrue(self.cat("latest:both") == self.content(1))
        self.assert_sound()

    def folder_of(self, **sizes):
        folder = self.folder / "fd"
        folder.mkdir(exist_ok=True)
        for name, size in sizes.items():
            (folder / name).write_bytes(noise(size, f"{name} {size}"))
        return folder

    def test_half_used_packs_alone_are_repacked_in_parts(self):
        for i in range(6):
            folder = self.folder_of(**{f"keep{i}": 400_000,
                                       f"leave{i}": 1_200_000})
            self.backup(folder)
            (folder / f"leave{i}").unlink()
        self.backup(folder)
        self.stuff()

        self.cairn("forget", "--keep-last", "1")
        self.cairn("prune")

        self.assertGreater(self.free(), 6_500_000)
        self.assertTrue((self.repo / "reserve").exists())
        self.assert_sound()
        self.restore("latest", self.folder / "out")
        self.assert_same_trees(
            folder, self.folder / "out" / folder.relative_to("/"))

    def test_a_pack_that_finds_no_room_is_told_with_what_it_takes(self):
        folder = self.folder_of(**{f"f{i}": MIB for i in range(8)})
        self.backup(folder)
        self.backup(self.folder_of(**{f"f{i}": MIB + 1 for i in range(4)}))
        self.stuff()
        self.cairn("forget", "--keep-last", "1")

        ran = self.cairn("prune", code=NO_SPACE)
        self.assertIn("free that elsewhere on the disk, or forget more",
                      ran.err)
        self.assertFalse((self.repo / "reserve").exists())
        self.assert_sound()

        ran = self.cairn("backup", folder)
        self.assertIn("no room for the megabyte", ran.err)
        ran = self.cairn("backup", "--stdin", "--as", "db",
                         stdin=noise(2 * MIB), code=NO_SPACE)
        self.assertNotIn("by the megabyte", ran.err)
        self.assertIn("is spent", ran.err)

        ran = self.cairn("--json", "prune", code=NO_SPACE)
        missing = ran.lines[-1]["room_missing"]
        self.assertLess(missing, 5 * MIB)
        stuffing = self.disk / "stuffing"
        os.truncate(stuffing, stuffing.stat().st_size - missing)
        self.cairn("prune")
        self.assertTrue((self.repo / "reserve").exists())
        self.assertGreater(self.free(), 3 * MIB)
        self.assert_sound()

    def test_a_backup_takes_the_reserve_back_where_there_is_room(self):
        first = self.back_up_bytes(self.content(0), "db")
        self.back_up_bytes(self.content(1), "db")
        self.stuff()
        self.cairn("forget", "-y", first)
        self.assertFalse((self.repo / "reserve").exists())
        (self.disk / "stuffing").unlink()
        ran = self.cairn("backup", "--stdin", "--as", "db", stdin=b"x")
        self.assertNotIn("megabyte", ran.err)
        self.assertEqual((self.repo / "reserve").stat().st_size, MIB)

    def test_a_full_target_of_a_restore_is_told(self):
        self.back_up_bytes(self.content(0), "db")
        self.stuff()
        out = self.disk / "out"
        self.cairn("restore", "latest:db", "--to", out, code=NO_SPACE)
        self.assertFalse((out / "db").exists())

    def test_init_on_a_full_disk_leaves_no_half_repository(self):
        self.stuff()
        other = {"CAIRN_REPO": self.disk / "other",
                 "CAIRN_KEY_FILE": self.folder / "other.key"}
        self.cairn("init", "--recovery-key-out", self.folder / "other.key",
                   env=other, code=NO_SPACE)
        self.assertFalse((self.disk / "other" / "config").exists())
        self.assertFalse((self.folder / "other.key").exists())


if __name__ == "__main__":
    harness.main()
