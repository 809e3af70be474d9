"""A Redis cache over eight hours, saved every hour.

Keys of the kinds a web application keeps: sessions with a random token, cached
fragments of JSON, counters, sorted sets, queues. One key in a hundred changes
between two saves; some expire, some are new. The server runs all the while, as
servers do: a restart would choose another hash seed and so another order of
keys, and the saves would share nothing.

That hash seed is the server's own, so two runs give the same keys and values
in a different order.
"""

import base64
import hashlib
import json
import random

from series import throwaway

SAVES = 8
SESSIONS = 190_000
FRAGMENTS = 100_000
COUNTERS = 50_000
BOARDS = 400

_KINDS = ("product", "category", "profile", "search", "basket")
_LABELS = ("in stock", "sold out", "two to three days", "on request",
           "new", "reduced", "last pieces", "collect in the shop")


def _token(seed, number, version):
    digest = hashlib.sha256(f"{seed} {number} {version}".encode()).digest()
    return base64.urlsafe_b64encode(digest)


def _session(seed, number, version):
    key = b"session:%s" % _token(seed, number, 0)[:24]
    return (b"HSET", key, b"user", b"%d" % (number * 7919 % 1_000_003),
            b"csrf", _token(seed, number, version)[:43],
            b"address", b"10.%d.%d.%d" % (number // 65536 % 256,
                                          number // 256 % 256, number % 256),
            b"seen", b"%d" % (1_750_000_000 + number + version * 3600))


def _fragment(seed, number, version):
    chance = random.Random(f"{seed} {number}")
    value = {"id": number, "kind": chance.choice(_KINDS), "version": version,
             "etag": _token(seed, number, version)[:27].decode(),
             "price": chance.randrange(99, 50_000), "currency": "EUR",
             "label": chance.choice(_LABELS),
             "related": [chance.randrange(FRAGMENTS) for _ in range(4)]}
    return (b"SET", b"fragment:%s:%d" % (value["kind"].encode(), number),
            json.dumps(value, separators=(",", ":")).encode())


def _counter(seed, number, version):
    hits = random.Random(f"{seed} {number} {version}").randrange(1_000_000)
    return (b"SET", b"hits:/page/%d" % number, b"%d" % hits)


def _board(seed, number):
    chance = random.Random(f"{seed} board {number}")
    words = [b"ZADD", b"board:%d" % number]
    for place in range(100):
        words += [b"%d" % chance.randrange(100_000),
                  b"player:%d" % (number * 1000 + place)]
    return tuple(words)


def _first_hour(seed, counts):
    sessions, fragments, counters, boards = counts
    for number in range(sessions):
        yield _session(seed, number, 1)
    for number in range(fragments):
        yield _fragment(seed, number, 1)
    for number in range(counters):
        yield _counter(seed, number, 1)
    for number in range(boards):
        yield _board(seed, number)


def _pass_an_hour(seed, counts, hour):
    sessions, fragments, counters, boards = counts
    chance = random.Random(f"{seed} hour {hour}")
    new = sessions // 400
    for number in chance.sample(range(sessions), sessions // 100):
        yield _session(seed, number, hour)
    for number in range(sessions + hour * new, sessions + (hour + 1) * new):
        yield _session(seed, number, hour)
    for number in chance.sample(range(sessions), new):
        yield (b"DEL", _session(seed, number, 0)[1])
    for number in chance.sample(range(fragments), fragments // 100):
        yield _fragment(seed, number, hour)
    for number in chance.sample(range(counters), counters // 50):
        yield _counter(seed, number, hour)
    for number in range(boards):
        yield (b"ZADD", b"board:%d" % number, b"%d" % chance.randrange(100_000),
               b"player:%d" % (number * 1000 + chance.randrange(100)))


def make(folder, seed, scale):
    """Fills `folder` with 1.rdb to 8.rdb."""
    counts = [max(10, int(n * scale))
              for n in (SESSIONS, FRAGMENTS, COUNTERS, BOARDS)]
    with throwaway.redis() as server:
        server.send(_first_hour(seed, counts))
        for hour in range(1, SAVES + 1):
            if hour > 1:
                server.send(_pass_an_hour(seed, counts, hour))
            server.save(folder / f"{hour}.rdb")
