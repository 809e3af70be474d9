#!/usr/bin/python3
"""Streams come back byte for byte, and a producer that fails leaves nothing."""

import fcntl
import functools
import gzip
import io
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import termios
import time

import harness
from harness import (FAILED, MIB, SOURCE_FAILED, USAGE, noise, prose,
                     wait_until)
from servers import Postgres, Redis, needs_postgres, needs_redis


class Bytes(harness.Case):
    def test_any_stream_comes_back_byte_for_byte(self):
        streams = {
            "empty": b"", "one byte": b"\0", "text": prose(30000),
            "noise": noise(50 * MIB), "zeros": bytes(20 * MIB),
            "line ends": b"\r\n\r\n\n" * 1000, "folder/below": b"nested"}
        for name, data in streams.items():
            self.back_up_bytes(data, name)
        for name, data in streams.items():
            with self.subTest(name):
                self.assertTrue(self.cat(f"latest:{name}") == data)
                self.assertTrue(self.cat(f"latest:/{name}") == data)

    def test_a_stream_restores_as_a_file(self):
        self.back_up_bytes(b"content", "db/shop.sql")
        self.restore("latest:db/shop.sql", self.folder / "one")
        self.restore("latest", self.folder / "all")
        self.assertEqual((self.folder / "one/shop.sql").read_bytes(),
                         b"content")
        self.assertEqual((self.folder / "all/db/shop.sql").read_bytes(),
                         b"content")

    def test_the_same_stream_again_stores_next_to_nothing(self):
        data = noise(8 * MIB)
        self.back_up_bytes(data)
        again = self.backup("--stdin", "--as", "data", stdin=data)
        self.assertEqual((again["chunks_new"], again["new_bytes"]), (0, 0))
        self.assertLess(again["stored_bytes"], 100 * 1024)

    def test_scattered_changes_cost_little_more_than_themselves(self):
        rows = prose(120000).splitlines(keepends=True)
        first = self.backup("--stdin", "--as", "dump", stdin=b"".join(rows))
        for i in range(0, len(rows), 400):
            rows[i] = rows[i].replace(b"customer", b"CUSTOMER")

        changed = self.backup("--stdin", "--as", "dump", stdin=b"".join(rows))

        self.assertGreater(changed["differences"], 0)
        self.assertLess(changed["stored_bytes"], first["stored_bytes"] / 5)
        self.assertTrue(self.cat("latest:dump") == b"".join(rows))


    def test_compression_is_chosen_by_a_word(self):
        # Of one kind, and nothing of one is in another.
        stored = {}
        for seed, word in enumerate(("fast", "default", "max")):
            report = self.backup("--stdin", "--as", word,
                                 "--compression", word,
                                 stdin=prose(60000, seed))
            stored[word] = report["stored_bytes"]
        # Sizes are padded, so that small differences do not show.
        self.assertLessEqual(stored["max"], stored["default"])
        self.assertLess(stored["max"], stored["fast"])
        self.cairn("backup", "--stdin", "--as", "x", "--compression", "best",
                   stdin=b"x", code=USAGE)


def is_full(pipe):
    """Nearly: a write that ends within a page leaves the rest of it empty."""
    size = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    waiting = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(waiting, sys.byteorder) > size * 3 // 4


class Waiting(harness.Case):
    """Nobody reads what it writes, and it is told to end."""

    def assert_ends(self, *words):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.start(*words)
            wait_until(functools.partial(is_full, process.stdout),
                       "a full pipe")
            process.send_signal(number)
            self.assertEqual(process.wait(timeout=10), -number)
        self.assert_sound()

    def test_a_stream_ends_at_the_first_signal(self):
        self.back_up_bytes(noise(8 * MIB))
        self.assert_ends("cat", "latest:data")

    def test_so_does_a_list_of_differences(self):
        top = self.folder / "tree"
        top.mkdir()
        self.backup(top)
        for i in range(2500):
            (top / f"a rather long name of a file, number {i}").touch()
        self.backup(top)
        self.assert_ends("diff", "--json", "latest~1", "latest")


class Names(harness.Case):
    """How a state of a stream is named, and found again."""

    def setUp(self):
        super().setUp()
        self.ids = {}
        for i, name in enumerate(("a", "b", "a", "b", "a")):
            text = f"{name} {i}".encode()
            self.ids[i] = self.back_up_bytes(
                text, name, "--time", f"2026-03-0{i + 1}T12:00:00Z")

    def test_latest_with_a_name_is_the_newest_that_holds_it(self):
        self.assertEqual(self.cat("latest:a"), b"a 4")
        self.assertEqual(self.cat("latest:b"), b"b 3")
        self.cairn("cat", "latest:c", code=FAILED)

    def test_latest_with_a_count_goes_back_that_far(self):
        """Among those that hold the name."""
        self.assertEqual(self.cat("latest~1:b"), b"b 1")
        self.assertEqual(self.cat("latest~2:a"), b"a 0")
        self.assertEqual(self.cat("latest~0:a"), b"a 4")
        self.assertEqual(self.cat("latest~1:a"), b"a 2")
        self.cairn("cat", "latest~3:a", code=FAILED)
        self.cairn("cat", "latest~5:a", code=FAILED)

    def test_a_time_means_the_newest_at_or_before_it(self):
        for time_, expected in (("2026-03-03T12:00:00Z", b"a 2"),
                                ("2026-03-03T11:59:59Z", b"a 0"),
                                ("2026-03-03T13:30+01:30", b"a 2"),
                                ("2026-03-03T12:00", b"a 2"),
                                ("2027-01-01T00:00:00Z", b"a 4"),
                                ("2026-02-28T00:00:00Z", None)):
            with self.subTest(time_):
                if expected is None:
                    self.cairn("cat", f"@{time_}:a", code=FAILED)
                else:
                    self.assertEqual(self.cat(f"@{time_}:a"), expected)

    def test_a_time_without_zone_is_the_machine_s(self):
        ran = self.cairn("cat", "@2026-03-03T07:00:a",
                         env={"TZ": "America/New_York"})
        self.assertEqual(ran.out, b"a 2")

    def test_an_id_or_the_beginning_of_one_will_do(self):
        self.assertEqual(self.cat(f"{self.ids[2]}:a"), b"a 2")
        self.assertEqual(self.cat(f"{self.ids[1][:8]}:b"), b"b 1")
        self.assertEqual(self.cat(f"{self.ids[1][:8].upper()}:b"), b"b 1")

    def test_unknown_and_ambiguous_ids_are_told_with_what_there_is(self):
        ran = self.cairn("cat", "00000000:a", code=FAILED)
        self.assertIn(self.ids[4][:8], ran.err)
        for snap in ("later", "", "latest~x", "@yesterday", "latest^", "a"):
            with self.subTest(snap):
                self.cairn("cat", f"{snap}:a", code=FAILED)

    def test_series_follow_from_names_and_can_be_given(self):
        host = os.uname().nodename
        series = {s["series"] for s in self.snapshots()}
        self.assertEqual(series, {f"{host}/a", f"{host}/b"})
        self.back_up_bytes(b"x", "a", "--series", "mine")
        self.back_up_bytes(b"y", "a", "--series", "other/host")
        self.assertEqual([s["series"] for s in self.snapshots("--last", "2")],
                         [f"{host}/mine", "other/host"])
        self.assertEqual(len(self.snapshots("--series", "mine")), 1)
        self.assertEqual(len(self.snapshots("--series", "other/host")), 1)


class Producers(harness.Case):
    def produce(self, *command, code=harness.OK, name="out"):
        return self.cairn("--json", "backup", "--as", name, "--from-command",
                          "--", *command, code=code)

    def assert_left_nothing(self):
        self.assertEqual(self.snapshots(), [])
        self.assertEqual(self.objects("sessions"), [])
        self.assert_sound()

    def test_a_command_s_output_is_the_stream(self):
        self.produce("printf", r"%s-%s\n", "a b", "$HOME")
        self.assertEqual(self.cat("latest:out"), b"a b-$HOME\n")
        snapshot, = self.snapshots()
        self.assertEqual(snapshot["sources"][0]["kind"], "command")

    def test_a_producer_that_fails_leaves_no_snapshot(self):
        ran = self.produce("sh", "-c", "head -c 3000000 /dev/urandom; exit 3",
                           code=SOURCE_FAILED)
        self.assertIn("3", ran.err)
        self.assert_left_nothing()

    def test_a_producer_that_dies_leaves_no_snapshot(self):
        for name in ("KILL", "TERM", "PIPE"):
            with self.subTest(name):
                self.produce("sh", "-c", f"echo half; kill -{name} $$",
                             code=SOURCE_FAILED)
                self.assert_left_nothing()

    def test_a_producer_that_does_not_exist_leaves_no_snapshot(self):
        ran = self.produce("/nowhere/pg_dump", "shop", code=SOURCE_FAILED)
        self.assertIn("/nowhere/pg_dump", ran.err)
        self.produce("no-such-program", code=SOURCE_FAILED)
        self.produce("/etc/passwd", code=SOURCE_FAILED)
        self.assert_left_nothing()

    def test_a_producer_s_words_on_standard_error_are_seen(self):
        ran = self.produce("sh", "-c", "echo a warning >&2; echo data")
        self.assertIn("a warning", ran.err)
        self.assertEqual(self.cat("latest:out"), b"data\n")

    def test_a_producer_gets_no_standard_input_and_no_passphrase(self):
        self.produce("cat")
        self.assertEqual(self.cat("latest:out"), b"")
        self.produce("env")
        self.assertNotIn(b"CAIRN_PASSWORD=", self.cat("latest:out"))

    def test_a_producer_ends_with_the_backup_that_runs_it(self):
        for lives_on in ("sleep 600", "sleep 600 >&-"):
            with self.subTest(lives_on):
                mark = self.folder / "pid"
                mark.unlink(missing_ok=True)
                process = self.start(
                    "backup", "--as", "out", "--from-command", "--", "sh", "-c",
                    f"echo $$ > {mark}; echo data; exec {lives_on}")
                pid = int(wait_until(lambda: mark.exists() and mark.read_text(),
                                     "the producer"))
                time.sleep(0.2)

                process.send_signal(signal.SIGINT)

                self.end(process, code=harness.INTERRUPTED)
                wait_until(lambda: not os.path.exists(f"/proc/{pid}"),
                           "the producer's end", 10)
                self.assert_left_nothing()

    def is_running(self, pid):
        try:
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    def test_neither_a_producer_nor_what_it_started_outlives_the_backup(self):
        cases = ((signal.SIGTERM, "sleep 600 & echo $! > {}; wait"),
                 (signal.SIGKILL, "echo $$ > {}; exec sleep 600"))
        for number, script in cases:
            with self.subTest(script):
                mark = self.folder / "pid"
                mark.unlink(missing_ok=True)
                process = self.start(
                    "backup", "--as", "out", "--from-command", "--", "sh", "-c",
                    script.format(mark))
                pid = int(wait_until(lambda: mark.exists() and mark.read_text(),
                                     "the producer"))

                process.send_signal(number)
                process.wait(harness.TIMEOUT)

                wait_until(lambda: not self.is_running(pid), "its end", 10)

    def test_a_producer_s_end_is_seen_though_our_parent_ignores_such(self):
        ignoring = ("env", "--ignore-signal=CHLD")
        words = ("backup", "--as", "out", "--from-command", "--", "sh", "-c")
        self.cairn(*words, "echo data; exit 3", code=SOURCE_FAILED,
                   prefix=ignoring)
        self.assert_left_nothing()
        self.cairn(*words, "echo data", prefix=ignoring)
        self.assertEqual(self.cat("latest:out"), b"data\n")

    def test_contradictions_are_usage_errors(self):
        for words in (["--stdin"], ["--as", "x"], ["--from-command", "--as",
                      "x"], ["--stdin", "--as", "x", "path"], [],
                      ["--stdin", "--as", ""], ["--stdin", "--as", "a//b/.."],
                      ["--stdin", "--from-command", "--as", "x", "--", "true"],
                      ["--stdin", "--as", "x", "--exclude", "y"]):
            with self.subTest(words):
                self.cairn("backup", *words, code=USAGE)


def tree_as_tar(changed=()):
    """A tarball in the order and shape of tar(1)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for i in range(300):
            data = prose(200, seed=i + (1000 if i in changed else 0))
            info = tarfile.TarInfo(f"package/lib/module{i:03}.js")
            info.size, info.mtime = len(data), 1700000000 + i
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Tarballs(harness.Case):
    def test_tarballs_come_back_and_share_what_did_not_change(self):
        first, second = tree_as_tar(), tree_as_tar(changed={7, 150})
        one = self.backup("--stdin", "--as", "package.tar", stdin=first)
        two = self.backup("--stdin", "--as", "package.tar", stdin=second)
        self.assertLess(two["stored_bytes"], one["stored_bytes"] / 4)

        for what, data in (("latest~1", first), ("latest", second)):
            again = self.cat(f"{what}:package.tar")
            self.assertTrue(again == data)
            listed = subprocess.run(["tar", "-tf", "-"], input=again,
                                    capture_output=True, check=True)
            self.assertEqual(len(listed.stdout.splitlines()), 300)

    def test_a_compressed_tarball_passes_its_own_test(self):
        data = gzip.compress(tree_as_tar(), mtime=0)
        self.back_up_bytes(data, "package.tgz")
        subprocess.run(["gzip", "-t"], input=self.cat("latest:package.tgz"),
                       check=True)


@needs_postgres
class PostgresDumps(harness.Case):
    def setUp(self):
        super().setUp()
        self.server = Postgres()
        self.addCleanup(self.server.stop)
        self.server.sql("postgres", "CREATE DATABASE shop")
        self.server.sql("shop", """
            CREATE TABLE orders (id serial PRIMARY KEY, customer int,
                                 total numeric(8,2), note text);
            INSERT INTO orders (customer, total, note)
              SELECT i * 7919 % 10007, i % 90000 / 100.0, md5(i::text)
              FROM generate_series(1, 60000) i;
            CREATE TABLE blobs (id int, bytes bytea);
            INSERT INTO blobs SELECT i, decode(md5(i::text), 'hex')
              FROM generate_series(1, 500) i;""")

    def dump(self):
        return self.backup("--as", "shop.sql", "--from-command", "--",
                           self.server.program("pg_dump"),
                           *self.server.where("shop"))

    def contents(self, database):
        return self.server.sql(database, """
            SELECT count(*), sum(total), md5(string_agg(o::text, ',' ORDER BY
            id)) FROM orders o;
            SELECT count(*), md5(string_agg(b::text, ',' ORDER BY id))
            FROM blobs b;""")

    def load(self, what, database):
        self.server.sql("postgres", f"CREATE DATABASE {database}")
        self.server.run(self.server.client("psql"), *self.server.where(
            "-d", database, "-X", "-q", "-v", "ON_ERROR_STOP=1"),
            input=self.cat(what))

    def test_a_day_s_changes_cost_little_and_each_state_comes_back(self):
        first, before = self.dump(), self.contents("shop")
        self.server.sql("shop", """
            UPDATE orders SET total = total + 1 WHERE id % 300 = 0;
            DELETE FROM orders WHERE id % 1000 = 1;
            INSERT INTO orders (customer, total, note)
              SELECT i, 5, 'new' FROM generate_series(1, 300) i;""")
        second, after = self.dump(), self.contents("shop")
        self.assertNotEqual(before, after)

        self.load("latest:shop.sql", "loaded")
        self.load("latest~1:shop.sql", "yesterday")

        self.assertEqual(self.contents("loaded"), after)
        self.assertEqual(self.contents("yesterday"), before)
        self.assertLess(second["stored_bytes"], first["stored_bytes"] / 2)

    def test_a_database_that_is_not_there_leaves_no_snapshot(self):
        self.cairn("backup", "--as", "gone.sql", "--from-command", "--",
                   self.server.program("pg_dump"),
                   *self.server.where("gone"), code=SOURCE_FAILED)
        self.assertEqual(self.snapshots(), [])


@needs_redis
class RedisFiles(harness.Case):
    def setUp(self):
        super().setUp()
        self.server = Redis()
        self.addCleanup(self.server.stop)

    def check_rdb(self, data):
        path = self.folder / "dump.rdb"
        path.write_bytes(data)
        ran = subprocess.run(["redis-check-rdb", path], capture_output=True,
                             check=True)
        self.assertIn(b"RDB looks OK", ran.stdout)

    def test_each_state_of_an_rdb_file_comes_back_sound(self):
        self.server.fill("".join(
            f"SET key:{i} value-{i * 7919 % 10007}-{i}\n"
            f"HSET hash:{i % 500} field{i} {i}\n" for i in range(20000)))
        first = self.server.saved()
        self.back_up_bytes(first, "dump.rdb")
        self.server.fill("".join(f"SET key:{i} changed-{i}\n"
                                 for i in range(0, 20000, 500)))
        second = self.server.saved()
        self.back_up_bytes(second, "dump.rdb")

        for what, data in (("latest~1", first), ("latest", second)):
            again = self.cat(f"{what}:dump.rdb")
            self.assertTrue(again == data)
            self.check_rdb(again)

    def test_a_server_started_on_what_comes_back_has_the_keys(self):
        self.server.fill("SET greeting hello\nRPUSH list a b c\n")
        self.back_up_bytes(self.server.saved(), "dump.rdb")

        other = self.folder / "redis"
        self.restore("latest:dump.rdb", other)
        self.check_rdb((other / "dump.rdb").read_bytes())

        class Loaded(Redis):
            def start(self, *words, is_up):
                (self.folder / "dump.rdb").write_bytes(
                    (other / "dump.rdb").read_bytes())
                super().start(*words, is_up=is_up)
        loaded = Loaded()
        self.addCleanup(loaded.stop)
        self.assertEqual(loaded.ask("get", "greeting"), "hello")
        self.assertEqual(loaded.ask("llen", "list"), "3")


if __name__ == "__main__":
    harness.main()
