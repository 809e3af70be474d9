#!/usr/bin/python3
"""A second repository gets what the first has, once, and gives it back."""

import io
import os
import shutil
import signal
import subprocess
import tarfile

import harness
from harness import (DAMAGE, FAILED, KIB, MIB, OK, REFUSED, USAGE, WRONG_KEY,
                     bytes_below, flip, noise, prose)


class CopyCase(harness.Case):
    def setUp(self):
        super().setUp()
        self.second = self.folder / "second"
        self.top = self.folder / "top"
        self.top.mkdir()
        (self.top / "large").write_bytes(noise(3 * MIB, 1))
        (self.top / "empty").write_bytes(b"")
        os.symlink("large", self.top / "link")
        (self.top / "inner" / "most").mkdir(parents=True)
        for i in range(40):
            (self.top / "inner" / f"small {i}").write_bytes(prose(20, i))
        (self.top / "inner" / "most" / "deep").write_bytes(noise(KIB, 2))

    def make_second(self, *words):
        self.cairn("-r", self.second, "init", "--no-recovery-key", *words)

    def copy(self, *words, code=OK, to=None, **how):
        """The outcomes, and the summary."""
        ran = self.cairn("--json", "copy", "--to", to or self.second, *words,
                         code=code, **how)
        return [(x["snapshot"], x["outcome"], x["id"]) for x in ran.lines
                if x["type"] == "copy"], ran.lines[-1]

    def there(self, repo=None):
        return self.cairn("-r", repo or self.second, "snapshots",
                          "--json").value

    def assert_same(self, one, other, what):
        for key in ("time", "series", "host", "user", "tags", "paths",
                    "logical_bytes", "complete"):
            self.assertEqual(one.get(key), other.get(key), key)
        out = self.folder / "restored"
        shutil.rmtree(out, ignore_errors=True)
        self.cairn("-r", self.second, "restore",
                   f"{other['id']}:{self.top}", "--to", out)
        self.assert_same_trees(what, out)

    def states(self):
        """Three states, the last two of which share most."""
        kept = []
        for i in range(3):
            (self.top / "inner" / f"small {i}").write_bytes(prose(25, i + 50))
            with open(self.top / "large", "r+b") as file:
                file.seek(i * MIB)
                file.write(noise(500, i + 9))
            harness.settle()
            self.backup(self.top, "--tag", f"state {i}", "--time",
                        f"2026-11-0{i + 1}T10:00:00Z")
            kept.append(self.folder / f"state {i}")
            subprocess.run(["cp", "-a", self.top, kept[-1]], check=True)
        return kept


class Both:
    """What holds for a sister and for a stranger alike."""

    def test_every_snapshot_is_there_and_is_the_same(self):
        kept = self.states()
        outcomes, summary = self.copy()
        self.assertEqual((summary["copied"], summary["failed"]), (3, 0))
        self.assertEqual(summary["sister"], self.is_sister)
        mine, theirs = self.snapshots(), self.there()
        self.assertEqual([o[2] for o in outcomes], [x["id"] for x in theirs])
        for one, other, what in zip(mine, theirs, kept):
            self.assert_same(one, other, what)
        self.cairn("-r", self.second, "check", "--level", "data")
        self.cairn("-r", self.second, "audit", "verify")
        self.assertEqual(self.objects("sessions", self.second), [])

    def test_a_second_run_copies_nothing_and_says_so(self):
        self.states()
        self.copy()
        before = self.objects(".", self.second)
        outcomes, summary = self.copy()
        self.assertEqual((summary["copied"], summary["were_there"]), (0, 3))
        self.assertEqual({o[1] for o in outcomes}, {"was_there"})
        self.assertEqual(self.objects(".", self.second), before)
        self.assertIn("already",
                      self.cairn("copy", "--to", self.second).err)

    def test_what_was_forgotten_only_there_comes_back_and_is_told(self):
        first = self.back_up_bytes(b"one")
        self.back_up_bytes(b"two")
        copied, _ = self.copy()
        self.cairn("-r", self.second, "forget", "-y", copied[0][2])
        ran = self.cairn("copy", "--to", self.second, "--dry-run")
        self.assertIn("1 of them had been forgotten there, and would come",
                      ran.err)
        ran = self.cairn("--json", "copy", "--to", self.second)
        line, = [x for x in ran.lines if x.get("outcome") == "copied"]
        self.assertEqual((line["snapshot"], line["was_forgotten"]),
                         (first, True))
        # Forgotten here, too, it stays away.
        line, = [x for x in self.there() if x["time"] == self.time_of(first)]
        self.cairn("-r", self.second, "forget", "-y", line["id"])
        self.cairn("forget", "-y", first)
        self.assertEqual(self.copy()[1]["copied"], 0)

    def test_a_write_key_there_brings_both_of_two_that_look_alike(self):
        writer = self.folder / "writer"
        self.cairn("-r", self.second, "key", "add", "--role", "write",
                   "--key-file-out", writer)
        env = {"CAIRN_TO_KEY_FILE": writer}
        for data in (b"AAAA", b"BBBB"):
            self.backup("--stdin", "--as", "img", "--time",
                        "2026-01-01T00:00:00Z", stdin=data)
        self.back_up_bytes(b"another")
        self.assertEqual(self.copy(env=env)[1]["copied"], 3)
        found = {self.cairn("-r", self.second, "cat", f"{x['id']}:img").out
                 for x in self.there() if x["time"].startswith("2026-01-01")}
        self.assertEqual(found, {b"AAAA", b"BBBB"})
        outcomes, summary = self.copy(env=env)
        alone = 0 if self.is_sister else 1
        self.assertEqual((summary["copied"], summary["were_there"],
                          summary["by_header"]), (0, 3, alone))
        self.assertEqual(len({o[2] for o in outcomes}), 3)
        said = self.cairn("copy", "--to", self.second, env=env).err
        self.assertEqual("alone" in said, not self.is_sister)
        # With an owner's key all are known by their origin.
        self.assertEqual(self.copy()[1]["by_header"], 0)

    def test_what_was_repaired_there_is_not_taken_for_the_whole(self):
        whole = self.back_up_bytes(b"whole")
        (self.top / "lost").write_bytes(noise(MIB, 8))
        self.backup(self.top)
        self.copy()
        gone = max((p for p in (self.second / "packs").rglob("*")
                    if p.is_file()), key=lambda p: p.stat().st_size)
        gone.unlink()
        there = [x["id"] for x in self.there()]
        for what in ("index", "packs", "snapshots"):
            self.cairn("-r", self.second, "repair", what, code=(OK, DAMAGE))
        made = [x["id"] for x in self.there() if x["id"] not in there]
        self.assertTrue(made)
        for one in there:
            self.cairn("-r", self.second, "forget", "-y", one)
        self.cairn("-r", self.second, "prune", "-y", code=(OK, DAMAGE))
        self.assertEqual(self.copy()[1]["copied"], len(there))
        latest, = [x for x in self.snapshots() if x["id"] != whole]
        same, = [x for x in self.there() if x["time"] == latest["time"]
                 and x["id"] not in made]
        self.assert_same(latest, same, self.top)
        self.assertEqual(self.copy()[1]["copied"], 0)

    def time_of(self, snapshot):
        line, = [x for x in self.cairn("snapshots", "--json").value
                 if x["id"] == snapshot]
        return line["time"]

    def test_only_those_chosen_are_copied(self):
        self.states()
        mine = self.snapshots()
        self.copy("latest", mine[0]["id"][:12])
        self.assertEqual([x["time"] for x in self.there()],
                         [mine[0]["time"], mine[2]["time"]])
        _, summary = self.copy()
        self.assertEqual((summary["copied"], summary["were_there"]), (1, 2))
        self.copy("nonsense", code=FAILED)
        self.copy(f"latest:{self.top}", code=USAGE)

    def test_a_dry_run_changes_nothing(self):
        self.states()
        before = self.objects(".", self.second)
        _, summary = self.copy("--dry-run")
        self.assertEqual((summary["type"], summary["action"],
                          summary["copied"]), ("dry_run", "copy", 3))
        self.assertEqual(self.objects(".", self.second), before)

    def test_what_is_damaged_here_is_not_copied_and_named(self):
        self.states()
        self.backup("--stdin", "--as", "other", stdin=noise(MIB, 5))
        first = max(self.paths_of("packs"), key=lambda p: p.stat().st_size)
        flip(first, 3000)
        outcomes, summary = self.copy(code=DAMAGE)
        self.assertEqual((summary["copied"] + summary["failed"]), 4)
        self.assertGreater(summary["failed"], 0)
        self.assertGreater(summary["copied"], 0)
        self.cairn("-r", self.second, "check", "--level", "data")
        flip(first, 3000)
        _, summary = self.copy()
        self.assertEqual(summary["failed"], 0)
        self.assertEqual(len(self.there()), 4)

    def test_copies_can_be_copied_back(self):
        self.states()
        self.copy()
        _, summary = self.copy(to=self.repo, env={"CAIRN_REPO": self.second})
        self.assertEqual((summary["copied"], summary["were_there"]), (0, 3))
        shutil.rmtree(self.repo)
        self.cairn("init", "--like", self.second, "--no-recovery-key")
        _, summary = self.copy(to=self.repo, env={"CAIRN_REPO": self.second})
        self.assertEqual(summary["copied"], 3)
        self.assert_sound()

    def test_it_goes_on_where_it_was_stopped(self):
        self.backup("--stdin", "--as", "large", stdin=noise(150 * MIB, 7))
        process = self.start("copy", "--to", self.second)
        harness.wait_until(lambda: self.objects("packs", self.second),
                           "a pack there")
        process.send_signal(signal.SIGINT)
        process.wait()
        self.assertEqual(process.returncode, harness.INTERRUPTED)
        self.assertEqual(self.there(), [])
        self.cairn("-r", self.second, "check", "--level", "data")
        before = bytes_below(self.second)
        self.copy()
        after = bytes_below(self.second)
        self.assertLess(after, 170 * MIB)
        self.assertGreater(after, before)
        self.cairn("-r", self.second, "check", "--level", "data")

    def test_weaves_and_holes_come_along(self):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as archive:
            for i in range(60):
                info = tarfile.TarInfo(f"member {i}")
                info.size = 30 * KIB
                archive.addfile(info, io.BytesIO(noise(30 * KIB, i)))
        data = made.getvalue()
        self.backup("--stdin", "--as", "a.tar", stdin=data)
        with open(self.top / "sparse", "wb") as file:
            file.truncate(5 * MIB)
            file.seek(MIB)
            file.write(noise(MIB, 3))
        self.backup(self.top)
        self.copy()
        self.assertEqual(
            self.cairn("-r", self.second, "cat", "latest:a.tar").out, data)
        self.assert_same(self.snapshots()[-1], self.there()[-1], self.top)


class ToASister(Both, CopyCase):
    is_sister = True

    def setUp(self):
        super().setUp()
        self.make_second("--like", self.repo)

    def test_it_takes_as_little_room_as_here(self):
        data = prose(20000)
        for i in range(4):
            self.backup("--stdin", "--as", "dump", stdin=data)
            data = data.replace(b"customer 1%d" % i, b"customer X%d" % i)
        self.copy()
        self.assertLess(bytes_below(self.second / "packs"),
                        1.1 * bytes_below(self.repo / "packs"))

    def test_a_write_key_is_enough_there(self):
        self.states()
        writer = self.folder / "writer"
        self.cairn("-r", self.second, "key", "add", "--role", "write",
                   "--key-file-out", writer)
        env = {"CAIRN_TO_KEY_FILE": writer}
        self.copy(env=env)
        _, summary = self.copy(env=env)
        self.assertEqual((summary["copied"], summary["were_there"]), (0, 3))
        self.cairn("-r", self.second, "check", "--level", "data")

    def test_a_write_key_here_cannot_read(self):
        self.states()
        writer = self.folder / "writer"
        self.cairn("key", "add", "--role", "write", "--key-file-out", writer)
        self.copy(code=WRONG_KEY, env={"CAIRN_KEY_FILE": writer,
                                       "CAIRN_TO_KEY_FILE": self.key})
        self.assertEqual(self.there(), [])

    def test_a_sister_heals_what_was_lost_here(self):
        kept = self.states()
        self.copy()
        for path in self.paths_of("packs"):
            path.unlink()
        self.cairn("repair", "packs", "--from", self.second)
        self.assert_sound()
        self.second, ours = self.repo, self.second
        for one, what in zip(self.snapshots(), kept):
            self.assert_same(one, one, what)

    def test_a_backup_there_stores_nothing_twice(self):
        self.states()
        self.copy()
        ran = self.backup(self.top, env={"CAIRN_REPO": self.second})
        self.assertEqual(ran["chunks_new"], 0)


class ToAStranger(Both, CopyCase):
    is_sister = False

    def setUp(self):
        super().setUp()
        self.make_second()


class Refusals(CopyCase):
    def test_it_says_what_is_wrong(self):
        self.states()
        self.cairn("copy", code=USAGE)
        self.copy(to=self.repo, code=USAGE)
        self.copy(code=harness.NO_REPOSITORY)
        self.make_second()
        other = self.folder / "other"
        self.cairn("-r", self.second, "key", "add", "--key-file-out", other)
        self.copy(env={"CAIRN_TO_KEY_FILE": self.folder / "none"},
                  code=WRONG_KEY)


if __name__ == "__main__":
    harness.main()
