#!/usr/bin/python3
"""Damage is found at the level that looks for it, named, and contained."""

import base64
import os
import shutil

import harness
from harness import (DAMAGE, FAILED, KIB, OK, REFUSED, USAGE, MIB, bytes_below,
                     flip, noise, prose)

LEVELS = ("index", "structure", "data")


class DamageCase(harness.Case):
    """Three snapshots, so that there are several packs and index objects."""

    def setUp(self):
        super().setUp()
        self.data = {f"stream {i}": noise(MIB, i) + prose(2000, i)
                     for i in range(3)}
        self.content = {}  # name of the stream -> its pack of content
        for name, data in self.data.items():
            before = set(self.paths_of("packs"))
            self.back_up_bytes(data, name)
            self.content[name] = max(set(self.paths_of("packs")) - before,
                                     key=lambda p: p.stat().st_size)

    def findings(self, *words, code=DAMAGE):
        """Those of damage."""
        ran = self.cairn("--json", "check", *words, code=code)
        self.summary = ran.lines[-1]
        self.assertEqual(self.summary["type"], "summary")
        found = [x for x in ran.lines if x["type"] == "finding" and
                 x["severity"] == "damage"]
        self.assertEqual(len(found), self.summary["damage"])
        return found

    def assert_found(self, name, at):
        """That `name` is damaged, by the levels from `at` on. None before."""
        for level in LEVELS:
            with self.subTest(name=name, level=level):
                if LEVELS.index(level) < LEVELS.index(at):
                    self.findings("--level", level, code=OK)
                else:
                    found = self.findings("--level", level)
                    self.assertTrue([f for f in found if name in f["object"]],
                                    found)

    def assert_found_without_key(self, name):
        found = self.findings("--no-key")
        self.assertEqual([f["object"].split("/")[-1] for f in found],
                         [name.split("/")[-1]])

    def damaged(self, path, change):
        """Does `change` to an object, and undoes it when asked."""
        kept = self.folder / "kept"
        shutil.copy(path, kept)
        change(path)
        return lambda: shutil.copy(kept, path)


def truncate(path):
    os.truncate(path, path.stat().st_size - 4096)


class Levels(DamageCase):
    def test_a_sound_repository_passes_every_level(self):
        for level in LEVELS:
            self.assertEqual(self.findings("--level", level, code=OK), [])
        packs = len(self.objects("packs"))
        self.assertEqual((self.summary["packs"], self.summary["packs_read"]),
                         (packs, packs))
        self.assertGreaterEqual(self.summary["bytes_read"],
                                bytes_below(self.repo / "packs"))
        self.assertIn("no damage", self.cairn("check").text)
        self.findings("--no-key", code=OK)

    def test_a_flipped_bit_among_the_blobs_is_found_by_reading_all(self):
        path = self.content["stream 1"]
        undo = self.damaged(path, lambda p: flip(p, 5000))
        self.assert_found(path.name, at="data")
        self.assert_found_without_key(path.name)
        found, = [f for f in self.findings("--level", "data")
                  if f["code"] == "damaged-blob"]
        hurt = self.snapshots()[1]["id"]
        self.assertEqual((found["snapshots"], found["paths"]),
                         ([hurt], ["/stream 1"]))
        text = self.cairn("check", "--level", "data", code=DAMAGE).text
        self.assertIn(path.name, text)
        self.assertIn(hurt[:8], text)
        undo()
        self.findings("--level", "data", code=OK)

    def test_a_flipped_bit_in_a_directory_is_found_by_structure(self):
        path = self.content["stream 1"]
        self.damaged(path, lambda p: flip(p, -9000))
        self.assert_found(path.name, at="structure")
        self.assert_found_without_key(path.name)

    def test_a_flipped_bit_in_a_small_object_is_found_by_every_level(self):
        for folder in ("index", "snapshots", "keys"):
            for at in (9, 60, -40, -1):
                path = self.paths_of(folder)[0]
                undo = self.damaged(path, lambda p, at=at: flip(p, at))
                with self.subTest(folder=folder, at=at):
                    if folder == "keys":
                        # Nothing opens what its only key slot has lost.
                        self.cairn("check", code=DAMAGE)
                        self.assert_found_without_key(path.name)
                    else:
                        self.assert_found(path.name, at="index")
                        self.assert_found_without_key(path.name)
                undo()
        self.findings("--level", "data", code=OK)

    def test_a_missing_pack_is_found_by_every_level(self):
        path = self.content["stream 1"]
        self.damaged(path, lambda p: p.unlink())
        self.assert_found(path.name, at="index")

    def test_a_truncated_pack_is_found_by_every_level(self):
        path = self.content["stream 1"]
        self.damaged(path, truncate)
        self.assert_found(path.name, at="index")
        self.assert_found_without_key(path.name)

    def test_an_empty_pack_is_found_by_every_level(self):
        path = self.content["stream 1"]
        self.damaged(path, lambda p: os.truncate(p, 0))
        self.assert_found(path.name, at="index")
        self.assert_found_without_key(path.name)

    def test_two_packs_in_each_other_s_place_are_found(self):
        one, two = self.content["stream 1"], self.content["stream 2"]
        middle = self.folder / "middle"
        shutil.move(one, middle)
        shutil.move(two, one)
        shutil.move(middle, two)
        for level in ("structure", "data"):
            found = self.findings("--level", level)
            for path in (one, two):
                self.assertTrue([f for f in found if path.name in f["object"]],
                                (level, found))
        found = self.findings("--no-key")
        self.assertEqual(sorted(f["object"].split("/")[-1] for f in found),
                         sorted([one.name, two.name]))

    def test_a_snapshot_in_another_s_slot_is_found(self):
        path = self.paths_of("snapshots")[0]
        shutil.copy(path, path.with_name("0" * 32))
        self.assert_found("0" * 32, at="index")
        self.cairn("ls", "00000000", code=(1, DAMAGE))

    def test_garbage_is_no_damage(self):
        (self.repo / "tmp").mkdir(exist_ok=True)
        (self.repo / "tmp" / "left over").write_bytes(noise(1000))
        writer = self.begin_stream(noise(2 * MIB))
        writer.kill()
        writer.wait()
        self.assertEqual(self.findings("--level", "data", code=OK), [])
        self.assertGreater(self.summary["garbage"], 0)

    def test_a_check_without_key_needs_none(self):
        self.key.unlink()
        self.env["CAIRN_KEY_FILE"] = None
        self.findings("--no-key", code=OK)
        self.cairn("check", code=harness.WRONG_KEY)

    def test_every_bit_of_every_object_counts_without_key(self):
        for path in sorted(p for p in self.repo.rglob("*") if p.is_file()):
            size = path.stat().st_size
            for at in (0, 8, 9, size // 2, size - 1):
                with self.subTest(path=path, at=at):
                    flip(path, at)
                    self.cairn("check", "--no-key", code=(DAMAGE, 16))
                    flip(path, at)
        self.findings("--no-key", code=OK)


class Subsets(DamageCase):
    def test_the_parts_of_a_subset_are_the_whole(self):
        total = len(self.objects("packs"))
        read = 0
        for part in range(1, 4):
            self.findings("--subset", f"{part}/3", code=OK)
            read += self.summary["packs_read"]
        self.assertEqual(read, total)
        self.findings("--subset", "100%", code=OK)
        self.assertEqual(self.summary["packs_read"], total)
        for words in (["1%"], ["1KiB"], ["1KiB", "--no-key"]):
            self.findings("--subset", *words, code=OK)
            self.assertIn(self.summary["packs_read"], range(1, total), words)

    def test_a_share_begins_at_another_pack_each_time(self):
        """Damage in any pack is met by a share some time."""
        for path in self.content.values():
            flip(path, 5000)
        met = set()
        for _ in range(200):
            met |= {f["object"] for f in self.findings(
                "--no-key", "--subset", "1B", code=(OK, DAMAGE))}
            self.assertEqual(self.summary["packs_read"], 1)
            if len(met) == 3:
                break
        self.assertEqual(len(met), 3)

    def test_damage_is_found_in_one_of_the_parts(self):
        flip(self.content["stream 0"], 5000)
        codes = [self.cairn("check", "--subset", f"{part}/5",
                            code=(OK, DAMAGE)).code for part in range(1, 6)]
        self.assertEqual(sorted(codes), [0, 0, 0, 0, DAMAGE])

    def test_a_subset_that_is_none_is_a_usage_error(self):
        for subset in ("0/3", "4/3", "1/0", "101%", "-1%", "much", ""):
            with self.subTest(subset):
                self.cairn("check", "--subset", subset, code=USAGE)


class Containment(DamageCase):
    """What is hurt is said, and what is not hurt comes back."""

    def test_a_damaged_pack_spoils_what_it_holds_and_nothing_else(self):
        top = self.folder / "tree"
        top.mkdir()
        for i in range(6):
            (top / f"old {i}").write_bytes(noise(300 * KIB, 100 + i))
        self.backup(top)
        before = set(self.paths_of("packs"))
        for i in range(2):
            (top / f"new {i}").write_bytes(noise(300 * KIB, 200 + i))
        harness.settle()
        self.backup(top)
        pack = max(set(self.paths_of("packs")) - before,
                   key=lambda p: p.stat().st_size)
        for at in range(60, pack.stat().st_size - 20000, 10 * KIB):
            flip(pack, at)

        out = self.folder / "out"
        told = self.restore(f"latest:{top}", out, code=DAMAGE)

        self.assertEqual(sorted(os.path.basename(f["path"])
                                for f in told["failures"]), ["new 0", "new 1"])
        self.assertEqual(told["damage_count"], 2)
        self.assertEqual(sorted(os.listdir(out)), [f"old {i}"
                                                   for i in range(6)])
        for i in range(6):
            self.assertEqual((out / f"old {i}").read_bytes(),
                             noise(300 * KIB, 100 + i))

    def test_paths_that_are_not_listed_are_counted(self):
        top = self.folder / "tree"
        top.mkdir()
        latin = os.fsdecode(b" latin\xe9")
        (top / latin).write_bytes(noise(8 * KIB, 99))
        for i in range(12):
            (top / f"file {i}").write_bytes(noise(8 * KIB, 100 + i))
        known = set(self.paths_of("packs"))
        self.backup(top)
        pack = max(set(self.paths_of("packs")) - known,
                   key=lambda p: p.stat().st_size)
        self.backup(top)  # the same paths, of one more snapshot
        pack.unlink()

        found, = [f for f in self.findings("--level", "structure")
                  if f["paths"]]
        self.assertEqual(len(found["paths"]), 5)
        self.assertEqual(found["paths_total"], 13)
        self.assertEqual(len(found["paths_b64"]), 5)
        self.assertEqual(base64.b64decode(found["paths_b64"][0]),
                         os.fsencode(f"{top}/{latin}"))
        self.assertEqual(self.summary["findings_left_out"], 0)
        self.assertIn("hurts 8 more that are not listed",
                      self.cairn("check", code=DAMAGE).text)

    def test_cat_of_a_damaged_stream_fails_with_damage(self):
        flip(self.content["stream 1"], 5000)
        out = self.cairn("cat", "latest:stream 1", code=DAMAGE).out
        self.assertTrue(self.data["stream 1"].startswith(out))
        self.assertTrue(self.cat("latest:stream 2") == self.data["stream 2"])

    def test_a_missing_pack_is_damage_to_a_restore(self):
        self.content["stream 1"].unlink()
        self.cairn("cat", "latest:stream 1", code=DAMAGE)
        self.restore("latest:stream 1", self.folder / "out", code=DAMAGE)
        self.assertTrue(self.cat("latest:stream 0") == self.data["stream 0"])

    def test_the_next_backup_stores_anew_what_a_missing_pack_held(self):
        self.content["stream 1"].unlink()
        self.back_up_bytes(self.data["stream 1"], "stream 1")
        self.assertTrue(self.cat("latest:stream 1") == self.data["stream 1"])

    def test_nothing_is_removed_while_something_cannot_be_read(self):
        flip(self.paths_of("snapshots")[0], 100)
        before = {f: self.objects(f) for f in ("packs", "snapshots", "marks",
                                               "index")}
        ids = self.cairn("snapshots", "--json", code=DAMAGE).value
        self.assertEqual(len(ids), 2)
        for words in (["forget", "--keep-last", "1"], ["prune"],
                      ["forget", "-y", ids[0]["id"]]):
            with self.subTest(words):
                self.cairn(*words, code=DAMAGE)
        self.assertEqual(before, {f: self.objects(f) for f in before})

    def test_a_damaged_snapshot_is_forgotten_by_its_whole_id(self):
        path = self.paths_of("snapshots")[0]
        flip(path, 100)
        self.cairn("forget", "-y", path.name[:12], code=(FAILED, DAMAGE))
        self.cairn("forget", "-y", path.name, "latest", code=USAGE)
        self.cairn("forget", path.name, code=REFUSED)  # nobody says yes
        self.cairn("-n", "forget", path.name)
        self.assertEqual(self.objects("marks"), [])

        ran = self.cairn("forget", "-y", path.name)

        self.assertIn(path.name, ran.err)
        self.assertEqual(len(self.snapshots()), 2)
        self.cairn("prune")
        self.assertFalse(path.exists())
        self.assert_sound()

    def test_a_damaged_snapshot_goes_at_once_with_a_prune_and_is_told(self):
        path = self.paths_of("snapshots")[0]
        flip(path, 100)
        words = ["forget", "--json", path.name]
        dry = self.cairn("-n", *words).value
        self.assertEqual(self.cairn("-n", *words, "--prune").value, dry)
        self.assertEqual(len(dry), 3)
        gone, = [one for one in dry if not one["keep"]]
        self.assertEqual((gone["id"], gone["time"], gone["reasons"]),
                         (path.name, None, ["cannot be read"]))
        self.assertEqual({tuple(one["reasons"]) for one in dry if one["keep"]},
                         {("not named",)})
        self.assertTrue(path.exists())

        self.assertEqual(self.cairn(*words, "-y", "--prune").value, dry)

        self.assertFalse(path.exists())
        packs = [pack for pack in self.content.values() if pack.exists()]
        self.assertEqual(len(packs), 2)
        self.assert_sound()

    def test_a_damaged_mark_is_to_be_removed(self):
        mark = self.repo / "marks" / "00112233445566778899aabbccddeeff"
        mark.parent.mkdir(exist_ok=True)
        mark.write_bytes(noise(100))
        for words in (["forget", "--keep-last", "1"], ["prune"]):
            with self.subTest(words):
                ran = self.cairn(*words, code=DAMAGE)
                self.assertIn(mark.name, ran.err)
                self.assertIn("remove that object", ran.err)
                self.assertNotIn("with the whole id", ran.err)
        mark.unlink()
        self.cairn("forget", "--keep-last", "1")
        self.assert_sound()

    def test_holds_are_listed_beside_a_damaged_snapshot(self):
        one, *_ = self.snapshots()
        self.cairn("hold", "add", one["id"], "--reason", "why")
        path = next(p for p in self.paths_of("snapshots")
                    if p.name != one["id"])
        flip(path, 100)
        ran = self.cairn("hold", "list", "--json", code=DAMAGE)
        self.assertEqual([hold["snapshot"] for hold in ran.value],
                         [one["id"]])
        ran = self.cairn("hold", "list", code=DAMAGE)
        self.assertIn("why", ran.text)
        self.assertIn(path.name, ran.err)

    def test_a_backup_goes_on_beside_a_damaged_snapshot(self):
        flip(self.paths_of("snapshots")[0], 100)
        self.back_up_bytes(b"goes on", "new")
        snap = max(self.paths_of("snapshots"),
                   key=lambda p: p.stat().st_mtime_ns).name
        self.assertEqual(self.cat(f"{snap}:new"), b"goes on")


class Reserve(DamageCase):
    def test_that_cannot_be_taken_back_keeps_nothing_from_being_saved(self):
        reserve = self.repo / "reserve"
        reserve.unlink()
        reserve.mkdir()
        ran = self.cairn("backup", "--stdin", "--as", "stream 9",
                         stdin=b"saved all the same")
        self.assertIn("warning: the megabyte that forgetting", ran.err)
        self.assertEqual(self.cat("latest:stream 9"), b"saved all the same")


class Config(DamageCase):
    def assert_opens_and_tells(self, name):
        self.assertEqual(len(self.snapshots()), 3)
        self.assertTrue(self.cat("latest:stream 1") == self.data["stream 1"])
        found = self.findings()
        self.assertEqual([(f["code"], f["object"]) for f in found],
                         [("config-differs", name)])

    def test_one_copy_is_enough_and_the_other_is_told(self):
        for name in ("config", "config.2"):
            for change in (lambda p: flip(p, 40), lambda p: flip(p, 3),
                           lambda p: os.truncate(p, 20),
                           lambda p: os.truncate(p, 0)):
                undo = self.damaged(self.repo / name, change)
                with self.subTest(name):
                    self.assert_opens_and_tells(name)
                undo()

    def test_a_missing_copy_is_told(self):
        (self.repo / "config").unlink()
        self.assert_opens_and_tells("config")

    def test_without_any_copy_the_rest_is_still_a_repository(self):
        for name in ("config", "config.2"):
            (self.repo / name).unlink()
        for words in (["snapshots"], ["check", "--no-key"],
                      ["backup", "--stdin", "--as", "x"]):
            with self.subTest(words):
                ran = self.cairn(*words, code=DAMAGE)
                self.assertIn("bring one of them back", ran.text + ran.err)
                self.assertNotIn("cairn init", ran.text + ran.err)

    def test_without_a_sound_copy_it_is_damage_and_not_another_key(self):
        for name in ("config", "config.2"):
            flip(self.repo / name, 40)
        for words in (["snapshots"], ["check"], ["check", "--no-key"],
                      ["cat", "latest:stream 1"],
                      ["backup", "--stdin", "--as", "x"]):
            with self.subTest(words):
                self.cairn(*words, code=DAMAGE)

    def test_a_damaged_key_object_is_no_wrong_passphrase(self):
        flip(self.paths_of("keys")[0], 80)
        ran = self.cairn("snapshots", code=DAMAGE)
        self.assertIn("keys/", ran.err)


class Index(DamageCase):
    def remove_index(self):
        for path in self.paths_of("index"):
            path.unlink()
        shutil.rmtree(self.cache)

    def test_the_index_is_made_anew_from_the_packs(self):
        self.remove_index()
        self.assertEqual(len(self.snapshots()), 3)
        self.cairn("check", code=DAMAGE)

        told = self.cairn("--json", "repair", "index").lines[-1]

        self.assertEqual(told["packs"], len(self.objects("packs")))
        self.assertEqual(self.findings("--level", "data", code=OK), [])
        for name, data in self.data.items():
            self.assertTrue(self.cat(f"latest:{name}") == data)
        again = self.backup("--stdin", "--as", "stream 1",
                            stdin=self.data["stream 1"])
        self.assertEqual(again["chunks_new"], 0)

    def damage_index(self, *which):
        for i in which:
            flip(self.paths_of("index")[i], 100)
        shutil.rmtree(self.cache)

    def remove_one_index(self):
        self.paths_of("index")[0].unlink()
        shutil.rmtree(self.cache)

    def test_every_reader_does_without_the_index_and_says_so(self):
        losses = (lambda: self.damage_index(0),
                  lambda: self.damage_index(1, 2),
                  self.remove_one_index, self.remove_index)
        for i, lose in enumerate(losses):
            lose()
            before = self.objects(".")
            with self.subTest(i):
                for name, data in self.data.items():
                    ran = self.cairn("cat", f"latest:{name}")
                    self.assertTrue(ran.out == data)
                    out = self.folder / f"out {i} {name}"
                    self.restore(f"latest:{name}", out)
                    self.assertTrue((out / name).read_bytes() == data)
                shutil.rmtree(self.cache)
                self.assertIn("cairn repair index",
                              self.cairn("find", "*").err)
                self.assertEqual(self.cairn("ls", "latest").text.split(),
                                 ["/stream", "2"])
                self.assertEqual(self.objects("."), before)

    def test_a_rescue_needs_no_more_than_to_read(self):
        self.remove_index()
        for path in [self.repo, *self.repo.rglob("*")]:
            path.chmod(0o500 if path.is_dir() else 0o400)
        try:
            for name, data in self.data.items():
                self.assertTrue(self.cat(f"latest:{name}") == data)
        finally:
            for path in [self.repo, *self.repo.rglob("*")]:
                path.chmod(0o700 if path.is_dir() else 0o600)

    def back_up_again(self):
        return self.cairn("--json", "backup", "--stdin", "--as", "stream 2",
                          stdin=self.data["stream 2"])

    def test_a_backup_reuses_what_a_lost_index_named_once_it_is_verified(self):
        self.damage_index(*range(len(self.paths_of("index"))))
        ran = self.back_up_again()
        self.assertGreater(ran.lines[-1]["chunks_new"], 0)
        self.assertIn("cairn repair index", ran.err)
        self.assertEqual(self.back_up_again().lines[-1]["chunks_new"], 0)

        self.remove_index()
        self.assertIn("cairn check --level data",
                      self.cairn("repair", "index").err)
        self.assert_sound()

        ran = self.back_up_again()
        self.assertEqual(ran.lines[-1]["chunks_new"], 0)
        self.assertNotIn("repair", ran.err)
        self.assertNotIn("repair", self.cairn("cat", "latest:stream 2").err)

    def test_a_damaged_index_is_repaired_too(self):
        flip(self.paths_of("index")[1], 100)
        shutil.rmtree(self.cache)
        self.cairn("repair", "index")
        self.assertEqual(self.findings("--level", "data", code=OK), [])

    def test_a_repair_of_what_is_whole_changes_nothing_that_counts(self):
        self.cairn("repair", "index")
        self.assertEqual(self.findings("--level", "data", code=OK), [])
        self.assertTrue(self.cat("latest:stream 0") == self.data["stream 0"])

    def test_a_repair_with_a_damaged_pack_says_so(self):
        self.remove_index()
        flip(self.content["stream 1"], -9000)
        ran = self.cairn("repair", "index", code=DAMAGE)
        self.assertIn(self.content["stream 1"].name[:8], ran.err)
        self.assertTrue(self.cat("latest:stream 0") == self.data["stream 0"])

    def test_another_machine_needs_no_more_than_the_key(self):
        shutil.rmtree(self.cache)
        shutil.rmtree(self.state)
        self.assertTrue(self.cat("latest:stream 0") == self.data["stream 0"])
        self.assert_sound()


if __name__ == "__main__":
    harness.main()
