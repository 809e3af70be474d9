#!/usr/bin/python3
"""What is damaged is taken out, healed from the source or from a sister, and
what nobody has is named."""

import os
import shutil

import harness
from harness import DAMAGE, KIB, MIB, OK, USAGE, flip, noise, prose


class RepairCase(harness.Case):
    def setUp(self):
        super().setUp()
        self.second = self.folder / "second"
        self.top = self.folder / "top"
        self.top.mkdir()
        for i in range(4):
            (self.top / f"file {i}").write_bytes(noise(MIB, i))
        (self.top / "folder").mkdir()
        for i in range(30):
            (self.top / "folder" / f"small {i}").write_bytes(prose(20, i))

    def back_up(self, *words, **how):
        harness.settle()
        return self.backup(self.top, *words, **how)["snapshot_id"]

    def pack_of_content(self, before=()):
        return max(set(self.paths_of("packs")) - set(before),
                   key=lambda p: p.stat().st_size)

    def check(self, code=OK):
        ran = self.cairn("--json", "check", "--level", "data", code=code)
        return [x for x in ran.lines if x["type"] == "finding" and
                x["severity"] == "damage"]

    def repair(self, *words, code=OK, **how):
        """The paths that are lost, and the summary."""
        ran = self.cairn("--json", "repair", "packs", *words, code=code, **how)
        lost = [(x["snapshot"], x["path"]) for x in ran.lines
                if x["type"] == "lost"]
        return lost, ran.lines[-1]

    def assert_restores(self, snapshot, what=None):
        out = self.folder / "restored"
        shutil.rmtree(out, ignore_errors=True)
        self.restore(f"{snapshot}:{self.top}", out)
        self.assert_same_trees(what or self.top, out)

    def make_sister(self):
        self.cairn("-r", self.second, "init", "--like", self.repo,
                   "--no-recovery-key")


class Packs(RepairCase):
    def test_a_sound_repository_is_left_as_it_is(self):
        self.back_up()
        before = self.objects(".")
        lost, summary = self.repair()
        self.assertEqual((lost, summary["packs"]), ([], []))
        self.assertEqual(self.objects("."), before)
        self.assertIn("none is damaged", self.cairn("repair", "packs").err)

    def test_the_next_backup_heals_what_was_damaged(self):
        one = self.back_up()
        pack = self.pack_of_content()
        for where in (5000, -9000, None):
            with self.subTest(where):
                if where is None:
                    os.truncate(pack, pack.stat().st_size // 2)
                else:
                    flip(pack, where)
                self.assertTrue(self.check(code=DAMAGE))
                lost, summary = self.repair(code=(OK, DAMAGE))
                found, = summary["packs"]
                self.assertEqual(found["pack"], pack.name)
                self.assertTrue(pack.exists())
                # What was good is there still, what was not is named.
                self.assertEqual(bool(lost), where != -9000)
                for snapshot, path in lost:
                    self.assertTrue(path.startswith(str(self.top)), path)

                self.back_up()

                self.assertEqual(self.check(), [])
                for snapshot in [one, "latest"]:
                    self.assert_restores(snapshot)
                # Garbage now, and nothing that a prune stumbles over.
                self.cairn("prune")
                self.assertFalse(pack.exists())
                self.assertEqual(self.check(), [])
                self.assert_restores(one)
                pack = self.pack_of_content()

    def test_a_second_run_finds_what_the_first_left(self):
        one = self.back_up()
        flip(self.pack_of_content(), 5000)
        lost, summary = self.repair(code=DAMAGE)
        self.assertEqual([snapshot for snapshot, _ in lost], [one])
        self.assertGreater(summary["blobs_moved"], 10)
        again, summary = self.repair(code=DAMAGE)
        self.assertEqual(again, lost)
        self.assertEqual((summary["blobs_moved"], summary["bytes_stored"]),
                         (0, 0))
        self.assertTrue(self.check(code=DAMAGE))
        # A prune keeps what a snapshot still needs, damaged or not.
        self.cairn("prune")
        self.assertEqual(self.repair(code=DAMAGE)[0], lost)

        # Without the snapshot nothing is left to complain of.
        (self.top / "file 0").unlink()
        self.cairn("forget", "-y", one)
        self.cairn("prune")
        self.assertEqual(self.check(), [])

    def test_a_damaged_node_is_named_by_its_folder(self):
        self.back_up()
        small = min((p for p in self.paths_of("packs")),
                    key=lambda p: p.stat().st_size)
        flip(small, 60)
        lost, _ = self.repair(code=DAMAGE)
        self.assertTrue(lost)
        self.back_up()
        self.assertEqual(self.check(), [])

    def test_chains_of_differences_heal(self):
        data = prose(20000)
        packs = []
        states = []
        for i in range(4):
            before = self.paths_of("packs")
            states.append(bytes(data))
            self.back_up_bytes(states[-1], "dump")
            packs.append(self.pack_of_content(before))
            data = data.replace(b"customer 1%d" % i, b"customer X%d" % i)
        flip(packs[0], 3000)
        lost, summary = self.repair(code=DAMAGE)
        self.assertTrue(lost)
        self.back_up_bytes(states[-1], "dump")
        found = self.check(code=(OK, DAMAGE))
        self.assertEqual(self.cat("latest:dump"), states[-1])
        hurt = {s for f in found for s in f["snapshots"]}
        for one, state in zip(self.snapshots(), states):
            if one["id"] in hurt:
                self.cairn("forget", "-y", one["id"])
            else:
                self.assertEqual(self.cat(f"{one['id']}:dump"), state)
        self.cairn("prune")
        self.assertEqual(self.check(), [])

    def test_one_pack_by_its_name(self):
        self.back_up()
        pack = self.pack_of_content()
        flip(pack, 5000)
        self.cairn("repair", "packs", "0" * 64, code=USAGE)
        _, summary = self.repair(pack.name[:12], code=DAMAGE)
        self.assertEqual(summary["packs_read"], 1)
        self.back_up()
        self.assertEqual(self.check(), [])

    def test_a_dry_run_changes_nothing(self):
        self.back_up()
        flip(self.pack_of_content(), 5000)
        before = self.objects(".")
        lost, said = self.repair("--dry-run", code=DAMAGE)
        self.assertEqual((said["type"], said["action"]),
                         ("dry_run", "repair packs"))
        self.assertTrue(lost and said["blobs_moved"])
        self.assertEqual(self.objects("."), before)

    def test_only_an_owner_may(self):
        self.back_up()
        writer = self.folder / "writer"
        self.cairn("key", "add", "--role", "write", "--key-file-out", writer)
        self.cairn("repair", "packs", code=harness.WRONG_KEY,
                   env={"CAIRN_KEY_FILE": writer})


class FromASister(RepairCase):
    def setUp(self):
        super().setUp()
        self.make_sister()

    def back_up_to_both(self):
        one = self.back_up()
        self.env["CAIRN_REPO"], ours = str(self.second), self.env["CAIRN_REPO"]
        self.back_up()
        self.env["CAIRN_REPO"] = ours
        return one

    def test_what_is_lost_here_comes_from_there(self):
        one = self.back_up_to_both()
        flip(self.pack_of_content(), 3000)
        (self.top / "file 0").write_bytes(b"the source has changed")
        theirs = self.objects(".", self.second)
        lost, summary = self.repair("--from", self.second)
        self.assertEqual(lost, [])
        self.assertGreater(summary["blobs_fetched"], 0)
        self.assertEqual(self.check(), [])
        (self.top / "file 0").write_bytes(noise(MIB, 0))
        self.restore(f"{one}:{self.top}/file 0", self.folder / "out")
        self.assertEqual((self.folder / "out" / "file 0").read_bytes(),
                         noise(MIB, 0))
        self.assertEqual(self.objects(".", self.second), theirs)

    def test_a_lost_pack_comes_from_there(self):
        one = self.back_up_to_both()
        self.pack_of_content().unlink()
        self.assertTrue(self.check(code=DAMAGE))
        self.repair("--from", self.second)
        self.assertEqual(self.check(), [])
        self.assert_restores(one)

    def test_with_a_key_of_its_own(self):
        shutil.rmtree(self.second)
        other = self.folder / "other.key"
        self.cairn("-r", self.second, "init", "--like", self.repo,
                   "--recovery-key-out", other,
                   env={"CAIRN_KEY_FILE": other,
                        "CAIRN_LIKE_KEY_FILE": self.key})
        one = self.back_up()
        self.cairn("-r", self.second, "backup", self.top,
                   env={"CAIRN_KEY_FILE": other})
        flip(self.pack_of_content(), 3000)
        self.cairn("repair", "packs", "--from", self.second,
                   code=harness.WRONG_KEY)
        self.repair("--from", self.second, env={"CAIRN_FROM_KEY_FILE": other})
        self.assertEqual(self.check(), [])
        self.assert_restores(one)

    def test_a_stranger_is_no_sister(self):
        self.back_up()
        third = self.folder / "third"
        self.cairn("-r", third, "init", "--no-recovery-key")
        for name in (third, self.repo):
            self.cairn("repair", "packs", "--from", name, code=USAGE)

    def test_chains_heal_by_their_bases(self):
        data = prose(20000)
        packs = []
        for i in range(4):
            before = self.paths_of("packs")
            for repo in (self.repo, self.second):
                self.cairn("-r", repo, "backup", "--stdin", "--as", "dump",
                           stdin=data)
            packs.append(self.pack_of_content(before))
            data = data.replace(b"customer 1%d" % i, b"customer X%d" % i)
        flip(packs[0], 3000)
        self.assertTrue(self.check(code=DAMAGE))
        lost, summary = self.repair("--from", self.second)
        self.assertEqual(lost, [])
        # What leans on it is good again, where it lies.
        self.assertEqual([x["pack"] for x in summary["packs"]],
                         [packs[0].name])
        self.assertEqual(self.check(), [])


class Snapshots(RepairCase):
    def repair_snapshots(self, *words, code=DAMAGE):
        ran = self.cairn("--json", "repair", "snapshots", *words, code=code)
        lost = [(x["snapshot"], x["path"]) for x in ran.lines
                if x["type"] == "lost"]
        return lost, ran.lines[-1]

    def lose(self, name):
        """A chunk of that file, in the repository and in the source."""
        one = self.back_up("--tag", "mine", "--time", "2026-11-01T10:00:00Z")
        pack = self.pack_of_content()
        row = 0
        while True:  # the packs hold the files in the order of their names
            flip(pack, 5000 + row * 16 * KIB)
            lost, _ = self.repair("--dry-run", code=DAMAGE)
            if lost == [(one, f"{self.top}/{name}")]:
                break
            flip(pack, 5000 + row * 16 * KIB)
            row += 1
        self.repair(code=DAMAGE)
        (self.top / name).unlink()
        return one

    def test_a_sound_repository_is_left_as_it_is(self):
        self.back_up()
        before = self.objects(".")
        lost, summary = self.repair_snapshots(code=OK)
        self.assertEqual((lost, summary["snapshots"]), ([], []))
        self.assertEqual(self.objects("."), before)

    def test_a_snapshot_without_what_is_lost(self):
        one = self.lose("file 2")
        lost, summary = self.repair_snapshots()
        self.assertEqual(lost, [(one, f"{self.top}/file 2")])
        made, = summary["snapshots"]
        self.assertEqual((made["snapshot"], made["left_out"],
                          made["was_made_before"]), (one, 1, False))

        old, new = sorted(self.snapshots(), key=lambda x: x["id"] != one)
        for key in ("time", "series", "host", "user", "paths"):
            self.assertEqual(old[key], new[key])
        self.assertEqual(new["id"], made["id"])
        self.assertEqual(new["tags"], ["mine", "repaired"])
        self.assertEqual((old["complete"], new["complete"]), (True, False))
        self.assertEqual(new["logical_bytes"], old["logical_bytes"] - MIB)
        out = self.folder / "out"
        self.restore(f"{new['id']}:{self.top}", out)
        for path in self.top.rglob("*"):
            if path.is_file():
                there = out / path.relative_to(self.top)
                self.assertEqual(path.read_bytes(), there.read_bytes())
        self.assertFalse((out / "file 2").exists())

        # Once more makes nothing more; without the old one all is well.
        _, summary = self.repair_snapshots()
        self.assertTrue(summary["snapshots"][0]["was_made_before"])
        self.assertEqual(len(self.snapshots()), 2)
        self.cairn("forget", "-y", one)
        self.repair_snapshots(code=OK)
        self.cairn("prune")
        self.assertEqual(self.check(), [])
        self.restore(f"{new['id']}:{self.top}", self.folder / "out 2")
        self.cairn("audit", "verify")

    def test_it_says_what_it_leaves_out(self):
        one = self.lose("file 1")
        text = self.cairn("repair", "snapshots", code=DAMAGE)
        self.assertIn(f"{self.top}/file 1", text.text)
        self.assertIn(f"cairn forget {one[:8]}", text.err)

    def test_a_lost_folder_is_named_and_the_rest_kept(self):
        one = self.back_up()
        before = self.snapshots()
        packs = self.paths_of("packs")
        nodes = min(packs, key=lambda p: p.stat().st_size)
        # The nodes of inner folders come first.
        flip(nodes, 60)
        self.repair(code=DAMAGE)
        lost, summary = self.repair_snapshots()
        self.assertTrue(lost)
        made = summary["snapshots"][0]["id"]
        if made is None:
            self.assertEqual([path for _, path in lost], ["/"])
            return
        self.cairn("ls", made)
        self.cairn("forget", "-y", one)
        self.cairn("prune")
        self.assertEqual(self.check(), [])
        self.assertEqual(len(before), len(self.snapshots()))

    def test_a_dry_run_changes_nothing(self):
        one = self.lose("file 3")
        before = self.objects(".")
        lost, said = self.repair_snapshots("--dry-run")
        self.assertEqual((said["type"], said["action"]),
                         ("dry_run", "repair snapshots"))
        self.assertEqual(lost, [(one, f"{self.top}/file 3")])
        self.assertEqual(self.objects("."), before)

    def test_a_damaged_slot_is_named(self):
        self.back_up()
        slot, = self.paths_of("snapshots")
        flip(slot, 100)
        ran = self.cairn("repair", "snapshots", code=DAMAGE)
        self.assertIn(slot.name, ran.err)
        self.assertIn("forget", ran.err)

    def test_a_lost_index_is_no_loss(self):
        self.back_up()
        for path in self.paths_of("index"):
            path.unlink()
        shutil.rmtree(self.cache)
        lost, _ = self.repair_snapshots(code=OK)
        self.assertEqual(lost, [])
        self.assertEqual(len(self.snapshots()), 1)


if __name__ == "__main__":
    harness.main()
