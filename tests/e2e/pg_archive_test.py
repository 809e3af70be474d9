#!/usr/bin/python3
"""archive_command and restore_command of real servers, run by the server's own
user: what is taken, what is given back, and what either says when it cannot."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time

from archive_case import CANNOT_TELL, ArchiveCase
import harness
from harness import (FAILED, LOCKED, MIB, NO_REPOSITORY, NO_SPACE, OK, REFUSED,
                     USAGE, flip, needs_root, unmounted, wait_until)
from postgres_case import SUMS
from servers import needs_postgres
from wal_case import SEGMENT, WalStandby, lsn

PSQL_SUMS = SUMS.replace("\n", " ")


@needs_postgres
class Archive(ArchiveCase):
    def test_what_is_archived_is_recovered(self):
        self.archive("--flush-interval", "2s")
        self.server.bench("-i", "-q", "-s", "4")
        self.base()
        self.server.bench("-n", "-c", "2", "-t", "2000")
        last = self.fill(6)[-1]
        sums = self.server.sql("postgres", PSQL_SUMS)
        self.wait_for_archive(last)
        self.assertEqual({code for code, _ in self.calls("wal-push")}, {OK})
        self.server.down()
        server = self.recover(self.restored())
        self.assertEqual(server.sql("postgres", PSQL_SUMS), sums)
        # Served by what calls before fetched ahead, for the most part.
        fetched = self.calls("wal-fetch")
        self.assertEqual({code for code, _ in fetched}, {OK, FAILED})
        errors = self.errors_log.read_text()
        self.assertGreaterEqual(errors.count("from ahead"), 3)
        # Nothing of it is left in the clear when recovery has ended.
        self.assertEqual(self.ahead(), [])
        self.assertEqual(
            [p for p in server.data.rglob("*cairn*")
             if "cairn_config" not in p.name], [])
        self.cairn("check", "--level", "data")

    def test_a_timeline_is_followed_from_its_history_on(self):
        """A receiver's last bytes are recovered, and the new timeline is
        archived and recovered in turn."""
        receiver = self.receive()
        self.server.bench("-i", "-q")
        self.base()
        self.server.sql("postgres", "create table one as select 1")
        self.finish(receiver)  # in the middle of a segment
        self.server.down(signal.SIGKILL)
        command = f"{self.script} pg wal-push --flush-interval 0s %p"
        folder = self.restored(archive_mode="on", archive_command=command)
        server = self.recover(folder)
        self.assertEqual(server.sql("postgres", "select * from one"), "1")
        server.sql("postgres", "create table two as select 2")
        segment = server.sql("postgres",
                             "select pg_walfile_name(pg_switch_wal())")
        self.assertTrue(segment.startswith("00000002"))
        wait_until(lambda: server.sql(
            "postgres", "select last_archived_wal from pg_stat_archiver") ==
            segment, "the new timeline")
        pushed = [words for code, words in self.calls("wal-push")
                  if code == OK]
        self.assertRegex("\n".join(pushed), r"pg_wal/00000002\.history")
        self.assertEqual({c for c, _ in self.calls("wal-push")}, {OK})
        server.end()
        self.assertEqual(len(self.wal_snapshots()), 2)
        again = self.recover(self.restored("again"))
        self.assertEqual(again.sql("postgres", "select * from two"), "2")
        self.assertRegex(again.sql(
            "postgres", "select pg_walfile_name(pg_current_wal_lsn())"),
                         "^00000003")
        self.cairn("check", "--level", "data")

    def test_the_last_segment_of_a_timeline_ends_where_it_ended(self):
        self.archive("--flush-interval", "0s")
        standby = WalStandby(self.server)
        self.addCleanup(standby.stop)
        self.server.bench("-i", "-q")
        first = self.switch()
        self.wait_for_archive(first)
        self.server.bench("-n", "-t", "200")
        wait_until(lambda: lsn(standby.sql(
            "postgres", "select pg_last_wal_receive_lsn()")) >=
            self.server.flushed(), "the standby to follow")
        self.server.down(signal.SIGKILL)
        standby.sql("postgres", "select pg_promote()")
        standby.bench("-n", "-t", "100")
        last = standby.sql("postgres",
                           "select pg_walfile_name(pg_switch_wal())")
        wait_until(lambda: standby.sql(
            "postgres", "select last_archived_wal from pg_stat_archiver") ==
            last, "the new timeline to be archived")
        self.assertEqual({code for code, _ in self.calls("wal-push")}, {OK})
        pushed = "\n".join(words for _, words in self.calls("wal-push"))
        partial = re.search(r"pg_wal/0{7}1\w{16}\.partial", pushed)
        self.assertTrue(partial, pushed)
        streams = self.streams()
        end = max(start + len(data) for (timeline, start), data in
                  streams.items() if timeline == 1)
        history = (standby.folder / "data/pg_wal/00000002.history").read_text()
        self.assertEqual(end, lsn(history.split()[1]))
        self.assertEqual({timeline for timeline, _ in streams}, {1, 2})
        self.assert_stored(end)
        self.assert_stored(standby.flushed(), timeline=2, server=standby)

    def test_what_cannot_be_told_stops_a_recovery_that_goes_on_later(self):
        self.archive("--flush-interval", "0s")
        self.server.bench("-i", "-q", "-s", "2")
        self.base()
        self.server.bench("-n", "-t", "2000")
        last = self.switch()
        sums = self.server.sql("postgres", PSQL_SUMS)
        self.wait_for_archive(last)
        self.server.down()
        folder = self.restored()
        os.rename(self.repo, self.home / "aside")
        log = self.home / "log"
        with open(log, "wb") as out:
            ended = subprocess.run(
                [*self.server.prefix, self.server.program("postgres"), "-D",
                 folder, "-k", self.server.folder, "-c", "listen_addresses="],
                stdout=out, stderr=out, check=False, timeout=60,
                cwd=self.server.folder)
        self.assertEqual(ended.returncode, 1, log.read_text())
        self.assertIn("could not restore file", log.read_text())
        self.assertTrue((folder / "recovery.signal").exists())
        os.rename(self.home / "aside", self.repo)
        server = self.recover(folder)
        self.assertEqual(server.sql("postgres", PSQL_SUMS), sums)

    def test_segments_that_a_receiver_takes_too_are_stored_once(self):
        self.server.bench("-i", "-q", "-s", "2")
        self.archive("--flush-interval", "1s")
        receiver = self.receive("--flush-interval", "1s")
        load = self.server.load(8)
        for _ in range(8):
            time.sleep(0.7)
            last = self.switch()
        load.wait()
        last = self.switch()
        self.wait_for_archive(last)
        upto = self.server.flushed()
        wait_until(lambda: not self.pushed(), "the receiver to take all")
        self.finish(receiver)
        self.assert_stored(upto)
        self.assertEqual({code for code, _ in self.calls("wal-push")}, {OK})
        # Without it, the next calls go on where it was, with the same stream.
        last = self.switch()
        self.wait_for_archive(last)
        self.cairn("pg", "wal-push", "--flush")
        self.assertEqual(self.pushed(), [])
        self.assert_stored(upto)
        self.assertEqual(len(self.wal_snapshots()), 1)
        # And it goes on where they were.
        receiver = self.receive()
        self.server.bench("-n", "-t", "300")
        upto = self.server.flushed()
        self.finish(receiver)
        self.assert_stored(upto)
        self.assertEqual(len(self.wal_snapshots()), 1)
        self.cairn("check", "--level", "data")

    def test_a_receiver_gets_what_was_not_pushed_while_it_was_away(self):
        self.fill(1)
        receiver = self.receive()
        self.server.bench("-i", "-q")
        self.finish(receiver)
        self.fill(3)  # kept for the slot, and nowhere else
        for name in self.fill(2):
            self.push(name)
        self.cairn("pg", "wal-push", "--flush")
        self.assertEqual(len(self.wal_snapshots()), 2)
        receiver = self.receive("--flush-interval", "1s")
        self.server.bench("-n", "-t", "100")
        upto = self.server.flushed()
        self.finish(receiver)
        self.assert_stored(upto)
        # What was pushed is a part of it now, and it goes on from its own end.
        self.assertEqual(len([p for p in self.spool().glob("0*-*")]), 1)
        receiver = self.receive()
        started, = self.said(receiver, "wal_receiving")
        self.assertGreaterEqual(lsn(started["lsn"]), upto)
        self.finish(receiver)
        self.cairn("check", "--level", "data")

    def test_calls_that_are_killed_lose_nothing(self):
        self.server.bench("-i", "-q")
        self.archive("--flush-interval", "0s")
        (self.home / "kill").write_text("10")
        for delay in ("0.01", "0.02", "0.05", "0.08", "0.12", "0.2", "0.3"):
            self.server.bench("-n", "-t", "50")
            (self.home / "kill").write_text(delay)
            last = self.switch()
            before = len(self.calls())
            wait_until(lambda: len(self.calls()) > before, "a call")
        (self.home / "kill").unlink()
        self.wait_for_archive(last)
        self.assertIn(137, {code for code, _ in self.calls()})
        self.cairn("pg", "wal-push", "--flush")
        self.assertEqual(self.pushed(), [])
        streams = self.assert_stored(0)
        stored = max(start + len(data) for start, data in streams.items())
        name = f"{1:08X}{(stored - SEGMENT) >> 32:08X}" \
               f"{((stored - SEGMENT) & 0xffffffff) // SEGMENT:08X}"
        self.assertEqual(name, last)
        self.cairn("check", "--level", "data")

    def test_while_the_repository_is_away_wal_waits_up_to_a_limit(self):
        self.fill(1)
        names = self.fill(4)
        self.push(names[0])
        aside = self.home / "aside"
        os.rename(self.repo, aside)
        for name in names[1:3]:
            ran = self.push(name)
            self.assertIn("waits in the spool", ran.err)
        full = self.cairn("pg", "wal-push", "--max-spool", "20MiB",
                          f"pg_wal/{names[3]}", cwd=self.data, code=NO_SPACE)
        self.assertIn("--max-spool", full.err)
        self.cairn("pg", "wal-push", "--flush", code=NO_REPOSITORY)
        os.rename(aside, self.repo)
        self.push(names[3])
        self.cairn("pg", "wal-push", "--flush")
        self.assertEqual(self.pushed(), [])
        self.assert_stored(0)
        for name in names:
            self.assertEqual(self.fetch(name)[0], self.original(name))

    def test_wal_that_cannot_be_stored_waits_up_to_a_limit(self):
        """Also what a call took out of the queue, and then could not store."""
        self.fill(1)
        names = self.fill(4)
        self.push(names[0])
        kept = [p for p in self.repo.iterdir() if p.name == "packs"]
        subprocess.run(["chmod", "-R", "a-w", *kept], check=True)
        words = ["pg", "wal-push", "--max-spool", "40MiB", "--flush-interval",
                 "0s"]

        def push(name, code=OK):
            (self.spool() / "last-flush").unlink(missing_ok=True)
            return self.cairn(*words, f"pg_wal/{name}", cwd=self.data,
                              code=code)
        for name in names[1:3]:
            self.assertIn("until it can be stored", push(name).err)
        self.assertEqual(self.pushed(), [])
        self.assertIn("--max-spool", push(names[3], code=NO_SPACE).err)
        subprocess.run(["chmod", "-R", "u+w", *kept], check=True)
        push(names[3])
        self.assert_stored(0)
        for name in names:
            self.assertEqual(self.fetch(name)[0], self.original(name))

    @needs_root
    def test_full_disks_lose_nothing(self):
        """That of the repository first, then that of the spool."""
        def mount(name, size):
            place = self.home / name
            place.mkdir()
            harness_owner(place, self.home)
            subprocess.run(["mount", "-t", "tmpfs", "-o",
                            f"size={size},uid={place.stat().st_uid},"
                            f"gid={place.stat().st_gid},mode=700", "tmpfs",
                            place], check=True)
            self.addCleanup(unmounted, place)
            return place

        names = self.fill(4)
        place = mount("small", "24m")
        self.env.update({"CAIRN_REPO": str(place / "repo"),
                         "CAIRN_KEY_FILE": str(self.home / "small.key")})
        self.cairn("init", "--recovery-key-out", self.home / "small.key")
        ballast = place / "ballast"
        ballast.write_bytes(bytes(21 * MIB))
        with open(self.data / "pg_wal" / names[0], "r+b") as segment:
            segment.seek(8192)  # what does not compress
            segment.write(os.urandom(SEGMENT - 8192))
        ran = self.push(names[0])
        self.assertIn("until it can be stored", ran.err)
        self.push(names[1])
        self.cairn("pg", "wal-push", "--flush", code=NO_SPACE)
        subprocess.run(["mount", "-o", "remount,size=200m", place], check=True)
        self.cairn("pg", "wal-push", "--flush")
        self.assertEqual(self.pushed(), [])

        state = mount("state-of-24m", "24m")
        env = {"XDG_STATE_HOME": state}
        words = ["pg", "wal-push", "--series", "other", "--flush-interval",
                 "10h"]
        self.cairn(*words, f"pg_wal/{names[1]}", cwd=self.data, env=env)
        (state / "ballast").write_bytes(bytes(9 * MIB))
        self.cairn(*words, f"pg_wal/{names[2]}", cwd=self.data, env=env,
                   code=NO_SPACE)
        self.assertEqual(
            [p.name for p in state.glob("cairn/*/wal-*/*/pushed/*")], [])
        subprocess.run(["mount", "-o", "remount,size=200m", state], check=True)
        self.cairn(*words, f"pg_wal/{names[2]}", cwd=self.data, env=env)
        self.cairn("pg", "wal-push", "--series", "other", "--flush", env=env)
        for name in names[1:3]:
            data, _ = self.fetch(name, words=("--series", "other"))
            self.assertEqual(data, self.original(name))
        self.cairn("check", "--level", "data")

    def test_other_bytes_by_a_known_name_are_refused(self):
        name, other = self.fill(2)
        place = self.data / "pg_wal" / name
        good = place.read_bytes()

        def try_another():
            flip(place, SEGMENT // 2)
            ran = self.push(name, code=REFUSED)
            self.assertIn("nothing overwritten", ran.err)
            place.write_bytes(good)
            self.assertEqual(self.push(name).lines[0]["outcome"],
                             "was_there")
        self.assertEqual(self.push(name).lines[0]["outcome"], "added")
        try_another()
        self.push(other)
        self.cairn("pg", "wal-push", "--flush")
        try_another()
        # Of a host that has lost what it knew.
        shutil.rmtree(self.state)
        try_another()
        self.assertEqual(self.fetch(name)[0], good)
        self.assertEqual(len(self.wal_snapshots()), 1)

    def test_calls_at_once_take_a_segment_once(self):
        names = self.fill(3)
        running = [self.start("--json", "pg", "wal-push",
                              str(self.data / "pg_wal" / name))
                   for name in names for _ in range(3)]
        for process in running:
            self.end(process)
        self.cairn("pg", "wal-push", "--flush")
        self.assertEqual(self.pushed(), [])
        for name in names:
            self.assertEqual(self.fetch(name)[0], self.original(name))
        self.assert_sound()

    def test_wal_is_kept_exactly_as_long_as_a_base_needs_it(self):
        self.archive("--flush-interval", "0s")
        self.fill(2)
        first = self.base()
        of_first = self.fill(4)
        second = self.base()
        of_second = self.fill(3)
        self.wait_for_archive(of_second[-1])

        def begin():
            return min(start for _, start in self.streams())
        self.assertLessEqual(begin(), lsn(first["start_lsn"]))
        self.cairn("forget", first["snapshot_id"])
        self.assertLessEqual(begin(), lsn(first["start_lsn"]))
        last, = self.fill(1)
        sums = self.server.sql("postgres", "select count(*), max(x) from t")
        self.wait_for_archive(last)
        needed = lsn(second["start_lsn"])
        self.assertEqual(begin(), needed // SEGMENT * SEGMENT)
        self.fetch(of_first[0], FAILED)
        self.assert_stored(0)
        self.cairn("prune", "--max-unused", "0%")
        self.server.down()
        server = self.recover(self.restored())
        self.assertEqual(
            server.sql("postgres", "select count(*), max(x) from t"), sums)

    def test_a_clock_that_went_wrong_delays_nothing(self):
        names = self.fill(7)
        self.push(names[0])  # the first call stores what it took
        self.assertEqual(self.pushed(), [])
        self.push(names[1])
        self.assertEqual(self.pushed(), [names[1]])
        last, = self.state.glob("cairn/*/wal-*/*/last-flush")
        for name, wrong in zip(names[2:], (
                "99999999999 stored", "99999999999 failed", "nonsense", "",
                "-5 stored")):
            last.write_text(wrong + "\n")
            self.push(name)
            self.assertEqual(self.pushed(), [], wrong)

    def test_words_that_make_no_sense(self):
        self.cairn("pg", "wal-push", code=USAGE)
        self.cairn("pg", "wal-push", "--flush", "pg_wal/x", code=USAGE)
        self.cairn("pg", "wal-push", "a", "b", code=USAGE)
        bad = self.push("archive_status", code=REFUSED)
        self.assertIn("no name of a file that a server archives", bad.err)
        self.push("0000000100000000000000FF", code=FAILED)
        name, = self.fill(1)
        short = self.data / "pg_wal" / name
        good = short.read_bytes()
        short.write_bytes(good[:-1])
        self.assertIn("bytes", self.push(name, code=REFUSED).err)
        short.write_bytes(good)
        self.assertEqual(list(self.state.glob("cairn/*/wal-*/*/pushed/*")), [])

    def test_a_receiver_waits_for_a_call_that_stores(self):
        names = self.fill(2)
        self.push(names[0])
        lock, = self.state.glob("cairn/*/wal-*/*/lock")
        with open(lock, "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            receiver = self.start("--json", "pg", "wal-receive", "--dsn",
                                  self.server.dsn())
            time.sleep(1.5)
            self.assertIsNone(receiver.poll())
        self.watch(receiver)
        self.finish(receiver)
        self.assert_stored(0)

    def test_a_flush_waits_for_a_receiver_and_says_so(self):
        receiver = self.receive()
        ran = self.cairn("pg", "wal-push", "--flush", code=LOCKED)
        self.assertIn("SIGUSR1", ran.err)
        self.finish(receiver)


@needs_postgres
class Fetch(ArchiveCase):
    def test_what_may_be_in_a_spool_is_not_told_to_be_absent(self):
        """A spool of another user's, say: who must not look cannot tell."""
        self.fill(1)
        names = self.fill(2)
        self.push(names[0])
        self.push(names[1])
        self.assertEqual(self.pushed(), names[1:])
        for folder in self.spool() / "pushed", self.spool(), self.state:
            folder.chmod(0)
            for name in names[1], "00000002.history":
                ran = self.fetch(name, code=CANNOT_TELL)
                self.assertIn("Permission denied", ran.err)
            folder.chmod(0o700)
        self.assertEqual(self.fetch(names[1])[0], self.original(names[1]))
        self.fetch("00000002.history", code=FAILED)

    def test_each_answer_is_certain(self):
        names = self.fill(3)
        for name in names[:2]:
            self.push(name)
        self.cairn("pg", "wal-push", "--flush")
        self.assertEqual(self.fetch(names[0])[0], self.original(names[0]))
        self.fetch(names[2], FAILED)
        self.fetch("00000002.history", FAILED)
        # Not stored yet, but here.
        self.push(names[2])
        self.assertEqual(self.fetch(names[2])[0], self.original(names[2]))

        def cannot_tell(*words, name=names[1], env=None, cwd=None):
            return self.fetch(name, CANNOT_TELL, words=words, env=env,
                              cwd=cwd or self.data)
        shutil.rmtree(self.cache)
        cannot_tell("--series", "another")
        cannot_tell("--system", "12345")
        cannot_tell("--no-such-flag")
        cannot_tell(name="pg_wal")
        cannot_tell(name=names[1] + ".partial")
        cannot_tell(env={"CAIRN_REPO": self.home / "nothing"})
        cannot_tell(env={"CAIRN_REPO": None})
        cannot_tell(env={"CAIRN_KEY_FILE": self.home / "nothing"})
        self.cairn("pg", "wal-fetch", names[1], code=CANNOT_TELL)
        self.cairn("pg", "wal-fetch", names[1], self.home / "no/such/folder",
                   cwd=self.data, code=CANNOT_TELL)
        self.cairn("pg", "--json", "wal-fetch", code=CANNOT_TELL)
        self.cairn("pg", "-r", self.home / "nothing", "wal-fetch", names[1],
                   self.home / "target", cwd=self.data, code=CANNOT_TELL)
        # By hand, elsewhere, there is but one cluster that may be meant.
        self.assertEqual(self.fetch(names[0], cwd=self.home)[0],
                         self.original(names[0]))

    def test_damage_makes_absence_uncertain(self):
        names = self.fill(2)
        self.push(names[0])
        self.cairn("pg", "wal-push", "--flush")
        key = self.home / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", key)
        self.fetch(names[1], CANNOT_TELL, env={"CAIRN_KEY_FILE": key})
        self.back_up_bytes(b"x" * 10000, "other")
        self.fetch(names[1], FAILED)
        for path in self.paths_of("snapshots"):
            good = path.read_bytes()
            flip(path, len(good) // 2)
            ran = self.fetch(names[1], CANNOT_TELL)
            path.write_bytes(good)
            self.assertTrue(ran.err)
        shutil.rmtree(self.cache)
        packs = self.paths_of("packs")
        for path in packs:
            good = path.read_bytes()
            path.write_bytes(good[:len(good) // 2])
        self.fetch(names[0], CANNOT_TELL)

    def test_a_repository_that_shows_less_is_no_answer(self):
        names = self.fill(2)
        self.push(names[0])
        self.cairn("pg", "wal-push", "--flush")
        older = self.home / "older"
        shutil.copytree(self.repo, older)
        self.push(names[1])
        self.cairn("pg", "wal-push", "--flush")
        self.fetch(names[1])
        shutil.rmtree(self.repo)
        os.rename(older, self.repo)
        for path in [self.repo, *self.repo.rglob("*")]:
            harness_owner(path, self.home)
        shutil.rmtree(self.cache)
        self.fetch(names[1], CANNOT_TELL)

    def test_half_of_a_segment_from_a_repository_that_shows_less_is_none(self):
        """To a server the zeros behind it would be the end of WAL."""
        receiver = self.receive()
        self.server.sql("postgres", "create table t as select 1")
        name = self.server.sql("postgres", "select pg_walfile_name("
                               "pg_current_wal_flush_lsn())")
        self.finish(receiver)
        data, _ = self.fetch(name)
        self.assertNotEqual(data, bytes(SEGMENT))
        older = self.home / "older"
        shutil.copytree(self.repo, older)
        receiver = self.receive()
        self.server.sql("postgres", "create table u as select 1")
        self.switch()
        self.server.sql("postgres", "create table v as select 1")
        self.finish(receiver)
        shutil.rmtree(self.cache)
        self.assertEqual(self.fetch(name)[0], self.original(name))
        shutil.rmtree(self.repo)
        os.rename(older, self.repo)
        for path in [self.repo, *self.repo.rglob("*")]:
            harness_owner(path, self.home)
        shutil.rmtree(self.cache)
        ran = self.fetch(name, CANNOT_TELL)
        self.assertIn("shows less", ran.err)

    def test_a_target_is_whole_or_not_there_whenever_a_call_is_killed(self):
        names = self.fill(4)
        for name in names:
            self.push(name)
        self.cairn("pg", "wal-push", "--flush")
        target = self.home / "target"
        wholes = 0
        for round_ in range(40):
            name = names[round_ % 4]
            delay = 0.005 + 0.004 * round_
            subprocess.run(
                [*self.server.prefix, "timeout", "-s", "KILL", f"{delay:.3f}",
                 str(self.program), "pg", "wal-fetch", name, str(target)],
                env=self.environment(), cwd=self.data, check=False,
                capture_output=True)
            if target.exists():
                wholes += 1
                self.assertEqual(target.read_bytes(), self.original(name))
                target.unlink()
        self.assertGreater(wholes, 0)
        self.assertLess(wholes, 40)
        self.assertEqual([p.name for p in self.home.glob("target*")], [])
        for name in names:
            self.assertEqual(self.fetch(name)[0], self.original(name))

    def test_what_was_fetched_ahead_needs_no_repository_and_is_verified(self):
        names = self.fill(6)
        for name in names:
            self.push(name)
        self.cairn("pg", "wal-push", "--flush")
        self.fetch(names[0], words=("--ahead", "40MiB"))
        ahead = wait_until(lambda: self.ahead()[1:] and self.ahead(),
                           "what is fetched behind the call")
        self.assertEqual([p.name for p in ahead], names[1:3])
        aside = self.home / "aside"
        os.rename(self.repo, aside)
        data, ran = self.fetch(names[1])
        self.assertEqual(data, self.original(names[1]))
        self.assertIn("from ahead", ran.err)
        flip(ahead[1], 12345)
        self.fetch(names[2], CANNOT_TELL)
        os.rename(aside, self.repo)
        data, ran = self.fetch(names[2], words=("--ahead", "0"))
        self.assertEqual(data, self.original(names[2]))
        self.assertIn("from repository", ran.err)
        self.assertFalse(ahead[1].exists())

    def test_the_open_segment_of_a_receiver_comes_with_zeros_behind(self):
        receiver = self.receive()
        self.server.bench("-i", "-q")
        self.finish(receiver)
        streams = self.streams()
        (_, start), stored = max(streams.items())
        at = len(stored) // SEGMENT * SEGMENT
        name = f"{1:08X}{(start + at) >> 32:08X}" \
               f"{((start + at) & 0xffffffff) // SEGMENT:08X}"
        data, _ = self.fetch(name)
        self.assertEqual(data, stored[at:].ljust(SEGMENT, b"\0"))


def harness_owner(path, like):
    status = os.stat(like)
    os.chown(path, status.st_uid, status.st_gid)


if __name__ == "__main__":
    harness.main()
