#!/usr/bin/python3
"""What `pg setup --print` prints is run on a real server, and `pg check` finds
what is wrong with one."""

import re
import shlex
import signal

from archive_case import ArchiveCase
import harness
from harness import FAILED, OK, SOURCE_FAILED, USAGE, wait_until
from servers import free_port, needs_postgres, postgres_of
import postgres_case

PASSWORD = "canary-password-77ab"


@needs_postgres
class Check(ArchiveCase):
    def check(self, *words, code=OK, dsn=None, **how):
        """name -> (verdict, text and advice), and the summary."""
        ran = self.cairn("--json", "pg", "check", "--dsn",
                         dsn or self.server.dsn(), *words, code=code, **how)
        found = {}
        for line in ran.lines:
            if line["type"] == "pg_check":
                found[line["name"]] = (
                    line["verdict"],
                    line["text"] + "; " + line.get("advice", ""))
        self.assertEqual(ran.lines[-1]["type"], "summary")
        return found, ran.lines[-1]

    def plain_role(self, *grants):
        """Its DSN."""
        self.server.sql("postgres", "create role backup login replication")
        for grant in grants:
            self.server.sql("postgres", f"grant {grant} to backup")
        return self.server.dsn().replace("user=postgres", "user=backup")

    SWITCH = "execute on function pg_switch_wal()"

    def test_a_receiver_that_works_is_proved_to(self):
        dsn = self.plain_role(self.SWITCH)
        self.cairn("pg", "base", "--dsn", dsn)
        receiver = self.receive()
        found, summary = self.check(dsn=dsn)
        self.assertEqual({v for v, _ in found.values()},
                         {"ok", "warning", "skipped"})
        self.assertEqual([n for n, (v, _) in found.items() if v == "warning"],
                         ["max_slot_wal_keep_size"])
        self.assertRegex(found["arrival"][1], "spool of this host|repository")
        self.assertEqual(summary["failed"], 0)
        self.assertEqual(summary["warnings"], 1)
        # From another host's point of view.
        found, _ = self.check("--timeout", "2s", dsn=dsn, env={
            "XDG_STATE_HOME": self.home / "other"})
        self.assertRegex(found["arrival"][1], "acknowledged by the receiver")
        self.flush(receiver)
        self.finish(receiver)
        self.assertRegex(self.cairn("pg", "check", "--dsn", dsn, "--timeout",
                                    "2s", code=SOURCE_FAILED).text,
                         "FAILED +slot: .*nobody receives by it.*\n")

    def test_archiving_is_proved(self):
        self.archive("--flush-interval", "0s")
        self.base()
        elsewhere = {"XDG_STATE_HOME": self.home / "other"}
        found, _ = self.check(env=elsewhere)
        self.assertRegex(found["arrival"][1], "repository, and was read back")
        self.assertEqual(found["slot"][0], "skipped")
        self.assertEqual(found["role"][0], "warning")  # a superuser
        self.archive("--flush-interval", "1h")
        found, _ = self.check()
        self.assertEqual(found["arrival"][0], "ok")
        self.assertRegex(found["arrival"][1], "spool of this host")
        found, _ = self.check("--timeout", "1s", env=elsewhere)
        self.assertRegex(found["arrival"][1], "taken by 'cairn pg wal-push'")
        # A command that fails.
        self.server.sql("postgres", "alter system set archive_command = "
                        "'false pg wal-push'; ")
        self.server.sql("postgres", "select pg_reload_conf()")
        self.switch()
        wait_until(lambda: self.server.sql(
            "postgres", "select failed_count from pg_stat_archiver") != "0",
            "a failure")
        found, _ = self.check("--timeout", "1s", code=SOURCE_FAILED)
        self.assertEqual(found["archive_mode"][0], "failed")
        self.assertEqual(found["arrival"][0], "failed")
        self.assertIn("server's log", found["arrival"][1])

    def test_what_is_missing_is_told_with_what_to_do(self):
        dsn = self.plain_role()
        found, summary = self.check("--timeout", "1s", dsn=dsn,
                                    code=SOURCE_FAILED)
        self.assertIn("GRANT EXECUTE", found["switch"][1])
        self.assertIn("--no-switch", found["switch"][1])
        self.assertIn("wal-receive", found["slot"][1])
        self.assertIn("cairn pg base", found["base"][1])
        self.assertEqual(summary["failed"], 2)
        found, _ = self.check("--no-switch", dsn=dsn, code=SOURCE_FAILED)
        self.assertEqual(found["switch"][0], "skipped")
        # Nobody receives: it does not arrive.
        self.server.sql("postgres", f"grant {self.SWITCH} to backup")
        found, _ = self.check("--timeout", "1s", dsn=dsn, code=SOURCE_FAILED)
        self.assertIn("nobody receives", found["arrival"][1])
        self.server.sql("postgres", "alter role backup noreplication")
        found, _ = self.check(dsn=dsn, code=SOURCE_FAILED)
        self.assertIn('ALTER ROLE "backup" REPLICATION', found["role"][1])
        self.assertEqual(found["replication"][0], "failed")
        self.server.down()
        self.server.options = [*self.server.options, "-c",
                               "wal_level=minimal", "-c", "max_wal_senders=0"]
        self.server.up()
        found, _ = self.check(code=SOURCE_FAILED)
        self.assertIn("wal_level = replica", found["wal_level"][1])
        self.assertEqual(found["max_wal_senders"][0], "failed")
        self.server.down()
        self.cairn("pg", "check", "--dsn", dsn, code=SOURCE_FAILED)
        self.cairn("pg", "check", "--dsn", dsn, "--slot", "No", code=USAGE)

    def test_a_segment_that_does_not_arrive_is_1(self):
        dsn = self.plain_role(self.SWITCH)
        self.cairn("pg", "base", "--dsn", dsn)
        receiver = self.receive()
        receiver.send_signal(signal.SIGSTOP)
        try:
            found, _ = self.check("--timeout", "2s", dsn=dsn, code=FAILED)
        finally:
            receiver.send_signal(signal.SIGCONT)
        self.assertEqual(found["arrival"][0], "failed")
        self.assertIn("has not acknowledged", found["arrival"][1])
        self.finish(receiver)

    def test_max_wal_senders_used_up(self):
        dsn = self.plain_role(self.SWITCH)
        self.server.down()
        self.server.options = [*self.server.options, "-c", "max_wal_senders=1"]
        self.server.up()
        receiver = self.receive()
        found, _ = self.check("--timeout", "2s", dsn=dsn, code=SOURCE_FAILED)
        self.assertEqual(found["max_wal_senders"][0], "failed")
        self.assertIn("max_wal_senders = 6", found["max_wal_senders"][1])
        self.assertIn("raise max_wal_senders", found["replication"][1])
        self.finish(receiver)


class Setup(postgres_case.Case):
    """Of every version that can be had."""

    def sheet(self, *words, **how):
        return self.cairn("pg", "setup", "--print", *words, **how)

    def run_sheet(self, programs=None, absent=(), present=()):
        server = self.serve(programs=programs, port=free_port())
        dsn = self.dsn(server)
        ran = self.sheet("--dsn", f"{dsn} port={server.port}",
                         env={"PGPASSWORD": PASSWORD})
        self.assertNotIn(PASSWORD, ran.text + ran.err)
        for text in absent:
            self.assertNotIn(text, ran.text)
        for text in present:
            self.assertIn(text, ran.text)
        # Nothing was changed by it.
        self.assertEqual(server.sql(
            "postgres", "select count(*) from pg_roles where rolname = "
            "'cairn'"), "0")
        sql = re.sub(r"(?m)^\\password.*$",
                     f"ALTER ROLE cairn PASSWORD '{PASSWORD}';", ran.text)
        server.sql("postgres", sql)
        server.end()
        server.begin()
        self.assertEqual(server.sql("postgres", "show archive_mode"), "on")
        self.assertIn("wal-push", server.sql("postgres",
                                             "show archive_command"))
        # The role can do all of it, over TCP, by its password.
        as_role = f"host=127.0.0.1 port={server.port} user=cairn " \
                  "dbname=postgres"
        word = {"CAIRN_PG_PASSWORD_COMMAND": f"echo {PASSWORD}"}
        self.cairn("pg", "base", "--dsn", as_role, env=word)
        slot = server.sql("postgres",
                          "select slot_name from pg_replication_slots")
        wrong = self.cairn(
            "pg", "wal-receive", "--dsn", as_role, code=SOURCE_FAILED,
            env={"CAIRN_PG_PASSWORD_COMMAND": f"echo {PASSWORD}-wrong"})
        self.assertIn("CAIRN_PG_PASSWORD_COMMAND", wrong.err)
        self.assertNotIn(PASSWORD, wrong.err)
        receiver = self.start("pg", "wal-receive", "--dsn", as_role, env=word)
        wait_until(lambda: receiver.poll() is not None or server.sql(
            "postgres", "select active from pg_replication_slots") == "t",
            "a receiver by the slot that was made")
        checked = self.cairn("pg", "check", "--dsn", as_role, "--timeout",
                             "20s", env=word, code=(OK, SOURCE_FAILED))
        # All but archive_command, whose user cannot read this repository.
        bad = re.findall(r"FAILED +(\w+)", checked.text)
        self.assertIn(bad, ([], ["archive_mode"]), checked.text)
        self.assertRegex(checked.text, "ok +arrival")
        self.assertRegex(checked.text, "ok +switch")
        self.assertRegex(checked.text, f"ok +slot: {slot}")
        receiver.send_signal(signal.SIGTERM)
        self.end(receiver)
        return ran.text

    @needs_postgres
    def test_what_it_prints_runs_on_15(self):
        text = self.run_sheet(present=["pg_read_all_data"],
                              absent=["idle_replication_slot", "14 and"])
        self.assertIn(str(self.repo), text)
        self.assertIn(f"CAIRN_KEY_FILE={self.key}", text)
        self.assertIn(f"XDG_STATE_HOME={self.state}", text)

    @needs_postgres
    def test_what_it_prints_runs_on_other_versions(self):
        ran = []
        for major, absent, present in (
                (13, ["pg_read_all_data", "idle_repl"], ["GRANT USAGE"]),
                (17, ["idle_repl"], ["pg_read_all_data"]),
                (18, [], ["idle_replication_slot_timeout"])):
            programs = postgres_of(major)
            if programs:
                self.run_sheet(programs, absent, present)
                ran.append(major)
        if not ran:
            self.skipTest("no other version is there")

    def test_without_a_server_it_says_which_version_needs_what(self):
        text = self.sheet().text
        self.assertIn("14 and later", text)
        self.assertIn("18 and later", text)
        self.cairn("pg", "setup", code=USAGE)
        value = self.cairn("--json", "pg", "setup", "--print", "--series",
                           "shop").value
        self.assertRegex(value["archive_command"],
                         "cairn -r .* pg wal-push --series .*/shop %p$")
        self.assertRegex(value["restore_command"],
                         "pg wal-fetch --series .*/shop %f %p$")
        self.assertRegex(value["slot"], "^cairn_.*_shop_wal_[0-9a-f]{8}$")

    def test_odd_places_are_quoted(self):
        odd = self.folder / "it's 100% odd"
        key = odd / "a key"
        odd.mkdir()
        env = {"CAIRN_REPO": odd / "repo", "CAIRN_KEY_FILE": key}
        self.cairn("init", "--recovery-key-out", key, env=env)
        value = self.cairn("--json", "pg", "setup", "--print", env=env).value
        command = value["archive_command"]
        self.assertTrue(command.endswith(" %p"))
        # As the server replaces, and the shell reads it.
        words = shlex.split(command.removesuffix(" %p").replace("%%", "%"))
        self.assertIn(str(odd / "repo"), words)
        self.assertIn(f"CAIRN_KEY_FILE={key}", words)


if __name__ == "__main__":
    harness.main()
