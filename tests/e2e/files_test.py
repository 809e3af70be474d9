#!/usr/bin/python3
"""Files come back as they were, whatever they are, and only where they may."""

import json
import os
import pathlib
import shutil
import stat
import subprocess

import harness
from harness import (FAILED, KIB, MIB, PARTIAL, REFUSED, flip, holes_of,
                     listing, noise)
from odd_tree import OddTree, at_time, make_sparse


class Oddities(harness.Case):
    def setUp(self):
        super().setUp()
        self.top = self.folder / "tree"
        self.tree = OddTree(self.top)
        for refused in self.tree.refused:
            print("could not be made here:", refused)
        self.out = self.folder / "out"

    def test_every_oddity_comes_back_as_it_was(self):
        summary = self.backup(self.top)
        self.assertEqual(summary["sockets_skipped"], self.tree.sockets)
        self.assertIn(f"; {self.tree.sockets} socket",
                      self.cairn("backup", self.top).text)
        self.assertEqual((summary["complete"], summary["problem_count"]),
                         (True, 0), summary)

        told = self.restore(f"latest:{self.top}", self.out)

        self.assertEqual((told["failures"], told["shortfalls"]), ([], []))
        self.assert_same_trees(self.top, self.out)

    def test_what_was_restored_backs_up_and_restores_the_same_again(self):
        self.backup(self.top)
        self.restore(f"latest:{self.top}", self.out)

        second = self.backup(self.out)

        self.assertEqual(second["new_bytes"], 0)
        self.restore(f"latest:{self.out}", self.folder / "out 2")
        self.assert_same_trees(self.top, self.folder / "out 2")

    def test_a_whole_snapshot_recreates_full_paths_below_the_target(self):
        parent = self.folder / "a" / "b"
        parent.mkdir(parents=True)
        os.rename(self.top, parent / "tree")
        os.chmod(parent, 0o2710)
        at_time(parent, 1234567890987654321)
        self.backup(parent / "tree")

        self.restore("latest", self.out)

        below = self.out / str(parent)[1:]
        self.assert_same_trees(parent / "tree", below / "tree")
        was, now = parent.stat(), below.stat()
        self.assertEqual((oct(was.st_mode), was.st_mtime_ns),
                         (oct(now.st_mode), now.st_mtime_ns))

    def test_restoring_over_it_with_verify_changes_nothing(self):
        self.backup(self.top)
        self.restore(f"latest:{self.top}", self.out)
        before = listing(os.fsencode(self.out))
        inodes = {p: os.lstat(p).st_ino for p in self.out.rglob("*")
                  if p.is_file() and not p.is_symlink()
                  and p.stat().st_nlink == 1 and os.access(p, os.W_OK)}

        told = self.restore(f"latest:{self.top}", self.out, "--overwrite",
                            "if-changed", "--verify")

        # A file with several names may have one outside of the target, so it is
        # not compared in place but made anew; as is what may not be written.
        anew = 100 * KIB + 4 * KIB + 8
        self.assertLessEqual(told["bytes_written"], anew, told)
        self.assertEqual(listing(os.fsencode(self.out)), before)
        self.assertEqual(inodes, {p: os.lstat(p).st_ino for p in inodes})

    def test_the_plain_text_of_a_name_reaches_no_terminal(self):
        self.backup(self.top)
        for words in (["ls", "-l", "-R"], ["ls", "-R"]):
            out = self.cairn(*words, "latest").out
            self.assertNotIn(b"\x1b", out)
            self.assertNotIn(b"\x7f", out)


class Sparse(harness.Case):
    def test_a_terabyte_of_hole_costs_nothing(self):
        top = self.folder / "tree"
        top.mkdir()
        make_sparse(top / "image", 1 << 40, [(1 << 39, 4096), (1 << 30, 8192)])

        summary = self.backup(top)
        told = self.restore(f"latest:{top}", self.folder / "out")

        self.assertLess(summary["stored_bytes"], MIB)
        self.assertLess(told["bytes_written"], MIB)
        image = self.folder / "out" / "image"
        self.assertEqual(image.stat().st_size, 1 << 40)
        self.assertEqual(holes_of(image), holes_of(top / "image"))
        for at in (1 << 39, 1 << 30):
            with open(image, "rb") as one, open(top / "image", "rb") as two:
                one.seek(at)
                two.seek(at)
                self.assertEqual(one.read(8192), two.read(8192))

    def test_cat_gives_zeros_for_holes(self):
        path = self.folder / "image"
        make_sparse(path, 3 * MIB + 5, [(MIB, 4096)])
        self.backup(path)
        self.assertEqual(self.cat(f"latest:{path}"), path.read_bytes())


class Target(harness.Case):
    """Where a restore writes, and what becomes of what is there."""

    def setUp(self):
        super().setUp()
        self.top = self.folder / "tree"
        (self.top / "sub").mkdir(parents=True)
        for i in range(5):
            (self.top / "sub" / f"file {i}").write_bytes(noise(300000, i))
        (self.top / "text").write_text("a line\n")
        os.symlink("text", self.top / "link")
        self.out = self.folder / "out"
        self.backup(self.top)
        self.what = f"latest:{self.top}"

    def test_a_folder_takes_the_metadata_of_the_path_restored_into_it(self):
        os.chmod(self.top / "sub", 0o2750)
        at_time(self.top / "sub", 987654321012345678)
        self.backup(self.top)

        self.restore(f"{self.what}/sub", self.out)

        self.assert_same_trees(self.top / "sub", self.out)

    def test_a_single_file_lands_in_the_folder_under_its_name(self):
        self.restore(f"{self.what}/text", self.out)
        self.restore(f"{self.what}/link", self.folder / "out 2")
        self.assertEqual(os.listdir(self.out), ["text"])
        self.assertEqual((self.out / "text").read_text(), "a line\n")
        self.assertEqual((self.out / "text").stat().st_mtime_ns,
                         (self.top / "text").stat().st_mtime_ns)
        self.assertEqual(os.readlink(self.folder / "out 2" / "link"), "text")

    def test_missing_parents_of_the_target_are_made(self):
        self.restore(self.what, self.out / "x" / "y")
        self.assert_same_trees(self.top, self.out / "x" / "y")

    def test_an_empty_folder_will_do_and_one_that_is_not_is_refused(self):
        self.out.mkdir()
        self.restore(self.what, self.out)
        before = listing(os.fsencode(self.out))

        ran = self.cairn("restore", self.what, "--to", self.out, code=REFUSED)

        self.assertIn("--overwrite", ran.err)
        self.assertEqual(listing(os.fsencode(self.out)), before)

    def test_a_file_in_the_place_of_the_target_is_refused(self):
        self.out.write_text("mine")
        self.cairn("restore", self.what, "--to", self.out, code=REFUSED)
        self.assertEqual(self.out.read_text(), "mine")

    def test_an_unknown_path_is_an_error_and_makes_no_folder(self):
        self.cairn("restore", f"{self.what}/nothing", "--to", self.out,
                   code=FAILED)
        self.assertFalse(self.out.exists())

    def test_if_changed_repairs_one_byte_and_leaves_the_rest_alone(self):
        self.restore(self.what, self.out)
        victim = self.out / "sub" / "file 2"
        times = victim.stat().st_mtime_ns
        flip(victim, 150000)
        at_time(victim, times)  # so that only the content tells
        os.unlink(self.out / "sub" / "file 3")
        (self.out / "sub" / "file 4").write_bytes(b"short")
        os.chmod(self.out / "text", 0o600)
        (self.out / "mine").write_text("not of the backup")
        untouched = [self.out / "sub" / "file 0", self.out / "sub" / "file 1"]
        before = [(p.stat().st_ino, p.stat().st_mtime_ns, p.stat().st_ctime_ns)
                  for p in untouched]

        told = self.restore(self.what, self.out, "--overwrite", "if-changed")

        self.assertEqual((self.out / "mine").read_text(), "not of the backup")
        os.unlink(self.out / "mine")
        at_time(self.out, self.top.stat().st_mtime_ns)
        self.assert_same_trees(self.top, self.out)
        self.assertEqual(before, [
            (p.stat().st_ino, p.stat().st_mtime_ns, p.stat().st_ctime_ns)
            for p in untouched])
        self.assertLess(told["bytes_written"], 900001)
        self.assertGreater(told["bytes_unchanged"], 600000)

    def test_if_changed_takes_apart_what_is_linked_in_the_target_only(self):
        for name in "a", "b":
            (self.top / name).write_text("the same")
            at_time(self.top / name, 987654321012345678)
        at_time(self.top, 987654321012345678)
        self.backup(self.top)
        self.restore(self.what, self.out)
        os.unlink(self.out / "b")
        os.link(self.out / "a", self.out / "b")

        self.restore(self.what, self.out, "--overwrite", "if-changed")

        self.assert_same_trees(self.top, self.out)
        self.assertEqual((self.out / "b").stat().st_nlink, 1)

    def test_never_fills_gaps_and_touches_nothing_that_is_there(self):
        self.restore(self.what, self.out)
        (self.out / "sub" / "file 1").write_bytes(b"mine")
        os.unlink(self.out / "sub" / "file 2")

        told = self.restore(self.what, self.out, "--overwrite", "never")

        self.assertEqual((self.out / "sub" / "file 1").read_bytes(), b"mine")
        self.assertEqual((self.out / "sub" / "file 2").read_bytes(),
                         noise(300000, 2))
        self.assertGreater(told["kept"], 0)

    def test_always_makes_every_file_as_it_was(self):
        self.restore(self.what, self.out)
        (self.out / "sub" / "file 1").write_bytes(b"mine")
        os.unlink(self.out / "link")
        os.symlink("/etc/passwd", self.out / "link")

        self.restore(self.what, self.out, "--overwrite", "always")

        self.assert_same_trees(self.top, self.out)

    def test_a_symlink_in_the_target_leads_no_write_out_of_it(self):
        outside = self.folder / "outside"
        outside.mkdir()
        (outside / "file 0").write_text("precious")
        for overwrite in ("never", "if-changed", "always"):
            with self.subTest(overwrite):
                shutil.rmtree(self.out, ignore_errors=True)
                self.out.mkdir()
                os.symlink(outside, self.out / "sub")
                os.symlink(outside / "file 0", self.out / "text")
                self.cairn("restore", self.what, "--to", self.out,
                           "--overwrite", overwrite, code=(0, 3, 16))
                self.assertEqual(os.listdir(outside), ["file 0"])
                self.assertEqual((outside / "file 0").read_text(), "precious")

    def kill_while_it_writes(self, size, *words, old=None):
        """Kills a restore in the middle of a file of that size, where `old` has
        its name before."""
        for _ in range(20):
            shutil.rmtree(self.out, ignore_errors=True)
            if old:
                self.out.mkdir()
                (self.out / "a large one").write_bytes(old)
            process = self.start("restore", self.what, "--to", self.out, *words)
            # Not by wait_until, whose pauses are longer than the restore.
            while process.poll() is None:
                try:
                    told = pathlib.Path(f"/proc/{process.pid}/io").read_text()
                except OSError:  # it has ended
                    continue
                if int(told.split("wchar: ")[1].split()[0]) > size // 8:
                    process.kill()
            process.wait()
            if process.returncode == -9:
                return
        self.fail("no restore could be killed in time")

    def test_a_killed_restore_leaves_no_torn_file_and_the_next_one_mends(self):
        large = noise(64 * MIB)
        (self.top / "a large one").write_bytes(large)
        self.backup(self.top)

        self.kill_while_it_writes(len(large))
        for name in os.listdir(self.out):
            if not name.startswith(".cairn-"):
                self.assertIn(name, ("link", "sub", "text"))

        torn = self.folder / "torn"
        os.rename(self.out, torn)
        for overwrite in ("never", "if-changed", "always"):
            with self.subTest(overwrite):
                shutil.rmtree(self.out, ignore_errors=True)
                shutil.copytree(torn, self.out, symlinks=True)
                self.restore(self.what, self.out, "--overwrite", overwrite,
                             "--verify")
                # Folders that were there keep their own with "never".
                if overwrite == "never":
                    shutil.copystat(self.top / "sub", self.out / "sub")
                    shutil.copystat(self.top, self.out)
                self.assert_same_trees(self.top, self.out)

    def test_what_a_killed_restore_left_beside_a_file_is_removed(self):
        large = noise(64 * MIB)
        (self.top / "a large one").write_bytes(large)
        self.backup(self.top)

        self.kill_while_it_writes(len(large), "--overwrite", "always",
                                  old=b"old")
        self.assertEqual((self.out / "a large one").read_bytes(), b"old")
        self.assertTrue(any(self.out.glob(".cairn-*")))

        self.restore(self.what, self.out, "--overwrite", "if-changed")
        self.assert_same_trees(self.top, self.out)

    def test_verify_reads_every_file_back(self):
        told = self.restore(self.what, self.out, "--verify")
        self.assertEqual(told["files_verified"], 6)

    def test_a_dry_run_writes_nothing(self):
        self.cairn("restore", "-n", self.what, "--to", self.out)
        self.assertFalse(self.out.exists())


class Devices(harness.Case):
    @harness.needs_root
    @harness.needs("setpriv")
    def test_one_that_could_not_be_made_is_a_failure_and_owners_are_none(self):
        top = self.folder / "tree"
        top.mkdir()
        os.mkfifo(top / "fifo")
        try:
            os.mknod(top / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            self.skipTest("may not make devices")
        self.backup(top)
        os.chmod(self.folder, 0o777)
        subprocess.run(["chown", "-R", "65534:65534", self.repo, self.key,
                        *(p for p in (self.state, self.cache) if p.exists())],
                       check=True)
        # Where a user who is not root can run it.
        program = self.folder / "cairn"
        shutil.copy(harness.PROGRAM, program)
        out = self.folder / "out"

        ran = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
             "--", program, "--json", "restore", f"latest:{top}", "--to", out],
            capture_output=True, env=self.environment(), check=False,
            timeout=harness.TIMEOUT)

        self.assertEqual(ran.returncode, PARTIAL, ran.stderr)
        told = json.loads(ran.stdout.splitlines()[-1])
        self.assertEqual(os.listdir(out), ["fifo"])
        self.assertEqual((told["others"], told["failure_count"]), (1, 1))
        failure, = told["failures"]
        self.assertEqual((failure["path"], failure["cause"]),
                         (f"{top}/null"[1:], "io_error"))
        self.assertEqual([s["what"] for s in told["shortfalls"]], ["owner"])


class Paths(harness.Case):
    """What is given to a backup, and under which path it is found again."""

    def setUp(self):
        super().setUp()
        self.top = self.folder / "tree"
        (self.top / "one").mkdir(parents=True)
        (self.top / "two").mkdir()
        (self.top / "one" / "a").write_text("a")
        (self.top / "two" / "b").write_text("b")

    def files(self, snap="latest"):
        ran = self.cairn("ls", "-R", "--json", snap)
        return sorted(x["path"] for x in ran.lines if x["kind"] == "file")

    def test_relative_paths_are_found_under_absolute_ones(self):
        self.backup("tree/one", "./tree/two/../two", cwd=self.folder)
        self.assertEqual(self.files(),
                         [f"{self.top}/one/a", f"{self.top}/two/b"])

    def test_a_path_given_twice_or_within_another_is_stored_once(self):
        summary = self.backup(self.top, self.top / "one", self.top)
        self.assertEqual(summary["files_new"], 2)
        self.assertEqual(len(self.files()), 2)

    def test_a_symlink_given_stays_one_unless_a_slash_follows(self):
        os.symlink("tree", self.folder / "link")
        self.backup(self.folder / "link")
        self.assertEqual(self.files(), [])
        self.backup(f"{self.folder}/link/")
        self.assertEqual(len(self.files()), 2)

    def test_below_a_symlink_it_is_the_one_that_the_symlink_leads_to(self):
        os.symlink("tree", self.folder / "link")
        self.backup(self.top / "one")
        (self.top / "one" / "a").write_text("newest")
        harness.settle()
        self.backup(self.folder / "link" / "one")

        newest = self.snapshots()[-1]
        self.assertEqual(newest["paths"], [f"{self.top}/one"])
        shown, = newest["paths"]
        self.assertEqual(self.cat(f"latest:{shown}/a"), b"newest")
        self.assertEqual(self.cat(f"latest~1:{shown}/a"), b"a")

    def test_a_slash_at_its_end_is_no_part_of_it(self):
        for given, cwd in ((f"{self.top}/", None), (".", self.top),
                           ("./", self.top), ("../tree/", self.top)):
            self.backup(given, cwd=cwd)
            self.assertEqual(self.snapshots()[-1]["paths"], [str(self.top)])

    def test_one_that_is_not_there_leaves_the_others_incomplete(self):
        self.backup(self.top, "/absent/x/", code=PARTIAL)
        for words in (["latest"], [f"latest:{self.top}"]):
            ran = self.cairn("restore", *words, "--to",
                             self.folder / f"out {len(words[0])}")
            self.assertEqual("is incomplete: files: /absent/x/: no such file"
                             in ran.err, words == ["latest"], ran.err)

    def test_a_name_that_begins_with_a_dash_can_be_given(self):
        (self.folder / "-n").write_text("dash")
        self.backup("--", "-n", cwd=self.folder)
        self.assertEqual(self.cat(f"latest:{self.folder}/-n"), b"dash")

    def test_a_name_that_is_not_text_can_be_given_and_named(self):
        path = os.fsencode(self.folder) + b"/caf\xe9\n"
        with open(path, "wb") as file:
            file.write(b"bytes")
        self.backup(path)
        self.assertEqual(self.cat(b"latest:" + path), b"bytes")


if __name__ == "__main__":
    harness.main()
