#!/usr/bin/python3
"""Writes the golden repository and the vectors of this folder.

A writer for tests, from FORMAT.md alone and apart from the independent reader.
What a writer must draw at random comes from a seed here, so that a run repeats
itself as long as zstd compresses alike. `build(folder, fault=...)` writes the
same repository with one fault in it, for independent_reader_test.py.

  make_golden.py FOLDER    writes FOLDER/repository and the vectors beside it
"""

import hashlib
import hmac
import os
import sys

import cbor2
import nacl.bindings as sodium
import nacl.pwhash
import nacl.signing
import xxhash
import zstandard

PAGE = 16384
PASSPHRASE = "correct horse battery staple"
CREATED = [1795132800, 123456789]  # 2026-11-20T00:00:00.123456789Z
OWNER, WRITE = 0, 4


def rand(label, size):
    """Fixed bytes in place of random ones, another run for each label."""
    return hashlib.shake_256(b"cairn golden " + label.encode()).digest(size)


def cbor(value):
    return cbor2.dumps(value, canonical=True)


def derive(key, label, context):
    return hmac.digest(key, label.encode() + context, "sha256")


def seal(key, ad, plain):
    return sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plain, ad, hashlib.sha256(ad).digest()[:24], key)


def wrap(public, key, label):
    """crypto_box_seal with an ephemeral key from the seed."""
    own, secret = sodium.crypto_box_seed_keypair(rand("wrap " + label, 32))
    nonce = hashlib.blake2b(own + public, digest_size=24).digest()
    return own + sodium.crypto_box(key, nonce, public, secret)


def sign(seed, message):
    return nacl.signing.SigningKey(seed).sign(message).signature


def public_of(seed):
    return bytes(nacl.signing.SigningKey(seed).verify_key)


def prologue(type_, number):
    return (bytes.fromhex("8963 6169 726e 0d0a") + type_.encode() + b"\x83" +
            bytes(2) + number.to_bytes(4, "little"))


def envelope(type_, body):
    front = prologue(type_, len(body)) + body
    return front + hashlib.sha256(front).digest()


def padme(length):
    e = length.bit_length() - 1
    step = 1 << e - e.bit_length()
    return (length + step - 1) // step * step


def key_file_line(key):
    digits = key.hex()
    groups = [digits[i:i + 8] for i in range(0, 64, 8)]
    check = hashlib.sha256(key).hexdigest()[:8]
    return "CAIRN-KEY-1 " + "-".join(groups + [check]) + "\n"


def blob_ad(family, generation, kind, codec, id_, plain_size, stored_size,
            counter, base, depth):
    return cbor(["cairn blob", family, generation, kind, codec, id_, plain_size,
                 stored_size, counter, base, depth])


def directory_plain(keys, rows):
    text = cbor([keys, rows])
    used = len(text).to_bytes(4, "little") + text
    room = PAGE * (-(-(len(used) + 16) // PAGE)) - 16
    return used + bytes(room - len(used))


class Signer:
    """A host's key, certified by a role's."""

    def __init__(self, repository_id, role, role_seed, root_seed):
        self.repository_id, self.seed = repository_id, rand(f"host {role}", 32)
        role_key, host = public_of(role_seed), public_of(self.seed)
        certificate = None
        if role != OWNER:
            certificate = role_certificate(repository_id, role, role_seed,
                                           root_seed)
        self.record = [host, sign(role_seed, b"cairn host key" + repository_id +
                                  host), role, role_key, certificate]

    def sign(self, label, message):
        return sign(self.seed, label.encode() + self.repository_id + message)


def role_certificate(repository_id, role, role_seed, root_seed):
    return sign(root_seed, b"cairn role key" + repository_id + bytes([role]) +
                public_of(role_seed))


def varint(n):
    out = b""
    while n >= 128:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def frame(content, size=None):
    """A zstd frame of one raw block, without its magic."""
    return (bytes([0x20, len(content) if size is None else size]) +
            (len(content) << 3 | 1).to_bytes(3, "little") + content)


def patch(steps, literals, packed=0):
    """Each step is the literals before it, how far its copy lies from where it
    is expected, and the bytes of that; section 6.6.1."""
    text = b""
    for count, shift, size in steps:
        place = 2 * shift if shift >= 0 else -2 * shift - 1
        text += bytes([min(count, 15) << 4 | min(place, 15)])
        for number in count, place:
            if number >= 15:
                text += varint(number - 15)
        text += varint(size)
    head = varint(4 * len(text) + packed)
    if packed == 2:
        return head + frame(text + literals)
    return head + text + (frame(literals) if packed else literals)


def patch_to(plain, base):
    """Of what differs in one place and is as long."""
    differing = [i for i in range(len(plain)) if plain[i] != base[i]]
    first, end = differing[0], differing[-1] + 1
    return patch([(0, 0, first), (end - first, 0, 0)], plain[first:end])


class Pack:
    """Blobs of one pack; `keys` maps a class to its place."""

    def __init__(self, golden, name, classes):
        self.golden, self.name, self.salt = golden, name, rand(name, 32)
        self.blobs, self.rows, self.counter = b"", [], 0
        self.keys, self.place, self.secret = [], {}, {}
        for class_ in classes:
            self.secret[class_] = rand(f"{name} session key {class_}", 32)
            self.place[class_] = len(self.keys)
            self.keys.append([class_, 1, 1, wrap(
                golden.public[class_], self.secret[class_],
                f"{name} {class_}")])

    def add(self, kind, plain, codec=0, base=None, depth=0, id_=None,
            plain_size=None):
        """The blob's id. `base` is the pair of its id and plain bytes."""
        id_ = id_ or self.golden.blob_id(kind, plain)
        if any(row[2] == id_ for row in self.rows):
            return id_
        plain_size = plain_size or len(plain)
        text = plain
        if codec == 3:
            text = patch_to(plain, base[1])
            if self.golden.fault == "patch past its base":
                text = patch([(0, len(base[1]), 0)], b"")
        elif codec:
            text = zstandard.ZstdCompressor(
                level=19, dict_data=base and zstandard.ZstdCompressionDict(
                    base[1], dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            ).compress(plain)
            if self.golden.fault == "wide zstd window" and kind == 0:
                wide = zstandard.ZstdCompressor(
                    compression_params=zstandard.ZstdCompressionParameters(
                        window_log=25)).compressobj()  # knows no size to fit
                text = wide.compress(plain) + wide.flush()
        stored_size = len(text) + 16
        base_id = base and base[0]
        ad = blob_ad(self.golden.family, 1, kind, codec, id_, plain_size,
                     stored_size, self.counter, base_id, depth)
        self.blobs += seal(self.secret[kind], ad, text)
        self.rows.append([kind, codec, id_, plain_size, stored_size,
                          self.place[kind], self.counter] +
                         ([base_id, depth] if codec >= 2 else []))
        self.counter += 1
        return id_

    def bytes(self):
        plain = directory_plain(self.keys, self.rows)
        if self.golden.fault == f"{self.name} CBOR head not the shortest":
            # The number of rows in two bytes.
            at = 4 + len(cbor([self.keys, []])) - 1
            rows = cbor(self.rows)
            body = (plain[4:at] + b"\x98" + bytes([len(self.rows)]) + rows[1:])
            plain = len(body).to_bytes(4, "little") + body
            plain += bytes(PAGE - 16 - len(plain))
        if self.golden.fault == f"{self.name} directory padding":
            plain = plain[:-1] + b"\1"
        front = prologue("p", 1) + self.salt + self.blobs
        total = padme(len(front) + len(plain) + 16 + 8)
        offset = total - len(plain) - 16 - 8
        front += rand(self.name + " padding", offset - len(front))
        key = derive(self.golden.index_key, "cairn directory", self.salt)
        ad = front[:48] + offset.to_bytes(8, "little")
        return (front + seal(key, ad, plain) +
                (len(plain) + 16).to_bytes(4, "little") + b"dir\n")


def generation(role, number, index_key, public, secret):
    """The part that a role gets."""
    fields = {1: number, 2: index_key, 3: public[0], 4: public[2],
              5: public[1], 8: secret[1]}
    if role == OWNER:
        fields.update({6: secret[0], 7: secret[2]})
    return fields


class Golden:
    def __init__(self, path, fault=None):
        self.path, self.fault = path, fault  # no path: only `plain`
        self.plain = {}  # CBOR of objects, by what they are
        self.slots = []  # label, role and public key of each
        self.id, self.family = rand("repository id", 16), rand("family id", 16)
        self.id_key, self.index_key = rand("id key", 32), rand("index key", 32)
        self.root_seed, self.write_seed = rand("root", 32), rand("write", 32)
        self.public, self.secret = {}, {}
        for class_ in (0, 1, 2):
            self.public[class_], self.secret[class_] = (
                sodium.crypto_box_seed_keypair(rand(f"class {class_}", 32)))
        self.owner = Signer(self.id, OWNER, self.root_seed, self.root_seed)
        self.writer = Signer(self.id, WRITE, self.write_seed, self.root_seed)

    def put(self, name, data):
        if self.path is None:
            return
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)

    def blob_id(self, kind, plain):
        return hmac.digest(self.id_key, bytes([kind]) + plain, "sha256")

    # config and keys

    def write_config(self):
        self.plain["config"] = cbor({
            1: self.id, 2: self.family, 3: 1, 4: public_of(self.root_seed),
            5: CREATED, 6: [1 << 19, 1 << 20, 1 << 23], 7: 16384})
        config = envelope("c", self.plain["config"])
        self.put("config", config)
        self.put("config.2", config)

    def write_slot(self, label, role, passphrase=None, key_file=None):
        salt = rand(f"slot {label} salt", 16)
        passes, memory = (2, 64 << 20) if passphrase else (0, 0)
        if passphrase:
            both = nacl.pwhash.argon2id.kdf(64, passphrase.encode(), salt,
                                            opslimit=passes, memlimit=memory)
            key, commitment = both[:32], both[32:]
        else:
            key = derive(key_file, "cairn key file seal", salt)
            commitment = derive(key_file, "cairn key file commitment", salt)
        method = 0 if passphrase else 1
        bundle = {1: self.id, 2: self.family, 3: public_of(self.root_seed),
                  4: role, 5: self.id_key, 6: rand("cutter key", 32),
                  7: [generation(role, 1, self.index_key, self.public,
                                 self.secret)],
                  8: self.root_seed if role == OWNER else self.write_seed}
        if self.fault == "bundle of another repository":
            bundle[1] = rand("elsewhere", 16)
        if role != OWNER:
            bundle[9] = role_certificate(self.id, role, self.write_seed,
                                         self.root_seed)
        bundle[10] = [1 << 19, 1 << 20, 1 << 23, 16384]
        public, bundle[11] = sodium.crypto_box_seed_keypair(
            rand(f"slot {label} key", 32))
        self.slots.append((label, role, public))
        ad = b"cairn key slot" + cbor([self.id, role, method, salt, passes,
                                       memory])
        body = cbor({
            1: role, 2: method, 3: salt, 4: passes, 5: memory, 6: commitment,
            7: seal(key, ad, cbor(bundle)), 8: label, 9: CREATED, 10: public,
            11: sign(self.root_seed, b"cairn slot key" + self.id +
                     bytes([role]) + public)})
        if key_file:
            self.plain.setdefault("key_slot", body)
        self.put("keys/" + rand(f"slot {label}", 16).hex(), envelope("k", body))

    def write_generation(self):
        """The second, which seals nothing yet, for all slots so far."""
        public, secret = {}, {}
        for class_ in (0, 1, 2):
            public[class_], secret[class_] = sodium.crypto_box_seed_keypair(
                rand(f"second class {class_}", 32))
        grants = []
        for label, role, slot in self.slots:
            if self.fault == f"nothing granted to {label}":
                continue
            key = rand(f"grant {label}", 32)
            ad = b"cairn grant" + self.id + bytes([role]) + slot
            plain = cbor([
                generation(role, 1, self.index_key, self.public, self.secret),
                generation(role, 2, rand("second index key", 32), public,
                           secret)])
            grants.append([slot, role, wrap(slot, key, f"grant {label}"),
                           seal(key, ad, plain)])
        self.plain["generation_2"] = cbor([2, [CREATED[0] + 600, 0], grants])
        seed = (self.write_seed if self.fault == "generation by a write key"
                else self.root_seed)
        signed = self.plain["generation_2"]
        data = envelope("g", b"\x82" + signed + cbor(
            sign(seed, b"cairn generation" + self.id + signed)))
        self.put("generations/00000002", data)
        self.put("generations/00000002.copy", data)

    # the graph

    def lists(self, pack, rows, level=1):
        """One row for many: split as section 7 says."""
        if level == 8:
            runs = [rows]
        else:
            runs, run = [], []
            for row in rows:
                run.append(row)
                if (int.from_bytes(row[1][:4], "little") % 256 == 0
                        or len(run) == 1024):
                    runs, run = runs + [run], []
            runs += [run] if run else []
        made = [[1, pack.add(1, cbor(run)), sum(r[2] for r in run)]
                for run in runs]
        return made[0] if len(made) == 1 else self.lists(pack, made, level + 1)

    def folder(self, pack, entries):
        """The row of the folder that holds these (fields, rows) pairs."""
        entries = sorted(entries, key=lambda e: e[0][1])
        if self.fault == "names out of order":
            entries.reverse()
        nodes, node = [], []
        for entry in entries:
            node.append(entry)
            if hashlib.sha256(entry[0][1]).digest()[0] < 2:
                nodes, node = nodes + [node], []
        nodes += [node] if node else []
        rows = [self.entry_node(pack, node) for node in nodes]
        return rows[0] if len(rows) == 1 else self.lists(pack, rows)

    def entry_node(self, pack, entries):
        names = cbor([fields for fields, _ in entries])
        rows = [row for _, own in entries for row in own]
        if self.fault == "a row that no entry takes" and rows:
            rows.append(rows[-1])
        length = sum(row[2] for row in rows)
        if self.fault == "wrong length of a folder":
            length += 1
        names_row = [2, pack.add(2, names, codec=1 if len(names) > 400 else 0),
                     len(names)]
        links = cbor([names_row] + rows)
        return [1, pack.add(1, links), length]

    def data(self, pack, blobs, **more):
        """Fields and rows of a file or stream of these (id, bytes)."""
        rows = [[0, id_, len(plain)] for id_, plain in blobs]
        if len(rows) > 8:
            rows = [self.lists(pack, rows)]
        size = sum(len(plain) for _, plain in blobs) + sum(
            s for _, s in more.get("holes", ()))
        return {"size": size, "rows": rows, **more}

    # signed records

    def snapshot(self, label, signer, root_row, series, time, complete=True,
                 sequence=0, previous=bytes(32), entries=0):
        own, salt = rand(f"session {label}", 16), rand(f"snapshot {label}", 32)
        arrival = [time[0] + 5, 0]
        if self.fault == "an arrival in the future" and label == "first":
            arrival = [1 << 33, 0]  # in 2242
        header = cbor({
            1: time, 2: arrival, 3: 0,
            4: derive(self.index_key, "cairn series tag",
                      series.encode())[:16],
            5: root_row[1], 6: root_row[2], 7: 4096, 8: complete, 9: sequence,
            10: previous, 11: entries})
        record = cbor({
            1: series, 2: "golden-host", 3: "alice", 4: ["golden"],
            5: [b"/srv/golden"],
            6: [[b"/srv/golden", 0, 0 if complete else 1, root_row[2], entries,
                 "" if complete else "one file could not be read"]],
            7: "make_golden.py"})
        self.plain.setdefault("snapshot_header", header)
        self.plain.setdefault("snapshot_record", record)
        record_key = rand(f"record key {label}", 32)
        body = [0, 1, salt,
                seal(derive(self.index_key, "cairn snapshot header", salt),
                     b"cairn snapshot header" + self.id + own, header),
                wrap(self.public[2], record_key, f"record {label}"),
                seal(record_key, b"cairn snapshot record" + self.id + own,
                     record)]
        signature = signer.sign("cairn snapshot", own + cbor(body))
        if self.fault == "wrong signature" and label == "first":
            signature = sign(rand("stranger", 32), b"cairn snapshot" +
                             self.id + own + cbor(body))
        data = envelope("s", cbor(body + [signer.record, signature]))
        self.put("snapshots/" + own.hex(), data)
        return own, data

    def tombstone(self, label):
        own = rand(f"session {label}", 16)
        body = [1, [CREATED[0] + 900, 0], "its process is gone"]
        self.put("snapshots/" + own.hex(), envelope("s", cbor(body + [
            self.owner.record, self.owner.sign("cairn snapshot",
                                               own + cbor(body))])))

    def sealed_record(self, folder, type_, what, label, signer, fields,
                      own=None, suffix=""):
        """`own` are the bytes that name it, 16 of its own unless given."""
        own = own or rand(f"{what} {label}", 16)
        salt = rand(f"{what} salt {label}", 32)
        self.plain[f"{what}_{label}"] = cbor(fields)
        name = "cairn " + what
        body = [1, salt, seal(derive(self.index_key, name, salt),
                              name.encode() + self.id + own, cbor(fields))]
        data = envelope(type_, cbor(body + [
            signer.record, signer.sign(name, own + cbor(body))]))
        self.put(f"{folder}/{own.hex()}{suffix}", data)
        return own, data

    def epoch(self, number, previous, time, condemned, doomed, snapshots):
        """SHA-256 of the object."""
        by, snapshots = self.owner, sorted(snapshots)
        if number % 2 == 0:
            if self.fault == "doom by a write key":
                by = self.writer
            if self.fault == "doom that condemns":
                condemned = [pack for pack, _ in doomed]
            if self.fault == "doom with snapshots out of order":
                snapshots.reverse()
            if self.fault == "doom with a snapshot twice":
                snapshots *= 2
                snapshots.sort()
        _, data = self.sealed_record(
            "epochs", "e", "epoch", str(number), by,
            {1: previous, 2: time, 3: condemned, 4: doomed, 5: snapshots},
            own=number.to_bytes(8, "big"))
        return hashlib.sha256(data).digest()

    def index(self, label, packs):
        salt = rand(f"index {label}", 32)
        front = prologue("x", 1) + salt
        body = cbor({1: rand(f"session {label}", 16), 2: packs, 3: None})
        if self.fault == "index that lies":
            body = body.replace(cbor(packs[0][1]), cbor(packs[0][1] + 1), 1)
        plain = cbor([body, self.owner.record,
                      self.owner.sign("cairn index", body)])
        data = front + seal(derive(self.index_key, "cairn index", salt), front,
                            plain)
        self.put("index/" + hashlib.sha256(data).hexdigest(), data)

    def put_pack(self, pack):
        data = pack.bytes()
        name = hashlib.sha256(data)
        self.put(f"packs/{name.hexdigest()[:2]}/{name.hexdigest()}", data)
        return [name.digest(), len(data), [pack.keys, pack.rows]]


def text_versions():
    """Three states of a text, each a small change of the one before."""
    first = b"".join(b"%04d the quick brown fox %s\n" % (
        i, rand(f"word {i}", 6).hex().encode()) for i in range(200))
    second = first[:3000] + b"a line that is new in the second\n" + first[3000:]
    third = second.replace(b"0100 the", b"0100 THE")
    return first, second, third


def fields(name, type_, mode=0o644, time=0, rows=(), **more):
    """An entry's map. Absent is what the format wants absent."""
    entry = {1: name, 2: type_, 3: mode, 4: 1000, 5: 1000, 6: "alice",
             7: "users", 8: [CREATED[0] + time, 987654321]}
    places = {"size": 9, "profile": 11, "target": 12, "inode": 13,
              "device": 14, "xattrs": 15, "holes": 16, "weave": 17}
    entry.update({places[k]: v for k, v in more.items() if v})
    if rows:
        entry[10] = len(rows)
    return entry, list(rows)


# What is woven: the part and the bytes of each step.
STRANDS = [(1, b"<a>"), (2, b"first"), (1, b"<b>"), (2, b"second"),
           (1, b"<end>")]


def recipe(steps):
    return b"".join(bytes([part]) + length.to_bytes(7, "little")
                    for part, length in steps)


def xxh3(plain):
    return xxhash.xxh3_128(plain).digest()


def weave_of(strands):
    """The parts, the recipe first, and the entry's field."""
    parts = [recipe([(part, len(run)) for part, run in strands]), b"", b""]
    for part, run in strands:
        parts[part] += run
    return parts, [xxh3(b"".join(run for _, run in strands))] + [
        len(part) for part in parts]


# Fault -> steps that do not fit STRANDS.
WRONG_STEPS = {
    "step of the recipe": [(0, 3), (2, 11), (1, 8)],
    "step of no part": [(1, 11), (3, 11)],
    "step of no length": [(1, 11), (2, 0), (2, 11)],
    "step past its part": [(1, 12), (2, 10)],
    "recipe that leaves bytes": [(1, 11), (2, 10)],
    "parts the other way round": [(2, 11), (1, 11)],
}


def woven_entry(golden, add, fault):
    """A weave in blobs that end within steps and runs."""
    parts, weave = weave_of(STRANDS)
    if fault in WRONG_STEPS:
        parts[0] = recipe(WRONG_STEPS[fault])
        weave[1] = len(parts[0])
    cuts = {0: [13], 1: [5], 2: [3, 4]}
    if fault == "blob of the recipe and more":
        parts[0], parts[1], cuts[0] = parts[0] + parts[1][:2], parts[1][2:], []
    blobs = []
    for number, part in enumerate(parts):
        ends = [0] + cuts[number] + [len(part)]
        blobs += [add(part[a:b]) for a, b in zip(ends, ends[1:])]
    found = golden.data(None, blobs, weave=weave)
    found["size"] -= weave[1]
    if fault == "weave beside a hole":
        found["size"] += 9
        found["holes"] = [[22, 9]]
    if fault == "weave of one part":
        found.update(weave=weave[:1] + [8], rows=found["rows"][:1], size=0)
    return found


def build(folder, fault=None, small=False, woven=False):
    """Writes the repository. `small` leaves out the costly passphrase, `woven`
    adds a weave."""
    golden = Golden(folder, fault)
    golden.write_config()
    if not small:
        golden.write_slot("passphrase", OWNER, passphrase=PASSPHRASE)
    golden.write_slot("key file", OWNER, key_file=rand("owner key file", 32))
    golden.write_slot("writer", WRITE, key_file=rand("write key file", 32))

    content = Pack(golden, "content", [0])
    tree = Pack(golden, "tree", [1, 2])
    first, second, third = text_versions()

    def add(plain, **how):
        return content.add(0, plain, **how), plain

    one = add(first, codec=1, plain_size=(8 << 20) + 1 if
              fault == "oversize plain size" else None,
              id_=rand("wrong id", 32) if fault == "wrong id" else None)
    two = add(second, codec=2, base=one, depth=1)
    three = add(third, codec=3, base=two,
                depth=1 if fault == "base of equal depth" else 2)
    noise = add(rand("noise", 700))
    head, tail = add(b"head of the sparse file\n"), add(b"and its tail\n")
    parts = [add(b"part %d of a stream\n" % i) for i in range(11)]
    if fault == "row past the padding":
        content.rows.append([0, 0, rand("row", 32), 1 << 22, (1 << 22) + 16, 0,
                             content.counter])

    def data(name, blobs, type_=0, mode=0o644, time=0, **more):
        return fields(name, type_, mode, time, **golden.data(tree, blobs,
                                                             **more))

    many = golden.folder(tree, [
        # SHA-256("note-141") begins with 00: a node ends there.
        data(b"note-%03d" % i, [], time=i) for i in range(134, 144)])
    docs = golden.folder(tree, [
        data(b"first.txt", [one], time=1), data(b"second.txt", [two], time=2),
        data(b"third.txt", [three], time=3, mode=0o4755),
        data(b"caf\xe9", [noise], time=4, xattrs=[[b"user.cairn",
                                                   b"golden\0value"]]),
        fields(b"notes", 1, 0o700, 5, rows=[many])])
    holes = [[24, 70000], [70037, 29963]]
    if fault == "overlapping holes":
        holes = [[24, 70001], [70024, 29962]]
    if fault == "folders that double":
        for _ in range(40):
            docs = golden.folder(tree, [
                fields(b"one", 1, 0o700, 5, rows=[docs]),
                fields(b"two", 1, 0o700, 5, rows=[docs])])
    archive = [fields(b"archive.tar", 0, time=11, **woven_entry(
        golden, add, fault))] if woven else []
    root = golden.folder(tree, archive + [
        fields(b"docs", 1, 0o750, 6, rows=[docs]),
        data(b"dump.sql", parts, type_=6, mode=0o600, time=7),
        data(b"empty", []), fields(b"empty folder", 1, 0o711, 8),
        fields(b"fifo", 3, 0o622, 9),
        data(b"linked-a", [noise], inode=[64, 4711], profile=1),
        data(b"linked-b", [noise], inode=[64, 4711], profile=1),
        data(b"sl/ash" if fault == "name with a slash" else
             b".." if fault == "name of dots" else b"plain", [parts[0]]),
        data(b"sparse", [head, tail], time=-2 * CREATED[0], holes=holes),
        fields(b"symlink", 2, 0o777, 10, target=b"docs/third.txt")])
    other = golden.folder(tree, [data(b"dump.sql", parts[2:], type_=6,
                                      mode=0o600)])
    packs = [golden.put_pack(content), golden.put_pack(tree)]
    golden.index("first", packs)

    time = CREATED[0] + 1000
    slot, data_ = golden.snapshot("first", golden.owner, root, "golden/files",
                                  [time, 500], entries=25 + woven)
    forgotten, data_ = golden.snapshot(
        "second", golden.owner, root, "golden/files", [time + 100, 0],
        sequence=1, previous=hashlib.sha256(data_).digest(),
        entries=25 + woven)
    third_slot, _ = golden.snapshot(
        "third", golden.writer, other, "golden/db", [time + 50, 0],
        complete=False, entries=1)
    golden.tombstone("fenced")
    marker = (golden.writer if fault == "mark by a write key"
              else golden.owner)
    golden.sealed_record("marks", "m", "mark", "forget", marker, {
        1: 0, 2: forgotten, 3: [time + 200, 0], 4: "forget --keep-last 1"})
    golden.sealed_record("marks", "m", "mark", "hold", golden.owner, {
        1: 1, 2: slot, 3: [time + 200, 0], 4: "for the auditor",
        5: [time + 86400, 0]})
    # It began between the two halves of a pass that took two packs away.
    alive, _ = golden.sealed_record(
        "sessions", "n", "session", "alive", golden.writer, {
            1: [time + 300, 0], 2: "golden-host",
            3: hashlib.sha256(b"machine").digest(),
            4: hashlib.sha256(b"boot").digest(), 5: 4026531836, 6: 1234,
            7: 56789, 8: 0, 9: 4026531834})
    golden.sealed_record("sessions", "i", "pin", "alive", golden.writer, 1,
                         own=alive, suffix=".pin")
    leaning, base = rand("pack that leans", 32), rand("pack leant on", 32)
    condemnation = golden.epoch(1, bytes(32), [time + 250, 0], [leaning, base],
                                [], [slot, third_slot])
    doomed = [[pack, [time + 400, 0]] for pack in (leaning, base)]
    golden.epoch(2, condemnation, [time + 400, 0], [], doomed,
                 [slot, third_slot])
    # Committed when nobody waited for it any more; its tree is gone.
    golden.snapshot("late", golden.writer, [1, rand("late root", 32), 4711],
                    "golden/files", [time + 500, 0], entries=1)
    golden.write_generation()
    return golden


def hex_lines(**values):
    """`name: value` lines: hex of bytes, decimal of numbers, text as it is."""
    return "".join(f"{k}: {v.hex() if isinstance(v, bytes) else v}\n"
                   for k, v in values.items())


def vectors():
    """Name of each vector file -> its text."""
    golden = Golden(None)
    config = {1: golden.id, 2: golden.family, 3: 1,
              4: public_of(golden.root_seed), 5: CREATED,
              6: [1 << 19, 1 << 20, 1 << 23], 7: 16384}
    files = {"prologue_config.hex": envelope("c", cbor(config))[:16].hex(" ") +
             "\n"}

    lengths = [2, 3, 7, 8, 9, 15, 16, 17, 100, 255, 256, 257, 1000, 16384,
               16440, 17000, 32768, 65537, 1000000, 16 << 20, (16 << 20) + 1,
               33554431, 123456789, (1 << 30) - (25 << 20), 1 << 30]
    files["padme.txt"] = "# length padded\n" + "".join(
        f"{n} {padme(n)}\n" for n in lengths)

    plain = b"a golden chunk\n"
    id_key = bytes(range(32))
    files["id.txt"] = "".join(
        "\n" * (kind > 0) + hex_lines(
            key=id_key, kind=kind, plain=plain, id=hmac.digest(
                id_key, bytes([kind]) + plain, "sha256")) for kind in (0, 1, 2))

    id_ = hmac.digest(id_key, b"\0" + plain, "sha256")
    key, base = bytes(range(32, 64)), bytes(range(64, 96))
    family = bytes(range(16))
    text = ""
    for codec, base_id, depth in ((0, None, 0), (2, base, 1)):
        ad = blob_ad(family, 1, 0, codec, id_, len(plain), len(plain) + 16, 5,
                     base_id, depth)
        text += "\n" * bool(text) + hex_lines(
            key=key, family=family, generation=1, kind=0, codec=codec, id=id_,
            plain_size=len(plain), stored_size=len(plain) + 16, counter=5,
            base=base_id or "null", depth=depth, ad=ad,
            nonce=hashlib.sha256(ad).digest()[:24], stored_plain=plain,
            sealed=seal(key, ad, plain))
    files["blob.txt"] = text

    salt, wrapped = bytes(range(96, 128)), bytes(range(80))
    keys = [[0, 1, 1, wrapped]]
    rows = [[0, 0, id_, 15, 31, 0, 5], [0, 2, base, 5000, 60, 0, 6, id_, 1]]
    front = prologue("p", 1) + salt
    offset = 139
    ad = front + offset.to_bytes(8, "little")
    index_key = bytes(range(128, 160))
    sealed_key = derive(index_key, "cairn directory", salt)
    directory = directory_plain(keys, rows)
    sealed = seal(sealed_key, ad, directory)
    files["directory.txt"] = hex_lines(
        index_key=index_key, prologue=prologue("p", 1), salt=salt,
        offset=offset, derived_key=sealed_key, ad=ad, row_0=cbor(rows[0]),
        row_1=cbor(rows[1]), cbor=cbor([keys, rows]),
        plain_sha256=hashlib.sha256(directory).digest(),
        nonce=hashlib.sha256(ad).digest()[:24], sealed_size=len(sealed),
        sealed_sha256=hashlib.sha256(sealed).digest())

    entry = {1: b"a", 2: 0, 3: 0o644, 4: 1000, 5: 1000, 8: [1795132800, 5],
             9: 15, 10: 1}
    names = cbor([entry, {1: b"l", 2: 2, 3: 0o777, 4: 0, 5: 0, 8: [-1, 0],
                          12: b"a"}])
    names_id = hmac.digest(id_key, b"\2" + names, "sha256")
    links = cbor([[2, names_id, len(names)], [0, id_, 15]])
    files["names_node.txt"] = hex_lines(key=id_key, cbor=names, id=names_id)
    files["links_node.txt"] = hex_lines(
        key=id_key, names_id=names_id, content_id=id_, cbor=links,
        id=hmac.digest(id_key, b"\1" + links, "sha256"))

    files.update(weave_vectors())
    files.update(patch_vectors())

    body = {1: bytes(range(16)), 2: [[bytes(range(160, 192)), 16531,
                                      [keys, rows]]]}
    files["index_body.txt"] = hex_lines(
        for_everyone=cbor({**body, 3: None}),
        for_one_key=cbor({**body, 3: bytes(range(32))}), for_nobody=cbor(body))
    body[3] = None
    made = build(None, small=True).plain
    files["objects.txt"] = (
        "# The plain CBOR of objects of the repository, and of an index object "
        "with the\n# directory of directory.txt.\n" + hex_lines(
            index_body=cbor(body), **{name: made[name] for name in (
                "config", "key_slot", "snapshot_header", "snapshot_record",
                "session_alive", "pin_alive", "mark_forget", "mark_hold",
                "epoch_1", "epoch_2", "generation_2")}))

    slot_salt = bytes(range(16))
    both = nacl.pwhash.argon2id.kdf(64, PASSPHRASE.encode(), slot_salt,
                                    opslimit=2, memlimit=64 << 20)
    key_file = bytes(range(32))
    files["passphrase.txt"] = hex_lines(
        passphrase=PASSPHRASE, salt=slot_salt, passes=2, memory=64 << 20,
        seal_key=both[:32], commitment=both[32:])
    files["key_file.txt"] = hex_lines(
        key=key_file, line=key_file_line(key_file).strip(), salt=slot_salt,
        seal_key=derive(key_file, "cairn key file seal", slot_salt),
        commitment=derive(key_file, "cairn key file commitment", slot_salt))

    public, secret = sodium.crypto_box_seed_keypair(bytes(32))
    files["wrapped_key.txt"] = hex_lines(
        public=public, secret=secret, key=key,
        wrapped=wrap(public, key, "vector"))
    files["signer.txt"] = "".join(
        "\n" * (signer is golden.writer) + hex_lines(
            root=public_of(golden.root_seed), repository_id=golden.id,
            label="cairn snapshot", message=b"message",
            signature=signer.sign("cairn snapshot", b"message"),
            signer=cbor(signer.record))
        for signer in (golden.owner, golden.writer))
    files["cbor_refused.txt"] = (
        "# Each is refused by every decoder of section 4.\n" + hex_lines(
            empty="", head_ends_early="19ff", text_ends_early="6361",
            byte_in_two="1817", two_bytes_in_four="1a0000ffff",
            four_bytes_in_eight="1b00000000ffffffff", length_in_two="580161",
            indefinite_bytes="5f4161ff", indefinite_array="9f01ff",
            indefinite_map="bf0101ff", float_half="f93c00",
            float_double="fb3ff0000000000000", undefined="f7",
            below_64_bits="3b8000000000000000",
            simple_value="e0", simple_in_two="f8ff", tag="c101",
            keys_descending="a202010101", key_twice="a201010102",
            key_negative="a12001", key_text="a1616101",
            not_utf8="61ff", surrogate="63eda080", overlong="62c080",
            trailing="0101", seventeen_levels="81" * 17 + "00",
            huge_array="9bffffffffffffffff", huge_bytes="5bffffffffffffffff"))
    files["cbor_accepted.txt"] = (
        "# Each is decoded and encodes to the same bytes again.\n" + hex_lines(
            zero="00", byte="1818", two_bytes="190100", four_bytes="1a00010000",
            eight_bytes="1b0000000100000000", negative="20",
            least="3b7fffffffffffffff", most="1bffffffffffffffff",
            false="f4", true="f5", null="f6", no_bytes="40", no_text="60",
            text="63e282ac", no_array="80", no_map="a0",
            map="a3010002818018186161",
            sixteen_levels="81" * 16 + "00"))
    return files


def patch_vectors():
    base = b"one two three four five"
    plain = b"one 2 three four five six"
    steps, literals = [(0, 0, 4), (1, 2, 16)], b"2 six"
    long_base = bytes(range(256)) * 2
    more = b"sixteen letters!"
    cases = [
        (base, plain, patch(steps, literals)),
        (base, plain, patch(steps, literals, packed=1)),
        (base, plain, patch(steps, literals, packed=2)),
        # All that is large: literals, the way back, the copy, the rest of it.
        (long_base, long_base[300:] + more + long_base[3:400] + b"." +
         long_base[9:21], patch([(0, 300, 212), (16, -525, 397), (1, -392, 0)],
                                more + b".")),
        (base, base, patch([(0, 0, 0)], b"")),
        (b"x", b"new", patch([], b"new"))]
    files = {"patch.txt": "\n".join(
        hex_lines(base=base_, plain=plain_, patch=patch_)
        for base_, plain_, patch_ in cases)}

    def packed(content):
        return b"\x02" + content
    files["patch_refused.txt"] = (
        "# Patches that are refused, for the base and a blob of as many bytes "
        "as the first\n# plain of patch.txt.\n" + hex_lines(
            nothing=b"", head_ends_early=b"\x80",
            head_in_two=b"\x90\0" + patch(steps, literals)[1:],
            head_of_six_bytes=b"\x90\x80\x80\x80\x80\0" +
            patch(steps, literals)[1:],
            packed_as_3=b"\x13" + patch(steps, literals)[1:],
            steps_end_early=varint(4 * 40) + patch(steps, literals)[1:],
            step_ends_early=varint(4) + b"\0",
            size_in_two=varint(12) + b"\0\x84\0" + plain[4:],
            size_of_six_bytes=varint(28) + b"\0" + b"\x84" + b"\x80" * 4 +
            b"\0" + plain[4:],
            literals_that_are_not_there=patch([(9, 0, 4)], b"12345678"),
            more_literals_than_plain_bytes=patch([(26, 0, 1)], b"1" * 26),
            copy_before_the_base=patch([(0, -1, 4)], plain[4:]),
            copy_before_the_base_later=patch([(0, 0, 4), (1, -6, 4)],
                                             plain[:16]),
            copy_behind_the_base=patch([(0, 24, 1)], plain[1:]),
            copy_from_the_end_of_the_base=patch([(0, 23, 1)], plain[1:]),
            copy_past_the_base=patch([(0, 20, 4)], plain[4:]),
            copy_of_the_rest_past_the_base=patch([(0, 0, 0)], b""),
            copy_of_more_than_plain_bytes=patch([(0, 0, 23), (0, -23, 3)], b""),
            copy_of_nothing=patch([(25, -3, 0)], plain),
            shift_of_2_to_the_35=varint(4 * 7) + b"\x0f" + b"\xff" * 4 +
            b"\x7f" + b"\1" + plain[1:],
            literals_too_few=patch(steps, literals[:-1]),
            literals_too_many=patch(steps, literals + b"!"),
            no_frame=patch(steps, b"")[:0] + b"\x11" + patch(steps, b"")[1:],
            frame_ends_early=patch(steps, literals, packed=1)[:-1],
            frame_and_more=patch(steps, literals, packed=1) + b"!",
            frame_of_everything_and_more=patch(steps, literals, packed=2) +
            b"!",
            frame_of_nothing=b"\x11" + patch(steps, b"")[1:] + frame(b""),
            frame_larger_than_plain=packed(frame(b"1" * 26)),
            frame_that_says_less=packed(frame(plain, len(plain) - 1)),
            frame_that_says_more=packed(frame(plain[1:], len(plain))),
            frame_without_its_size=packed(b"\0\0" + frame(plain)[2:]),
            frame_of_a_wide_window=packed(
                b"\x80\x98" + len(plain).to_bytes(4, "little") +
                frame(plain)[2:]),
            frame_with_magic=packed(b"\x28\xb5\x2f\xfd" + frame(plain)),
            fewer_bytes_unpacked_than_steps=varint(4 * 26 + 2) +
            frame(plain)))
    return files


def weave_vectors():
    parts, weave = weave_of(STRANDS)
    entry = {1: b"a.tar", 2: 0, 3: 0o644, 4: 1000, 5: 1000,
             8: [1795132800, 5], 9: 22, 10: 3, 17: weave}
    digest, sizes = weave[0], weave[1:]
    files = {"weave.txt": hex_lines(
        stream=b"".join(run for _, run in STRANDS), recipe=parts[0],
        steps=" ".join(f"{part},{len(run)}" for part, run in STRANDS),
        part_1=parts[1], part_2=parts[2], digest=digest, cbor=cbor([entry])) +
        "\n" + hex_lines(recipe=recipe([(7, (1 << 56) - 1)]),
                         steps=f"7,{(1 << 56) - 1}")}

    def wrong(*instead, **other):
        changed = {**entry, 17: list(instead) or weave,
                   **{int(k[1:]): v for k, v in other.items()}}
        return cbor([{k: v for k, v in changed.items() if v is not None}])
    nothing = {"_9": None, "_10": None}
    files["weave_refused.txt"] = (
        "# Names nodes that are refused: that of weave.txt with one thing "
        "wrong.\n" + hex_lines(
            no_field=wrong(_17=[]),
            digest_of_15_bytes=wrong(digest[1:], *sizes),
            digest_of_17_bytes=wrong(digest + b"\0", *sizes),
            digest_as_text=wrong("0123456789abcdef", *sizes),
            no_part=wrong(digest, _9=None),
            recipe_alone=wrong(digest, 40, _9=None),
            nine_parts=wrong(digest, *sizes, *[0] * 6),
            no_recipe=wrong(digest, 0, *sizes[1:]),
            recipe_of_39_bytes=wrong(digest, 39, *sizes[1:]),
            parts_below_the_size=wrong(digest, 40, 11, 10),
            parts_above_the_size=wrong(digest, 40, 11, 12),
            part_below_nothing=wrong(digest, 40, 23, -1),
            sum_beyond_64_bits=wrong(digest, 40, 11, 11, *[1 << 62] * 4),
            hole_within=wrong(_16=[[3, 5]]),
            of_a_folder=wrong(digest, 8, 0, **nothing, _2=1),
            of_a_symlink=wrong(digest, 8, 0, **nothing, _2=2, _12=b"a"),
            of_a_fifo=wrong(digest, 8, 0, **nothing, _2=3)))
    files["record_facts.txt"] = record_with_facts()
    files["record_wal.txt"] = record_of_wal()
    files["xxh3.txt"] = "\n".join(
        hex_lines(plain=plain, xxh3=xxh3(plain)) for plain in (
            rand("xxh3", size) for size in (0, 3, 16, 128, 240, 1025)))
    return files


def record_with_facts():
    """A snapshot's record with a source that says more of itself."""
    source = [b"postgres", 3, 0, 33554432, 1282, ""]
    fields_ = {1: "golden/pg", 2: "golden-host", 3: "alice", 4: [],
               5: [b"postgres"], 6: [source], 7: "make_golden.py"}
    facts = [[0, "system_identifier", "7412345678901234567"],
             [0, "timeline", "1"]]

    def line(facts):
        return cbor(fields_ | {130: facts}).hex()
    return "".join((
        "record: " + line(facts) + "\n\n",
        "# refused\n",
        "descending: " + line(facts[::-1]) + "\n",
        "twice: " + line([facts[0], facts[0]]) + "\n",
        "of_no_source: " + line([[1, "timeline", "1"]]) + "\n",
        "none: " + line([]) + "\n"))


def record_of_wal():
    """A snapshot's record of WAL, and one of a kind that is not known yet."""
    name = b"wal/7412345678901234567/00000002/0000000003000000"
    facts = [[0, "end_lsn", "0/30001A8"], [0, "server_version", "15.18"],
             [0, "start_lsn", "0/3000000"],
             [0, "system_identifier", "7412345678901234567"],
             [0, "timeline", "2"], [0, "wal_segment_bytes", "16777216"]]

    def line(kind):
        source = [name, kind, 0, 0x1A8, 6, ""]
        return cbor({1: "golden/pg/wal", 2: "golden-host", 3: "alice", 4: [],
                     5: [name], 6: [source], 7: "make_golden.py",
                     130: facts}).hex()
    return "record: " + line(4) + "\n\n# refused\nkind_5: " + line(5) + "\n"


def main():
    folder = sys.argv[1]
    golden = build(os.path.join(folder, "repository"))
    for name, text in vectors().items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    for name in ("owner", "write"):
        with open(os.path.join(folder, f"{name}.key"), "w") as file:
            file.write(key_file_line(rand(f"{name} key file", 32)))
    with open(os.path.join(folder, "passphrase"), "w") as file:
        file.write(PASSPHRASE + "\n")
    return golden


if __name__ == "__main__":
    main()
