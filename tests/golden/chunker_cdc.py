#!/usr/bin/env python3
"""Writes chunker_cdc.txt: FORMAT.md section 7 once more, from its text alone.

    python3 tests/golden/chunker_cdc.py > tests/golden/chunker_cdc.txt
"""
M64 = 2**64 - 1


def rotl(x, n):
    return ((x << n) | (x >> (64 - n))) & M64


def siphash_2_4(key, data):
    k0, k1 = (int.from_bytes(key[i : i + 8], "little") for i in (0, 8))
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D,
         k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rounds(n):
        for _ in range(n):
            v[0] = (v[0] + v[1]) & M64
            v[1] = rotl(v[1], 13) ^ v[0]
            v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[3]) & M64
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & M64
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & M64
            v[1] = rotl(v[1], 17) ^ v[2]
            v[2] = rotl(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
    for i in range(0, len(padded), 8):
        word = int.from_bytes(padded[i : i + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def cuts(key, smallest, normal, largest, data):
    """Positions in `data` at which a chunk ends."""
    def draw(number):
        n = number.to_bytes(8, "little")
        return siphash_2_4(key[:16], n) ^ siphash_2_4(key[16:], n)

    d = draw(0)
    offset, m1, m2, a = ((d >> s) & 0xFFFF for s in (0, 16, 32, 48))
    m1, m2, a = m1 | 1, m2 | 1, (a & 0xFFF8) | 5
    confirm_key = draw(1).to_bytes(8, "little") + draw(2).to_bytes(8, "little")
    n = normal.bit_length() - 1
    t = max(7, 19 - n)
    before = 7 * 2 ** (76 - n - t)

    def f(byte):
        x = (byte + offset) * m1 & 0xFFFF
        return (x ^ x >> 8) * m2 & 0xFFFF

    table = [f(byte) for byte in range(256)]
    a32 = pow(a, 32, 2**16)
    h, hashes = 0, [None]
    for i, byte in enumerate(data):  # hashes[p] is about data[p-32:p]
        oldest = table[data[i - 32]] * a32 if i >= 32 else 0
        h = (h * a + table[byte] - oldest) & 0xFFFF
        hashes.append(h if i >= 31 else None)

    found, start = [], 0
    while start < len(data):
        end = min(start + largest, len(data))
        for p in range(start + smallest, end):
            if hashes[p] < 2**t:
                limit = before if p - start < normal else 16 * before
                if siphash_2_4(confirm_key, data[p - 64 : p]) < limit:
                    end = p
                    break
        found.append(end)
        start = end
    return found


def counter(size):
    key = bytes(range(16))
    return b"".join(siphash_2_4(key, i.to_bytes(8, "little"))
                    .to_bytes(8, "little") for i in range(size // 8))


def runs(size):
    """Every second 512 bytes are zeros."""
    data = bytearray(counter(size))
    for i in range(512, size, 1024):
        data[i : i + 512] = bytes(512)
    return bytes(data)


if __name__ == "__main__":
    print("# Cuts of the profile cdc (FORMAT.md, section 7), made by "
          "chunker_cdc.py.")
    print("# Byte 8 i + j of the input `counter` is byte j, lowest first, of")
    print("# SipHash-2-4 of i (8 bytes, lowest first) under the key 00 01 .. 0f;")
    print("# `runs` is the same with zeros in every second 512 bytes.")
    key = bytes(range(32))
    for source, size, sizes in (
        (counter, 1 << 20, (16384, 65536, 262144)),
        (counter, 1 << 16, (1024, 4096, 16384)),
        (runs, 1 << 13, (64, 256, 1024)),
    ):
        print(f"\nkey {key.hex()}")
        print("min {} normal {} max {}".format(*sizes))
        print(f"input {source.__name__} {size}")
        print("cuts", *cuts(key, *sizes, source(size)))
