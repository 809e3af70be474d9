#!/usr/bin/python3
"""Space comes back, and whoever dies, stops or meets another on the way leaves
a sound repository."""

import os
import shutil
import signal
import subprocess
import threading
import time

import harness
from harness import (INTERRUPTED, MIB, OK, TERMINATED, bytes_below,
                     noise, prose, wait_until)


class Space(harness.Case):
    def used(self):
        return bytes_below(self.repo)

    def objects_of_all(self):
        return {str(p): p.stat().st_size for p in self.repo.rglob("*")
                if p.is_file()}

    def test_what_no_snapshot_needs_is_freed(self):
        ids = [self.back_up_bytes(noise(4 * MIB, i), f"{i}") for i in range(3)]
        before = self.used()
        self.cairn("forget", "-y", ids[0], ids[1])
        self.assertLess(abs(self.used() - before), MIB)

        plan = self.cairn("--json", "prune", "-n").lines[-1]
        unchanged = self.objects_of_all()
        self.assertGreater(plan["bytes_freed"], 8 * MIB)
        self.assertEqual(self.objects_of_all(), unchanged)

        told = self.cairn("--json", "prune").lines[-1]

        self.assertGreater(before - self.used(), 8 * MIB)
        self.assertGreaterEqual(told["removed"]["bytes"], 8 * MIB)
        self.assertEqual(len(self.objects("snapshots")), 1)
        self.assertEqual(self.objects("marks"), [])
        self.assertTrue(self.cat("latest:2") == noise(4 * MIB, 2))
        self.assert_sound()

    def test_a_half_used_pack_is_written_anew(self):
        keep, drop = noise(4 * MIB, 1), noise(4 * MIB, 2)
        first = self.back_up_bytes(keep + drop, "both")
        self.back_up_bytes(keep, "both")
        self.cairn("forget", first)
        before = self.used()

        told = self.cairn("--json", "prune").lines[-1]

        self.assertGreater(told["repacked"]["packs"], 0)
        self.assertGreater(before - self.used(), 3 * MIB)
        self.assertTrue(self.cat("latest:both") == keep)
        self.assert_sound()
        again = self.backup("--stdin", "--as", "both", stdin=keep)
        self.assertEqual(again["chunks_new"], 0)

    def test_unused_space_below_the_limit_is_left_alone(self):
        keep, drop = noise(4 * MIB, 1), noise(MIB, 2)
        first = self.back_up_bytes(keep + drop, "both")
        self.back_up_bytes(keep, "both")
        self.cairn("forget", first)
        told = self.cairn("--json", "prune", "--max-unused", "60%").lines[-1]
        self.assertEqual(told["repacked"]["packs"], 0)
        told = self.cairn("--json", "prune", "--max-unused", "0%").lines[-1]
        self.assertGreater(told["repacked"]["packs"], 0)
        self.assertTrue(self.cat("latest:both") == keep)
        self.assert_sound()

    def test_states_that_lean_on_forgotten_ones_stay_whole(self):
        rows = prose(40000).splitlines(keepends=True)
        states = []
        for state in range(8):
            for i in range(state, len(rows), 500):
                rows[i] = b"-- changed %d\n" % state + rows[i]
            states.append(b"".join(rows))
            told = self.backup("--stdin", "--as", "dump", stdin=states[-1])
        self.assertGreater(told["differences"], 0)

        ids = [s["id"] for s in self.snapshots()]
        for gone in (0, 1, 2, 4, 6):
            self.cairn("forget", ids[gone], "--prune")
            self.assert_sound()
        self.assertEqual(len(self.snapshots()), 3)
        for left in (3, 5, 7):
            self.assertTrue(self.cat(f"{ids[left]}:dump") == states[left])

    def test_a_second_prune_finds_nothing_to_do(self):
        first = self.back_up_bytes(noise(MIB, 1), "a")
        self.back_up_bytes(noise(MIB, 2), "b")
        self.cairn("forget", "-y", first)
        self.cairn("prune")
        before = set(self.objects("packs"))
        told = self.cairn("--json", "prune").lines[-1]
        self.assertEqual((told["removed"]["packs"], told["written"]["packs"]),
                         (0, 0))
        self.assertEqual(set(self.objects("packs")), before)

    def test_a_repository_emptied_of_all_can_be_used_again(self):
        self.back_up_bytes(noise(MIB), "a")
        self.cairn("forget", "-y", "latest", "--prune")
        self.assertEqual((self.snapshots(), self.objects("packs")), ([], []))
        self.back_up_bytes(noise(MIB), "a")
        self.assertTrue(self.cat("latest:a") == noise(MIB))
        self.assert_sound()


class Together(harness.Case):
    """Several at once."""

    def test_readers_and_writers_work_beside_a_backup(self):
        old = noise(2 * MIB, 1)
        self.back_up_bytes(old, "old")
        new = noise(3 * MIB, 2)
        writer = self.begin_stream(new[:MIB], "new")

        self.assertEqual(len(self.snapshots()), 1)
        self.assertTrue(self.cat("latest:old") == old)
        self.assert_sound()
        self.back_up_bytes(b"beside", "beside")
        self.cairn("forget", "--keep-last", "5")
        self.cairn("stats")

        self.end(writer, data=new[MIB:])
        self.assertTrue(self.cat("latest:new") == new)
        self.assertEqual(len(self.snapshots()), 3)
        self.assert_sound()

    def test_many_backups_of_one_series_at_once_all_count(self):
        running = [self.start("backup", "--stdin", "--as", "db", stdin=-1)
                   for _ in range(4)]
        for i, process in enumerate(running):
            process.stdin.write(noise(MIB, i % 2))
        for process in running:
            self.end(process)
        found = self.snapshots()
        self.assertEqual(sorted(s["sequence"] for s in found), [0, 1, 2, 3])
        self.assert_sound()

    def test_a_prune_hurts_nobody_who_began_before_it(self):
        gone = self.back_up_bytes(noise(2 * MIB, 1), "gone")
        self.cairn("forget", "-y", gone)
        data = noise(2 * MIB, 1) + b"the rest"
        writer = self.begin_stream(data[:MIB], "slow")
        before = set(self.objects("packs"))

        ran = self.cairn("prune", "--wait", "0s")

        self.assertIn(str(writer.pid), ran.err)
        self.assertLessEqual(before, set(self.objects("packs")))
        self.end(writer, data=data[MIB:])
        self.assertTrue(self.cat("latest:slow") == data)
        self.assert_sound()
        self.cairn("prune")
        self.assertTrue(self.cat("latest:slow") == data)
        self.assert_sound()

    def test_a_backup_that_begins_while_a_prune_waits_is_not_waited_for(self):
        data = noise(2 * MIB, 1)
        gone = self.back_up_bytes(data, "gone")
        self.cairn("forget", "-y", gone)
        first = self.begin_stream(b"x", "first")
        prune = self.start("-v", "prune", "--wait", "60s")
        self.assertIn(b"waiting for its end", prune.stderr.readline())
        # It gives way to others.
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, prune.pid), 10)

        later = self.begin_stream(data[:MIB], "later")
        self.back_up_bytes(data, "whole")
        self.end(first)
        self.end(prune)
        self.assertNotIn(gone, [s["id"] for s in self.snapshots()])
        self.end(later, data=data[MIB:])

        self.assertTrue(self.cat("latest:whole") == data)
        self.assertTrue(self.cat("latest:later") == data)
        self.assert_sound()

    def test_backups_and_prunes_at_once_lose_nothing(self):
        kept = {}
        for night in range(4):
            data = noise(MIB, night % 3) + bytes([night])
            writers = [self.start("backup", "--stdin", "--as", f"s{i}",
                                  stdin=subprocess.PIPE) for i in range(2)]
            prunes = [self.start("prune", "--wait", "20s", "--max-unused", "0%")
                      for _ in range(2)]
            for i, writer in enumerate(writers):
                self.end(writer, data=data)
                kept[f"s{i}"] = data
            for prune in prunes:
                self.end(prune)
            self.cairn("forget", "--keep-last", "1")
        for name, data in kept.items():
            self.assertTrue(self.cat(f"latest:{name}") == data)
        self.cairn("prune")
        self.assert_sound()

    def test_a_plan_can_be_looked_at_beside_a_backup(self):
        writer = self.begin_stream(b"x")
        self.cairn("prune", "-n")
        self.end(writer)


class Ends(harness.Case):
    def setUp(self):
        super().setUp()
        self.old = noise(MIB, 1)
        self.back_up_bytes(self.old, "old")
        self.used = bytes_below(self.repo)

    def assert_as_before(self):
        self.assertEqual(len(self.snapshots()), 1)
        self.assertTrue(self.cat("latest:old") == self.old)
        self.assert_sound()

    def write_until_packs(self, process, data):
        """Feeds it until packs are published; a pack is 64 MiB."""
        before = len(self.objects("packs"))
        feeder = threading.Thread(target=self.feed, args=(process, data))
        feeder.start()
        wait_until(lambda: len(self.objects("packs")) > before, "a pack")
        feeder.join()

    @staticmethod
    def feed(process, data):
        try:
            process.stdin.write(data)
            process.stdin.flush()
        except OSError:
            pass

    def test_a_killed_backup_is_fenced_by_the_next_prune(self):
        data = noise(90 * MIB)
        writer = self.begin_stream(name="killed")
        self.write_until_packs(writer, data)

        writer.send_signal(signal.SIGKILL)
        writer.wait()

        self.assert_as_before()
        # The registration and its pin.
        self.assertEqual(len(self.objects("sessions")), 2)
        told = self.cairn("--json", "prune").lines[-1]
        self.assertEqual(told["sessions_fenced"], 1)
        self.assertEqual(self.objects("sessions"), [])
        self.assertLess(bytes_below(self.repo), self.used + MIB)
        self.assert_as_before()
        self.back_up_bytes(b"goes on", "old")
        self.assertEqual(self.cat("latest:old"), b"goes on")

    def test_a_backup_that_is_asked_to_stop_does_and_says_so(self):
        for signal_, code in ((signal.SIGINT, INTERRUPTED),
                              (signal.SIGTERM, TERMINATED)):
            with self.subTest(signal_):
                writer = self.begin_stream(noise(3 * MIB, 5), "stopped")
                writer.send_signal(signal_)
                self.end(writer, code=code)
                self.assertEqual(self.objects("sessions"), [])
                self.assert_as_before()
        self.back_up_bytes(noise(3 * MIB, 5), "stopped")
        self.assertTrue(self.cat("latest:stopped") == noise(3 * MIB, 5))

    def test_what_a_stopped_backup_had_published_is_not_stored_twice(self):
        data = noise(90 * MIB)
        writer = self.begin_stream(name="stopped")
        self.write_until_packs(writer, data)
        writer.send_signal(signal.SIGINT)
        self.end(writer, code=INTERRUPTED)

        again = self.backup("--stdin", "--as", "stopped", stdin=data)

        self.assertLess(again["new_bytes"], 45 * MIB)
        self.assertTrue(self.cat("latest:stopped") == data)
        self.assert_sound("structure")

    def test_a_restore_that_is_stopped_leaves_no_half_file_under_its_name(self):
        data = noise(MIB) * 200
        self.back_up_bytes(data, "large")
        out = self.folder / "out"
        process = self.start("restore", "latest:large", "--to", out)
        wait_until(lambda: out.exists() and os.listdir(out), "the file")
        process.send_signal(signal.SIGINT)
        process.wait()
        self.assertIn(process.returncode, (OK, INTERRUPTED))
        if process.returncode == INTERRUPTED:
            self.assertEqual(os.listdir(out), [])
        else:
            self.assertTrue((out / "large").read_bytes() == data)

    def test_prunes_killed_anywhere_do_no_harm(self):
        states = [noise(3 * MIB, 10 + i) for i in range(6)]
        keep = noise(MIB, 99)
        ids = [self.back_up_bytes(s + keep, "db") for s in states]
        # Every other one goes, so that packs are both removed and rewritten.
        self.cairn("forget", *ids[0:5:2])
        for delay in (0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12):
            process = self.start("prune", "--max-unused", "0%")
            time.sleep(delay)
            process.kill()
            process.wait()
            self.assert_sound()
        self.cairn("prune", "--max-unused", "0%")
        self.assert_sound()
        self.assertEqual(self.objects("sessions"), [])
        for i in (1, 3, 5):
            self.assertTrue(self.cat(f"{ids[i]}:db") == states[i] + keep)

    def test_backups_killed_anywhere_do_no_harm(self):
        top = self.folder / "tree"
        top.mkdir()
        for i in range(200):
            (top / f"{i}").write_bytes(noise(20000, i))
        for delay in (0.01, 0.03, 0.05, 0.07, 0.09, 0.12, 0.15):
            process = self.start("backup", top)
            time.sleep(delay)
            process.kill()
            process.wait()
        self.assert_sound()
        self.backup(top)
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        self.restore(f"latest:{top}", self.folder / "out")
        self.assert_same_trees(top, self.folder / "out")
        self.cairn("prune")
        self.assert_sound()


if __name__ == "__main__":
    harness.main()
