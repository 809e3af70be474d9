#!/usr/bin/python3
"""Which snapshot the words mean: of a series, with a path, at a time."""

import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))

import harness
from harness import FAILED, PARTIAL, USAGE

HOST = os.uname().nodename


class Paths(harness.Case):
    def setUp(self):
        super().setUp()
        self.top = self.folder / "tree"
        self.top.mkdir()

    def back_up_day(self, day, **how):
        (self.top / "file").write_text(f"day {day}")
        return self.backup(self.top, "--time", f"2026-11-{day:02}T12:00:00Z",
                           **how)["snapshot_id"]

    def back_up_day_in_part(self, day):
        closed = self.top / "closed"
        closed.write_text("x")
        closed.chmod(0)
        blind = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--"]
        made = self.back_up_day(day, code=PARTIAL,
                                prefix=blind if harness.IS_ROOT else [])
        closed.unlink()
        return made

    @harness.needs("setpriv")
    def test_a_newer_state_that_was_read_in_part_is_told_of(self):
        whole = self.back_up_day(1)
        part = self.back_up_day_in_part(2)
        for what in (f"latest:{self.top}/file",
                     f"@2026-11-03T00:00Z:{self.top}/file"):
            ran = self.cairn("cat", what)
            self.assertEqual(ran.out, b"day 1")
            self.assertIn(f"snapshot {part[:8]} of 2026-11-02", ran.err)
            self.assertIn("name it", ran.err)
        for what in (whole, "@2026-11-01T13:00Z"):
            self.assertEqual(
                self.cairn("cat", f"{what}:{self.top}/file").err, "")
        self.assertEqual(self.cat(f"{part}:{self.top}/file"), b"day 2")

    @harness.needs("setpriv")
    def test_a_damaged_newer_state_stands_in_no_whole_ones_way(self):
        self.back_up_day(1)
        known = set(self.objects("packs"))
        self.back_up_day_in_part(2)
        for path in self.paths_of("packs"):
            if path.name not in known:
                path.unlink()
        shutil.rmtree(self.cache)
        self.assertEqual(self.cat(f"latest:{self.top}/file"), b"day 1")

    def test_only_states_with_the_path_are_counted(self):
        self.back_up_day(1)
        self.back_up_day(3)
        for day in (2, 4):
            self.back_up_bytes(b"dump %d" % day, "db.sql", "--time",
                               f"2026-11-{day:02}T12:00:00Z")
        self.assertEqual(self.cat(f"latest~0:{self.top}/file"), b"day 3")
        self.assertEqual(self.cat(f"latest~1:{self.top}/file"), b"day 1")
        self.assertEqual(self.cat("latest~1:db.sql"), b"dump 2")
        self.assertEqual(self.cat("@2026-11-03T13:00Z:db.sql"), b"dump 2")
        self.assertEqual(self.cat(f"@2026-11-02T13:00Z:{self.top}/file"),
                         b"day 1")
        ran = self.cairn("cat", "latest~2:db.sql", code=FAILED)
        self.assertIn("no more than 2 snapshots", ran.err)

    def test_a_time_from_the_listing_names_its_snapshot(self):
        first = self.backup(self.top)["snapshot_id"]
        (self.top / "other").write_text("x")
        self.backup(self.top)
        line = next(x for x in self.cairn("snapshots").text.splitlines()
                    if x.startswith(first[:8]))
        time = line.split("  ")[1].split(" (")[0]
        self.assertRegex(time, r"^[-0-9]+ [:0-9]+ \+00:00$")
        listed = self.snapshots("--last", "1")[0]["time"][:19]
        shown = self.cairn("--json", "restore", f"@{time}", "--to",
                           self.folder / "out").lines[-1]["snapshot_id"]
        same_second = listed == time[:19].replace(" ", "T")
        self.assertTrue(shown == first or same_second, (time, listed))


class SeriesNamed(harness.Case):
    def setUp(self):
        super().setUp()
        self.a = self.back_up_bytes(b"a", "x", "--series", "a")
        self.b = self.back_up_bytes(b"b", "x", "--series", "b")

    def test_every_command_looks_in_the_series_that_is_named(self):
        in_a = ["--series", "a"]
        self.assertEqual(self.cat("latest:x"), b"b")
        self.assertEqual(self.cairn("cat", "latest:x", *in_a).out, b"a")
        self.assertEqual(self.cairn("--json", "ls", "latest", *in_a)
                         .lines[0]["path"], "/x")
        self.assertEqual(
            [x["snapshot"] for x in
             self.cairn("--json", "find", "x", *in_a).lines], [self.a])
        self.assertEqual(self.cairn("diff", "latest", "latest", *in_a).out,
                         b"")
        self.restore("latest", self.folder / "out", *in_a)
        self.assertEqual((self.folder / "out" / "x").read_bytes(), b"a")
        self.assertEqual(self.cairn("--json", "stats", *in_a)
                         .value["snapshots"], 1)
        self.assertEqual(
            self.cairn("--json", "hold", "add", "latest", *in_a)
            .value["snapshot"], self.a)
        self.cairn("hold", "remove", self.a)
        self.cairn("-y", "forget", "latest", f"--series={HOST}/a")
        self.assertEqual([s["id"] for s in self.snapshots()], [self.b])

    def test_a_series_that_is_not_there_is_warned_of_with_the_nearest(self):
        long = self.back_up_bytes(b"x", "x", "--series", "databases")
        for words in (["snapshots"], ["forget", "--keep-last", "1"],
                      ["find", "x"], ["stats"]):
            ran = self.cairn(*words, "--series", "databses")
            self.assertIn(f"no snapshot is of series {HOST}/databses; did you "
                          f"mean {HOST}/databases?", ran.err)
        ran = self.cairn("cat", "latest:x", "--series", "databses",
                         code=FAILED)
        self.assertIn("did you mean", ran.err)
        self.assertNotIn("warning", self.cairn(
            "snapshots", "--series", "databases").err)
        self.cairn("snapshots", "--series", "", code=USAGE)
        self.assertIn(long, [s["id"] for s in self.snapshots()])

    def test_a_write_key_finds_a_series_whose_name_it_cannot_read(self):
        write = self.folder / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", write)
        found = self.cairn("snapshots", "--json", "--series", "a",
                           env={"CAIRN_KEY_FILE": write}).value
        self.assertEqual([s["id"] for s in found], [self.a])

    def test_nothing_else_is_saved_in_a_series_of_wal(self):
        before = self.snapshots()
        for words in (["--as", "wal"], ["--as", "a/wal"],
                      ["--as", "x", "--series", "wal"],
                      ["--as", "x", "--series", "pg/wal"]):
            with self.subTest(words):
                ran = self.cairn("backup", "--stdin", *words, stdin=b"x",
                                 code=USAGE)
                self.assertIn("name another with --series", ran.err)
        self.assertEqual(self.snapshots(), before)
        self.back_up_bytes(b"x", "wal", "--series", "words")
        self.assertEqual(self.cat("latest:wal"), b"x")


if __name__ == "__main__":
    harness.main()
