#!/usr/bin/python3
"""The oracle sees what it is there to see."""

import os
import random
import sys
import unittest

sys.dont_write_bytecode = True

import acts  # noqa: E402
import operations  # noqa: E402
import oracle  # noqa: E402
import place  # noqa: E402
import power  # noqa: E402
import tracer  # noqa: E402
from place import Finding  # noqa: E402


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if reason := tracer.why_not():
            raise unittest.SkipTest(reason)
        cls.where = place.Place()
        cls.addClassCleanup(cls.where.remove)
        cls.bases = operations.Bases(cls.where)
        cls.operations = {o.name: o for o in operations.operations()}

    def run_one(self, name, fault=None):
        operation = self.operations[name]
        self.where.load(operation.base)
        judge = oracle.Oracle(self.where, self.bases, operation)
        ran = self.where.traced(operation.words, operation.stdin,
                                operation.key, fault)
        return judge, ran

    def objects(self, folder):
        return [p for p in (self.where.here / "repo" / folder).rglob("*")
                if p.is_file()]


class Notices(Case):
    def assert_finds(self, judge, ran, words, fault=None):
        with self.assertRaisesRegex(Finding, words):
            judge.judge(ran, fault)

    def test_a_run_without_a_fault_is_no_finding(self):
        judge, ran = self.run_one("stream")
        judge.judge(ran)

    def test_a_lost_snapshot(self):
        judge, ran = self.run_one("backup")
        self.objects("snapshots")[0].unlink()
        self.assert_finds(judge, ran, "is lost|and has no snapshot")

    def test_a_lost_pack(self):
        for i in range(3):
            judge, ran = self.run_one("key-add")
            sorted(self.objects("packs"))[i].unlink()
            self.assert_finds(judge, ran, "does not end with 0")

    def test_one_flipped_bit(self):
        judge, ran = self.run_one("forget")
        path = max(self.objects("packs"), key=lambda p: p.stat().st_size)
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 16
        path.write_bytes(data)
        self.assert_finds(judge, ran, "does not end with 0")

    def test_success_without_the_deed(self):
        judge, ran = self.run_one("forget")
        for mark in self.objects("marks"):
            mark.unlink()
        self.assert_finds(judge, ran, "has not forgotten")
        judge, ran = self.run_one("key-add")
        (self.where.here / operations.ADDED).unlink()
        self.assert_finds(judge, ran, "it is not")

    def test_what_nobody_needs_and_prune_cannot_remove(self):
        judge, ran = self.run_one("prune")
        (self.where.here / "repo" / "sessions" / "strange").write_bytes(b"x")
        self.assert_finds(judge, ran, "prune")

    def test_a_change_outside(self):
        judge, ran = self.run_one("check")
        (self.where.here / "stray").touch()
        self.assert_finds(judge, ran, "outside of it, here changed")
        judge, ran = self.run_one("check")
        kept = (self.where.source / "file 0").read_bytes()
        (self.where.source / "file 0").write_bytes(b"changed")
        self.assert_finds(judge, ran, "outside of it, source changed")
        (self.where.source / "file 0").write_bytes(kept)

    def test_an_unsynced_success(self):
        is_sync = tracer.Fault(lambda call: call.name == "fdatasync" and
                               "/repo/" in call.path, "EIO")
        judge, ran = self.run_one("backup", is_sync)
        self.assertNotEqual(ran.code, place.OK)
        judge.judge(ran, is_sync)
        judge, ran = self.run_one("backup", is_sync)
        ran.code = place.OK
        self.assert_finds(judge, ran, "all is well|no snapshot", is_sync)

    def test_a_crash(self):
        judge, ran = self.run_one("check")
        ran.code = -6
        self.assert_finds(judge, ran, "it crashed")


class Injects(Case):
    def names_of(self, folder):
        return {p.name for p in self.objects(folder)}

    def test_killed_before_a_call_it_is_not_done_and_after_it_is(self):
        for kind, is_done in (("before", False), ("after", True)):
            fault = tracer.Fault(lambda call: call.name == "linkat" and
                                 "/snapshots/" in call.path, kind)
            _, ran = self.run_one("backup", fault)
            self.assertEqual(ran.code, -9)
            held = self.bases.held["kept"]
            self.assertEqual(len(self.names_of("snapshots") - set(held)),
                             int(is_done))

    def test_a_call_whose_answer_is_lost_is_done(self):
        fault = tracer.Fault(lambda call: call.name == "linkat" and
                             "/marks/" in call.path, "lost")
        _, ran = self.run_one("forget", fault)
        self.assertTrue(os.path.exists(ran.hit.path))

    def test_a_short_write_writes_half(self):
        fault = tracer.Fault(lambda call: call.name == "write" and
                             "/repo/tmp/" in call.path, "short")
        _, ran = self.run_one("forget", fault)
        same = [c for c in ran.calls
                if (c.name, c.path) == ("write", ran.hit.path)]
        self.assertEqual((ran.code, len(same)), (place.OK, 2))

    def test_a_call_that_fails_is_not_done(self):
        fault = tracer.Fault(lambda call: call.name == "unlinkat" and
                             "/packs/" in call.path, "EIO")
        _, ran = self.run_one("prune", fault)
        self.assertEqual(ran.hit.name, "unlinkat")
        self.assertIn("Input/output error", ran.err)
        self.assertTrue(os.path.exists(ran.hit.path))


class Ends(Case):
    def test_a_disk_of_the_cache_that_fails_for_good_aborts_nothing(self):
        for name, kind in (("backup", "EIO"), ("prune", "ENOSPC")):
            fault = tracer.Fault(lambda call: "/MANIFEST-" in call.path, kind,
                                 is_sticky=True)
            judge, ran = self.run_one(name, fault)
            self.assertIsNotNone(ran.hit)
            self.assertGreaterEqual(ran.code, 0, ran.err)
            judge.judge(ran, fault)

    def test_check_says_that_it_could_not_note_packs_as_verified(self):
        fault = tracer.Fault(lambda call: "/repo/tmp" in call.path, "EIO",
                             is_sticky=True)
        _, ran = self.run_one("check", fault)
        self.assertEqual(ran.code, place.OK)
        self.assertIn("could not be named as verified", ran.err)


class Acts(Case):
    def act_at(self, name, kind, is_it):
        operation = self.operations[name]
        self.where.load(operation.base)
        judge = oracle.Oracle(self.where, self.bases, operation)
        fault = acts.fault_of(kind, is_it, self.where, judge, random.Random(1))
        ran = self.where.traced(operation.words, operation.stdin,
                                operation.key, fault)
        self.assertIsNotNone(ran.hit)
        return judge, ran, fault

    def test_who_sleeps_is_fenced_off_and_what_it_leans_on_is_gone(self):
        is_commit = (lambda call: call.name == "linkat" and
                     "/repo/snapshots/" in call.path)
        judge, ran, fault = self.act_at("stream", "asleep-long", is_commit)
        self.assertEqual(ran.code, place.FENCED)
        self.assertNotIn(self.bases.named["shop 2"],
                         [s["id"] for s in self.where.snapshots()])
        judge.judge(ran, fault, "asleep-long")

    def test_a_bit_that_flips_on_the_way_to_the_disk_ends_a_backup(self):
        is_write = (lambda call: "/repo/tmp/" in call.path and
                    os.path.getsize(call.path) == 0)
        _, ran, _ = self.act_at("stream", "bit", is_write)
        self.assertEqual(ran.code, place.DAMAGE)
        self.assertRegex(ran.err, "failing|differently")
        self.assertEqual({s["id"] for s in self.where.snapshots()},
                         set(self.bases.held["kept"]))

    def test_a_cache_that_goes_meanwhile_is_made_anew(self):
        judge, ran, fault = self.act_at(
            "backup", "cache-gone", lambda call: "/repo/packs/" in call.path)
        self.assertTrue((self.where.here / "cache").exists())
        judge.judge(ran, fault, "cache-gone")


class PowerCuts(Case):
    def record(self, name):
        operation = self.operations[name]
        self.where.load(operation.base)
        judge = oracle.Oracle(self.where, self.bases, operation)
        recorder = power.Recorder(self.where.here,
                                  self.where.top / "io" / "out")
        ran = self.where.traced(operation.words, operation.stdin,
                                operation.key, recorder=recorder)
        self.assertEqual(ran.code, place.OK)
        return judge, ran, recorder

    def cut(self, recorder, kind, last=10**9):
        disk = power.Disk(recorder, last)
        cut = power.Cut(disk, kind, random.Random(1))
        cut.write(self.where.here)
        return disk

    def test_of_what_was_synced_nothing_is_lost(self):
        for kind in power.CUTS:
            judge, ran, recorder = self.record("backup")
            self.cut(recorder, kind)
            judge.judge_place(ran)

    def test_what_was_not_synced_is_lost(self):
        for kind in ("cut-all", "cut-contents", "cut-zeros", "cut-names"):
            judge, ran, recorder = self.record("backup")
            recorder.events = [e for e in recorder.events if e[1] != "sync"]
            self.cut(recorder, kind)
            with self.assertRaises(Finding):
                judge.judge_place(ran)

    def test_the_state_without_a_cut_is_that_of_the_disk(self):
        _, _, recorder = self.record("prune")
        before = place.tree_of(self.where.here)
        for event in recorder.events[:]:
            if event[1] == "contents":
                recorder.events.append((event[0], "sync", event[2]))
            elif event[1] == "names":
                recorder.events += [(event[0], "sync", folder)
                                    for folder, _, _ in event[2]]
        self.cut(recorder, "cut-all")
        after = place.tree_of(self.where.here)
        self.assertEqual({p: f[-1] for p, f in before.items()},
                         {p: f[-1] for p, f in after.items()})

    def test_before_the_first_call_it_has_said_nothing(self):
        _, ran, recorder = self.record("backup")
        self.assertEqual(self.cut(recorder, "cut-all", 0).said, b"")
        self.assertEqual(self.cut(recorder, "cut-all").said, ran.out)


if __name__ == "__main__":
    unittest.main(verbosity=2)
