#!/usr/bin/python3
"""What the built program writes, a reader written from FORMAT.md alone restores
to the same bytes as the program itself."""

import os
import pathlib
import shutil
import subprocess
import sys
import unittest

import harness
import tar_streams
from harness import MIB, PASSPHRASE, needs, noise, prose, settle
from odd_tree import OddTree

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
try:
    import independent_reader
except ImportError as missing:
    raise unittest.SkipTest(f"not installed: {missing.name}") from missing


class IndependentReader(harness.Case):
    def read(self, *words):
        ran = subprocess.run(
            [sys.executable, TESTS / "independent_reader.py", "--repo",
             self.repo, "--key-file", self.key, *words],
            capture_output=True, timeout=harness.TIMEOUT, check=False)
        self.assertEqual(ran.returncode, 0, ran.stderr.decode())
        return ran.stdout

    def assert_restores_alike(self, snapshot, path):
        """By both programs, compared with one another."""
        ours, theirs = self.folder / "ours", self.folder / "theirs"
        for out in (ours, theirs):
            shutil.rmtree(out, ignore_errors=True)
        self.restore(snapshot, ours)
        self.read("restore", snapshot, "--to", theirs)
        self.assert_same_trees(ours / path, theirs / path)
        return theirs / path

    def test_files_with_every_oddity(self):
        top = self.folder / "tree"
        OddTree(top)
        snapshot = self.backup(top)["snapshot_id"]

        theirs = self.assert_restores_alike(snapshot, str(top)[1:])

        self.assert_same_trees(top, theirs)
        self.read("verify")

    def test_copies_in_other_repositories(self):
        top = self.folder / "tree"
        OddTree(top)
        self.backup(top)
        first = self.repo
        for name, words in (("sister", ["--like", first]), ("stranger", [])):
            with self.subTest(name):
                there = self.folder / name
                self.cairn("-r", there, "init", "--no-recovery-key", *words)
                self.env["CAIRN_REPO"] = str(first)
                self.cairn("copy", "--to", there)
                self.repo = there
                self.env["CAIRN_REPO"] = str(there)
                snapshot, = (x["id"] for x in self.snapshots())
                theirs = self.assert_restores_alike(snapshot, str(top)[1:])
                self.assert_same_trees(top, theirs)
                self.read("verify")

    def test_five_states_that_lean_on_one_another(self):
        rows = prose(60000).splitlines(keepends=True)
        states, ids, differences = [], [], 0
        for state in range(5):
            for i in range(state, len(rows), 300):
                rows[i] = b"-- %d\n" % state + rows[i]
            states.append(b"".join(rows))
            told = self.backup("--stdin", "--as", "db/shop.sql",
                               stdin=states[-1])
            ids.append(told["snapshot_id"])
            differences += told["differences"]
        self.assertGreater(differences, 0)
        for snapshot, data in zip(ids, states):
            self.assertTrue(self.read("cat", snapshot, "db/shop.sql") == data)
        self.read("verify")

    def test_a_tree_over_five_states_and_what_a_prune_leaves(self):
        top = self.folder / "tree"
        top.mkdir()
        ids = []
        for state in range(5):
            for i in range(state, 12):
                (top / f"file {i}").write_bytes(
                    prose(3000, i) + b"state %d" % state + noise(50000, i))
            settle()
            ids.append(self.backup(top)["snapshot_id"])
        for snapshot in ids:
            self.assert_restores_alike(snapshot, str(top)[1:])
        self.cairn("forget", ids[0], ids[2], "--prune")
        self.read("verify")
        for snapshot in (ids[1], ids[3], ids[4]):
            self.assert_restores_alike(snapshot, str(top)[1:])

    def test_streams_of_all_sizes(self):
        for name, data in (("empty", b""), ("byte", b"x"),
                           ("noise", noise(9 * MIB)), ("zeros", bytes(MIB))):
            snapshot = self.back_up_bytes(data, name)
            self.assertTrue(self.read("cat", snapshot, name) == data, name)

    def weave_of(self, snapshot, name):
        """The field of an entry of the root folder, or None."""
        repo = independent_reader.Repository(str(self.repo))
        repo.unlock(key_file=independent_reader.key_file_bytes(
            self.key.read_text()))
        root = repo.find_snapshot(snapshot).header[5]
        repo.load_packs()
        return next(entry.get(17) for entry, _ in repo.entries(root)
                    if entry[1] == name.encode())

    @needs("tar")
    def test_tar_streams(self):
        top = self.folder / "tree"
        tar_streams.make_tree(top)
        for name, data in tar_streams.streams(top).items():
            with self.subTest(name):
                self.assertGreater(len(data), MIB)
                snapshot = self.back_up_bytes(data, name)
                _, recipe, headers, contents = self.weave_of(snapshot, name)
                self.assertEqual(headers + contents, len(data))
                self.assertGreater(headers, 0)
                self.assertGreater(recipe, 0)
                self.assertTrue(self.read("cat", snapshot, name) == data)
                self.assertTrue(self.cat(f"{snapshot}:{name}") == data)
        self.read("verify")

    @needs("tar")
    def test_tar_files_of_two_states(self):
        top, ids = self.folder / "archives", []
        top.mkdir()
        (top / "small.tar").write_bytes(bytes(10240))
        for state in range(2):
            tree = self.folder / f"tree {state}"
            tar_streams.make_tree(tree, state)
            for form in ("gnu", "posix"):
                (top / form).write_bytes(
                    tar_streams.gnu_tar(tree, "--format=" + form))
            if state == 0:
                os.link(top / "gnu", top / "linked")
            ids.append(self.backup(top)["snapshot_id"])
            theirs = self.assert_restores_alike(ids[-1], str(top)[1:])
            self.assert_same_trees(top, theirs)
        self.assert_restores_alike(ids[0], str(top)[1:])
        self.read("verify")

    def test_a_large_folder(self):
        top = self.folder / "tree"
        top.mkdir()
        for i in range(3000):
            (top / f"{i * 7919 % 10007}").write_bytes(b"%d" % i)
        snapshot = self.backup(top)["snapshot_id"]
        theirs = self.assert_restores_alike(snapshot, str(top)[1:])
        self.assertEqual(len(os.listdir(theirs)), 3000)

    def test_a_passphrase_opens(self):
        secret = self.folder / "passphrase"
        secret.write_text(PASSPHRASE + "\n")
        secret.chmod(0o600)
        self.cairn("key", "add", env={"CAIRN_NEW_PASSWORD_FILE": secret})
        self.back_up_bytes(b"x")
        ran = subprocess.run(
            [sys.executable, TESTS / "independent_reader.py", "--repo",
             self.repo, "--password-file", secret, "list"],
            capture_output=True, check=True)
        self.assertEqual(len(ran.stdout.splitlines()), 1)


if __name__ == "__main__":
    harness.main()
