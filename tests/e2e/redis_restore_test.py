#!/usr/bin/python3
"""Redis dumps put into the folders of real servers, which have all of it when
they are started; and nothing touched while one runs, or where anything is
wrong."""

import os
import pathlib
import shutil
import signal
import subprocess

import harness
from harness import FAILED, INTERRUPTED, PARTIAL, REFUSED, SOURCE_FAILED, USAGE
from redis_case import RedisCase
from servers import needs_redis

DRILL_FAILED = 5
OUT_OF_SPACE = 14
CORPUS = pathlib.Path(__file__).parent.parent / "fuzz/corpus/rdb_scanner"


@needs_redis
class Case(RedisCase):
    def setUp(self):
        super().setUp()
        self.server = self.serve("--appendonly", "yes", "--appendfsync",
                                 "always", "--enable-debug-command", "yes")
        self.server.fill_all_types()
        self.digest = self.server.digest()
        self.configure(f"socket: {self.server.socket}")
        self.run_job()

    def put(self, server, *words, what="latest:redis", code=harness.OK, **how):
        ran = self.cairn("--json", "restore", what, "--to-redis-dir",
                         server.data, *words, code=code, **how)
        return ran.lines[-1] if ran.lines else None

    def assert_nothing_is_left(self, server):
        self.assertEqual([x.name for x in server.data.iterdir()
                          if x.name.startswith(".")], [])


class Restores(Case):
    def test_what_a_server_with_append_only_files_has_at_its_first_start(self):
        # Row 14 of the defects: such a server ignores dump.rdb, and starts with
        # the files that lie there, or with nothing.
        self.server.fill(["FLUSHALL", "SET later x"])
        self.server.end()
        summary = self.put(self.server, "--verify")
        self.server.begin(*self.server.options)

        self.assertEqual(self.server.digest(), self.digest)
        self.assertTrue(summary["verified"])
        self.assertEqual(summary["keys"], self.server.key_count())
        self.server.fill(["SET new y"])
        self.server.end(signal.SIGKILL)
        self.server.begin(*self.server.options)
        self.assertEqual(self.server.ask("GET", "new"), "y")
        self.assertEqual(self.server.key_count(), summary["keys"] + 1)

    def test_what_one_without_has(self):
        other = self.serve("--appendonly", "no")
        other.end()
        self.put(other)
        other.begin("--appendonly", "no", "--enable-debug-command", "yes")
        self.assertEqual(other.digest(), self.digest)

    def test_and_deletes_nothing(self):
        self.server.fill(["FLUSHALL", "SET later x"])
        self.server.save()
        self.server.end()
        summary = self.put(self.server)

        moved = summary["moved_aside"]
        self.assertEqual(len(moved), 2)
        self.assert_nothing_is_left(self.server)
        # The old ones, by their own names, are what they were.
        for name in moved:
            to = self.server.data / name.split(".before-")[0]
            if to.is_dir():
                shutil.rmtree(to)
            (self.server.data / name).rename(to)
        self.server.begin(*self.server.options)
        self.assertEqual(self.server.ask("GET", "later"), "x")
        self.assertEqual(self.server.key_count(), 1)

    def test_under_the_names_that_the_server_gave(self):
        named = ("--appendonly", "yes", "--appenddirname", "my aof",
                 "--appendfilename", "log.aof", "--enable-debug-command", "yes")
        other = self.serve(*named)
        other.fill(["SET old x"])
        other.end()
        self.put(other, "--verify", "-y")
        other.begin(*named)
        self.assertEqual(other.digest(), self.digest)

    NAMED = ("--dbfilename", "cache.rdb", "--appenddirname", "aof",
             "--appendfilename", "shop.aof", "--enable-debug-command", "yes")

    def assert_found(self, digest, *options):
        """By a server with such options, in an empty folder."""
        other = self.serve("--appendonly", "no")
        other.end()
        summary = self.put(other, "--verify", "-y")
        other.begin(*options)
        self.assertEqual(other.digest(), digest, options)
        return summary

    def test_in_an_empty_folder_under_the_names_of_the_saved_server(self):
        # One that has these settings ignores all other names: it would start
        # empty.
        saved = self.serve("--appendonly", "yes", *self.NAMED)
        saved.fill_all_types()
        self.configure(f"socket: {saved.socket}")
        self.run_job()
        self.assertEqual(self.keys()["settings"], {
            "dbfilename": "cache.rdb", "appenddirname": "aof",
            "appendfilename": "shop.aof"})
        for is_on in ("yes", "no"):
            summary = self.assert_found(saved.digest(), "--appendonly", is_on,
                                        *self.NAMED)
        self.assertEqual([summary[x] for x in ("dbfilename", "appenddirname",
                                               "appendfilename")],
                         ["cache.rdb", "aof", "shop.aof"])

    def test_under_those_of_its_files_where_it_may_not_be_asked(self):
        saved = self.serve("--appendonly", "yes", *self.NAMED)
        saved.fill_all_types()
        saved.ask("ACL", "SETUSER", "backup", "on", ">secret", "+psync",
                  "+sync", "+replconf", "+ping")
        secret = self.folder / "secret"
        secret.write_text("secret")
        secret.chmod(0o600)
        self.configure(f"socket: {saved.socket}, user: backup, password: "
                       f"{{file: {secret}}}, aof_dir: {saved.data}/aof/")
        self.run_job()
        self.assertEqual(self.keys()["settings"], {
            "appenddirname": "aof", "appendfilename": "shop.aof"})
        self.assert_found(saved.digest(), "--appendonly", "yes", *self.NAMED)

    def test_and_says_which_settings_it_is_for(self):
        new = self.folder / "new"
        for words in (["-n"], ["-q"]):
            ran = self.cairn("restore", "latest", "--to-redis-dir", new, *words)
            self.assertIn("for a server with `dbfilename dump.rdb`, "
                          "`appenddirname appendonlydir`, `appendfilename "
                          "appendonly.aof`: ", ran.err + ran.text)

    def test_what_one_before_redis_7_has(self):
        # A server of 7 takes such a file up when it finds no folder.
        other = self.serve("--appendonly", "no")
        other.end()
        (other.data / "appendonly.aof").write_bytes(
            b"*3\r\n$3\r\nSET\r\n$3\r\nold\r\n$1\r\nx\r\n")
        self.assertEqual(len(self.put(other, "-y")["moved_aside"]), 1)
        (other.data / "dump.rdb").unlink()
        shutil.rmtree(other.data / "appendonlydir")
        other.begin("--appendonly", "yes", "--enable-debug-command", "yes")
        self.assertEqual(other.digest(), self.digest)

    def test_of_databases_far_away(self):
        server = self.serve("--databases", "1000")
        server.fill(["SELECT 999", "SET far away"])
        self.configure(f"socket: {server.socket}")
        self.run_job()
        server.end()
        summary = self.put(server, "--verify")
        self.assertEqual((summary["keys"], summary["databases_needed"]),
                         (1, 1000))
        ran = self.cairn("restore", "latest", "--to-redis-dir",
                         self.folder / "new")
        self.assertIn("says `databases 1000`", ran.err)

    def slow_loader(self):
        """A PATH by which a server takes seconds to load what is there."""
        folder = self.folder / "slow"
        folder.mkdir()
        self.folder.chmod(0o755)
        program = folder / "redis-server"
        program.write_text("#!/bin/sh\nexec /usr/bin/redis-server \"$@\" "
                           "--key-load-delay 20000 "
                           "--loading-process-events-interval-bytes 1024\n")
        program.chmod(0o755)
        return {"PATH": f"{folder}:/usr/bin:/bin"}

    def test_after_a_server_has_really_loaded_it(self):
        # Row 15 of the defects: who sleeps for a while may ask too early.
        self.server.end()
        summary = self.put(self.server, "--verify", env=self.slow_loader())
        self.assertTrue(summary["verified"])
        self.assertGreater(summary["load_seconds"], 1)

    def test_nothing_when_it_is_interrupted(self):
        self.server.end()
        before = sorted(self.server.data.rglob("*"))
        process = self.start("restore", "latest", "--to-redis-dir",
                             self.server.data, "--verify",
                             env=self.slow_loader())
        trial = harness.wait_until(
            lambda: next(self.server.data.glob(".cairn-trial-*/*/*.incr.aof"), None),
            "a server to be tried")
        process.send_signal(signal.SIGINT)
        self.end(process, code=INTERRUPTED)

        self.assertEqual(sorted(self.server.data.rglob("*")), before)
        self.assertEqual(subprocess.run(
            ["pgrep", "-f", str(trial.parent.parent)], check=False,
            capture_output=True).stdout, b"")

    def test_keeps_the_owner(self):
        self.server.end()
        self.put(self.server, "--verify")
        owner = os.stat(self.server.data)
        for path in self.server.data.rglob("*"):
            self.assertEqual((path.lstat().st_uid, path.lstat().st_gid),
                             (owner.st_uid, owner.st_gid), path)
            if ".before-" not in str(path):
                self.assertEqual(path.stat().st_mode & 0o007, 0, path)

    def test_into_a_folder_that_is_not_there(self):
        there = self.folder / "new" / "data"
        ran = self.cairn("restore", "latest", "--to-redis-dir", there)
        self.assertEqual((there / "dump.rdb").read_bytes(), self.rdb())
        if not harness.IS_ROOT:
            return
        self.assertIn("the files are root's", ran.err)
        above = self.folder / "somebody's"
        above.mkdir()
        os.chown(above, 65534, 65533)
        ran = self.cairn("restore", "latest", "--to-redis-dir",
                         f"{above}/new/data/")
        self.assertNotIn("root's", ran.err)
        for path in above.rglob("*"):
            self.assertEqual((path.stat().st_uid, path.stat().st_gid),
                             (65534, 65533), path)

    def test_of_a_file_that_came_otherwise(self):
        self.cairn("-c", self.config, "backup", "--stdin", "--as", "some.rdb",
                   stdin=(CORPUS / "redis-7.0").read_bytes())
        self.server.end()
        self.put(self.server, "--verify", what="latest:some.rdb")
        self.server.begin(*self.server.options)
        self.assertEqual(self.server.key_count(), 121)

    def test_what_it_would_do(self):
        self.server.end()
        before = sorted(self.server.data.rglob("*"))
        ran = self.cairn("restore", "latest", "--to-redis-dir",
                         self.server.data, "-n")
        self.assertIn("would restore redis/dump.rdb", ran.err)
        self.assertEqual(sorted(self.server.data.rglob("*")), before)

    def test_with_a_server_of_before_redis_7(self):
        # Ours, kept from what that one does not know; it takes up the one file.
        folder = self.folder / "old"
        folder.mkdir()
        self.folder.chmod(0o755)
        program = folder / "redis-server"
        program.write_text("""#!/bin/sh
for word; do
  case $word in
    --version) echo "Redis server v=6.0.16 sha=00000000:0 bits=64"; exit ;;
    --appenddirname|--enable-debug-command) echo "Bad directive"; exit 1 ;;
  esac
  [ "$before" != --dir ] || data=$word
  before=$word
done
[ -f "$data/appendonly.aof" ] && [ ! -e "$data/appendonlydir" ] || exit 1
exec /usr/bin/redis-server "$@"
""")
        program.chmod(0o755)
        self.server.end()
        summary = self.put(self.server, "--verify",
                           env={"PATH": f"{folder}:/usr/bin:/bin"})
        self.assertTrue(summary["verified"])

    def hostile_server(self, deeds):
        """A PATH by which a server does this first: $dir is the folder of its
        socket, $data that of its data, $victim a file of root's."""
        if not harness.IS_ROOT:
            self.skipTest("only root has files that others may not write")
        folder = self.folder / "hostile"
        folder.mkdir()
        self.folder.chmod(0o755)
        victim = folder / "victim"
        victim.write_text("root's")
        victim.chmod(0o600)
        program = folder / "redis-server"
        program.write_text(f"""#!/bin/sh
victim={victim}
for word; do
  case $before in
    --unixsocket) dir=$(dirname "$word") ;;
    --dir) data=$word ;;
  esac
  before=$word
done
{deeds}
exec /usr/bin/redis-server "$@"
""")
        program.chmod(0o755)
        self.server.end()
        self.put(self.server, "--verify",
                 env={"PATH": f"{folder}:/usr/bin:/bin"})
        self.assertEqual(victim.read_text(), "root's")
        self.assertEqual((victim.stat().st_uid, victim.stat().st_mode & 0o777),
                         (0, 0o600))

    def test_though_its_user_replaces_what_root_writes(self):
        # The folder in which a server is tried is its user's.
        self.hostile_server('rm -f "$dir/log"; ln -s "$victim" "$dir/log"')

    def test_though_its_user_meddles_with_what_is_restored(self):
        self.hostile_server("""
echo more >> "$data/dump.rdb"
for one in "$data"/../.cairn-restore-*; do
  rm -f "$one/dump.rdb" && ln -s "$victim" "$one/dump.rdb"
  chmod 777 "$one"
done 2>/dev/null
""")
        self.assertEqual((self.server.data / "dump.rdb").read_bytes(),
                         self.rdb())
        self.assertFalse((self.server.data / "dump.rdb").is_symlink())

    def test_tells_of_keys_whose_time_has_passed(self):
        self.server.fill(["FLUSHALL", "SET a b", "SET c d PX 1500"])
        self.run_job()
        saved = self.keys()["expiring"]
        self.assertEqual(saved, 1)
        harness.wait_until(lambda: self.server.key_count() == 1, "a key to go")
        self.server.end()
        ran = self.cairn("restore", "latest:redis", "--to-redis-dir",
                         self.server.data, "--verify")

        self.assertIn("1 key of them had a time to live that has passed",
                      ran.err)
        self.assertIn("db0 2 keys (1 expiring)", ran.text)
        self.server.begin(*self.server.options)
        self.assertEqual(self.server.ask("GET", "a"), "b")
        self.assertEqual(self.server.ask("GET", "c"), "")


class Refuses(Case):
    def test_while_a_server_works_there(self):
        # Row 14: it would write over what was restored, when it ends.
        before = self.server.key_count()
        ran = self.cairn("restore", "latest", "--to-redis-dir",
                         self.server.data, code=REFUSED)
        self.assertIn("redis-server (process ", ran.err)
        self.assertIn("stop it", ran.err)
        self.cairn("restore", "latest", "--to-redis-dir", self.server.data,
                   "-n", code=REFUSED)
        self.assert_nothing_is_left(self.server)
        self.assertEqual(self.server.key_count(), before)

    def test_where_the_server_may_be_one_that_cannot_be_seen(self):
        # As from a container beside that of the server, which answers.
        there = self.folder / "volume"
        there.mkdir()
        (there / "dump.rdb").write_bytes(b"old")
        ran = self.cairn("restore", "latest", "--to-redis-dir", there,
                         code=REFUSED)
        self.assertIn("The server of source 'redis', at socket", ran.err)
        self.assertEqual((there / "dump.rdb").read_bytes(), b"old")
        self.cairn("restore", "latest", "--to-redis-dir", there, "-y")

    def test_beside_a_server_that_works_elsewhere(self):
        self.cairn("restore", "latest", "--to-redis-dir", self.folder / "new")

    def test_where_append_only_files_lie_twice(self):
        # A copy that somebody has made once: the server reads the other.
        self.server.end()
        for copy in ("appendonlydir.bak", "appendonlydir-2026"):
            shutil.copytree(self.server.data / "appendonlydir",
                            self.server.data / copy)
        before = sorted(self.server.data.rglob("*"))
        for words in ([], ["-n"]):
            ran = self.cairn("restore", "latest", "--to-redis-dir",
                             self.server.data, *words, code=REFUSED)
            self.assertIn("appendonlydir-2026/appendonly.aof.manifest, "
                          "appendonlydir.bak/appendonly.aof.manifest, "
                          "appendonlydir/appendonly.aof.manifest", ran.err)
        self.assertEqual(sorted(self.server.data.rglob("*")), before)

        for copy in ("appendonlydir.bak", "appendonlydir-2026"):
            shutil.rmtree(self.server.data / copy)
        other = self.server.data / "appendonlydir" / "other.aof.manifest"
        other.write_text("")
        ran = self.cairn("restore", "latest", "--to-redis-dir",
                         self.server.data, code=REFUSED)
        self.assertIn("appendonlydir/other.aof.manifest", ran.err)
        other.unlink()
        self.put(self.server)

    def test_where_a_dump_lies_by_another_name(self):
        # It would start a server with `dbfilename cache.rdb`, after a restore
        # that says it was verified.
        other = self.serve("--appendonly", "no", "--dbfilename", "cache.rdb")
        other.fill(["SET old x"])
        other.save()
        other.end()
        for words in (["--verify"], ["-n"]):
            ran = self.cairn("restore", "latest", "--to-redis-dir", other.data,
                             *words, code=REFUSED)
            self.assertIn("holds cache.rdb, and a server that is told so by "
                          "`dbfilename` would start with that", ran.err)
        self.assertEqual([x.name for x in other.data.iterdir()], ["cache.rdb"])

        (other.data / "cache.rdb").rename(self.folder / "aside")
        self.put(other)
        (other.data / "dump.rdb").rename(other.data / "cache.rdb")
        other.begin("--appendonly", "no", "--dbfilename", "cache.rdb",
                    "--enable-debug-command", "yes")
        self.assertEqual(other.digest(), self.digest)

    def test_a_server_that_cannot_be_seen(self):
        if not harness.IS_ROOT:
            self.skipTest("only root can be somebody else")
        there = self.folder / "there"
        there.mkdir()
        os.chown(there, 65534, 65534)
        subprocess.run(["chown", "-R", "65534:65534", self.folder], check=True)
        ran = self.cairn(
            "restore", "latest", "--to-redis-dir", there, code=REFUSED,
            prefix=["setpriv", "--reuid=65534", "--regid=65534",
                    "--clear-groups", "--"])
        self.assertIn("cannot be seen; stop it, or restore as root", ran.err)

    def test_a_server_by_its_name_where_no_more_can_be_seen(self):
        if not harness.IS_ROOT:
            self.skipTest("only root can be somebody else, and in a namespace")
        there = self.folder / "there"
        there.mkdir()
        for program, code in (("redis6-server", REFUSED),
                              ("redis_exporter", harness.OK)):
            shutil.copy("/usr/bin/sleep", self.folder / program)
            subprocess.run(["chown", "-R", "65534:65534", self.folder],
                           check=True)
            ran = self.cairn(
                "restore", "latest", "--to-redis-dir", there, code=code,
                prefix=["unshare", "--pid", "--fork", "--mount-proc", "sh",
                        "-c", f"{self.folder}/{program} 600 >&- 2>&- & setpriv "
                        "--reuid=65534 --regid=65534 --clear-groups -- \"$@\"",
                        "sh"])
            if code == REFUSED:
                self.assertIn("whether redis6-server (process ", ran.err)

    def test_root_who_may_not_see_either(self):
        if not harness.IS_ROOT:
            self.skipTest("only root can give up what root may do")
        ran = self.cairn(
            "restore", "latest", "--to-redis-dir", self.server.data,
            code=REFUSED, prefix=["setpriv", "--bounding-set=-sys_ptrace",
                                  "--inh-caps=-sys_ptrace", "--"])
        self.assertIn("give cairn the capability SYS_PTRACE", ran.err)

    def beside(self, *words, cwd="/"):
        process = subprocess.Popen(words, cwd=cwd, stdin=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL)

        def end():
            process.kill()
            process.wait()
            process.stdin.close()
        self.addCleanup(end)
        return end

    def test_while_any_program_works_there(self):
        # As redis-server does by another name, or a wrapper for it.
        self.server.end()
        end = self.beside("sleep", "600", cwd=self.server.data)
        ran = self.cairn("restore", "latest", "--to-redis-dir",
                         self.server.data, code=REFUSED)
        self.assertIn("sleep (process ", ran.err)
        end()
        # Somebody who only looks around.
        self.beside("bash", "-c", "read x", cwd=self.server.data)
        self.put(self.server)

    def test_while_any_program_has_its_files_open(self):
        self.server.end()
        incr = next(self.server.data.glob("appendonlydir/*.incr.aof"))
        self.beside("tail", "-f", incr)
        ran = self.cairn("restore", "latest", "--to-redis-dir",
                         self.server.data, code=REFUSED)
        self.assertIn("tail (process ", ran.err)
        self.assertIn("has appendonly.aof.1.incr.aof of that folder open",
                      ran.err)

    def test_from_where_no_server_can_be_seen(self):
        if not harness.IS_ROOT:
            self.skipTest("only root can make a namespace")
        before = sorted(self.server.data.rglob("*"))
        self.configure("socket: /nonexistent")  # so that nobody answers
        inside = ["unshare", "--pid", "--fork", "--mount-proc"]
        ran = self.cairn("restore", "latest", "--to-redis-dir",
                         self.server.data, code=REFUSED, prefix=inside)
        self.assertIn("not every program of the machine can be seen", ran.err)
        self.assertEqual(sorted(self.server.data.rglob("*")), before)
        self.server.end()
        self.cairn("restore", "latest", "--to-redis-dir", self.server.data,
                   "-y", prefix=inside)

    def restore_after(self, mount, code, ignoring=None):
        """In a namespace of its own, in which that was done first."""
        if not harness.IS_ROOT:
            self.skipTest("only root can mount")
        self.server.end()
        (self.server.data / "dump.rdb").write_bytes(b"old")
        before = {x: x.is_file() and x.read_bytes()
                  for x in self.server.data.rglob("*")}
        seen = self.folder / "seen"
        ran = self.cairn(
            "restore", "latest:redis", "--to-redis-dir", self.server.data,
            code=code, prefix=["unshare", "--mount", "sh", "-c",
                               f"data={self.server.data}; {mount}; \"$@\"; "
                               f"code=$?; cp -a $data {seen}; exit $code",
                               "sh"])
        after = {self.server.data / x.relative_to(seen):
                 x.is_file() and x.read_bytes() for x in seen.rglob("*")
                 if ignoring not in x.parts}
        self.assertEqual(sorted(after), sorted(before))
        self.assertTrue(after == before)  # no difference of long bytes
        return ran

    def test_what_cannot_be_put_in_its_place(self):
        # Nothing is left half done: the append-only files come first.
        ran = self.restore_after(
            "mount --bind $data/dump.rdb $data/dump.rdb", FAILED)
        self.assertIn("dump.rdb: Device or resource busy", ran.err)

    def test_what_has_no_room(self):
        # For the dump there is enough, and for its copy there is none.
        (self.server.data / "appendonly.aof").write_bytes(b"old")
        size = len(self.cat("latest:redis/dump.rdb"))
        self.restore_after(
            f"""
            mkdir {self.folder}/copy; cp -a $data/. {self.folder}/copy
            mount -t tmpfs -o mode=755,size=64m none $data
            cp -a {self.folder}/copy/. $data; mkdir $data/fill
            left=$(df --output=avail -B1 $data | tail -n 1)
            head -c $((left - {size * 3 // 2})) /dev/zero >$data/fill/x""", OUT_OF_SPACE, ignoring="fill")

    def test_what_is_no_dump(self):
        for data in (b"not a dump at all", b"",
                     (CORPUS / "redis-7.0").read_bytes() + b"m" * 40):
            self.cairn("-c", self.config, "backup", "--stdin", "--as",
                       "bad.rdb", stdin=data)
            ran = self.cairn("restore", "latest:bad.rdb", "--to-redis-dir",
                             self.folder / "new", code=REFUSED)
            self.assertIn("no RDB that a server reads", ran.err)
        self.assertEqual(list((self.folder / "new").iterdir()), [])

    def test_databases_that_no_server_has(self):
        for number in (b"\x80\x00\x01\x00\x00",  # 65,536
                       b"\x80\x02\x62\x5a\x00", b"\x81" + b"\xff" * 8):
            self.cairn("-c", self.config, "backup", "--stdin", "--as",
                       "far.rdb", stdin=b"REDIS0009\xfe" + number +
                       b"\x00\x01a\x01b\xff" + bytes(8))
            ran = self.cairn("restore", "latest:far.rdb", "--to-redis-dir",
                             self.folder / "new", "--verify", code=REFUSED)
            self.assertIn("far.rdb has keys in database ", ran.err)
        self.assertEqual(list((self.folder / "new").iterdir()), [])

    def test_what_a_server_cannot_load(self):
        self.server.end()
        before = sorted(self.server.data.rglob("*"))
        self.cairn("-c", self.config, "backup", "--stdin", "--as", "new.rdb",
                   stdin=b"REDIS0099" + harness.noise(500) + b"\xff" + bytes(8))
        self.put(self.server, "--verify", what="latest:new.rdb",
                 code=DRILL_FAILED)
        self.assertEqual(sorted(self.server.data.rglob("*")), before)

    def test_what_is_not_what_was_saved(self):
        # A dump, and beside it what belongs to another one.
        said = self.folder / "keys.json"
        said.write_bytes(self.cat("latest:redis/keys.json"))
        self.configure(f"socket: {self.server.socket}", f"""
  dump: {{type: command, command: [cat, {CORPUS}/redis-7.0], as: o/dump.rdb}}
  keys: {{type: command, command: [cat, {said}], as: o/keys.json}}""")
        self.run_job()
        ran = self.cairn("restore", "latest:o", "--to-redis-dir",
                         self.folder / "new", code=DRILL_FAILED)
        self.assertIn("o/dump.rdb has db0 20 keys (2 expiring)", ran.err)
        self.assertIn("and keys.json says db0 22 keys", ran.err)
        self.assertEqual(list((self.folder / "new").iterdir()), [])
        ran = self.cairn("restore", "latest", "--to-redis-dir",
                         self.folder / "new", code=USAGE)
        self.assertIn("holds redis/dump.rdb, o/dump.rdb", ran.err)

    def test_to_choose_where_one_of_two_failed(self):
        self.configure(f"socket: {self.server.socket}", """
  gone: {type: redis, socket: /nonexistent/socket}""")
        self.run_job(code=PARTIAL)
        ran = self.cairn("restore", "latest", "--to-redis-dir",
                         self.folder / "new", code=USAGE)
        self.assertIn("holds redis/dump.rdb, but not gone/dump.rdb (", ran.err)
        self.assertIn("; choose by SNAP:redis", ran.err)
        self.cairn("restore", "latest:redis", "--to-redis-dir",
                   self.folder / "new")

    def test_to_verify_without_the_programs(self):
        self.server.end()
        for more in ([], ["-n"]):
            ran = self.cairn("restore", "latest", "--to-redis-dir",
                             self.server.data, "--verify", *more,
                             code=SOURCE_FAILED, env={"PATH": "/nonexistent"})
            self.assertIn("Debian: redis-server", ran.err)

    def test_to_promise_what_would_be_refused(self):
        ran = self.cairn("restore", "latest:redis/keys.json",
                         "--to-redis-dir", self.folder / "new", "-n",
                         code=REFUSED)
        self.assertIn("no RDB that a server reads", ran.err)

    def test_what_makes_no_sense(self):
        for words in (["--to", "/tmp/x"], ["--overwrite", "always"],
                      ["--database", "x"], ["--bin-dir", "/usr/bin"]):
            self.cairn("restore", "latest", "--to-redis-dir", "/tmp/x", *words,
                       code=USAGE)
        self.cairn("restore", "latest", "--to-redis-dir", "", code=USAGE)
        self.cairn("restore", "latest:none", "--to-redis-dir",
                   self.folder / "new", code=FAILED)


if __name__ == "__main__":
    harness.main()
