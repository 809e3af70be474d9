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
from harness import MIB, PASSPHRASE, noise, prose, settle
from odd_tree import OddTree

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
try:
    import independent_reader  # noqa: F401
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
