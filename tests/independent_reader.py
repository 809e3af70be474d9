#!/usr/bin/python3
"""Opens a cairn repository and restores from it, written from FORMAT.md alone.

It shares nothing with the engine, so that what it restores proves the text and
the bytes, not the program. It looks for blobs in the packs' own directories;
index objects are only compared with them. Section numbers are FORMAT.md's.

Exit codes: 0 done, 1 refused (wrong key, no such snapshot...), 4 damage.
"""

import argparse
import contextlib
import datetime
import hashlib
import hmac
import itertools
import os
import re
import resource
import struct
import sys
import threading
from collections import OrderedDict, namedtuple

import nacl.bindings as sodium
import nacl.exceptions
import nacl.pwhash
import nacl.signing
import xxhash
import zstandard

MIB = 1 << 20
PAGE = 16384
MAGIC = bytes.fromhex("8963 6169 726e 0d0a")
DRAFT = 0x83
CONTENT, LINKS, NAMES = 0, 1, 2  # kinds; the class of a kind has its number
FILE, FOLDER, SYMLINK, FIFO, CHAR, BLOCK, STREAM = range(7)
OWNER, RESTORE, LIST, MAINTAIN, WRITE = range(5)


class Refused(Exception):
    """The request cannot be met; the repository is not to blame."""
    code = 1


class Damage(Exception):
    """The repository holds what no writer may have written."""
    code = 4


def require(condition, text):
    if not condition:
        raise Damage(text)


# Deterministic CBOR, section 4.

def cbor(value):
    def head(major, n):
        if n < 24:
            return bytes([major << 5 | n])
        code = next(c for c in range(4) if n < 1 << (8 << c))
        return bytes([major << 5 | 24 + code]) + n.to_bytes(1 << code, "big")
    if value is None or isinstance(value, bool):
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join(map(cbor, value))


def cbor_decode(data):
    value, end = cbor_item(data, 0, 16)
    require(end == len(data), "bytes after the CBOR value")
    return value


def cbor_item(data, at, levels):
    """The value at `at`, in at most `levels` containers, and where it ends."""
    require(at < len(data), "CBOR ends early")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        require(info in (20, 21, 22), "CBOR value of a forbidden type")
        return {20: False, 21: True, 22: None}[info], at
    n = info
    if info >= 24:
        require(info <= 27, "CBOR of indefinite length")
        size = 1 << info - 24
        require(at + size <= len(data), "CBOR ends early")
        n = int.from_bytes(data[at:at + size], "big")
        at += size
        require(n >= (24 if size == 1 else 1 << 4 * size),
                "CBOR head is not the shortest")
    if major == 0:
        return n, at
    if major == 1:
        require(n < 1 << 63, "CBOR integer below -2^63")
        return -1 - n, at
    if major in (2, 3):
        require(n <= len(data) - at, "CBOR ends early")
        run = bytes(data[at:at + n])
        if major == 3:
            try:
                run = run.decode("utf-8")
            except UnicodeDecodeError:
                raise Damage("CBOR text is not UTF-8") from None
        return run, at + n
    require(major in (4, 5), "CBOR tag")
    require(levels > 0, "CBOR is nested too deep")
    if major == 4:
        items = []
        for _ in range(n):
            item, at = cbor_item(data, at, levels - 1)
            items.append(item)
        return items, at
    fields, last = {}, -1
    for _ in range(n):
        key, at = cbor_item(data, at, levels - 1)
        require(type(key) is int and key > last, "CBOR map keys out of order")
        fields[key], at = cbor_item(data, at, levels - 1)
        last = key
    return fields, at


# Shapes: a predicate, a list (record), a dict (map), Each or Optional.

Each = namedtuple("Each", "shape")
Optional = namedtuple("Optional", "shape")


def check_shape(value, shape, what):
    if callable(shape):
        require(shape(value), f"{what}: bad value")
    elif isinstance(shape, Each):
        require(type(value) is list, f"{what}: not an array")
        for item in value:
            check_shape(item, shape.shape, what)
    elif isinstance(shape, list):
        require(type(value) is list and len(value) == len(shape),
                f"{what}: not a record of {len(shape)} fields")
        for item, inner in zip(value, shape):
            check_shape(item, inner, what)
    else:
        require(type(value) is dict, f"{what}: not a map")
        for key in value:
            require(key in shape or key >= 128, f"{what}: unknown key {key}")
        for key, inner in shape.items():
            optional = isinstance(inner, Optional)
            require(optional or key in value, f"{what}: no field {key}")
            if key in value:
                check_shape(value[key], inner.shape if optional else inner,
                            f"{what}, field {key}")
    return value


def uint(most=2**64 - 1, least=0):
    return lambda v: type(v) is int and least <= v <= most


def bstr(least=0, most=None):
    most = most or least or 2**64
    return lambda v: type(v) is bytes and least <= len(v) <= most


def weave(v):
    return (type(v) is list and 3 <= len(v) <= 9 and bstr(16)(v[0])
            and all(map(uint(2**63 - 1), v[1:])))


def tstr(v):
    return type(v) is str


def boolean(v):
    return type(v) is bool


TIME = [uint(2**63 - 1, -2**63), uint(10**9 - 1)]
SIGNER = [bstr(32), bstr(64), uint(), bstr(32), lambda v: v is None
          or bstr(64)(v)]
CONFIG = {1: bstr(16), 2: bstr(16), 3: uint(), 4: bstr(32), 5: TIME,
          6: [uint(), uint(), uint()], 7: uint()}
SLOT = {1: uint(), 2: uint(), 3: bstr(16), 4: uint(), 5: uint(), 6: bstr(32),
        7: bstr(), 8: tstr, 9: TIME, 10: bstr(32), 11: bstr(64)}
GENERATION = {1: uint(2**32 - 1), 2: bstr(32), 3: bstr(32), 4: bstr(32),
              5: bstr(32), 6: Optional(bstr(32)), 7: Optional(bstr(32)),
              8: Optional(bstr(32))}
BUNDLE = {1: bstr(16), 2: bstr(16), 3: bstr(32), 4: uint(), 5: bstr(32),
          6: bstr(32), 7: Each(GENERATION), 8: bstr(32), 9: Optional(bstr(64)),
          10: [uint(), uint(), uint(), uint()], 11: bstr(32)}
GENERATION_OBJECT = [[uint(2**32 - 1), TIME,
                      Each([bstr(32), uint(WRITE), bstr(80), bstr()])],
                     bstr(64)]
KEY = [uint(), uint(2**32 - 1), uint(), bstr()]
SNAPSHOT = [uint(0), uint(), bstr(32), bstr(), bstr(80), bstr(), SIGNER,
            bstr(64)]
TOMBSTONE = [uint(1), TIME, tstr, SIGNER, bstr(64)]
HEADER = {1: TIME, 2: TIME, 3: uint(), 4: bstr(16), 5: bstr(32), 6: uint(),
          7: uint(), 8: boolean, 9: uint(), 10: bstr(32), 11: uint()}
RECORD = {1: tstr, 2: tstr, 3: tstr, 4: Each(tstr), 5: Each(bstr()),
          6: Each([bstr(), uint(2), uint(2), uint(), uint(), tstr]), 7: tstr}
SEALED_RECORD = [uint(), bstr(32), bstr(), SIGNER, bstr(64)]
SESSION = {1: TIME, 2: tstr, 3: bstr(32), 4: bstr(32), 5: uint(), 6: uint(),
           7: uint(), 8: uint(0), 9: uint()}
EPOCH = {1: bstr(32), 2: TIME, 3: Each(bstr(32)), 4: Each([bstr(32), TIME]),
         5: Each(bstr(16))}
MARK = {1: uint(2), 2: bstr(16), 3: TIME, 4: tstr, 5: Optional(TIME)}
DIRECTORY = [Each(KEY), Each(lambda v: type(v) is list)]
INDEX = {1: bstr(16), 2: Each([bstr(32), uint(), DIRECTORY]),
         3: Optional(lambda v: v is None or bstr(32)(v))}
LINK = [uint(2), bstr(32), uint()]
ENTRY = {1: bstr(1, 255), 2: uint(STREAM), 3: uint(0o7777), 4: uint(2**32 - 1),
         5: uint(2**32 - 1), 6: Optional(tstr), 7: Optional(tstr), 8: TIME,
         9: Optional(uint(2**63 - 1, 1)), 10: Optional(uint(least=1)),
         11: Optional(uint(1, 1)), 12: Optional(bstr(1, 65535)),
         13: Optional([uint(), uint()]), 14: Optional([uint(), uint()]),
         15: Optional(Each([bstr(1, 255), bstr()])),
         16: Optional(Each([uint(), uint(least=1)])), 17: Optional(weave)}


# Cryptography, section 8.

def derive(key, label, context):
    return hmac.digest(key, label.encode() + context, "sha256")


def unseal(key, ad, sealed, what):
    require(len(sealed) >= 16, f"{what}: shorter than its tag")
    try:
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed, ad, hashlib.sha256(ad).digest()[:24], key)
    except nacl.exceptions.CryptoError:
        raise Damage(f"{what}: the seal does not open") from None


def verify(key, label, message, signature, what):
    try:
        nacl.signing.VerifyKey(key).verify(label.encode() + message, signature)
    except nacl.exceptions.CryptoError:
        raise Damage(f"{what}: wrong signature") from None


def key_file_bytes(text):
    form = re.fullmatch(r"cairn-key-1 ((?:[0-9a-f]{8}-){8})([0-9a-f]{8})",
                        text.strip().lower())
    key = bytes.fromhex(form[1].replace("-", "")) if form else b""
    if not form or hashlib.sha256(key).hexdigest()[:8] != form[2]:
        raise Refused("the key file is mistyped")
    return key


# Files and envelopes, sections 5 and 6.1 to 6.2.

def read_bounded(path, limit):
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    require(len(data) <= limit, "the object is too large")
    return data


def prologue_number(data, type_):
    require(data[:8] == MAGIC, "not a cairn object")
    require(data[8:9] == type_.encode(), "damaged or misplaced")
    if data[9] != DRAFT:
        raise Refused("written in another draft or by a newer program")
    require(data[10:12] == bytes(2), "reserved bytes are not zero")
    return int.from_bytes(data[12:16], "little")


def envelope(data, type_):
    require(len(data) >= 48, "the object is too short")
    require(prologue_number(data, type_) == len(data) - 48, "wrong length")
    require(hashlib.sha256(data[:-32]).digest() == data[-32:], "wrong SHA-256")
    return cbor_decode(data[16:-32])


def require_ascending(generations):
    numbers = [g[1] for g in generations]
    require(numbers and numbers == sorted(set(numbers)), "generations")


Row = namedtuple("Row", "pack offset kind codec id plain stored key counter "
                 "base depth")
Pack = namedtuple("Pack", "size directory rows")
Snapshot = namedtuple("Snapshot", "id header record")


class Repository:
    def __init__(self, path):
        self.path, self.code = path, 0
        self.copies, self.cache, self.cached = {}, OrderedDict(), 0
        self.config = None
        if not {"config", "config.2"} & set(os.listdir(path)):
            raise Refused(f"{path} is not a repository")
        for name in ("config", "config.2"):
            with self.noting(name):
                try:
                    data = read_bounded(os.path.join(path, name), 1 << 16)
                except FileNotFoundError:
                    raise Damage("missing") from None
                fields = check_shape(envelope(data, "c"), CONFIG, "config")
                if fields[3] != 1:
                    raise Refused("unknown suite")
                least, normal, most = fields[6]
                require(64 <= least < normal < most <= 8 * MIB and
                        normal & (normal - 1) == 0, "cdc sizes")
                require(0 < fields[7] <= MIB and fields[7] % 8192 == 0,
                        "page size")
                require(self.config in (None, fields), "the two differ")
                self.config = fields
        if self.config is None:
            raise (Damage if self.code == 4 else Refused)("no config to use")
        self.id, self.family, self.root = (self.config[k] for k in (1, 2, 4))

    @contextlib.contextmanager
    def noting(self, what):
        """Says what is wrong with one object, and goes on without it."""
        try:
            yield
        except (Damage, Refused) as problem:
            print(f"independent_reader: {what}: {problem}", file=sys.stderr)
            self.code = max(self.code, problem.code)

    def names(self, folder, digits=32, suffix=""):
        try:
            found = os.listdir(os.path.join(self.path, folder))
        except FileNotFoundError:
            return []
        form = re.compile("[0-9a-f]{%d}%s" % (digits, re.escape(suffix)))
        return sorted(n for n in found if form.fullmatch(n))

    # Keys, section 6.4.

    def unlock(self, key_file=None, passphrase=None):
        slot, bundle = self.find_slot(key_file, passphrase)
        self.id_key, self.role = bundle[5], bundle[4]
        self.generations = {g[1]: g for g in bundle[7]}
        self.take_grants(slot[10], bundle[11])

    def find_slot(self, key_file, passphrase):
        for name in self.names("keys"):
            with self.noting("keys/" + name):
                data = read_bounded(f"{self.path}/keys/{name}", 1 << 16)
                slot = check_shape(envelope(data, "k"), SLOT, "slot")
                bundle = self.open_slot(slot, key_file, passphrase)
                if bundle:
                    return slot, bundle
        raise Refused("no key slot opens with this key")

    def open_slot(self, slot, key_file, passphrase):
        role, method, salt, passes, memory = (slot[k] for k in range(1, 6))
        if role > WRITE or method != (0 if key_file is None else 1):
            return None
        if method == 1:
            require(passes == 0 and memory == 0, "cost of a key file")
            key = derive(key_file, "cairn key file seal", salt)
            commitment = derive(key_file, "cairn key file commitment", salt)
        else:
            require(2 <= passes <= 32 and 64 * MIB <= memory <= 1024 * MIB,
                    "Argon2id cost out of bounds")
            both = nacl.pwhash.argon2id.kdf(64, passphrase, salt,
                                            opslimit=passes, memlimit=memory)
            key, commitment = both[:32], both[32:]
        if not hmac.compare_digest(commitment, slot[6]):
            return None
        ad = b"cairn key slot" + cbor([self.id, role, method, salt, passes,
                                       memory])
        bundle = check_shape(cbor_decode(unseal(key, ad, slot[7], "bundle")),
                             BUNDLE, "bundle")
        require((bundle[1], bundle[2], bundle[3]) ==
                (self.id, self.family, self.root), "another repository's keys")
        require(bundle[10] == self.config[6] + [self.config[7]],
                "other sizes than the config's")
        require(bundle[4] == role, "the bundle is another role's")
        require_ascending(bundle[7])
        require(slot[10] == sodium.crypto_scalarmult_base(bundle[11]),
                "the slot's key")
        public = bytes(nacl.signing.SigningKey(bundle[8]).verify_key)
        require((role == OWNER) == (9 not in bundle), "role certificate")
        if role == OWNER:
            require(public == self.root, "the signing seed is not the root's")
        else:
            verify(self.root, "cairn role key", self.id + bytes([role]) +
                   public, bundle[9], "role certificate")
        return bundle

    # Generations, section 6.16.

    def take_grants(self, public, secret):
        numbers = {int(name[:8], 16) for suffix in ("", ".copy")
                   for name in self.names("generations", 8, suffix)}
        newest = max(numbers, default=0)
        if newest <= max(self.generations):
            return
        fields = self.generation_object(newest)
        for slot, role, key, sealed in fields[2]:
            if slot != public:
                continue
            key = sodium.crypto_box_seal_open(key, public, secret)
            ad = b"cairn grant" + self.id + bytes([role]) + slot
            granted = check_shape(cbor_decode(unseal(key, ad, sealed, "grant")),
                                  Each(GENERATION), "grant")
            require_ascending(granted)
            require(granted[-1][1] == newest, "grants another generation")
            self.generations = {g[1]: g for g in granted}
            return
        raise Refused("the keys were renewed without this one")

    def generation_object(self, number):
        """The first of the two copies that is sound."""
        failure = None
        for suffix in ("", ".copy"):
            try:
                return self.open_generation(f"{number:08x}{suffix}")
            except (Damage, FileNotFoundError) as e:
                failure = failure or e
        raise failure

    def open_generation(self, name):
        data = read_bounded(f"{self.path}/generations/{name}", 4 * MIB)
        fields, signature = check_shape(envelope(data, "g"), GENERATION_OBJECT,
                                        "generation")
        require(fields[0] == int(name[:8], 16), f"{name}: another number")
        verify(self.root, "cairn generation", self.id + cbor(fields), signature,
               "generation")
        return fields

    def generation(self, number):
        require(number in self.generations, f"unknown generation {number}")
        return self.generations[number]

    def unwrap(self, class_, number, wrapped):
        generation, fields = self.generation(number), {0: (3, 6), 1: (5, 8),
                                                       2: (4, 7)}[class_]
        require(len(wrapped) == 80, "wrapped key")
        if fields[1] not in generation:
            raise Refused(f"this key's role cannot read class {class_}")
        try:
            key = sodium.crypto_box_seal_open(
                wrapped, *(generation[f] for f in fields))
        except nacl.exceptions.CryptoError:
            raise Damage("a wrapped key does not open") from None
        return key

    # Signed records, sections 6.7 to 6.10, 6.15 and 8.5.

    def check_signed(self, label, message, signer, signature, roles):
        host, host_certificate, role, role_key, role_certificate = signer
        verify(host, label, self.id + message, signature, label)
        verify(role_key, "cairn host key", self.id + host, host_certificate,
               "host certificate")
        if role == OWNER and role_key == self.root:
            require(role_certificate is None, "the root needs no certificate")
        else:
            require(role_certificate is not None and role < 256,
                    "no role certificate")
            verify(self.root, "cairn role key", self.id + bytes([role]) +
                   role_key, role_certificate, "role certificate")
        require(role in roles, f"role {role} may not sign this")

    def sealed_record(self, folder, name, type_, label, roles, most=1 << 16):
        """The plain value of a session, a pin, a mark or an epoch."""
        data = read_bounded(f"{self.path}/{folder}/{name}", most)
        body = check_shape(envelope(data, type_), SEALED_RECORD, label)
        number, salt, sealed, signer, signature = body
        own = bytes.fromhex(name.partition(".")[0])
        self.check_signed(label, own + cbor(body[:3]), signer, signature, roles)
        key = derive(self.generation(number)[2], label, salt)
        return cbor_decode(unseal(key, label.encode() + self.id + own, sealed,
                                  label))

    def forgotten(self):
        targets = set()
        for name in self.names("marks"):
            with self.noting("marks/" + name):
                mark = check_shape(self.sealed_record(
                    "marks", name, "m", "cairn mark", (OWNER, MAINTAIN)),
                    MARK, "mark")
                if mark[1] == 0:
                    targets.add(mark[2].hex())
        return targets

    def epochs(self):
        """The names of all, oldest first; there is no epoch 0."""
        return [n for n in self.names("epochs", 16) if int(n, 16)]

    def epoch(self, name):
        epoch = check_shape(self.sealed_record(
            "epochs", name, "e", "cairn epoch", (OWNER, MAINTAIN), 64 * MIB),
            EPOCH, "epoch")
        require(int(name, 16) % 2 or not epoch[3], "a doom that condemns")
        require(epoch[5] == sorted(set(epoch[5])), "snapshots out of order")
        return epoch

    def void(self, snapshots):
        """The ids of those that were committed too late to count."""
        epochs = self.epochs()
        doom = int(epochs[-1], 16) & ~1 if epochs else 0
        if doom:
            name = f"{doom:016x}"
            # Of one that cannot be read nobody knows what it lists.
            with self.noting("epochs/" + name):
                require(name in epochs, "missing")
                listed = {i.hex() for i in self.epoch(name)[5]}
                return {s.id for s in snapshots
                        if s.header[3] < doom - 1 and s.id not in listed}
        return set()

    def snapshots(self):
        """The valid ones, oldest first."""
        forgotten, found = self.forgotten(), []
        for name in self.names("snapshots"):
            with self.noting("snapshots/" + name):
                snapshot = self.snapshot(name)
                if snapshot and name not in forgotten:
                    found.append(snapshot)
        # After the slots: a doom lists what was there before it.
        void = self.void(found)
        return sorted((s for s in found if s.id not in void),
                      key=lambda s: (s.header[1], s.id))

    def snapshot(self, name):
        """None for a tombstone."""
        data = read_bounded(f"{self.path}/snapshots/{name}", 16 * MIB)
        body, own = envelope(data, "s"), bytes.fromhex(name)
        require(type(body) is list and body and body[0] in (0, 1), "kind")
        tombstone = body[0] == 1
        check_shape(body, TOMBSTONE if tombstone else SNAPSHOT, "body")
        self.check_signed("cairn snapshot", own + cbor(body[:-2]), body[-2],
                          body[-1], (OWNER, MAINTAIN) if tombstone
                          else (OWNER, WRITE))
        if tombstone:
            return None
        _, number, salt, header, wrapped, record, _, _ = body
        index_key = self.generation(number)[2]
        header = check_shape(cbor_decode(unseal(
            derive(index_key, "cairn snapshot header", salt),
            b"cairn snapshot header" + self.id + own, header, "header")),
            HEADER, "header")
        record = check_shape(cbor_decode(unseal(
            self.unwrap(NAMES, number, wrapped),
            b"cairn snapshot record" + self.id + own, record, "record")),
            RECORD, "record")
        first = self.generations[min(self.generations)][2]
        require(header[4] == derive(first, "cairn series tag",
                                    record[1].encode())[:16], "series tag")
        return Snapshot(name, header, record)

    def find_snapshot(self, prefix):
        valid = self.snapshots()
        fits = valid[-1:] if prefix == "latest" else [
            s for s in valid if s.id.startswith(prefix.lower())]
        if len(fits) != 1:
            raise Refused(f"{len(fits)} valid snapshots fit {prefix!r}")
        return fits[0]

    # Packs, section 6.6.

    def load_packs(self):
        """Reads every pack's directory; answers the sound packs by name."""
        packs = {}
        for two in self.names("packs", 2):
            for name in self.names("packs/" + two, 64):
                with self.noting(f"packs/{two}/{name}"):
                    require(name.startswith(two), "in the wrong folder")
                    packs[name] = self.load_pack(
                        f"{self.path}/packs/{two}/{name}")
        return packs

    def load_pack(self, path):
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            require(48 + PAGE + 8 <= size <= 1024 * MIB, "size of the pack")
            name = os.path.basename(path)
            require(hashlib.file_digest(file, "sha256").hexdigest() == name,
                        "the name is not the SHA-256 of the bytes")
            front = os.pread(file.fileno(), 48, 0)
            number = prologue_number(front, "p")
            trailer = os.pread(file.fileno(), 8, size - 8)
            length = int.from_bytes(trailer[:4], "little")
            require(trailer[4:] == b"dir\n" and length and length % PAGE == 0
                    and length <= min(64 * MIB, size - 56), "trailer")
            end = size - 8 - length
            sealed = os.pread(file.fileno(), length, end)
        key = derive(self.generation(number)[2], "cairn directory", front[16:])
        plain = unseal(key, front + end.to_bytes(8, "little"), sealed,
                       "directory")
        used = int.from_bytes(plain[:4], "little")
        require(used <= len(plain) - 4 and not any(plain[4 + used:]),
                "directory padding")
        directory = keys, fields = check_shape(
            cbor_decode(plain[4:4 + used]), DIRECTORY, "directory")
        require(len(fields) <= 250000, "too many rows")
        rows, offset = [], 48
        for row in fields:
            rows.append(self.row(path, offset, keys, row))
            offset += rows[-1].stored
        require(offset <= end, "a row reaches past the padding")
        for row in rows:
            self.copies.setdefault(row.id, []).append(row)
        return Pack(size, directory, rows)

    def row(self, path, offset, keys, fields):
        require(len(fields) >= 7, "row: too few fields")
        check_shape(fields[:7], [uint(), uint(), bstr(32), uint(8 * MIB, 1),
                                 uint(), uint(len(keys) - 1), uint()], "row")
        kind, codec, id_, plain, stored, place, counter = fields[:7]
        class_, _, wrap, _ = keys[place]
        if kind > NAMES or codec > 3 or wrap != 1:
            raise Refused("unknown kind, codec or wrap")
        require(class_ == kind, "row: the key's class")
        require(17 <= stored <= plain + 16, "row: stored size")
        base, depth = check_shape(fields[7:], [bstr(32), uint(32, 1)] if
                                  codec >= 2 else [], "row: base") or (None, 0)
        return Row(path, offset, kind, codec, id_, plain, stored, keys[place],
                   counter, base, depth)

    def open_copy(self, row):
        class_, number, _, wrapped = row.key
        ad = cbor(["cairn blob", self.family, number, row.kind, row.codec,
                   row.id, row.plain, row.stored, row.counter, row.base,
                   row.depth])
        with open(row.pack, "rb") as file:
            stored = os.pread(file.fileno(), row.stored, row.offset)
        plain = unseal(self.unwrap(class_, number, wrapped), ad, stored, "blob")
        if row.codec == 1:
            plain = self.decompress(plain, row.plain)
        elif row.codec >= 2:
            base = self.blob(row.base, row.kind, below=row.depth)
            plain = (self.decompress if row.codec == 2 else
                     self.apply_patch)(plain, row.plain, base)
        require(len(plain) == row.plain, "blob: plain size")
        require(derive(self.id_key, "", bytes([row.kind]) + plain) == row.id,
                "blob: the bytes have another id")
        return plain

    @staticmethod
    def decompress(data, size, base=None):
        require(data[:4] == b"\x28\xb5\x2f\xfd", "blob: not a zstd frame")
        try:
            frame = zstandard.get_frame_parameters(data)
            require(frame.window_size <= 16 * MIB, "blob: zstd window")
            require(frame.content_size in (size, zstandard.CONTENTSIZE_UNKNOWN),
                    "blob: size in the zstd frame")
            prefix = base and zstandard.ZstdCompressionDict(
                base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            return zstandard.ZstdDecompressor(dict_data=prefix).decompress(
                data, max_output_size=size, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise Damage(f"blob: {error}") from None

    @staticmethod
    def apply_patch(data, size, base):
        """What a patch of section 6.6.1 makes of its base."""
        def varint(data, at):
            n = 0
            for shift in range(0, 35, 7):
                require(at < len(data), "patch: a number ends early")
                n |= (data[at] & 127) << shift
                at += 1
                if data[at - 1] < 128:
                    require(data[at - 1] or not shift, "patch: long number")
                    return n, at
            raise Damage("patch: a number is too long")

        def unpack(frame):
            frame = b"\x28\xb5\x2f\xfd" + frame
            try:
                claimed = zstandard.get_frame_parameters(frame).content_size
            except zstandard.ZstdError as error:
                raise Damage(f"patch: {error}") from None
            require(0 < claimed <= size, "patch: size of its frame")
            return Repository.decompress(frame, claimed)

        head, at = varint(data, 0)
        packed, count, rest = head & 3, head >> 2, data[at:]
        require(packed < 3, "patch: unknown packing")
        if packed == 2:
            rest = unpack(rest)
        require(count <= len(rest), "patch: too short for its steps")
        steps, literals = rest[:count], rest[count:]
        if packed == 1:
            literals = unpack(literals)
        at, taken, end, out = 0, 0, 0, bytearray()
        while at < count:
            (added, place), at = divmod(steps[at], 16), at + 1
            if added == 15:
                more, at = varint(steps, at)
                added += more
            if place == 15:
                more, at = varint(steps, at)
                place += more
            length, at = varint(steps, at)
            require(added <= min(len(literals) - taken, size - len(out)),
                    "patch: literals")
            out += literals[taken:taken + added]
            taken += added
            length = length or size - len(out)
            begin = end + added + (-(place + 1) // 2 if place % 2 else
                                   place // 2)
            end = begin + length
            require(0 <= begin < end <= len(base) and
                    len(out) + length <= size, "patch: copy")
            out += base[begin:end]
        require(len(out) + len(literals) - taken == size, "patch: length")
        return bytes(out + literals[taken:])

    def blob(self, id_, kind, below=33):
        """Plain bytes of a blob, from a copy of a depth less than `below`."""
        copies = [c for c in self.copies.get(id_, ())
                  if c.kind == kind and c.depth < below]
        require(copies, f"blob {id_.hex()}: no copy" +
                (" that can be a base" if below < 33 else ""))
        if id_ not in self.cache:
            for copy in copies:
                try:
                    plain = self.open_copy(copy)
                    break
                except Damage as damage:
                    if copy is copies[-1]:
                        raise Damage(f"{id_.hex()}: {damage}") from None
            self.cache[id_] = plain
            self.cached += len(plain)
            while self.cached > 64 * MIB:
                self.cached -= len(self.cache.popitem(last=False)[1])
            return plain
        self.cache.move_to_end(id_)
        return self.cache[id_]

    # The graph, sections 6.12 to 6.14.

    def links(self, id_, length=None):
        rows = check_shape(cbor_decode(self.blob(id_, LINKS)), Each(LINK),
                           "links node")
        require(rows, "links node without rows")
        require(all(r[0] != NAMES for r in rows[1:]), "links node: late names")
        below = sum(r[2] for r in rows if r[0] != NAMES)
        require(length in (None, below), "links node: wrong length")
        return rows

    def leaf(self, kind, id_, length):
        plain = self.blob(id_, kind)
        require(len(plain) == length, "links node: wrong plain size")
        return plain

    def content(self, rows, levels=8):
        """The ids and lengths of a stream's content blobs, in order."""
        for kind, id_, length in rows:
            if kind == CONTENT:
                yield id_, length
            else:
                require(levels > 0, "lists nested too deep")
                inner = self.links(id_, length)
                require(inner[0][0] != NAMES, "a folder inside a stream")
                yield from self.content(inner, levels - 1)

    def runs(self, entry, rows):
        """The file's bytes as (offset, bytes), holes passed over."""
        if 17 in entry:
            yield from self.woven(*entry[17], rows=rows)
            return
        holes, at = entry.get(16, []) + [[entry.get(9, 0), 0]], 0
        for id_, length in self.content(rows):
            plain = memoryview(self.leaf(CONTENT, id_, length))
            while plain:
                if at == holes[0][0]:
                    at += holes.pop(0)[1]
                size = min(len(plain), holes[0][0] - at)
                yield at, plain[:size]
                at, plain = at + size, plain[size:]

    def part(self, rows, begin, end):
        """What lies there in the rows, blob by blob."""
        at = 0
        for id_, length in self.content(rows):
            first, at = at, at + length
            require(begin > 0 or at <= end,
                    "a blob holds bytes of a recipe and others")
            if max(first, begin) < min(at, end):
                plain = memoryview(self.leaf(CONTENT, id_, length))
                yield plain[max(begin - first, 0):end - first]
            if at >= end:
                return

    def steps(self, recipe):
        pending = b""
        for run in recipe:
            pending += run
            whole = len(pending) // 8 * 8
            for number, length in struct.iter_unpack("<B7s", pending[:whole]):
                yield number, int.from_bytes(length, "little")
            pending = pending[whole:]

    def woven(self, digest, *sizes, rows):
        """The bytes of a weave as (offset, bytes)."""
        parts = [self.part(rows, end - size, end) for size, end in
                 zip(sizes, itertools.accumulate(sizes))]
        left, runs = list(sizes), [b""] * len(sizes)
        found, at = xxhash.xxh3_128(), 0
        for number, length in self.steps(parts[0]):
            require(0 < number < len(sizes) and 0 < length <= left[number],
                    "a recipe does not fit its parts")
            left[number] -= length
            while length:
                runs[number] = runs[number] or next(parts[number])
                run = runs[number][:length]
                found.update(run)
                yield at, run
                at, length = at + len(run), length - len(run)
                runs[number] = runs[number][len(run):]
        require(not any(left[1:]), "a recipe leaves bytes of its parts")
        require(found.digest() == digest, "the parts give another stream")

    def entries(self, id_, length=None, strict=False):
        """Each entry of the folder with its rows; checks its names' order, and
        if `strict` the lengths, which nothing is found by."""
        last = b""
        for entry, rows in self.unordered_entries(id_, length, 8, strict):
            require(entry[1] > last, "names are not ascending")
            last = entry[1]
            yield entry, rows

    def unordered_entries(self, id_, length, levels, strict):
        rows = self.links(id_, length if strict else None)
        if rows[0][0] != NAMES:
            require(levels > 0, "lists nested too deep")
            for kind, child, below in rows:
                require(kind == LINKS, "content in a folder's list")
                yield from self.unordered_entries(child, below, levels - 1,
                                                  strict)
            return
        names = self.leaf(*rows[0]) if strict else self.blob(rows[0][1], NAMES)
        node = check_shape(cbor_decode(names), Each(ENTRY), "names node")
        taken = 1
        for entry in node:
            own = rows[taken:taken + entry.get(10, 0)]
            check_entry(entry, own)
            taken += entry.get(10, 0)
            yield entry, own
        require(taken == len(rows), "rows that no entry takes")

    def walk(self, id_, length=None, path=()):
        """Opens every node below a folder and looks for every content blob."""
        for entry, rows in self.entries(id_, length, strict=True):
            inner = check_path(path, entry[1])
            if entry[2] == FOLDER:
                for _, child, below in rows:
                    self.walk(child, below, inner)
            else:
                for blob, size in self.content(rows):
                    require(any(c.kind == CONTENT and c.plain == size
                                for c in self.copies.get(blob, ())),
                            f"blob {blob.hex()}: no copy")
                if 17 in entry:
                    for _ in self.runs(entry, rows):
                        pass


def check_path(path, name):
    inner = path + (name,)
    require(len(inner) <= 4096 and sum(map(len, inner)) + len(path) <= 65536,
            "path too long")
    return inner


def check_entry(entry, rows):
    """The rules of section 6.13 that shapes do not show."""
    name, type_ = entry[1], entry[2]
    require(b"\0" not in name and b"/" not in name
            and name not in (b".", b".."), f"forbidden name {name!r}")
    require(len(rows) == entry.get(10, 0), f"{name!r}: too few rows")
    data = type_ in (FILE, STREAM)
    if type_ == FOLDER:
        require(len(rows) <= 1 and all(r[0] == LINKS for r in rows),
                f"{name!r}: rows of a folder")
    else:
        require(data or not rows, f"{name!r}: rows of what has no content")
    require(data or not entry.keys() & {9, 11, 16, 17}, f"{name!r}: size")
    require((12 in entry) == (type_ == SYMLINK) and
            b"\0" not in entry.get(12, b""), f"{name!r}: symlink target")
    require((14 in entry) == (type_ in (CHAR, BLOCK)), f"{name!r}: device")
    require(13 not in entry or type_ not in (FOLDER, STREAM),
            f"{name!r}: hard link")
    require(all(entry.get(k, True) for k in (6, 7, 15, 16)),
            f"{name!r}: an empty field that should be absent")
    attributes = [a for a, _ in entry.get(15, ())]
    require(attributes == sorted(set(attributes)), f"{name!r}: xattrs")
    require(not any(b"\0" in a for a in attributes), f"{name!r}: xattrs")
    end = -1
    for offset, size in entry.get(16, ()):
        require(offset > end, f"{name!r}: holes")
        end = offset + size
    require(end <= entry.get(9, 0), f"{name!r}: holes outside the file")
    recipe = 0
    if 17 in entry:
        _, recipe, *parts = entry[17]
        require(16 not in entry and recipe > 0 and recipe % 8 == 0 and
                sum(parts) == entry.get(9, 0), f"{name!r}: weave")
    if data:
        dense = entry.get(9, 0) - sum(s for _, s in entry.get(16, ())) + recipe
        require(dense == sum(r[2] for r in rows), f"{name!r}: size")


class Restore:
    """Writes below one new folder, through descriptors that follow no link."""

    def __init__(self, repo, target):
        self.repo, self.inodes, self.root = repo, {}, os.geteuid() == 0
        os.makedirs(target, exist_ok=True)
        self.top = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        if os.listdir(self.top):
            raise Refused("the target folder is not empty")

    def folder(self, fd, id_, path=()):
        for entry, rows in self.repo.entries(id_):
            inner = check_path(path, entry[1])
            # The number alone may have come to another file meanwhile.
            link = 13 in entry and repr(
                [entry.get(k) for k in (2, 8, 9, 12, 13, 14, 16)] +
                [row[1] for row in rows])
            if link in self.inodes:
                os.link(self.inodes[link], entry[1], src_dir_fd=self.top,
                        dst_dir_fd=fd, follow_symlinks=False)
                continue
            own = self.create(fd, entry, rows, inner)
            if own is not None:
                self.metadata(fd, own, entry)
                if link:
                    self.inodes[link] = b"/".join(inner)
            if own and own > 0:
                os.close(own)

    def create(self, fd, entry, rows, path):
        """A descriptor, 0 when it has none, or None when not made."""
        name, type_ = entry[1], entry[2]
        if type_ == FOLDER:
            os.mkdir(name, 0o700, dir_fd=fd)
            own = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW,
                          dir_fd=fd)
            for _, child, _ in rows:
                self.folder(own, child, path)
            return own
        if type_ in (FILE, STREAM):
            own = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL |
                          os.O_NOFOLLOW, 0o600, dir_fd=fd)
            for offset, run in self.repo.runs(entry, rows):
                while run:
                    written = os.pwrite(own, run, offset)
                    offset, run = offset + written, run[written:]
            os.ftruncate(own, entry.get(9, 0))
            return own
        if type_ == SYMLINK:
            os.symlink(entry[12], name, dir_fd=fd)
        elif type_ == FIFO:
            os.mkfifo(name, 0o600, dir_fd=fd)
        else:
            try:
                os.mknod(name, 0o600 | (0o020000 if type_ == CHAR else
                                        0o060000),
                         os.makedev(*entry[14]), dir_fd=fd)
            except PermissionError as error:
                warn(f"{path}: device not made: {error.strerror}")
                return None
        return 0

    def metadata(self, fd, own, entry):
        name, type_ = entry[1], entry[2]
        if self.root:
            os.chown(name, entry[4], entry[5], dir_fd=fd,
                     follow_symlinks=False)
        for attribute, value in entry.get(15, ()):
            try:
                if own:
                    os.setxattr(own, attribute, value)
                else:
                    os.setxattr(b"/proc/self/fd/%d/" % fd + name, attribute,
                                value, follow_symlinks=False)
            except OSError as error:
                warn(f"{name!r}: xattr {attribute!r}: {error.strerror}")
        if type_ != SYMLINK:
            os.chmod(own or name, entry[3], **({} if own else {"dir_fd": fd}))
        modified = entry[8][0] * 10**9 + entry[8][1]
        os.utime(name, ns=(modified, modified), dir_fd=fd,
                 follow_symlinks=False)


def warn(text):
    print("independent_reader: warning:", text, file=sys.stderr)


# What verify does beyond a restore.

def verify_index(repo, name, packs):
    data = read_bounded(f"{repo.path}/index/{name}", 32 * MIB)
    require(hashlib.sha256(data).hexdigest() == name, "wrong name")
    key = derive(repo.generation(prologue_number(data, "x"))[2], "cairn index",
                 data[16:48])
    body, signer, signature = check_shape(cbor_decode(unseal(
        key, data[:48], data[48:], "index")), [bstr(), SIGNER, bstr(64)],
        "index")
    repo.check_signed("cairn index", body, signer, signature,
                      (OWNER, MAINTAIN, WRITE))
    for pack, size, directory in check_shape(cbor_decode(body), INDEX,
                                             "index")[2]:
        known = packs.get(pack.hex())
        require(known is None or
                (size, directory) == (known.size, known.directory),
                f"differs from the directory of pack {pack.hex()}")


def verify_all(repo):
    for name in (repo.names("generations", 8) +
                 repo.names("generations", 8, ".copy")):
        with repo.noting("generations/" + name):
            repo.open_generation(name)
    for name in repo.names("keys"):
        with repo.noting("keys/" + name):
            envelope(read_bounded(f"{repo.path}/keys/{name}", 1 << 16), "k")
    for name in repo.names("sessions"):
        with repo.noting("sessions/" + name):
            check_shape(repo.sealed_record("sessions", name, "n",
                                           "cairn session",
                                           (OWNER, WRITE, MAINTAIN)),
                        SESSION, "session")
    for name in repo.names("sessions", suffix=".pin"):
        with repo.noting("sessions/" + name):
            check_shape(repo.sealed_record("sessions", name, "i", "cairn pin",
                                           (OWNER, WRITE, MAINTAIN)),
                        uint(), "pin")
    for name in repo.epochs():
        with repo.noting("epochs/" + name):
            repo.epoch(name)
    snapshots, packs = repo.snapshots(), repo.load_packs()
    for name in repo.names("index", 64):
        with repo.noting("index/" + name):
            verify_index(repo, name, packs)
    blobs = 0
    for name, pack in packs.items():
        for row in pack.rows:
            with repo.noting(f"pack {name}, blob {row.id.hex()}"):
                repo.open_copy(row)
                blobs += 1
    for snapshot in snapshots:
        with repo.noting("snapshot " + snapshot.id):
            repo.walk(snapshot.header[5])
    print(f"{len(snapshots)} snapshots, {len(packs)} packs, {blobs} blobs")


# The commands.

def rfc3339(time):
    try:
        day = datetime.datetime(1970, 1, 1) + datetime.timedelta(0, time[0])
    except OverflowError:
        return "@%d.%09d" % tuple(time)
    return day.isoformat() + (".%09d" % time[1] if time[1] else "") + "Z"


def list_snapshots(repo):
    for snapshot in repo.snapshots():
        series = "".join(c if c.isprintable() else "?"
                         for c in snapshot.record[1])
        print(snapshot.id, rfc3339(snapshot.header[1]), series,
              "complete" if snapshot.header[8] else "partial")


def cat(repo, snapshot, path, out):
    parts = [p for p in os.fsencode(path).split(b"/") if p]
    id_, entry = snapshot.header[5], {2: FOLDER}
    while parts:
        part = parts.pop(0)
        entry, rows = next((found for found in repo.entries(id_)
                            if found[0][1] == part), ({2: None}, ()))
        if entry[2] != FOLDER or not rows:
            break
        _, id_, _ = rows[0]
    if entry[2] not in (FILE, STREAM) or parts:
        raise Refused(f"no file or stream {path!r}")
    at = 0
    for offset, run in itertools.chain(repo.runs(entry, rows),
                                       [(entry.get(9, 0), b"")]):
        while at < offset:  # a hole reads as zeros
            at += out.write(bytes(min(offset - at, MIB)))
        at += out.write(run)
    out.flush()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repo", required=True)
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument("--key-file")
    key.add_argument("--password-file", help="one line feed at its end is "
                     "not part of the passphrase")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("verify")
    restore = commands.add_parser("restore")
    restore.add_argument("snapshot", help="the id's first digits, or latest")
    restore.add_argument("--to", required=True)
    stream = commands.add_parser("cat")
    stream.add_argument("snapshot")
    stream.add_argument("path")
    options = parser.parse_args(arguments)

    repo = Repository(options.repo)
    try:
        secret = read_bounded(options.key_file or options.password_file, MIB)
        if options.key_file:
            repo.unlock(key_file=key_file_bytes(secret.decode("latin-1")))
        else:
            repo.unlock(passphrase=secret.removesuffix(b"\n"))
        if options.command == "list":
            list_snapshots(repo)
        elif options.command == "verify":
            verify_all(repo)
        else:
            snapshot = repo.find_snapshot(options.snapshot)
            repo.load_packs()
            if options.command == "cat":
                cat(repo, snapshot, options.path, sys.stdout.buffer)
            else:
                target = Restore(repo, options.to)
                target.folder(target.top, snapshot.header[5])
    except (Damage, Refused) as problem:
        print(f"independent_reader: {problem}", file=sys.stderr)
        return max(problem.code, repo.code)
    return repo.code


def run(arguments=None):
    try:
        return main(arguments)
    except (Damage, Refused) as problem:
        print(f"independent_reader: {problem}", file=sys.stderr)
        return problem.code
    except OSError as error:
        print(f"independent_reader: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    # 4,096 folders deep, with a descriptor and some frames for each.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setrecursionlimit(100000)
    threading.stack_size(512 * MIB)
    result = []
    thread = threading.Thread(target=lambda: result.append(run()))
    thread.start()
    thread.join()
    sys.exit(result[0] if result else 1)
