#!/usr/bin/python3
"""A second backup reads what changed and nothing else; what cannot be read or
changes under its eyes is reported and ends no backup."""

import os
import shutil
import signal
import subprocess

import harness
from harness import (MIB, PARTIAL, SOURCE_FAILED, needs, needs_root, noise,
                     settle)
from odd_tree import at_time


class Unchanged(harness.Case):
    def setUp(self):
        super().setUp()
        self.top = self.folder / "tree"
        for i in range(30):
            path = self.top / f"folder {i % 3}" / f"file {i}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(noise(20000, i))
        settle()
        self.first = self.backup(self.top)

    def counts(self, summary):
        return tuple(summary["files_" + kind]
                     for kind in ("new", "changed", "unmodified"))

    def assert_restores(self):
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        self.restore(f"latest:{self.top}", out, "--verify")
        self.assert_same_trees(self.top, out)

    def victim(self, i=4):
        return self.top / f"folder {i % 3}" / f"file {i}"

    def test_files_that_did_not_change_are_not_read_again(self):
        self.assertEqual(self.counts(self.first), (30, 0, 0))

        second = self.backup(self.top)

        self.assertEqual(self.counts(second), (0, 0, 30))
        self.assertEqual((second["chunks_new"], second["new_bytes"]), (0, 0))
        # The metadata of the folders above may have changed.
        self.assertLess(second["stored_bytes"], 100000)
        self.assertEqual(second["logical_bytes"], 600000)
        self.assert_restores()

    @needs("strace")
    @needs_root  # a process that holds keys cannot be looked into by others
    def test_not_one_byte_of_an_unchanged_file_is_read(self):
        log = self.folder / "calls"
        trace = ["strace", "-f", "-qq", "-e", "trace=openat", "-o", log]
        if subprocess.run([*trace, "true"], check=False).returncode != 0:
            self.skipTest("nothing may be traced here")

        def opened(*flags):
            self.backup(self.top, *flags, prefix=trace)
            return [call for call in log.read_text().splitlines()
                    if '"file ' in call and "O_PATH" not in call]

        self.assertEqual(opened(), [])
        self.assertEqual(len(opened("--series", "new")), 30)

    def test_a_changed_byte_is_seen_though_size_and_mtime_are_the_same(self):
        path = self.victim()
        times = path.stat().st_mtime_ns
        data = bytearray(path.read_bytes())
        data[777] ^= 1
        path.write_bytes(data)
        at_time(path, times)
        settle()

        self.assertEqual(self.counts(self.backup(self.top)), (0, 1, 29))
        self.assert_restores()

    def test_a_replaced_file_is_seen_though_its_stamps_are_the_same(self):
        path = self.victim()
        times = path.stat().st_mtime_ns
        other = self.folder / "other"
        other.write_bytes(noise(20000, 99))
        at_time(other, times)
        os.rename(other, path)
        settle()

        self.assertEqual(self.counts(self.backup(self.top)), (0, 1, 29))
        self.assert_restores()

    def test_a_new_mode_or_name_stores_no_content_again(self):
        os.chmod(self.victim(4), 0o600)
        os.rename(self.victim(5), self.top / "renamed")
        self.victim(6).touch()
        os.rename(self.top / "folder 1", self.top / "folder 9")
        settle()

        second = self.backup(self.top)

        self.assertEqual((second["chunks_new"], second["new_bytes"]), (0, 0))
        self.assert_restores()

    def test_a_file_written_twice_within_one_tick_is_seen(self):
        for round_ in range(20):
            path = self.top / "restless"
            path.write_bytes(b"%06d" % round_)
            self.backup(self.top)
            path.write_bytes(b"%06d" % (round_ + 1000))
            self.backup(self.top)
            self.assertEqual(self.cat(f"latest:{path}"),
                             b"%06d" % (round_ + 1000))

    def test_growth_shrinkage_and_removal_are_followed(self):
        with open(self.victim(1), "ab") as file:
            file.write(b"more")
        os.truncate(self.victim(2), 10)
        os.unlink(self.victim(3))
        shutil.rmtree(self.top / "folder 2")
        (self.top / "new").write_bytes(b"new")
        settle()

        self.backup(self.top)

        self.assert_restores()

    def test_a_lost_cache_costs_reading_and_stores_nothing_twice(self):
        shutil.rmtree(self.cache)
        second = self.backup(self.top)
        self.assertEqual((second["chunks_new"], second["new_bytes"]), (0, 0))
        self.assert_restores()
        self.assertEqual(self.counts(self.backup(self.top))[2], 30)

    def test_a_cache_that_is_garbage_does_not_matter(self):
        for path in sorted(self.cache.rglob("*")):
            if path.is_file() and path.stat().st_size:
                path.write_bytes(noise(path.stat().st_size))
        self.backup(self.top)
        self.assert_restores()


class Unreadable(harness.Case):
    """Runs as somebody who may not read everything."""

    def setUp(self):
        super().setUp()
        self.prefix = []
        if harness.IS_ROOT:
            self.be_nobody()
        self.top = self.folder / "tree"
        (self.top / "closed folder").mkdir(parents=True)
        (self.top / "closed folder" / "inside").write_text("x")
        (self.top / "closed file").write_text("x")
        (self.top / "open").write_text("readable")
        os.chmod(self.top / "closed folder", 0)
        os.chmod(self.top / "closed file", 0)

    @needs("setpriv")
    def be_nobody(self):
        self.prefix = ["setpriv", "--reuid=65534", "--regid=65534",
                       "--clear-groups", "--"]
        os.chmod(self.folder, 0o777)
        program = self.folder / "cairn"
        shutil.copy(harness.PROGRAM, program)
        program.chmod(0o755)
        self.addCleanup(setattr, harness, "PROGRAM", harness.PROGRAM)
        harness.PROGRAM = str(program)
        subprocess.run(["chown", "-R", "65534:65534", self.repo, self.key,
                        *(p for p in (self.state, self.cache) if p.exists())],
                       check=True)

    def test_what_cannot_be_read_is_named_and_the_rest_is_saved(self):
        ran = self.cairn("backup", self.top, code=PARTIAL, prefix=self.prefix)
        self.assertIn("closed file", ran.err)
        self.assertIn("closed folder", ran.err)
        self.assertNotIn("error", ran.err)

        snapshot, = self.snapshots()
        self.assertFalse(snapshot["complete"])
        self.assertEqual(snapshot["sources"][0]["status"], "partial")
        self.assertEqual(self.cat(f"latest:{self.top}/open"), b"readable")
        self.assert_sound()

    def test_problems_are_told_to_programs_too(self):
        summary = self.backup(self.top, code=PARTIAL, prefix=self.prefix)
        self.assertFalse(summary["complete"])
        self.assertEqual(summary["problem_count"], 2)
        self.assertEqual(sorted(os.path.basename(p["path"])
                                for p in summary["problems"]),
                         ["closed file", "closed folder"])

    def test_a_source_of_which_nothing_is_saved_makes_no_snapshot(self):
        for path in ("closed file", "closed folder"):
            ran = self.cairn("--json", "backup", self.top / path,
                             code=SOURCE_FAILED, prefix=self.prefix)
            told, = (line for line in ran.lines
                     if line["type"] == "summary")
            self.assertEqual((told["files_new"], told["files_changed"]),
                             (0, 0))
            self.assertEqual(told["problem_count"], 1)
            problem, = told["problems"]
            self.assertEqual(problem["path"], str(self.top / path))
            self.assertNotIn(path, problem["message"])
            self.assertEqual([s["message"] for s in told["sources"]],
                             ["1 entry not as it should be"])
        self.assertEqual(self.snapshots(), [])

    def test_a_path_that_is_not_there_leaves_no_snapshot(self):
        ran = self.cairn("backup", self.top / "nowhere", code=SOURCE_FAILED)
        self.assertIn("nowhere", ran.err)
        self.assertEqual(self.snapshots(), [])


@needs_root  # to see which file a process that holds keys has open
class UnderItsEyes(harness.Case):
    """Things happen while the first, large file is being read."""

    def setUp(self):
        super().setUp()
        self.top = self.folder / "tree"
        self.top.mkdir()
        self.large = self.top / "a large"
        self.large.write_bytes(noise(MIB) * 256)
        for name in ("b steady", "c vanishing"):
            (self.top / name).write_text(name)
        (self.top / "d folder").mkdir()
        (self.top / "d folder" / "e").write_text("e")
        settle()

    def is_reading(self, process):
        fds = f"/proc/{process.pid}/fd"
        try:
            return any(os.readlink(f"{fds}/{fd}") == str(self.large)
                       for fd in os.listdir(fds))
        except FileNotFoundError:
            self.assertIsNone(process.poll())
            return False

    def meanwhile(self, happens):
        process = self.start("--json", "backup", self.top)
        harness.wait_until(lambda: self.is_reading(process), "the large file")
        process.send_signal(signal.SIGSTOP)
        try:
            self.assertTrue(self.is_reading(process), "too late")
            happens()
        finally:
            process.send_signal(signal.SIGCONT)
        ran = self.end(process, code=PARTIAL)
        snapshot, = self.snapshots()
        self.assertFalse(snapshot["complete"])
        self.assertEqual(self.cat(f"latest:{self.top}/b steady"), b"b steady")
        self.assert_sound("structure")
        return ran.lines[-1]

    def test_a_file_that_changes_while_it_is_read_is_reported(self):
        def change():
            with open(self.large, "r+b") as file:
                file.write(b"changed")
        told = self.meanwhile(change)
        self.assertEqual([p["path"] for p in told["problems"]],
                         [str(self.large)])

    def test_a_file_that_shrinks_while_it_is_read_is_reported(self):
        told = self.meanwhile(lambda: os.truncate(self.large, 4096))
        self.assertEqual([p["path"] for p in told["problems"]],
                         [str(self.large)])

    def test_files_and_folders_that_vanish_are_reported(self):
        def vanish():
            os.unlink(self.top / "c vanishing")
            shutil.rmtree(self.top / "d folder")
        told = self.meanwhile(vanish)
        self.assertEqual(sorted(p["path"] for p in told["problems"]),
                         [f"{self.top}/c vanishing", f"{self.top}/d folder"])


if __name__ == "__main__":
    harness.main()
