#!/usr/bin/python3
"""A host that saw a later state of a repository notices an older one, and
nothing that happens honestly is taken for that."""

import json
import pathlib
import shutil

import harness
from harness import DAMAGE, OK, REFUSED, flip


class RollbackCase(harness.Case):
    def keep(self):
        """A copy of the repository as it is, to be put back."""
        kept = self.folder / f"kept {len(list(self.folder.iterdir()))}"
        shutil.copytree(self.repo, kept)
        return kept

    def put_back(self, kept):
        shutil.rmtree(self.repo)
        shutil.copytree(kept, self.repo)

    def prune_once(self):
        """Something is forgotten, and two epochs come to be."""
        self.cairn("forget", "-y", self.back_up_bytes(b"gone", "gone"))
        self.cairn("prune")

    def assert_quiet(self):
        """Neither a command that writes nor one that reads sees a rollback."""
        for words in (["snapshots"], ["prune", "-n"]):
            self.assertNotIn("shows less", self.cairn(*words).err)
        self.back_up_bytes(b"x", "quiet")


class Noticed(RollbackCase):
    def setUp(self):
        super().setUp()
        self.first = self.back_up_bytes(b"one")
        self.old = self.keep()

    def assert_refused_by_all_that_write(self):
        write = self.folder / "tree"
        write.mkdir(exist_ok=True)
        before = self.objects(".")
        for words in (["backup", write],
                      ["forget", "-y", "latest"],
                      ["forget", "--keep-last", "1"], ["prune"],
                      ["prune", "-n"], ["hold", "add", "latest"],
                      ["hold", "remove", "latest"],
                      ["key", "add", "--key-file-out", self.folder / "new"],
                      ["key", "remove", "abcd"], ["repair", "index"]):
            with self.subTest(words):
                ran = self.cairn(*words, code=REFUSED)
                self.assertIn("shows less than this host saw of it", ran.err)
                self.assertIn("--accept-rollback", ran.err)
        self.assertEqual(self.objects("."), before)

    def test_a_snapshot_of_this_host_that_is_gone(self):
        second = self.back_up_bytes(b"two")
        self.put_back(self.old)
        self.assert_refused_by_all_that_write()
        ran = self.cairn("prune", code=REFUSED)
        self.assertRegex(ran.err, f"snapshot {second[:8]}, which arrived "
                                  r"\d{4}-.*, is gone, and nothing says")

    def test_epochs_that_are_gone(self):
        self.prune_once()
        self.put_back(self.old)
        self.assert_refused_by_all_that_write()
        self.assertRegex(self.cairn("prune", code=REFUSED).err,
                         r"epoch 2 of \d{4}-.* is gone, and there is none")

    def test_what_a_reader_learned_counts(self):
        writer = {"XDG_STATE_HOME": self.folder / "writer's"}
        self.back_up_bytes(b"two", env=writer)
        self.cairn("snapshots")
        self.put_back(self.old)
        self.cairn("prune", code=REFUSED)

    def test_a_restore_of_latest_alone_teaches_enough(self):
        writer = {"XDG_STATE_HOME": self.folder / "writer's"}
        self.back_up_bytes(b"two", env=writer)
        self.assertEqual(self.cat("latest:data"), b"two")
        self.put_back(self.old)
        self.cairn("cat", "latest:data", code=REFUSED)

    def test_one_slot_that_is_gone_though_a_doom_lists_it(self):
        second = self.back_up_bytes(b"two")
        self.prune_once()
        (self.repo / "snapshots" / second).unlink()
        self.assertIn(second[:8], self.cairn("prune", code=REFUSED).err)

    def test_readers_warn_and_go_on_but_for_latest(self):
        self.back_up_bytes(b"two")
        self.put_back(self.old)
        self.cairn("hold", "list")
        for words in (["snapshots"], ["ls", "latest"], ["stats"],
                      ["find", "data"], ["diff", self.first, self.first],
                      ["hold", "list"]):
            self.assertIn("shows less than this host saw of it",
                          self.cairn(*words).err)
        out = self.folder / "out"
        for words in (["cat", "latest:data"], ["cat", "latest~0:data"],
                      ["restore", "latest", "--to", out]):
            self.assertIn("'latest' may not be the latest",
                          self.cairn(*words, code=REFUSED).err)
        self.assertFalse(out.exists())
        self.assertEqual(self.cat(f"{self.first}:data"), b"one")
        self.restore(self.first, out)
        self.assertEqual(self.cairn("--accept-rollback", "cat",
                                    "latest:data").out, b"one")

    def test_a_check_finds_it(self):
        second = self.back_up_bytes(b"two")
        self.put_back(self.old)
        for level in ("index", "structure", "data"):
            ran = self.cairn("check", "--level", level, "--json", code=DAMAGE)
            lines = [json.loads(line) for line in ran.out.splitlines()]
            finding, = [line for line in lines if line["type"] == "finding"
                        and line["severity"] == "damage"]
            self.assertEqual(finding["code"], "rolled-back")
            self.assertIn(second[:8], finding["message"])
            self.assertEqual(lines[-1]["damage"], 1)
        # Another host saw nothing else.
        self.cairn("check", env={"XDG_STATE_HOME": self.folder / "other",
                                 "CAIRN_CACHE_DIR": self.folder / "cache 2"})
        self.cairn("check", "--accept-rollback")
        self.cairn("check")

    def test_it_is_accepted_once_and_then_forgotten(self):
        self.back_up_bytes(b"two")
        self.prune_once()
        self.put_back(self.old)
        ran = self.cairn("-n", "prune", "--accept-rollback")
        self.assertIn("remembers nothing", ran.err)
        self.cairn("prune", code=REFUSED)
        ran = self.cairn("prune", "--accept-rollback")
        self.assertIn("accepted", ran.err)
        self.assert_quiet()
        self.cairn("check")
        # The state that was accepted is one that can be rolled back too.
        self.back_up_bytes(b"three")
        self.put_back(self.old)
        self.cairn("prune", code=REFUSED)

    def test_with_a_write_key_too(self):
        write = self.folder / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", write)
        kept = self.keep()
        writer = {"CAIRN_KEY_FILE": write,
                  "XDG_STATE_HOME": self.folder / "writer's"}
        self.back_up_bytes(b"two", env=writer)
        self.put_back(kept)
        self.cairn("backup", "--stdin", "--as", "x", env=writer, code=REFUSED)


class Honest(RollbackCase):
    def test_another_machine_and_one_that_lost_its_state(self):
        self.back_up_bytes(b"one")
        old = self.keep()
        self.back_up_bytes(b"two")
        self.prune_once()
        self.put_back(old)
        self.env["XDG_STATE_HOME"] = str(self.folder / "new machine")
        self.assert_quiet()

    def test_forgotten_pruned_and_pruned_again(self):
        for i in range(4):
            self.back_up_bytes(b"%d" % i, f"{i}")
            self.cairn("forget", "-y", "latest")
            self.assert_quiet()
            self.prune_once()
            self.assert_quiet()
        self.cairn("forget", "-y", *(s["id"] for s in self.snapshots()))
        self.cairn("prune")
        self.assert_quiet()

    def test_two_hosts_of_which_one_forgets_for_both(self):
        other = {"XDG_STATE_HOME": self.folder / "other",
                 "CAIRN_CACHE_DIR": self.folder / "other cache"}
        for i in range(3):
            mine = self.back_up_bytes(b"%d" % i)
            self.back_up_bytes(b"theirs %d" % i, env=other)
            self.snapshots()
            self.cairn("forget", "-y", mine, env=other)
            self.cairn("prune", env=other)
            self.assert_quiet()

    def test_a_copy_is_another_repository_to_remember(self):
        self.back_up_bytes(b"one")
        copy = {"CAIRN_REPO": self.keep()}
        self.back_up_bytes(b"two")
        self.prune_once()
        ran = self.cairn("cat", "latest:data", env=copy)
        self.assertEqual(ran.out, b"one")
        self.assertIn("saw a later state of this repository at another place",
                      ran.err)
        for i in range(2):
            self.back_up_bytes(b"to the copy", env=copy)
            self.assertNotIn("saw", self.cairn("snapshots", env=copy).err)
            self.assert_quiet()

    def test_a_damaged_newest_epoch_is_damage(self):
        self.back_up_bytes(b"one")
        self.prune_once()
        flip(self.repo / "epochs" / f"{2:016x}", 100)
        self.assertNotIn("shows less", self.cairn("snapshots").err)
        self.assert_quiet()
        self.cairn("prune")
        self.assertEqual(self.objects("epochs")[-1], f"{4:016x}")
        self.assert_quiet()

    def test_a_damaged_slot_is_damage_and_can_be_given_up(self):
        made = self.back_up_bytes(b"one")
        flip(self.repo / "snapshots" / made, 100)
        self.cairn("forget", "-y", made)
        self.assert_quiet()
        self.prune_once()
        self.assert_quiet()

    def test_what_a_program_from_before_left_is_taken_as_it_is(self):
        self.back_up_bytes(b"one")
        old = self.keep()
        self.back_up_bytes(b"two")
        for path in pathlib.Path(self.state).rglob("seen-*"):
            path.unlink()
        self.put_back(old)
        self.assert_quiet()

    def test_a_reader_whose_state_cannot_be_written_reads(self):
        self.back_up_bytes(b"one")
        blocked = self.folder / "a file"
        blocked.write_text("x")
        self.assertEqual(
            self.cat("latest:data", env={"XDG_STATE_HOME": blocked}), b"one")


class Remembering(RollbackCase):
    def test_it_is_small_and_private(self):
        for i in range(3):
            self.back_up_bytes(b"%d" % i)
        path, = (p for p in pathlib.Path(self.state).rglob("seen-*")
                 if p.suffix != ".lock")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(len(path.read_text().splitlines()), 4)
        self.assertNotIn("data", path.read_text())

    def test_a_dry_run_remembers_nothing(self):
        self.back_up_bytes(b"one")
        other = {"XDG_STATE_HOME": self.folder / "other"}
        self.cairn("-n", "prune", env=other)
        self.assertEqual(list((self.folder / "other").rglob("seen-*")), [])

    def test_a_refusal_is_told_to_programs(self):
        self.back_up_bytes(b"one")
        old = self.keep()
        self.back_up_bytes(b"two")
        self.put_back(old)
        ran = self.cairn("--json", "prune", code=REFUSED)
        self.assertEqual(json.loads(ran.out)["code"], REFUSED)
        self.assertEqual(self.cairn("--json", "snapshots", code=OK).value[0]
                         ["series"].split("/")[-1], "data")


if __name__ == "__main__":
    harness.main()
