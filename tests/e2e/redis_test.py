#!/usr/bin/python3
"""Redis as a source: whole dumps by replication, with what is in them, from
servers of every disposition; and nothing at all where anything is wrong."""

import os
import pathlib
import signal
import subprocess
import threading

import harness
from harness import INTERRUPTED, PARTIAL, SOURCE_FAILED, USAGE, wait_until
from redis_case import CANARY, Redis, RedisCase
from servers import free_port, needs_redis

CORPUS = pathlib.Path(__file__).parent.parent / "fuzz/corpus/rdb_scanner"
MARK = b"0123456789abcdef0123456789abcdef01234567"


@needs_redis
class Saves(RedisCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Redis()
        cls.addClassCleanup(cls.server.stop)
        cls.server.fill_all_types()

    def test_a_dump_with_all_there_is_and_what_that_is(self):
        self.configure(f"socket: {self.server.socket}")
        summary, ran = self.run_job()

        self.assertTrue(summary["complete"])
        self.assertNotIn("note", ran.err)
        self.rdb()
        keys = self.keys()
        self.assertEqual(keys["server_version"], "7.0.15")
        self.assertEqual(keys["functions"], 1)
        self.assertTrue(keys["has_checksum"])
        self.assertIsNone(keys["not_walked"])
        self.assertEqual(
            {x["database"]: (x["keys"], x["expiring"])
             for x in keys["databases"]}, self.server.keyspace())
        types = {}
        for key in self.server.ask("KEYS", "*").splitlines():
            kind = self.server.ask("TYPE", key)
            types[kind] = types.get(kind, 0) + 1
        self.assertEqual(keys["databases"][0]["types"], types)

    def test_that_a_server_loads_again_as_it_was(self):
        self.configure(f"socket: {self.server.socket}")
        self.run_job()
        other = self.serve("--appendonly", "no")
        other.end()
        (other.data / "dump.rdb").write_bytes(self.rdb())
        other.begin("--enable-debug-command", "yes")

        self.assertEqual(other.keyspace(), self.server.keyspace())

    def test_leaves_no_trace_on_the_server(self):
        server = self.serve()
        server.fill(["SET a b"])
        before = server.ask("LASTSAVE")
        self.configure(f"socket: {server.socket}")
        self.run_job()

        self.assertEqual(server.ask("LASTSAVE"), before)
        self.assertEqual(list(server.data.iterdir()), [])
        wait_until(lambda: "connected_slaves:0" in server.ask(
            "INFO", "replication"), "the server to forget its replica")

    def test_stores_little_of_what_has_not_changed(self):
        server = self.serve()
        server.fill(f"SET key:{i} {harness.noise(1000, i).hex()}"
                    for i in range(2000))
        self.configure(f"socket: {server.socket}")
        first, _ = self.run_job()
        second, _ = self.run_job()
        self.assertLess(second["stored_bytes"], first["stored_bytes"] / 10)

    def test_a_server_that_writes_its_disk_first(self):
        self.server.ask("CONFIG", "SET", "repl-diskless-sync", "no")
        self.addCleanup(self.server.ask, "CONFIG", "SET", "repl-diskless-sync",
                        "yes")
        self.configure(f"socket: {self.server.socket}")
        ran = self.cairn("run")

        self.assertIn("its own disk first", ran.err)
        self.rdb()

    def test_what_it_would_save(self):
        self.configure(f"socket: {self.server.socket}")
        ran = self.cairn("--json", "run", "--dry-run")

        source = ran.lines[-1]["sources"][0]
        self.assertRegex(source["what"],
                         rf"^redis 7\.0\.15, {self.server.key_count()} keys, "
                         r"\d+\.\d+ MiB of memory$")
        # A dump has neither the size of the memory nor any that can be asked.
        self.assertIsNone(source["bytes"])
        self.assertIn("would save 0 B and more", self.cairn("run", "-n").err)
        self.assertEqual(self.cairn("snapshots", "--json").value, [])

    def test_beside_other_sources(self):
        (self.folder / "file").write_text("x")
        self.configure(f"socket: {self.server.socket}", f"""
  files: {{type: files, paths: [{self.folder}/file]}}
  said: {{type: command, command: [echo, hello]}}""")
        self.run_job()
        self.assertEqual(self.cat("latest:said"), b"hello\n")
        self.assertGreater(self.keys()["keys"], 100)


@needs_redis
class Passwords(RedisCase):
    def setUp(self):
        super().setUp()
        self.secret = self.folder / "secret"
        self.secret.write_text(CANARY + "\n")
        self.secret.chmod(0o600)

    def assert_says_nothing(self, ran):
        self.assertNotIn(CANARY, ran.err + ran.text)

    def test_of_the_server(self):
        server = self.serve("--requirepass", CANARY)
        server.login = ["-a", CANARY, "--no-auth-warning"]
        server.fill_all_types()
        self.configure(f"socket: {server.socket}, "
                       f"password: {{file: {self.secret}}}")
        _, ran = self.run_job()
        self.assert_says_nothing(ran)
        self.assertEqual(self.keys()["keys"], server.key_count())

        self.configure(f"socket: {server.socket}")
        _, ran = self.run_job(code=SOURCE_FAILED)
        self.assertIn("wants a password", ran.text)

        self.secret.write_text("wrong")
        self.configure(f"socket: {server.socket}, "
                       f"password: {{file: {self.secret}}}")
        _, ran = self.run_job(code=SOURCE_FAILED)
        self.assertIn("refuses the password of the default user", ran.text)

    def test_of_a_user_who_may_do_what_a_replica_does(self):
        server = self.serve()
        server.fill(["SET a b"])
        server.ask("ACL", "SETUSER", "backup", "on", ">" + CANARY, "+psync",
                   "+sync", "+replconf", "+ping")
        how = (f"socket: {server.socket}, user: backup, "
               f"password: {{file: {self.secret}}}")
        self.configure(how)
        _, ran = self.run_job()
        self.assert_says_nothing(ran)
        self.assertEqual(self.keys()["keys"], 1)

        server.ask("ACL", "SETUSER", "backup", "-sync", "-psync", "-ping")
        _, ran = self.run_job(code=SOURCE_FAILED)
        self.assertIn("ACL SETUSER backup +sync +psync +replconf", ran.text)
        self.assert_says_nothing(ran)

    def test_that_a_command_has(self):
        server = self.serve("--requirepass", CANARY)
        self.configure(f"socket: {server.socket}, "
                       f"password: {{command: 'cat {self.secret}'}}")
        self.run_job()
        self.configure(f"socket: {server.socket}, "
                       f"password: {{file: /nonexistent}}")
        _, ran = self.run_job(code=SOURCE_FAILED)
        self.assertIn("/nonexistent", ran.text)

    def test_of_a_variable_that_no_other_program_is_shown(self):
        server = self.serve("--requirepass", CANARY)
        hook = self.folder / "hook"
        self.configure(f"socket: {server.socket}, "
                       "password: {env: REDIS_SECRET}", """
  said: {type: command, command: [env]}""")
        self.config.write_text(self.config.read_text().replace(
            "sources: all", "sources: all, before: "
            f"[{{run: [sh, -c, 'env > {hook}']}}]"))
        _, ran = self.run_job(env={"REDIS_SECRET": CANARY})
        self.assert_says_nothing(ran)
        self.assertGreater(len(self.keys()), 0)
        self.assertIn(b"PATH=", self.cat("latest:said"))
        self.assertNotIn(CANARY.encode(), self.cat("latest:said"))
        self.assertIn("PATH=", hook.read_text())
        self.assertNotIn(CANARY, hook.read_text())

    def test_that_the_server_repeats(self):
        # What a Sentinel or a proxy says that does not know the command.
        for after_auth in (b"+OK\r\n", None):
            said = (f"-ERR unknown command '%s', with args beginning with: "
                    f"'{CANARY}' \r\n")

            def answer(words, after_auth=after_auth):
                if words[0] == "AUTH" and after_auth:
                    return after_auth
                if words[0] == "PING" and after_auth:
                    return b"+PONG\r\n"
                return said.replace("%s", words[0]).encode()
            socket, _ = self.stand_in(answer)
            self.configure(f"socket: {socket}, "
                           f"password: {{file: {self.secret}}}", """
  said: {type: command, command: [echo, hello]}""")
            _, ran = self.run_job(code=PARTIAL)
            self.assertIn("ERR unknown command", ran.text)
            self.assert_says_nothing(ran)
            self.assert_says_nothing(
                self.cairn("snapshots", "--json"))
            self.assert_says_nothing(
                self.cairn("--json", "run", "-n", code=PARTIAL))

    def test_that_are_needless(self):
        server = self.serve()
        self.configure(f"socket: {server.socket}, "
                       f"password: {{file: {self.secret}}}")
        self.run_job()


@needs_redis
@harness.needs("openssl")
class Networks(RedisCase):
    def test_over_tcp(self):
        port = free_port()
        server = self.serve("--bind", "127.0.0.1", port=port)
        server.fill(["SET a b"])
        self.configure(f"host: localhost, port: {port}")
        self.run_job()
        self.assertEqual(self.keys()["keys"], 1)

    def certificate(self, folder, name, alternative):
        """A key and a certificate that an authority of ours vouches for."""
        def openssl(*words):
            subprocess.run(["openssl", *words], check=True, cwd=folder,
                           capture_output=True)
        if not (folder / "ca.crt").exists():
            openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout",
                    "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout",
                name + ".key", "-out", name + ".csr", "-subj", "/CN=" + name)
        (folder / "extensions").write_text("subjectAltName=" + alternative)
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.crt", "-CAkey",
                "ca.key", "-CAcreateserial", "-out", name + ".crt", "-days",
                "2", "-extfile", "extensions")
        for file in folder.iterdir():
            file.chmod(0o644)

    def test_over_tls(self):
        port = free_port()
        folder = pathlib.Path("/tmp") / self.folder.name / "tls"
        folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        self.certificate(folder, "redis", "DNS:redis.test")
        self.certificate(folder, "ours", "DNS:ours.test")
        server = self.serve(
            "--tls-port", str(port), "--tls-cert-file", folder / "redis.crt",
            "--tls-key-file", folder / "redis.key", "--tls-ca-cert-file",
            folder / "ca.crt", "--tls-auth-clients", "optional")
        server.fill_all_types()
        tls = f"host: 127.0.0.1, port: {port}, tls: true"
        ca = f"tls_ca: {folder}/ca.crt"
        self.configure(f"{tls}, {ca}, tls_name: redis.test")
        self.run_job()
        self.assertEqual(self.keys()["keys"], server.key_count())

        self.configure(f"{tls}, {ca}")
        _, ran = self.run_job(code=SOURCE_FAILED)
        self.assertIn("certificate is not trusted", ran.text)
        self.assertIn("mismatch", ran.text)
        self.configure(f"{tls}, tls_name: redis.test")
        _, ran = self.run_job(code=SOURCE_FAILED)
        self.assertIn("certificate is not trusted", ran.text)
        self.configure(f"host: 127.0.0.1, port: {port}")
        _, ran = self.run_job(code=SOURCE_FAILED)
        self.assertIn("tls: true", ran.text)
        self.configure(f"{tls}, tls_ca: /nonexistent.pem")
        _, ran = self.run_job(code=SOURCE_FAILED)
        self.assertIn("/nonexistent.pem", ran.text)

        server.ask("CONFIG", "SET", "tls-auth-clients", "yes")
        self.configure(f"{tls}, {ca}, tls_name: redis.test")
        self.run_job(code=SOURCE_FAILED)
        self.configure(f"{tls}, {ca}, tls_name: redis.test, "
                       f"tls_cert: {folder}/ours.crt, "
                       f"tls_key: {folder}/ours.key")
        self.run_job()

    def test_where_nobody_listens(self):
        port = free_port()
        self.configure(f"port: {port}", """
  said: {type: command, command: [echo, hello]}""")
        _, ran = self.run_job(code=PARTIAL)
        self.assertIn(f"redis at 127.0.0.1:{port} cannot be reached", ran.text)
        self.assertEqual(self.cat("latest:said"), b"hello\n")
        self.configure("socket: /nonexistent/socket")
        _, ran = self.run_job(code=SOURCE_FAILED)
        self.assertIn("socket /nonexistent/socket", ran.text)
        ran = self.cairn("--json", "run", "-n", code=SOURCE_FAILED)
        self.assertIn("cannot be reached",
                      ran.lines[-1]["sources"][0]["problem"])


@needs_redis
class AppendOnlyFiles(RedisCase):
    def setUp(self):
        super().setUp()
        self.server = self.serve("--appendonly", "yes", "--appendfsync",
                                 "always")
        self.aof = self.server.data / "appendonlydir"
        self.server.fill_all_types()
        self.configure(f"socket: {self.server.socket}, aof_dir: {self.aof}")

    def start_from_what_was_saved(self):
        other = self.serve("--appendonly", "no")
        other.end()
        there = other.data / "appendonlydir"
        self.cairn("restore", "latest:redis/appendonlydir", "--to", there)
        if harness.IS_ROOT:
            owner = os.stat(other.data)
            for path in (there, *there.iterdir()):
                os.chown(path, owner.st_uid, owner.st_gid)
        other.begin("--appendonly", "yes", "--enable-debug-command", "yes")
        return other

    def test_are_taken_as_they_are(self):
        self.run_job()
        other = self.start_from_what_was_saved()
        self.assertEqual(other.keyspace(), self.server.keyspace())
        self.rdb()

    def test_are_of_one_moment_while_they_are_written_and_rewritten(self):
        # The one key is always written before the other.
        done = threading.Event()
        writes = subprocess.Popen(
            ["redis-cli", "-s", self.server.socket], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL)

        def write():
            for i in range(10**6):
                if done.is_set():
                    return
                writes.stdin.write(b"SET before %d\nSET after %d\n" % (i, i))
                writes.stdin.flush()
                if i % 50 == 0:
                    writes.stdin.write(b"BGREWRITEAOF\n")
        writer = threading.Thread(target=write)
        writer.start()
        try:
            wait_until(lambda: self.server.ask("GET", "after"), "writes")
            for _ in range(5):
                self.run_job()
                other = self.start_from_what_was_saved()
                before, after = (int(other.ask("GET", k) or -1)
                                 for k in ("before", "after"))
                self.assertIn(before - after, (0, 1))
                self.assertGreaterEqual(after, 0)
                self.assertEqual(other.key_count(), self.server.key_count())
                other.end()
        finally:
            done.set()
            writer.join()
            writes.stdin.close()
            writes.wait(30)

    def test_that_the_server_writes_no_more(self):
        _, ran = self.run_job()
        self.assertNotIn("append-only", ran.text)
        self.server.ask("CONFIG", "SET", "appendonly", "no")
        self.server.fill(["SET later x"])
        ran = self.cairn("run")
        self.assertIn("redis/appendonlydir: the server does not write "
                      "append-only files (appendonly no): they were last "
                      "written at 20", ran.err)

    def test_of_which_the_server_does_not_tell(self):
        secret = self.folder / "secret"
        secret.write_text(CANARY)
        secret.chmod(0o600)
        self.server.ask("ACL", "SETUSER", "backup", "on", ">" + CANARY,
                        "+psync", "+sync", "+replconf", "+ping")
        self.configure(f"socket: {self.server.socket}, aof_dir: {self.aof}, "
                       f"user: backup, password: {{file: {secret}}}")
        self.assertNotIn("appendonlydir:", self.cairn("run").err)
        for file in self.aof.iterdir():
            os.utime(file, (1.7e9, 1.7e9))
        self.assertIn("redis/appendonlydir: they were last written at "
                      "2023-11-14T22:13:20", self.cairn("run").err)

    def test_without_a_dump_whose_password_is_gone(self):
        self.configure(f"socket: {self.server.socket}, aof_dir: {self.aof}, "
                       "password: {file: /nonexistent}")
        _, ran = self.run_job(code=PARTIAL)
        self.assertIn("/nonexistent", ran.text)
        self.start_from_what_was_saved()

    def test_of_which_one_is_empty(self):
        self.server.ask("BGREWRITEAOF")
        wait_until(lambda: not all(
            file.stat().st_size for file in self.aof.iterdir()), "a rewrite")
        ran = self.cairn("run")
        self.assertNotIn("command", ran.err)
        self.assertIn(".incr.aof: is empty", ran.err)

    def test_that_are_not_there(self):
        self.configure(f"socket: {self.server.socket}, "
                       f"aof_dir: {self.server.data}")
        _, ran = self.run_job(code=PARTIAL)
        self.assertIn("appenddirname", ran.text)
        self.rdb()  # is saved anyway
        ran = self.cairn("--json", "run", "-n", code=PARTIAL)
        self.assertIn("appenddirname", ran.lines[-1]["sources"][0]["problem"])


@needs_redis
class UnderWay(RedisCase):
    def test_all_of_a_server_that_is_written_to(self):
        server = self.serve()
        server.fill(f"SET key:{i} {harness.noise(500, i).hex()}"
                    for i in range(20000))
        done = threading.Event()

        def write():
            while not done.is_set():
                server.fill(f"SET other:{i} x" for i in range(5000))
                server.fill(f"DEL other:{i}" for i in range(5000))
        writer = threading.Thread(target=write)
        writer.start()
        try:
            self.configure(f"socket: {server.socket}")
            self.run_job()
        finally:
            done.set()
            writer.join()
        self.rdb()
        keys = self.keys()["keys"]
        self.assertGreaterEqual(keys, 20000)
        self.assertLessEqual(keys, 25000)

    def slow(self):
        """A server that needs a while for its dump."""
        server = self.serve("--rdb-key-save-delay", "2000")
        server.fill(f"SET key:{i} {harness.noise(2000, i).hex()}"
                    for i in range(5000))
        self.configure(f"socket: {server.socket}", """
  said: {type: command, command: [echo, hello]}""")
        return server

    def wait_for_stream(self, server):
        wait_until(lambda: "rdb_bgsave_in_progress:1" in server.ask(
            "INFO", "persistence"), "the dump to begin")

    def test_nothing_of_a_server_that_dies(self):
        server = self.slow()
        process = self.start("--json", "run")
        self.wait_for_stream(server)
        child = subprocess.run(["pgrep", "-P", str(server.process.pid)],
                               check=False, capture_output=True).stdout
        server.process.kill()
        for pid in child.split():
            os.kill(int(pid), signal.SIGKILL)
        ran = self.end(process, code=PARTIAL)

        # It may die before its first byte has left.
        self.assertRegex(ran.text, "before its dump was whole|"
                         'has ended the connection"')
        self.assertIn("there is no redis/dump.rdb", ran.text)
        self.assertNotIn("redis", self.cairn("ls", "latest").text)
        self.cairn("check", "--level", "data")

    def test_stops_when_it_is_told_to(self):
        server = self.slow()
        process = self.start("run")
        self.wait_for_stream(server)
        process.send_signal(signal.SIGINT)
        self.end(process, code=INTERRUPTED)
        self.assertEqual(self.snapshots(), [])
        wait_until(lambda: "connected_slaves:0" in server.ask(
            "INFO", "replication"), "the server to forget its replica")

    def test_waits_for_a_dump_that_begins_late(self):
        # Row 13 of the defects: who sleeps for a while gets what is there then.
        server = self.serve()
        server.ask("CONFIG", "SET", "repl-diskless-sync-delay", "6")
        server.fill(["SET a old"])
        self.configure(f"socket: {server.socket}")
        process = self.start("--json", "run")
        wait_until(lambda: "connected_slaves:1" in server.ask(
            "INFO", "replication"), "it to be known as a replica")
        server.fill(["SET a new"])
        self.end(process)
        self.assertIn(b"new", self.rdb())


class StandIns(RedisCase):
    """What no server that is installed here does."""

    def serve_dump(self, transfer):
        def answer(words):
            if words == ["PING"]:
                return b"+PONG\r\n"
            if words == ["SYNC"]:
                return transfer
            return b"-ERR unknown command\r\n"
        socket, _ = self.stand_in(answer)
        self.configure(f"socket: {socket}")

    def rdb_of(self, name="redis-7.0"):
        return (CORPUS / name).read_bytes()

    def test_a_mark_that_comes_byte_by_byte(self):
        rdb = self.rdb_of()
        # The mark's beginning stands in the dump's end, too.
        mark = rdb[-3:] + MARK[3:]
        self.serve_dump([b"\n", b"\n$EOF:" + mark, b"\r\n", rdb,
                         *(bytes([b]) for b in mark)])
        self.run_job()
        self.assertEqual(self.cat("latest:redis/dump.rdb"), rdb)

    def test_an_old_server_that_goes_on_talking(self):
        rdb = self.rdb_of()
        self.serve_dump([b"$%d\r\n" % len(rdb) + rdb +
                         b"*1\r\n$4\r\nPING\r\n" * 3])
        self.run_job()
        self.assertEqual(self.cat("latest:redis/dump.rdb"), rdb)

    def test_a_format_of_the_future_is_stored_as_it_is(self):
        rdb = b"REDIS0099" + harness.noise(5000) + b"\xff" + bytes(8)
        self.serve_dump([b"$EOF:" + MARK + b"\r\n" + rdb + MARK])
        ran = self.cairn("run")

        self.assertIn("REDIS0099", ran.err)
        self.assertIn("keys were not counted", ran.err)
        self.assertEqual(self.cat("latest:redis/dump.rdb"), rdb)
        self.assertIn("REDIS0099", self.keys()["not_walked"])

    def test_a_dump_that_was_changed_on_the_way(self):
        rdb = bytearray(self.rdb_of())
        rdb[len(rdb) // 2] ^= 1
        self.serve_dump([b"$EOF:" + MARK + b"\r\n" + bytes(rdb) + MARK])
        _, ran = self.run_job(code=SOURCE_FAILED)
        self.assertIn("its checksum is not that of its bytes", ran.text)
        self.assertEqual(self.snapshots(), [])

    def test_a_dump_that_ends_early(self):
        rdb = self.rdb_of()
        for transfer in ([b"$EOF:" + MARK + b"\r\n" + rdb, None],
                         [b"$%d\r\n" % (len(rdb) + 1) + rdb, None],
                         [b"$EOF:" + MARK + b"\r\n" + rdb[:-9] + MARK]):
            self.serve_dump(transfer)
            self.run_job(code=SOURCE_FAILED)
        self.assertEqual(self.snapshots(), [])

    def test_servers_that_refuse(self):
        for said, told in ((b"-LOADING Redis is loading\r\n", "still loading"),
                           (b"-MASTERDOWN Link\r\n", "without a link"),
                           (b"-NOAUTH Authentication\r\n", "wants a password"),
                           (b"-DENIED protected\r\n", "protected mode"),
                           (b"HTTP/1.1 400 Bad\r\n\r\n", "another server"),
                           (None, "tls: true")):
            socket, _ = self.stand_in(lambda words, said=said: [said])
            self.configure(f"socket: {socket}")
            _, ran = self.run_job(code=SOURCE_FAILED)
            self.assertIn(told, ran.text)

    def test_a_server_that_hangs_up_where_its_dump_should_begin(self):
        socket, _ = self.stand_in(
            lambda words: [None if words == ["SYNC"] else b"+OK\r\n"])
        self.configure(f"socket: {socket}")
        _, ran = self.run_job(code=SOURCE_FAILED)
        self.assertIn("has ended the connection", ran.text)
        self.assertNotIn("TLS", ran.text)


class Configurations(RedisCase):
    def test_that_contradict_themselves(self):
        for how, told in (
                ("socket: /s, host: h", "exclude each other"),
                ("socket: /s, tls: true", "not over a socket"),
                ("port: 0", "not from 1 to 65535"),
                ("port: 70000", "not from 1 to 65535"),
                ("tls_ca: /ca", "`tls: true` is missing"),
                ("tls: true, tls_key: /key", "'tls_cert' is missing"),
                ("user: me", "needs a password"),
                ("url: 'redis://x'", "`host`, `port`"),
                ("key: /key", "called `tls_key`")):
            self.configure(how)
            ran = self.cairn("config", "validate", code=USAGE)
            self.assertIn(told, ran.err, how)
        self.configure("host: redis, part: databases, aof_dir: /data/aof")
        self.cairn("config", "validate")


if __name__ == "__main__":
    harness.main()
