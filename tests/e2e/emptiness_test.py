#!/usr/bin/python3
"""What is suddenly empty: a volume that is not mounted, a dump of nothing."""

import json
import shutil

import harness
import status_test
from harness import OK, PARTIAL, SOURCE_FAILED, noise
from status_test import OVERDUE

KEEP = "retention: {default: {keep: {last: %d}}}"


class Case(status_test.Case):
    def setUp(self):
        super().setUp()
        self.dump = self.folder / "dump"
        self.dump.write_bytes(noise(50_000, seed=2))
        self.export = f"  export: {{type: command, command: [cat, {self.dump}]}}"

    def run_times(self, times, code=OK):
        for _ in range(times):
            ran = self.cairn("run", code=code)
        return ran

    def unmount(self):
        """Leaves what an unmounted volume does."""
        for path in self.data.iterdir():
            path.unlink()

    def ids(self):
        return {s["id"] for s in self.snapshots_of_repo() if s["complete"]}

    def snapshots_of_repo(self):
        return self.cairn("snapshots", "--json").value


class Volume(Case):
    def test_that_is_gone_takes_no_good_state_with_it(self):
        told = self.folder / "told"
        page = self.folder / "page-me"
        page.write_text(f"#!/bin/sh\ncat >> {told}\n")
        page.chmod(0o755)
        self.configure(KEEP % 2 + f"\nmonitoring: {{command: [{page}]}}")
        self.run_times(4)
        before = self.ids()
        self.assertEqual(len(before), 2)
        self.unmount()
        ran = self.run_times(3, code=PARTIAL)
        self.assertIn("files: is empty, and had 97.7 KiB when it was last saved",
                      ran.err)
        self.assertEqual(self.ids(), before)
        file = str(self.data / "file")
        self.assertEqual(self.cat(f"latest:{file}"), noise(100_000))
        status = self.status("--check", code=OVERDUE)
        self.assertIn("1 of 1 source is not safe: files was last saved just now, "
                      "and then failed: is empty, and had 97.7 KiB",
                      status["summary"])
        self.assertEqual(status["sources"][0]["bytes"], 100_000)

        (self.data / "file").write_bytes(noise(100_000))
        self.cairn("run")
        self.cairn("status", "--check")
        # What was empty has not been counted.
        self.assertEqual(len(self.ids() & before), 1)
        self.assertEqual(len(self.snapshots_of_repo()), 2)
        self.assertEqual([json.loads(line)["type"] for line in
                          told.read_text().splitlines()],
                         ["run_failed", "run_recovered"])

    def test_is_missed_by_a_run_of_it_alone(self):
        self.configure(KEEP % 1, sources=self.export)
        self.cairn("run")
        self.unmount()
        self.cairn("run", "files", code=PARTIAL)
        self.cairn("status", "--check", code=OVERDUE)

    def test_leaves_the_others_saved(self):
        self.configure(KEEP % 1, sources=self.export)
        self.cairn("run")
        self.unmount()
        self.dump.write_text("newer")
        self.cairn("run", code=PARTIAL)
        self.assertEqual(self.cat("latest:export"), b"newer")
        self.assertEqual(len(self.ids()), 1)
        safe = {s["source"]: s["safe"] for s in self.status()["sources"]}
        self.assertEqual(safe, {"files": False, "export": True})

    def test_is_missed_where_it_was_only_ever_saved_in_part(self):
        paths = f"paths: [{self.data}, /absent/x]"
        self.configure(KEEP % 1)
        whole = self.config.read_text()
        self.config.write_text(
            whole.replace(f"paths: [{self.data}]", paths))
        self.cairn("run", code=PARTIAL)
        self.config.write_text(whole)
        self.unmount()
        self.run_times(2, code=PARTIAL)
        self.assertEqual(
            self.cat(f"latest:{self.data / 'file'}"), noise(100_000))

    def test_is_missed_though_this_machine_remembers_nothing(self):
        self.configure(KEEP % 1)
        self.cairn("run")
        shutil.rmtree(self.state)
        self.unmount()
        self.run_times(2, code=PARTIAL)

    def test_is_missed_by_a_key_that_may_not_read_what_was_saved(self):
        write_key = self.folder / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", write_key,
                   env={"CAIRN_REPO": self.repo, "CAIRN_KEY_FILE": self.key})
        self.key = write_key
        self.configure()
        self.cairn("run")
        self.unmount()
        self.run_times(2, code=PARTIAL)
        self.cairn("status", "--check", code=OVERDUE)

    def test_may_be_empty_when_its_owner_says_so(self):
        self.configure(KEEP % 1)
        self.cairn("run")
        self.unmount()
        self.cairn("run", code=PARTIAL)
        strict = self.config.read_text()
        self.config.write_text(strict.replace(
            "type: files,", "type: files, allow_empty: true,"))
        self.cairn("run")
        self.cairn("status", "--check")
        snapshot, = self.snapshots_of_repo()
        self.assertEqual(snapshot["logical_bytes"], 0)
        # Then it was empty before.
        self.config.write_text(strict)
        self.cairn("run")

    def test_may_be_empty_from_the_beginning(self):
        self.unmount()
        self.configure(KEEP % 1)
        self.run_times(3)
        self.cairn("status", "--check")


class Dump(Case):
    def test_of_nothing_fails_and_the_last_one_stays(self):
        self.configure(KEEP % 1, sources=self.export,
                       jobs="  nightly: {sources: [export]}")
        self.run_times(2)
        before = self.ids()
        self.dump.write_bytes(b"")
        ran = self.run_times(2, code=SOURCE_FAILED)
        self.assertIn("nothing was backed up: export: is empty, and had 48.8 KiB",
                      ran.err)
        self.assertEqual(self.ids(), before)
        self.cairn("status", "--check", code=OVERDUE)
        self.config.write_text(self.config.read_text().replace(
            "type: command,", "type: command, allow_empty: true,"))
        self.cairn("run")
        self.assertNotEqual(self.ids(), before)
        self.assertEqual(self.cat("latest:export"), b"")

    def test_of_nothing_is_fine_where_there_never_was_anything(self):
        self.dump.write_bytes(b"")
        self.configure(sources=self.export,
                       jobs="  nightly: {sources: [export]}")
        self.assertIn("export: is empty", self.run_times(2).err)


class Usual(Case):
    def test_size_is_known_though_few_states_are_kept(self):
        self.configure(KEEP % 1)
        self.run_times(4)
        (self.data / "file").write_bytes(noise(10_000))
        self.cairn("run")
        self.assertEqual(len(self.snapshots_of_repo()), 1)
        ran = self.cairn("status", "--check")
        self.assertIn("files has 9.77 KiB, 90 % less than usual (97.7 KiB)",
                      ran.err)


if __name__ == "__main__":
    harness.main()
