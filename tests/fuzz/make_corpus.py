#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/corpus: a few small inputs for each target,
sound ones and ones that are nearly so. What fuzzing finds is added by hand."""

import hashlib
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"


def head(major, n):
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 24:
            return bytes([major << 5 | n])
        if n < 1 << 8 * size:
            return bytes([major << 5 | info]) + n.to_bytes(size, "big")
    raise ValueError(n)


def cbor(value):
    if value is None or value is True or value is False:
        return bytes([{None: 0xf6, True: 0xf5, False: 0xf4}[value]])
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    return head(5, len(value)) + b"".join(
        cbor(key) + cbor(value[key]) for key in sorted(value))


def vectors(name):
    record = {}
    for line in (GOLDEN / name).read_text().splitlines():
        if line.startswith("#") or ":" not in line:
            continue
        key, _, value = line.partition(":")
        record.setdefault(key, value.strip())
    return record


def body(path):
    return (GOLDEN / "repository" / path).read_bytes()[16:-32]


def seeds():
    id16, id32, time = bytes(range(16)), bytes(range(32)), [1795132800, 5]
    yield "config", [body("config"), cbor({1: id16, 200: [1, {3: None}]})]
    slots = sorted((GOLDEN / "repository/keys").iterdir())
    yield "key_slot", [body(f"keys/{slot.name}") for slot in slots]
    objects = vectors("objects.txt")
    yield "generation_object", [
        bytes.fromhex(objects["generation_2"]),
        cbor([2, time, []]), cbor([1, [-1, 0], [[id32, 4, bytes(80), b""]]])]
    directory = bytes.fromhex(vectors("directory.txt")["cbor"])
    yield "directory", [directory, cbor([[], []])]
    yield "index_body", [
        cbor({1: id16, 2: [], 3: None}),
        cbor({1: id16, 2: [[id32, 1 << 20, [[], []]]], 3: id32}),
        cbor({1: id16})[:-17] + b"\xa2\x01" + cbor(id16) + b"\x02\x81\x83" +
        cbor(id32) + cbor(99999) + directory]
    header = {1: time, 2: [-1, 0], 3: 0, 4: id16, 5: id32, 6: 1000, 7: 500,
              8: True, 9: 3, 10: bytes(32), 11: 7}
    yield "snapshot_header", [cbor(header), cbor(header | {130: "new"})]
    record = {1: "host/db", 2: "host", 3: "user", 4: ["tag"],
              5: [b"/path\xff"], 6: [[b"source", 2, 1, 9, 1, "message"]],
              7: "cairn 0.1"}
    yield "snapshot_record", [cbor(record), cbor(record | {4: [], 6: []})]
    mark = {1: 1, 2: id16, 3: time, 4: "reason", 5: [1, 2]}
    yield "mark", [cbor(mark), cbor({k: mark[k] for k in (1, 2, 3, 4)})]
    yield "session_record", [cbor({1: time, 2: "host", 3: id32, 4: id32,
                                   5: 4026531836, 6: 123, 7: 456789, 8: 0,
                                   9: 4026531834})]
    yield "pin", [cbor(7), cbor(1 << 48), cbor([7]), b"\x18\x07"]
    yield "beat", [cbor(time), cbor([-1, 0]), cbor([1, 1_000_000_000]),
                   cbor([1795132800])]

    def steps(*pairs):
        return b"".join(bytes([part]) + size.to_bytes(7, "little")
                        for part, size in pairs)
    whole = steps((1, 4), (2, 9), (1, 6))
    yield "weave", [
        bytes([10, 9, 0]) + whole, bytes([10, 9, 11]) + whole,
        bytes([10, 9, 0]) + whole[:-8], bytes([10, 9, 3]) + whole[:-3],
        bytes([10, 0, 0]) + steps((1, 11)), bytes([1, 1, 0]) + steps((0, 1)),
        bytes([1, 1, 0]) + steps((3, 1)), bytes([1, 1, 0]) + steps((1, 0)),
        bytes([0, 0, 0])]
    condemnation, doom = (bytes.fromhex(objects[f"epoch_{n}"]) for n in (1, 2))
    yield "epoch", [
        condemnation, doom,
        cbor({1: bytes(32), 2: time, 3: [], 4: [], 5: [], 130: "new"}),
        cbor({1: id32, 2: [-1, 0], 3: [id32], 4: [[id32, time]],
              5: [id16, id16]})]
    yield "links", [bytes.fromhex(vectors("links_node.txt")["cbor"]),
                    cbor([[1, id32, 123456], [0, id32, 1]])]
    entry = {1: b"name", 2: 0, 3: 0o644, 4: 0, 5: 0, 8: time}
    yield "names", [
        bytes.fromhex(vectors("names_node.txt")["cbor"]),
        cbor([]),
        cbor([entry | {1: b"a", 6: "user", 7: "group", 9: 100, 10: 2, 11: 1,
                       13: [1, 2], 15: [[b"user.a", b"\0"]], 16: [[10, 5]]},
              entry | {1: b"b", 2: 4, 14: [8, 1]},
              entry | {1: b"c", 2: 1, 10: 1},
              entry | {1: b"d", 2: 2, 12: b"target", 140: [None]}]),
        bytes.fromhex(vectors("weave.txt")["cbor"])]
    accepted = vectors("cbor_accepted.txt")
    yield "cbor", [bytes.fromhex(value) for value in accepted.values()]
    prologue = b"\x89cairn\r\nm\x83\0\0" + (3).to_bytes(4, "little")
    whole = prologue + b"abc"
    yield "envelope", [whole + hashlib.sha256(whole).digest(),
                       b"\x89cairn\r\np\x83\0\0\1\0\0\0"]
    key = (GOLDEN / "owner.key").read_bytes()
    yield "key_file", [key, b"  " + key.upper(), key[:-3]]
    name = id32.hex().encode()
    yield "pack_name", [b"packs/00/" + name, b"packs/01/" + name, b"packs/"]
    raw = b"\x28\xb5\x2f\xfd\x20\x03\x19\x00\x00abc"
    repeated = b"\x28\xb5\x2f\xfd\x60\x00\x02\x03\x10\x00a"
    windowed = b"\x28\xb5\x2f\xfd\x00\x88\x09\x00\x00a"
    # Behind the bytes that it claims to make, and with the same base.
    patches = [dict(line.split(": ") for line in record.splitlines())
               for record in (GOLDEN / "patch.txt").read_text().split("\n\n")]
    yield "patch", [len(bytes.fromhex(one["plain"])).to_bytes(2, "big") +
                    bytes.fromhex(one["patch"]) for one in patches]
    yield "zstd_frame", [b"\x00\x03" + raw, b"\x03\x00" + repeated,
                         b"\x00\x01" + windowed]


def main():
    for target, inputs in seeds():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            (folder / f"seed-{number}").write_bytes(data)


if __name__ == "__main__":
    main()
