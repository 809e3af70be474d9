#!/usr/bin/python3
"""The oracle sees what it is there to see."""

import os
import sys
import unittest

sys.dont_write_bytecode = True

import operations  # noqa: E402
import oracle  # noqa: E402
import place  # noqa: E402
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
