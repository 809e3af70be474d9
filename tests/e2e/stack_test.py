#!/usr/bin/python3
"""A whole stack on plain processes: PostgreSQL, Redis with its append-only
file, a volume that is written to all the time, .env and compose files; saved
by one file, changed, saved, destroyed, and back from repository and key."""

import os
import shutil
import subprocess
import threading

import harness
from harness import PARTIAL, wait_until
from redis_case import Redis
from servers import Postgres, needs_postgres, needs_redis

TABLES = ("SELECT md5(string_agg(o::text, '|' ORDER BY id)) FROM orders o",
          "SELECT md5(string_agg(a::text, '|' ORDER BY id)) FROM agents a")


def dsn_of(server):
    return f"host={server.folder} port={server.port} user=postgres"


class Volume:
    """A program that appends, replaces, makes and removes files, and never
    rests."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        (folder / "uploads").mkdir()
        (folder / "uploads" / "picture").write_bytes(harness.noise(300_000))
        self.has_ended = threading.Event()
        self.rounds = 0
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.has_ended.wait(0.001):
            self.rounds += 1
            with open(self.folder / "app.log", "ab") as log:
                log.write(b"line %d\n" % self.rounds)
            fresh = self.folder / "state.json.new"
            fresh.write_text(f'{{"round": {self.rounds}}}')
            fresh.rename(self.folder / "state.json")
            passing = self.folder / f"tmp-{self.rounds}"
            passing.write_bytes(b"x" * 10)
            passing.unlink()

    def end(self):
        self.has_ended.set()
        self.thread.join()


@needs_postgres
@needs_redis
class Stack(harness.Case):
    def setUp(self):
        super().setUp()
        self.config = self.folder / "cairn.yaml"
        self.env["CAIRN_CONFIG"] = str(self.config)
        for name in ("CAIRN_REPO", "CAIRN_KEY_FILE"):
            del self.env[name]
        self.postgres = self.serve(Postgres())
        self.redis = self.serve(Redis("--appendonly", "yes", "--enable-debug-command",
                                      "local"))
        self.volume = Volume(self.folder / "volume")
        self.addCleanup(self.volume.end)
        self.project = self.folder / "project"
        self.project.mkdir()
        (self.project / ".env").write_text("POSTGRES_PASSWORD=canary-7\n")
        (self.project / "compose.yaml").write_text("services: {db: {}}\n")
        for name in ("shop", "agentic"):
            self.postgres.sql("postgres", f"CREATE DATABASE {name}")
        self.postgres.sql("shop", """
            CREATE TABLE orders (id int PRIMARY KEY, what text);
            INSERT INTO orders SELECT i, md5(i::text)
                FROM generate_series(1, 20000) i""")
        self.postgres.sql("agentic", """
            CREATE TABLE agents (id int PRIMARY KEY, name text);
            INSERT INTO agents SELECT i, 'agent ' || i
                FROM generate_series(1, 500) i""")
        self.redis.fill([*(f"SET key:{i} {i * i}" for i in range(5000)),
                         "SELECT 2", "LPUSH queue a b c", "HSET h x 1 y 2"])

    def serve(self, server):
        self.addCleanup(server.stop)
        return server

    def configure(self):
        """As a newcomer does: what `config init` wrote, and their own words."""
        self.cairn("config", "init", cwd=self.project)
        self.assertIn("version: 1", self.config.read_text())
        self.config.write_text(f"""version: 1
host: stack
time_zone: UTC
repositories:
  local: {{path: {self.repo}, key: {{file: {self.key}}}}}
sources:
  postgres: {{type: postgres, dsn: '{dsn_of(self.postgres)}'}}
  redis: {{type: redis, socket: {self.redis.socket}}}
  volume: {{type: files, paths: [{self.volume.folder}], live: true}}
  settings: {{type: files, part: config, paths: [{self.project}]}}
jobs:
  nightly: {{sources: all}}
retention:
  default: {{keep: {{last: 2}}}}
""")
        self.cairn("config", "validate")

    def run_job(self, **how):
        ran = self.cairn("--json", "run", "nightly", **how)
        return [x for x in ran.lines if x["type"] == "summary"][-1]

    def tables(self, server):
        return [server.sql(name, query) for name, query
                in zip(("shop", "agentic"), TABLES)]

    def keys(self, server):
        """Of both databases, with their contents."""
        return [server.ask("dbsize"), server.ask("-n", "2", "dbsize"),
                server.ask("get", "key:77"), server.ask("get", "fresh"),
                server.ask("-n", "2", "lrange", "queue", "0", "-1"),
                server.ask("-n", "2", "hgetall", "h"),
                server.digest()]

    def destroy(self):
        """All but repository and key."""
        self.volume.end()
        for server in (self.postgres, self.redis):
            server.stop()
        for path in (self.volume.folder, self.project, self.cache, self.state):
            shutil.rmtree(path)
        self.config.unlink()
        self.env.update(CAIRN_REPO=str(self.repo), CAIRN_KEY_FILE=str(self.key),
                        CAIRN_CONFIG=None)

    def test_saved_changed_destroyed_and_back(self):
        self.configure()
        first = self.run_job()
        self.assertEqual({s["name"]: s["status"] for s in first["sources"]
                          if s["status"] != "complete"}, {}, first)
        rounds = self.volume.rounds

        self.postgres.sql("shop", "UPDATE orders SET what = 'x' WHERE id < 99; "
                                  "INSERT INTO orders VALUES (20001, 'new')")
        self.redis.ask("set", "fresh", "today")
        self.redis.ask("-n", "2", "rpush", "queue", "d")
        (self.project / ".env").write_text("POSTGRES_PASSWORD=canary-8\n")
        wait_until(lambda: self.volume.rounds > rounds, "the volume to change")
        self.run_job()
        tables, keys = self.tables(self.postgres), self.keys(self.redis)
        self.assertIn("today", keys)

        self.destroy()
        self.assertEqual(len(self.snapshots()), 2)
        back = self.folder / "back"
        self.restore(f"latest:{self.volume.folder}", back / "volume")
        self.restore(f"latest:{self.project}", back / "project")
        self.assertEqual((back / "project" / ".env").read_text(),
                         "POSTGRES_PASSWORD=canary-8\n")
        self.assertEqual((back / "volume" / "uploads" / "picture").read_bytes(),
                         harness.noise(300_000))
        log = (back / "volume" / "app.log").read_bytes().split(b"\n")
        whole = [b"line %d" % n for n in range(1, len(log))]
        self.assertEqual(log[:-1], whole)  # to a moment: the rest came later
        self.assertTrue((back / "volume" / "state.json").read_text()
                        .endswith("}"))

        server = self.serve(Postgres())
        self.cairn("restore", "latest:postgres", "--to-dsn", dsn_of(server))
        self.assertEqual(self.tables(server), tables)
        self.cairn("restore", "latest", "--to-dsn", dsn_of(server),
                   "--database", "shop", "--into", "beside")
        self.assertEqual(server.sql("beside", TABLES[0]), tables[0])

        server = self.serve(Redis("--appendonly", "no"))
        server.end()
        data = server.data  # of the server's user, and empty
        self.cairn("restore", "latest:redis", "--to-redis-dir", data,
                   "--verify")
        for rdb in data.rglob("*.rdb"):
            subprocess.run(["redis-check-rdb", rdb], check=True,
                           capture_output=True)
        server.begin("--appendonly", "yes", "--enable-debug-command", "local")
        self.assertEqual(self.keys(server), keys)

    def test_a_run_goes_on_where_one_of_all_is_down(self):
        self.configure()
        self.redis.stop()
        summary = self.run_job(code=PARTIAL)
        self.assertEqual({s["name"]: s["status"] for s in summary["sources"]
                          if s["status"] != "complete"},
                         {"redis/dump.rdb": "failed",
                          "redis/keys.json": "failed"})
        self.cairn("run", "nightly", "--only", "data")
        self.assertNotIn("canary", "".join(
            p.read_text(errors="replace")
            for folder in (self.state, self.cache) for p in folder.rglob("*")
            if p.is_file()))
        self.assertTrue(os.path.exists(self.project / ".env"))


if __name__ == "__main__":
    harness.main()
