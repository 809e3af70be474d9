#!/usr/bin/python3
"""The examples in docs/examples: each job of each is run against real servers,
as it stands there but for the places: paths lie below a folder of the test,
hosts are its sockets, and a program called docker does what `docker exec` does,
without a container."""

import pathlib
import unittest

import harness
from harness import DAMAGE, OK
from redis_case import Redis
from servers import Postgres, needs_postgres, needs_redis

try:
    import yaml
except ImportError:
    yaml = None

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "examples"

# The programs of the test's server, and of a container that has n8n.
DOCKER = """#!/bin/bash
echo "$@" >>{log}
[ "$1" = exec ] || exit 0
shift
[ "$1" = -i ] && shift
variables=(PGHOST={socket} PGPORT={port})
while [ "$1" = -e ]; do variables+=("$2=${{!2}}"); shift 2; done
shift
if [ "$1" = n8n ]; then echo '[{{"name": "a workflow"}}]'; exit; fi
exec env -i PATH={programs} "${{variables[@]}}" "$@"
"""


@unittest.skipIf(yaml is None, "not installed: python3-yaml")
@needs_postgres
@needs_redis
class Examples(harness.Case):
    def setUp(self):
        super().setUp()
        self.root = self.folder / "root"
        self.log = self.folder / "docker.log"
        self.env["CAIRN_CONFIG"] = str(self.folder / "cairn.yaml")
        for name in ("CAIRN_REPO", "CAIRN_KEY_FILE"):
            del self.env[name]

    def serve(self, server):
        self.addCleanup(server.stop)
        return server

    def start_servers(self, sources):
        self.postgres = self.serve(Postgres())
        self.redis = self.serve(Redis("--appendonly", "yes"))
        self.redis.ask("set", "some", "key")
        for user in ("letta", "replicator"):
            self.postgres.sql("postgres",
                              f"CREATE ROLE {user} SUPERUSER LOGIN")
        for source in sources.values():
            for name in source.get("databases", []):
                if name != "postgres":
                    self.postgres.sql("postgres", f"CREATE DATABASE {name}")
        programs = self.folder / "bin"
        programs.mkdir()
        docker = programs / "docker"
        docker.write_text(DOCKER.format(
            log=self.log, socket=self.postgres.folder, port=self.postgres.port,
            programs=self.postgres.programs))
        docker.chmod(0o755)
        self.env["PATH"] = f"{programs}:{self.env['PATH']}"
        self.env["TEMPONEST_PG_PASSWORD"] = "not asked for"

    def below(self, path):
        """A path of the example, here; made with something in it."""
        here = self.root / path.lstrip("/")
        if pathlib.Path(path).suffix or pathlib.Path(path).name[0] == ".":
            here.parent.mkdir(parents=True, exist_ok=True)
            here.write_text(f"content of {path}")
        else:
            here.mkdir(parents=True, exist_ok=True)
            (here / "file").write_text(f"in {path}")
        return str(here)

    def moved(self, source):
        source = dict(source)
        if source["type"] == "files":
            source["paths"] = [self.below(p) for p in source["paths"]]
        elif source["type"].startswith("postgres"):
            user = source["dsn"].split("user=")[1].split()[0]
            source["dsn"] = f"user={user}"
            if "container" not in source:
                source["dsn"] += (f" host={self.postgres.folder} "
                                  f"port={self.postgres.port}")
            if "file" in source.get("password", {}):
                source["password"] = {"file": self.below("/secret.txt")}
        elif source["type"] == "redis":
            source.pop("host")
            source["socket"] = str(self.redis.socket)
            if "aof_dir" in source:
                source["aof_dir"] = str(self.redis.data / "appendonlydir")
        return source

    def run_example(self, name):
        said = yaml.safe_load((EXAMPLES / name).read_text())
        self.start_servers(said["sources"])
        said["sources"] = {key: self.moved(source)
                           for key, source in said["sources"].items()}
        for repository in said["repositories"].values():
            repository.clear()
            repository.update(path=str(self.repo), key={"file": str(self.key)})
        pathlib.Path(self.env["CAIRN_CONFIG"]).write_text(yaml.safe_dump(said))
        self.cairn("config", "validate")
        for job in said["jobs"]:
            ran = self.cairn("--json", "run", job)
            summary, = (x for x in ran.lines if x["type"] == "summary")
            self.assertEqual([s for s in summary["sources"]
                              if s["status"] != "complete"], [], job)
            self.cairn("run", job, "--dry-run")
        self.assertEqual({s["series"].split("/")[1] for s in self.snapshots()},
                         {job.get("series", key).split("/")[-1]
                          for key, job in said["jobs"].items()})
        status = self.cairn("status", "--check", code=(OK, DAMAGE))
        self.assertEqual(status.code, OK, status.text)
        self.cairn("schedule", "show")
        return said


def add_tests():
    """One of each file, so that one that is added is run, too."""
    for path in sorted(EXAMPLES.glob("*.yaml")):
        def test(self, name=path.name):
            said = self.run_example(name)
            stops = [h for job in said["jobs"].values()
                     for h in job.get("before", [])]
            if stops:
                self.assertIn(" ".join(stops[0]["run"][1:]),
                              self.log.read_text())
        setattr(Examples, "test_" + path.stem.replace("-", "_"), test)


add_tests()

if __name__ == "__main__":
    harness.main()
