#!/usr/bin/python3
"""What --dry-run says is what would be done, and nothing is."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))

import harness
from harness import MIB, REFUSED, bytes_below, noise


class DryRuns(harness.Case):
    def test_each_one_is_an_object_for_programs_and_changes_nothing(self):
        snapshot = self.back_up_bytes(b"x")
        self.cairn("hold", "add", snapshot)
        self.cairn("key", "add", "--label", "second",
                   "--key-file-out", self.folder / "second")
        keys = {"CAIRN_KEY_FILE": self.folder / "second"}
        key = next(one["id"] for one in
                   self.cairn("key", "list", "--json").value
                   if one["label"] != "second")
        top = self.folder / "tree"
        top.mkdir()
        before = self.objects(".")
        for action, words in (
                ("backup", ["backup", top]),
                ("backup", ["backup", "--stdin", "--as", "x"]),
                ("backup", ["backup", "--as", "x", "--from-command", "--",
                            "true"]),
                ("restore", ["restore", "latest", "--to",
                             self.folder / "out"]),
                ("key add", ["key", "add", "--key-file-out",
                             self.folder / "third"]),
                ("key remove", ["key", "remove", key]),
                ("hold add", ["hold", "add", "latest"]),
                ("hold remove", ["hold", "remove", snapshot]),
                ("repair index", ["repair", "index"]),
                ("repair keys", ["repair", "keys"]),
                ("repair packs", ["repair", "packs"]),
                ("repair snapshots", ["repair", "snapshots"]),
                ("init", ["-r", self.folder / "new", "init",
                          "--no-recovery-key"])):
            with self.subTest(action):
                said = self.cairn("--json", "-n", *words, env=keys).value
                self.assertEqual((said["type"], said["action"]),
                                 ("dry_run", action))
        self.assertEqual(self.objects("."), before)
        for name in ("out", "third", "new"):
            self.assertFalse((self.folder / name).exists())

    def test_forget_and_prune_plan_without_what_would_be_forgotten(self):
        self.back_up_bytes(noise(4 * MIB, 1), "x", "--time",
                           "2026-11-01T12:00:00Z")
        self.back_up_bytes(noise(MIB, 2), "x")
        words = ["forget", "--keep-last", "1", "--prune"]
        before = bytes_below(self.repo)
        dry = self.cairn("-n", *words).text
        self.assertRegex(dry, r"frees     about 4\.\d+ MiB")
        self.assertEqual(bytes_below(self.repo), before)
        self.cairn(*words)
        self.assertLess(bytes_below(self.repo), before - 4 * MIB)

    def test_what_would_be_refused_is_refused(self):
        self.back_up_bytes(b"x")
        full = self.folder / "full"
        full.mkdir()
        (full / "file").write_text("x")
        ran = self.cairn("-n", "restore", "latest", "--to", full, code=REFUSED)
        self.assertIn("never, if-changed or always", ran.err)
        self.cairn("-n", "restore", "latest", "--to", full / "file",
                   code=REFUSED)
        self.cairn("-n", "restore", "latest", "--to", full, "--overwrite",
                   "never")
        self.cairn("-n", "restore", "latest", "--to", self.folder / "a" / "b")
        self.cairn("-n", "key", "add", "--key-file-out", full / "file",
                   code=REFUSED)
        self.cairn("-n", "-r", self.folder / "new", "init",
                   "--recovery-key-out", full / "file", code=REFUSED)


if __name__ == "__main__":
    harness.main()
