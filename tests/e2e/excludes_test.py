#!/usr/bin/python3
"""What a backup leaves out because it was told to."""

import os
import subprocess

import harness
from harness import PARTIAL, SOURCE_FAILED, USAGE, needs_root


class Excludes(harness.Case):
    def setUp(self):
        super().setUp()
        self.top = self.folder / "tree"
        for path in ("keep", "a.tmp", "sub/b.tmp", "sub/keep", "cache/x",
                     "sub/cache/y", "log/1", "log/2", "log/keep", "build/out",
                     "sub/build/out", "[x]", "!odd", "#odd"):
            (self.top / path).parent.mkdir(parents=True, exist_ok=True)
            (self.top / path).write_text(path)
        self.all = self.files()

    def files(self):
        return sorted(str(p.relative_to(self.top)) for p in
                      self.top.rglob("*") if p.is_file())

    def stored(self, *flags):
        """The files in a new snapshot, relative."""
        self.summary = self.backup(self.top, *flags)
        ran = self.cairn("ls", "-R", "--json", f"latest:{self.top}")
        return sorted(x["path"][len(str(self.top)) + 1:] for x in ran.lines
                      if x["kind"] == "file")

    def without(self, *left_out):
        return sorted(set(self.all) - set(left_out))

    def test_rules_are_those_of_gitignore(self):
        for rules, left_out in (
                (["*.tmp"], ["a.tmp", "sub/b.tmp"]),
                (["/a.tmp"], ["a.tmp"]),
                (["cache/"], ["cache/x", "sub/cache/y"]),
                (["/build"], ["build/out"]),
                (["sub/build"], ["sub/build/out"]),
                (["sub/**"], ["sub/b.tmp", "sub/keep", "sub/cache/y",
                              "sub/build/out"]),
                (["log/*", "!log/keep"], ["log/1", "log/2"]),
                (["log", "!log/keep"], ["log/1", "log/2", "log/keep"]),
                (["**/y"], ["sub/cache/y"]),
                (["log/[0-9]"], ["log/1", "log/2"]),
                (["\\[x\\]", "\\!odd", "\\#odd"], ["[x]", "!odd", "#odd"]),
                (["# a comment", ""], [])):
            with self.subTest(rules):
                flags = [w for r in rules for w in ("--exclude", r)]
                self.assertEqual(self.stored(*flags), self.without(*left_out))

    def test_rules_may_stand_in_a_file(self):
        rules = self.folder / "rules"
        rules.write_text("# what is made again\n*.tmp\n\n/log/*\n!/log/keep\n")
        self.assertEqual(
            self.stored("--exclude-file", rules),
            self.without("a.tmp", "sub/b.tmp", "log/1", "log/2"))
        self.assertEqual(self.summary["excluded"], 4)

    def test_a_file_of_rules_may_begin_with_a_byte_order_mark(self):
        rules = self.folder / "rules"
        rules.write_bytes(b"\xef\xbb\xbf*.tmp\n/a.tmp\n")
        self.assertEqual(self.stored("--exclude-file", rules),
                         self.without("a.tmp", "sub/b.tmp"))

    def test_rules_of_the_command_line_come_after_those_of_files(self):
        rules = self.folder / "rules"
        rules.write_text("!a.tmp\n")
        by_file = ["--exclude-file", rules]
        typed = ["--exclude", "*.tmp"]
        for flags in (by_file + typed, typed + by_file):
            with self.subTest(flags):
                self.assertEqual(self.stored(*flags),
                                 self.without("a.tmp", "sub/b.tmp"))
        rules.write_text("*.tmp\n")
        self.assertEqual(self.stored("--exclude", "!a.tmp", *by_file),
                         self.without("sub/b.tmp"))

    def test_a_folder_with_a_marker_is_stored_empty(self):
        (self.top / "sub" / ".nobackup").touch()
        self.assertEqual(
            self.stored("--exclude-if-present", ".nobackup"),
            self.without("sub/b.tmp", "sub/keep", "sub/cache/y",
                         "sub/build/out"))
        self.cairn("ls", f"latest:{self.top}/sub")

    def test_a_rule_that_can_match_nothing_is_a_usage_error(self):
        ran = self.cairn("backup", self.top, "--exclude", "a[", code=USAGE)
        self.assertIn("a[", ran.err)

    def test_a_dry_run_reads_and_stores_nothing(self):
        self.cairn("backup", "-n", self.top)
        self.assertEqual(self.snapshots(), [])
        self.assertEqual(self.objects("packs"), [])

    def test_a_dry_run_ends_as_the_run_would(self):
        absent = self.folder / "absent"
        for paths, code, count in (([self.top, absent], PARTIAL,
                                    len(self.all)),
                                   ([absent], SOURCE_FAILED, 0)):
            ran = self.cairn("--json", "backup", "-n", *paths, code=code)
            line, = [x for x in ran.lines if x["type"] == "dry_run"]
            self.assertEqual(line["files"], count)
            self.assertIn(f"{absent}: no such file", ran.err)
            self.cairn("backup", *paths, code=code)

    @needs_root
    def test_other_file_systems_stay_out_when_asked(self):
        mounted = self.top / "mounted"
        mounted.mkdir()
        ran = subprocess.run(["mount", "-t", "tmpfs", "none", mounted],
                             capture_output=True, check=False)
        if ran.returncode != 0:
            self.skipTest("mount: " + ran.stderr.decode().strip())
        self.addCleanup(harness.unmounted, mounted)
        (mounted / "elsewhere").write_text("x")

        self.assertEqual(self.stored("--one-file-system"), self.all)
        self.cairn("ls", f"latest:{mounted}")
        self.assertEqual(self.stored(),
                         sorted([*self.all, "mounted/elsewhere"]))
        self.backup(mounted, "--one-file-system")
        self.cairn("cat", f"latest:{mounted}/elsewhere")

    def test_a_whole_path_is_warned_of_since_it_matches_nothing(self):
        for words in (["-n"], []):
            ran = self.cairn(*words, "backup", self.top, "--exclude",
                             f"{self.top}/cache")
            self.assertIn("write /cache", ran.err)
        ran = self.cairn("backup", f"{self.top}/", "--exclude",
                         f"{self.top}/cache")
        self.assertIn("write /cache", ran.err)
        link = self.folder / "link"
        os.symlink(self.top, link)
        for spelled in (self.top, link):
            ran = self.cairn("backup", f"{link}/sub", "--exclude",
                             f"{spelled}/sub/cache")
            self.assertIn("write /cache", ran.err)
        self.assertEqual(self.stored("--exclude", "/cache"),
                         self.without("cache/x"))
        for rule in ("/cache", "cache/", f"{self.top}more/x"):
            self.assertNotIn("write /", self.cairn(
                "backup", self.top, "--exclude", rule).err)
        self.assertIn("anchored to", self.cairn("backup", "--help").text)

    def test_what_can_exclude_nothing_is_a_usage_error(self):
        for flags in (["--exclude-file", self.top],
                      ["--exclude-if-present", ""],
                      ["--exclude-if-present", "sub/keep"]):
            self.cairn("backup", self.top, *flags, code=USAGE)
        self.assertEqual(self.snapshots(), [])


if __name__ == "__main__":
    harness.main()
