#!/usr/bin/python3
"""Hosts with write keys share what an owner's check has verified, and nothing
before."""

import harness
from harness import MIB, noise


class TwoHosts(harness.Case):
    def setUp(self):
        super().setUp()
        self.hosts = [self.add_host(name) for name in ("a", "b")]

    def add_host(self, name):
        """Another machine, with a write key of its own."""
        key = self.folder / f"{name}.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", key)
        return {"CAIRN_KEY_FILE": key,
                "CAIRN_CACHE_DIR": self.folder / f"{name}-cache",
                "XDG_STATE_HOME": self.folder / f"{name}-state"}

    def new_chunks(self, folder, env=None):
        return self.backup(folder, "--series", "shared/files",
                           env=env)["chunks_new"]

    def folder_of(self, name, data):
        folder = self.folder / name
        folder.mkdir()
        (folder / "file").write_bytes(data)
        harness.settle()
        return folder

    def test_the_second_host_shares_once_an_owner_has_checked(self):
        a, b = self.hosts
        folder = self.folder_of("source", noise(2 * MIB))
        stored = self.new_chunks(folder, a)
        self.assertGreater(stored, 10)
        self.assertEqual(self.new_chunks(folder, a), 0)

        # Not before. Of what it has stored itself it is sure.
        self.assertEqual(self.new_chunks(folder, b), stored)
        self.assertEqual(self.new_chunks(folder, b), 0)
        again = self.folder_of("again", (folder / "file").read_bytes())
        self.assertEqual(self.new_chunks(again), stored)  # nor the owner

        other = self.folder_of("other", noise(2 * MIB, 2))
        self.assertGreater(self.new_chunks(other, a), 10)
        told = self.cairn("--json", "check", "--level", "data").lines[-1]
        self.assertGreater(told["packs_verified"], 3)
        self.assertEqual(told["damage"], 0)

        self.assertEqual(self.new_chunks(other, b), 0)
        self.assertEqual(self.new_chunks(other), 0)
        before = harness.bytes_below(self.repo)
        self.cairn("prune", "--max-unused", "0%")
        self.assertLess(harness.bytes_below(self.repo), before - 3 * MIB)
        self.assertEqual(self.cat(f"latest:{other}/file"), noise(2 * MIB, 2))
        self.assert_sound()

    def test_prune_and_check_say_what_waits(self):
        a, b = self.hosts
        folder = self.folder_of("source", noise(MIB))
        self.new_chunks(folder, a)

        plan = self.cairn("--json", "prune", "-n").lines[-1]
        self.assertEqual(plan["unverified"]["packs"], 2)
        self.assertIn("check --level data",
                      self.cairn("prune").out.decode())
        self.assertEqual(self.new_chunks(folder, a), 0)
        self.assertGreater(self.new_chunks(folder, b), 0)

        # A dry run, a write key and no key change nothing.
        objects = self.objects("index")
        self.cairn("check", "--level", "data", "-n")
        self.cairn("check", "--level", "data", env=a)
        self.cairn("check", "--level", "data", "--no-key")
        self.assertEqual(self.objects("index"), objects)

        text = self.cairn("check", "--level", "data").out.decode()
        self.assertIn(" packs that nobody had verified for everyone are "
                      "verified; everyone may share what lies in them now\n",
                      text)
        plan = self.cairn("--json", "prune", "-n").lines[-1]
        self.assertEqual(plan["unverified"]["packs"], 0)
        self.assertNotIn(b"verify", self.cairn("prune").out)

    def test_no_write_key_is_blamed_for_a_lost_index(self):
        self.new_chunks(self.folder_of("source", noise(MIB)), {})
        for path in self.paths_of("index"):
            path.unlink()
        self.cairn("repair", "index")
        for words in (["prune"], ["check", "--level", "data"]):
            text = self.cairn(*words).text
            self.assertIn("verified", text)
            self.assertNotIn("write key", text)

    def test_a_repaired_index_says_what_is_not_verified(self):
        a, _ = self.hosts
        folder = self.folder_of("source", noise(MIB))
        self.new_chunks(folder)
        for path in self.paths_of("index"):
            path.unlink()
        told = self.cairn("repair", "index")
        self.assertIn("cairn check --level data", told.err + told.out.decode())

        self.cairn("check", "--subset", "100%")

        self.assertEqual(self.new_chunks(folder), 0)
        self.assertEqual(self.new_chunks(folder, a), 0)


if __name__ == "__main__":
    harness.main()
