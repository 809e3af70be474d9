"""WAL of real servers, received while they work, break and are promoted: what
lies in the repository is byte for byte what lay in pg_wal."""

import os
import shutil
import signal
import struct
import subprocess
import time
import unittest

from harness import (LOCKED, MIB, REFUSED, SOURCE_FAILED, USAGE,
                     bytes_below, flip, needs_root, unmounted, wait_until)
from servers import needs_postgres
from wal_case import (SEGMENT, Proxy, WalCase, WalStandby, keep_owner,
                      keep_owner_of_tree, lsn)


@needs_postgres
class Wal(WalCase):
    def test_what_a_working_server_writes_is_stored_byte_for_byte(self):
        receiver = self.receive()
        self.server.bench("-i", "-q", "-s", "5")
        self.server.bench("-n", "-c", "2", "-T", "3")
        upto = self.server.flushed()
        self.finish(receiver)
        streams = self.assert_stored(upto)
        self.assertEqual(len(self.wal_snapshots()), 1)
        self.cairn("check", "--level", "data")
        # A program of PostgreSQL reads it, too.
        (start, stored), = streams.items()
        segment = self.server.folder / f"00000001{0:08X}{start // SEGMENT:08X}"
        segment.write_bytes(stored[:SEGMENT].ljust(SEGMENT, b"\0"))
        dump = self.server.run(self.server.program("pg_waldump"), "-q",
                               str(segment))
        self.assertEqual(dump, b"")
        self.assertEqual(self.server.slots().split("|")[1], "f")

    def test_a_flush_costs_what_is_new(self):
        receiver = self.receive("--flush-interval", "1h")
        self.server.bench("-i", "-q", "-s", "5")
        self.server.sql("postgres", "checkpoint")
        upto = self.server.flushed()
        while lsn(self.flush(receiver)["end"]) < upto:
            time.sleep(0.1)
        self.assertGreater(bytes_below(self.repo), 2 * MIB)
        for _ in range(5):
            self.server.sql("postgres", "select pg_switch_wal();"
                            "create table if not exists t (i int);"
                            "insert into t select generate_series(1, 1000)")
            before = bytes_below(self.repo)
            flush = self.flush(receiver)
            # Mostly a tail of zeros.
            self.assertLess(flush["bytes_stored"], MIB)
            self.assertLess(bytes_below(self.repo) - before, MIB)
            self.assertEqual(len(self.wal_snapshots()), 1)
        self.finish(receiver)
        self.assert_stored(self.server.flushed())

    def test_what_a_killed_server_wrote_a_second_ago_is_stored(self):
        receiver = self.receive()
        self.server.bench("-i", "-q")
        load = self.server.load(20)
        time.sleep(2)
        written = self.server.flushed()
        time.sleep(1)
        self.server.down(signal.SIGKILL)
        load.wait(30)
        self.finish(receiver)
        self.assert_stored(written)

    def test_a_receiver_goes_on_when_its_server_comes_back(self):
        receiver = self.receive()
        self.server.bench("-i", "-q")
        for how in (signal.SIGINT, signal.SIGKILL):
            self.server.down(how)
            time.sleep(0.5)
            self.assertIsNone(receiver.poll())
            self.server.up()
            before = len(self.said(receiver, "wal_receiving"))
            self.server.bench("-n", "-t", "500")
            wait_until(
                lambda: len(self.said(receiver, "wal_receiving")) > before or
                "|t" in self.server.slots(), "the receiver to come back")
        upto = self.server.flushed()
        self.finish(receiver)
        self.assert_stored(upto)
        self.assertEqual(len(self.wal_snapshots()), 1)

    def test_a_receiver_that_is_killed_leaves_no_hole(self):
        self.server.bench("-i", "-q", "-s", "2")
        load = self.server.load(30)
        for seconds in (0.05, 0.3, 0.9, 1.05, 1.2, 1.6):
            receiver = self.receive("--flush-interval", "1s")
            time.sleep(seconds)
            self.finish(receiver, -signal.SIGKILL, signal.SIGKILL)
        load.kill()
        load.wait()
        receiver = self.receive()
        upto = self.server.flushed()
        self.finish(receiver)
        self.assert_stored(upto)
        self.assertEqual(len(self.wal_snapshots()), 1)
        self.cairn("check", "--level", "data")

    def test_what_a_killed_receiver_spooled_is_stored_without_the_server(self):
        receiver = self.receive("--flush-interval", "1h")
        self.server.bench("-i", "-q")
        upto = self.server.flushed()
        time.sleep(1.5)
        self.finish(receiver, -signal.SIGKILL, signal.SIGKILL)
        self.assertEqual(self.wal_snapshots(), [])
        self.server.down()
        self.cairn("pg", "wal-receive", "--dsn", self.server.dsn(),
                   code=SOURCE_FAILED)
        self.assert_stored(upto)

    def test_nothing_is_acknowledged_that_is_not_synced(self):
        receiver = self.receive("--flush-interval", "1h")
        self.server.bench("-i", "-q")
        load = self.server.load(6)
        acknowledged = set()
        for _ in range(12):
            time.sleep(0.23)
            receiver.send_signal(signal.SIGSTOP)
            time.sleep(0.05)  # what it sent before arrives
            flushed = lsn(self.server.sql(
                "postgres", "select flush_lsn from pg_stat_replication"))
            path, = self.spool().glob("*/durable")
            record = path.read_bytes()
            synced = max(struct.unpack_from("<QQ", record, at)
                         for at in (0, 4096) if len(record) > at)[1]
            receiver.send_signal(signal.SIGCONT)
            self.assertLessEqual(flushed, synced)
            acknowledged.add(flushed)
        load.wait()
        self.assertGreater(len(acknowledged), 3)
        self.finish(receiver)

    def test_a_host_that_lost_its_spool_goes_on_from_the_repository(self):
        receiver = self.receive()
        self.server.bench("-i", "-q")
        self.finish(receiver)
        shutil.rmtree(self.state)
        self.server.bench("-n", "-t", "500")
        receiver = self.receive()
        upto = self.server.flushed()
        self.finish(receiver)
        self.assertEqual(len(self.assert_stored(upto)), 1)
        self.assertEqual(len(self.wal_snapshots()), 1)

    def test_a_promotion_is_followed(self):
        standby = WalStandby(self.server)
        self.addCleanup(standby.stop)
        receiver = self.receive(server=standby)
        self.server.bench("-i", "-q")
        wait_until(lambda: lsn(standby.sql(
            "postgres", "select pg_last_wal_receive_lsn()")) >=
            self.server.flushed(), "the standby to follow")
        self.server.down()
        standby.sql("postgres", "select pg_promote()")
        standby.bench("-n", "-t", "500")
        upto = standby.flushed()
        wait_until(lambda: [x for x in self.said(receiver, "wal_receiving")
                            if x["timeline"] == 2], "the new timeline")
        self.finish(receiver)
        self.assert_stored(upto, timeline=2, server=standby)
        self.assert_stored(0, timeline=1, server=self.server)
        self.assertEqual(len(self.wal_snapshots()), 2)
        target = self.folder / "histories"
        newest = max(self.wal_snapshots(), key=lambda one: one["time"])
        self.cairn("restore", newest["id"], "--to", target)
        history, = target.glob("wal/*/00000002.history")
        self.assertEqual(
            history.read_bytes(),
            (standby.folder / "data/pg_wal/00000002.history").read_bytes())

    def test_a_slot_that_was_dropped_is_made_anew_and_a_gap_is_told(self):
        receiver = self.receive("--slot", "ours")
        self.server.bench("-i", "-q")
        self.finish(receiver)
        self.server.sql("postgres", "select pg_drop_replication_slot('ours')")
        # The server has all of it still.
        self.server.bench("-n", "-t", "100")
        receiver = self.receive("--slot", "ours")
        upto = self.server.flushed()
        self.assertIn("a new one was made", self.finish(receiver))
        self.assertEqual(len(self.assert_stored(upto)), 1)

        self.server.sql("postgres", "select pg_drop_replication_slot('ours')")
        self.server.sql("postgres", "alter system set wal_keep_size = 0;"
                        "alter system set max_wal_size = '32MB'")
        self.server.sql("postgres", "alter system set min_wal_size = '32MB'")
        self.server.down()
        self.server.options = [x for x in self.server.options
                               if "wal" not in x and x != "-c"]
        self.server.options = [y for x in self.server.options
                               for y in ("-c", x)]
        self.server.up()
        for _ in range(6):
            self.server.sql("postgres", "insert into pgbench_history select "
                            "1, 1, 1, 1, now() from generate_series(1, 1000);"
                            "select pg_switch_wal(); checkpoint")
        receiver = self.receive("--slot", "ours")
        wait_until(lambda: self.said(receiver, "wal_gap"), "a gap")
        gap, = self.said(receiver, "wal_gap")
        self.assertGreaterEqual(lsn(gap["from"]), upto)
        upto = self.server.flushed()
        said = self.finish(receiver)
        self.assertIn("base backup", said)
        streams = [key for key in self.streams() if key[0] == 1]
        self.assertEqual(len(streams), 2)
        self.assertEqual(max(streams)[1], lsn(gap["to"]))

    def test_a_second_receiver_is_refused(self):
        receiver = self.receive("--slot", "ours")
        words = ["pg", "wal-receive", "--dsn", self.server.dsn(), "--slot",
                 "ours"]
        same_host = self.cairn(*words, code=LOCKED)
        self.assertIn("on this host", same_host.err)
        elsewhere = self.cairn(
            *words, code=LOCKED,
            env={"XDG_STATE_HOME": self.folder / "other-state"})
        self.assertIn("--slot", elsewhere.err)
        self.finish(receiver)

    def test_other_bytes_for_stored_wal_are_refused(self):
        receiver = self.receive()
        self.server.bench("-i", "-q")
        self.finish(receiver)
        segments = sorted(self.spool().glob("*/0000000100*"))
        flip(segments[-1], 100)
        upto = self.server.flushed()
        refused = self.cairn("pg", "wal-receive", "--dsn", self.server.dsn(),
                             code=REFUSED)
        self.assertIn("other WAL at", refused.err)
        self.assert_stored(0)

    def test_a_server_that_was_set_back_is_refused(self):
        self.server.bench("-i", "-q")
        self.server.down()
        shutil.copytree(self.server.folder / "data",
                        self.server.folder / "old", copy_function=keep_owner)
        keep_owner_of_tree(self.server.folder / "old")
        self.server.up()
        receiver = self.receive()
        self.server.bench("-n", "-t", "500")
        self.finish(receiver)
        self.server.down()
        self.server.up("old")
        refused = self.cairn("pg", "wal-receive", "--dsn", self.server.dsn(),
                             code=REFUSED)
        self.assertIn("set back", refused.err)

    @needs_root
    def test_a_full_repository_costs_nothing(self):
        small = self.folder / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs",
                        small], check=True)
        self.addCleanup(unmounted, small)
        env = {"CAIRN_REPO": small / "repo",
               "CAIRN_KEY_FILE": self.folder / "small.key"}
        self.cairn("init", "--recovery-key-out", self.folder / "small.key",
                   env=env)
        (small / "ballast").write_bytes(os.urandom(18 * MIB))
        receiver = self.receive("--flush-interval", "1s", env=env)
        self.server.sql("postgres", "create table noise as select "
                        "sha512(i::text::bytea) || sha512((-i)::text::bytea) "
                        "from generate_series(1, 150000) i")
        wait_until(lambda: "until it can be stored" in "".join(receiver.errors),
                   "word of the full disk")
        self.assertIn("|t", self.server.slots())
        upto = self.server.flushed()
        subprocess.run(["mount", "-o", "remount,size=512m", small], check=True)
        wait_until(lambda: [x for x in self.said(receiver, "wal_flushed")
                            if lsn(x["end"]) >= upto], "the flush", 90)
        self.finish(receiver)
        self.env.update({k: str(v) for k, v in env.items()})
        self.assert_stored(upto)
        self.cairn("check")

    def test_a_full_spool_leaves_wal_to_the_server(self):
        aside = self.folder / "aside"
        receiver = self.receive("--flush-interval", "1s", "--max-spool",
                                "20MiB")
        os.rename(self.repo, aside)
        self.server.bench("-i", "-q", "-s", "8")
        wait_until(lambda: "the spool is full" in "".join(receiver.errors),
                   "a full spool")
        self.assertLess(bytes_below(self.spool()), 60 * MIB)
        self.server.down()  # it does not wait for us
        self.server.up()
        os.rename(aside, self.repo)
        upto = self.server.flushed()
        wait_until(lambda: [x for x in self.said(receiver, "wal_flushed")
                            if lsn(x["end"]) >= upto], "the flush", 100)
        self.finish(receiver)
        self.assert_stored(upto)

    def test_a_prune_beside_takes_nothing_away(self):
        receiver = self.receive("--flush-interval", "1s")
        self.server.bench("-i", "-q", "-s", "2")
        load = self.server.load(8)
        for _ in range(4):
            time.sleep(1)
            self.cairn("prune", "--max-unused", "0%", "--wait", "30s")
        load.wait()
        upto = self.server.flushed()
        self.finish(receiver)
        self.assert_stored(upto)
        self.assertEqual(len(self.wal_snapshots()), 1)
        self.cairn("prune", "--max-unused", "0%")
        self.assert_stored(upto)
        self.cairn("check", "--level", "data")

    def test_a_write_key_leaves_what_an_owner_forgets(self):
        key = self.folder / "write.key"
        self.cairn("key", "add", "--role", "write", "--key-file-out", key)
        receiver = self.receive("--flush-interval", "1h",
                                env={"CAIRN_KEY_FILE": key})
        for _ in range(3):
            self.server.bench("-i", "-q")
            self.flush(receiver)
        upto = self.server.flushed()
        self.finish(receiver)
        self.assertGreaterEqual(len(self.wal_snapshots()), 3)
        self.back_up_bytes(b"state", "state")
        said = self.cairn("forget", "--keep-last", "1", "--json").value
        kept = [x for x in said if x["keep"] and x["series"].endswith("/wal")]
        self.assertEqual([x["reasons"] for x in kept],
                         [["WAL, which rules pass over"]])
        self.assertEqual(len(self.wal_snapshots()), 1)
        self.cairn("prune")
        self.assert_stored(upto)
        # And it goes on from the one that is left.
        receiver = self.receive(env={"CAIRN_KEY_FILE": key})
        self.server.bench("-n", "-t", "200")
        self.finish(receiver)
        self.assertEqual(len(self.assert_stored(self.server.flushed())), 1)

    def test_refusals_say_what_to_do(self):
        dsn = self.server.dsn()
        bad = self.cairn("pg", "wal-receive", "--dsn", dsn, "--slot", "Äh",
                         code=USAGE)
        self.assertIn("--slot", bad.err)
        nobody = self.cairn("pg", "wal-receive", "--dsn",
                            dsn + " dbname=postgres user=nobody_here",
                            code=SOURCE_FAILED)
        self.assertIn("nobody_here", nobody.err)
        self.server.sql("postgres", "create role plain login")
        plain = self.cairn("pg", "wal-receive", "--dsn",
                           dsn.replace("user=postgres", "user=plain"),
                           code=SOURCE_FAILED)
        self.assertIn("REPLICATION", plain.err)
        self.server.down()
        self.server.options = [*self.server.options, "-c", "wal_level=minimal",
                               "-c", "max_wal_senders=0"]
        self.server.up()
        minimal = self.cairn("pg", "wal-receive", "--dsn", dsn,
                             code=SOURCE_FAILED)
        self.assertIn("wal_level = replica", minimal.err)
        self.server.down()
        self.server.options = [*self.server.options, "-c", "wal_level=replica",
                               "-c", "max_wal_senders=1"]
        self.server.up()
        receiver = self.receive()
        used_up = self.cairn("pg", "wal-receive", "--dsn", dsn, "--series",
                             "other", code=SOURCE_FAILED)
        self.assertIn("raise max_wal_senders", used_up.err)
        self.finish(receiver)

    def test_a_connection_that_breaks_anywhere_leaves_no_hole(self):
        proxy = Proxy(self.server.folder / ".s.PGSQL.5432")
        self.addCleanup(proxy.stop)
        receiver = self.start("--json", "pg", "wal-receive", "--dsn",
                              f"host={proxy.folder} user=postgres",
                              "--flush-interval", "1s")
        self.watch(receiver)
        for broken_after in (1 * MIB + 123_457, 3 * MIB + 1, 7 * MIB + 77):
            proxy.break_after(broken_after)
            self.server.bench("-i", "-q")
            wait_until(lambda: proxy.is_broken, "the break")
        self.server.bench("-n", "-t", "300")
        upto = self.server.flushed()
        wait_until(lambda: [x for x in self.said(receiver, "wal_flushed")
                            if lsn(x["end"]) >= upto], "the rest")
        self.assertGreaterEqual(len(self.said(receiver, "wal_receiving")), 3)
        self.finish(receiver)
        self.assert_stored(upto)
        self.assertEqual(len(self.wal_snapshots()), 1)


if __name__ == "__main__":
    unittest.main()
