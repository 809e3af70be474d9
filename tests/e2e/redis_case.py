"""Redis servers for tests of what cairn saves of them and brings back."""

import json
import os
import shutil
import socket
import subprocess
import threading

import harness
import servers

CANARY = "canary-of-redis"


def commands_of_all_types():
    """Everything that a server of 7.0 writes in a way of its own, over two
    databases and a third far away: one command per line."""
    yield "SET text value"
    yield "SET small 7"
    yield "SET middle -30000"
    yield "SET large 1000000000"
    yield "SET huge 123456789012345"
    yield "SET squeezed " + "squeeze" * 50  # LZF
    yield "SET long " + harness.noise(30000).hex()
    yield "SET passing value PX 987654321"
    yield "SETBIT bits 100000 1"
    yield "RPUSH list a b c 1 2 3"
    yield "RPUSH list:large " + " ".join(str(i) * 20 for i in range(2000))
    yield "RPUSH list:plain " + "x" * 20000
    yield "SADD set:numbers 1 2 3 70000"
    yield "SADD set:words " + " ".join(f"word{i}" for i in range(700))
    yield "ZADD zset:packed 1 a 2.5 b inf c -inf d"
    yield "ZADD zset:large " + " ".join(f"{i}.25 m{i}" for i in range(300))
    yield "HSET hash:packed a 1 b 2"
    yield "HSET hash:large " + " ".join(f"f{i} v{i}" for i in range(700))
    yield "PFADD counted a b c"
    yield "GEOADD places 13.4 52.5 berlin"
    for i in range(250):
        yield f"XADD stream 1-{i + 1} field value{i} other {i}"
    yield "XGROUP CREATE stream group 0"
    yield "XGROUP CREATECONSUMER stream group idle"
    yield "XREADGROUP GROUP group reader COUNT 20 STREAMS stream >"
    yield "XACK stream group 1-1 1-2"
    yield "XDEL stream 1-3"
    yield "XGROUP CREATE empty:stream group $ MKSTREAM"
    yield "EXPIRE hash:packed 100000"
    yield "SELECT 1"
    yield "SET only here"
    yield "SELECT 15"
    for i in range(100):
        yield f"SET key:{i} {i} EX {100000 + i}"


FUNCTION = ("#!lua name=lib\n"
            "redis.register_function('f', function() return 1 end)")


def spelled(command):
    """As the protocol has it: lines for people must be short."""
    words = [w.encode() for w in command.split()]
    return b"*%d\r\n" % len(words) + b"".join(
        b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Redis(servers.Server):
    """With `options` as in redis.conf: append-only files, passwords, TLS."""

    def __init__(self, *options, port=None, data=None):
        super().__init__()
        self.socket = self.folder / "socket"
        self.port = port
        self.login = []
        self.data = data or self.folder / "data"
        if not data:
            self.run("mkdir", "data")
        self.options = options
        try:
            self.begin(*options)
        except BaseException:
            self.stop()
            raise

    def begin(self, *options):
        self.start("redis-server", "--port", str(self.port or 0),
                   "--unixsocket", self.socket, "--unixsocketperm", "777",
                   "--dir", self.data, "--save", "", "--daemonize", "no",
                   "--repl-diskless-sync-delay", "0", *options,
                   is_up=self.is_up)

    def end(self, how=15):
        self.process.send_signal(how)
        self.process.wait(60)

    def is_up(self):
        if self.process.poll() is not None:
            raise AssertionError("the server has ended")
        said = subprocess.run(
            ["redis-cli", "-s", self.socket, *self.login, "ping"], check=False,
            capture_output=True).stdout
        return said == b"PONG\n" or b"NOAUTH" in said

    def ask(self, *words):
        return self.run("redis-cli", "-s", self.socket, *self.login,
                        *words).decode().strip()

    def save(self):
        # It refuses while it has not noticed the end of the save before.
        harness.wait_until(lambda: self.ask("SAVE") == "OK",
                           "the server to save")

    def fill(self, commands):
        self.run("redis-cli", "-s", self.socket, *self.login, "--pipe",
                 input=b"".join(map(spelled, commands)))

    def fill_all_types(self):
        self.fill(commands_of_all_types())
        self.run("redis-cli", "-s", self.socket, *self.login, "-x", "FUNCTION",
                 "LOAD", "REPLACE", input=FUNCTION.encode())

    def keyspace(self):
        """How many keys, and how many of them expire, of each database."""
        found = {}
        for line in self.ask("INFO", "keyspace").splitlines():
            if line.startswith("db"):
                name, _, rest = line.strip().partition(":")
                values = dict(x.split("=") for x in rest.split(","))
                found[int(name[2:])] = (int(values["keys"]),
                                        int(values["expires"]))
        return found

    def key_count(self):
        return sum(keys for keys, _ in self.keyspace().values())

    def digest(self):
        return self.ask("DEBUG", "DIGEST")


class StandIn:
    """Listens at a socket in the file system, and says to one who connects what
    `answer` gives for the words of each command: bytes, or None to hang up."""

    def __init__(self, path, answer):
        self.answer = answer
        self.heard = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                try:
                    self.talk(stream)
                except OSError:
                    pass

    def talk(self, stream):
        while True:
            head = stream.readline()
            if not head.startswith(b"*"):
                return
            words = []
            for _ in range(int(head[1:])):
                size = int(stream.readline()[1:])
                words.append(stream.read(size + 2)[:-2].decode())
            self.heard.append(words)
            said = self.answer(words)
            for part in said if isinstance(said, list) else [said]:
                if part is None:
                    return
                stream.write(part)
                stream.flush()

    def stop(self):
        # close() alone leaves accept() waiting.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


class RedisCase(harness.Case):
    def setUp(self):
        super().setUp()
        self.config = self.folder / "cairn.yaml"
        self.env["CAIRN_CONFIG"] = str(self.config)
        for name in ("CAIRN_REPO", "CAIRN_KEY_FILE"):
            del self.env[name]

    def serve(self, *options, **how):
        server = Redis(*options, **how)
        self.addCleanup(server.stop)
        return server

    def stand_in(self, answer):
        folder = servers.Server()  # a short path
        self.addCleanup(shutil.rmtree, folder.folder, True)
        one = StandIn(folder.folder / "socket", answer)
        self.addCleanup(one.stop)
        return folder.folder / "socket", one

    def configure(self, redis, more=""):
        self.config.write_text(f"""version: 1
host: stack
repositories:
  local: {{path: {self.repo}, key: {{file: {self.key}}}}}
sources:
  redis: {{type: redis, {redis}}}
{more}
jobs:
  nightly: {{sources: all}}
""")

    def run_job(self, *words, code=harness.OK, **how):
        """What its summary says, and what it wrote."""
        ran = self.cairn("--json", "run", *words, code=code, **how)
        return [x for x in ran.lines if x["type"] == "summary"][-1], ran

    def keys(self, what="latest:redis/keys.json"):
        return json.loads(self.cat(what))

    def rdb(self, what="latest:redis/dump.rdb"):
        """The bytes, of which Redis' own program thinks well."""
        data = self.cat(what)
        file = self.folder / "checked.rdb"
        file.write_bytes(data)
        checked = subprocess.run(["redis-check-rdb", file], check=False,
                                 capture_output=True)
        self.assertEqual(checked.returncode, 0, checked.stdout)
        os.unlink(file)
        return data
