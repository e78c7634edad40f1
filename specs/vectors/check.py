#!/usr/bin/env python3
"""Follows 01-sphinx.md, 02-cells.md, fec.md, 12-agreement.md and 16-services.md, and nothing else, through setup.json, cells.json, hctr2.json,
fec.json, agreement.json and service.json.

A second implementation for reading and checking: plain Python, no packages, slow, not constant-time. Run it without arguments.
"""

import base64
import hashlib
import hmac
import json
import pathlib

HERE = pathlib.Path(__file__).parent
hexed = bytes.fromhex


def xor(left, right):
    return bytes(a ^ b for a, b in zip(left, right))


# --- ristretto255, RFC 9496 -------------------------------------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def positive(x):
    x %= P
    return P - x if x & 1 else x


def sqrt_ratio(u, v):
    """Whether u/v is a square, and the non-negative root of it or of i·u/v."""
    root = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    check = v * root * root % P
    if check in (-u % P, -u * SQRT_M1 % P):
        root = root * SQRT_M1 % P
    return check in (u % P, -u % P), positive(root)


INVSQRT_A_MINUS_D = sqrt_ratio(1, -1 - D)[1]


def decode(data):
    s = int.from_bytes(data, "little")
    assert s < P and not s & 1, "not canonical"
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    square, inverse = sqrt_ratio(1, v * u2 * u2 % P)
    dx = inverse * u2 % P
    x, y = positive(2 * s * dx), u1 * inverse * dx * v % P
    t = x * y % P
    assert square and not t & 1 and y, "not an element"
    return x, y, 1, t


def encode(point):
    x, y, z, t = point
    u1, u2 = (z + y) * (z - y) % P, x * y % P
    _, inverse = sqrt_ratio(1, u1 * u2 * u2 % P)
    d1, d2 = inverse * u1 % P, inverse * u2 % P
    z_inverse = d1 * d2 * t % P
    if t * z_inverse % P & 1:
        x, y, d2 = y * SQRT_M1 % P, x * SQRT_M1 % P, d1 * INVSQRT_A_MINUS_D % P
    if x * z_inverse % P & 1:
        y = -y % P
    return positive(d2 * (z - y)).to_bytes(32, "little")


def add(left, right):
    x1, y1, z1, t1 = left
    x2, y2, z2, t2 = right
    a, b = (y1 - x1) * (y2 - x2), (y1 + x1) * (y2 + x2)
    c, d = 2 * t1 * t2 * D, 2 * z1 * z2
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


G = decode(hexed("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"))


# --- hashes and keys --------------------------------------------------------------------------------------------------------------


def mac(key, message):
    return hmac.new(key, message, "sha256").digest()[:16]


def extract(name, data):
    return hmac.new(name.encode(), data, "sha256").digest()


def derive(source, label, length=32):
    out, block, number = b"", b"", 1
    while len(out) < length:
        block = hmac.new(source, block + label.encode() + bytes([number]), "sha256").digest()
        out += block
        number += 1
    return out[:length]


# --- AES-256 and HCTR2 ------------------------------------------------------------------------------------------------------------


def times(a, b):
    """The product in AES's field."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def make_sbox():
    inverse = [0] * 256
    for a in range(1, 256):
        inverse[a] = next(b for b in range(1, 256) if times(a, b) == 1)
    turn = lambda value, by: (value << by | value >> 8 - by) & 0xFF
    return [b ^ turn(b, 1) ^ turn(b, 2) ^ turn(b, 3) ^ turn(b, 4) ^ 0x63 for b in inverse]


SBOX = make_sbox()
UNSBOX = [SBOX.index(value) for value in range(256)]
PRODUCTS = {factor: [times(value, factor) for value in range(256)] for factor in (2, 3, 9, 11, 13, 14)}


class Aes:
    def __init__(self, key):
        words = [list(key[at : at + 4]) for at in range(0, 32, 4)]
        constant = 1
        for number in range(8, 60):
            word = words[-1]
            if number % 8 == 0:
                word = [SBOX[byte] for byte in word[1:] + word[:1]]
                word[0] ^= constant
                constant = times(constant, 2)
            elif number % 8 == 4:
                word = [SBOX[byte] for byte in word]
            words.append([a ^ b for a, b in zip(words[number - 8], word)])
        self.keys = [bytes(sum(words[at : at + 4], [])) for at in range(0, 60, 4)]

    @staticmethod
    def mix(block, factors):
        table = [PRODUCTS.get(factor) for factor in factors]
        take = lambda factor, byte: table[factor][byte] if table[factor] else byte
        return bytes(
            take(0, block[at + row])
            ^ take(1, block[at + (row + 1) % 4])
            ^ take(2, block[at + (row + 2) % 4])
            ^ take(3, block[at + (row + 3) % 4])
            for at in range(0, 16, 4)
            for row in range(4)
        )

    def encrypt(self, block):
        block = xor(block, self.keys[0])
        for number in range(1, 15):
            block = bytes(SBOX[block[(at + 4 * (at % 4)) % 16]] for at in range(16))
            if number < 14:
                block = self.mix(block, (2, 3, 1, 1))
            block = xor(block, self.keys[number])
        return block

    def decrypt(self, block):
        block = xor(block, self.keys[14])
        for number in reversed(range(14)):
            block = bytes(UNSBOX[block[(at - 4 * (at % 4)) % 16]] for at in range(16))
            block = xor(block, self.keys[number])
            if number:
                block = self.mix(block, (14, 11, 13, 9))
        return block


def little(number):
    return number.to_bytes(16, "little")


def polyval(key, data):
    total = 0
    for at in range(0, len(data), 16):
        left, product = total ^ int.from_bytes(data[at : at + 16], "little"), 0
        for bit in range(128):
            if key >> bit & 1:
                product ^= left << bit
        for _ in range(128):
            if product & 1:
                product ^= 1 << 128 | 1 << 127 | 1 << 126 | 1 << 121 | 1
            product >>= 1
        total = product
    return total


class WideBlock:
    def __init__(self, key):
        self.aes = Aes(key)
        self.hash_key, self.whitening = (int.from_bytes(self.aes.encrypt(little(n)), "little") for n in (0, 1))

    def hash(self, tweak, message):
        length = 16 * len(tweak) + (3 if len(message) % 16 else 2)
        if len(message) % 16:
            message += b"\1" + bytes(-len(message) % 16 - 1)
        return polyval(self.hash_key, little(length) + tweak + bytes(-len(tweak) % 16) + message)

    def permute(self, one_block, tweak, message):
        first, rest = int.from_bytes(message[:16], "little"), message[16:]
        masked = first ^ self.hash(tweak, rest)
        middle = int.from_bytes(one_block(little(masked)), "little")
        seed = masked ^ middle ^ self.whitening
        blocks = range(1, 1 + -(-len(rest) // 16))
        rest = xor(rest, b"".join(self.aes.encrypt(little(seed ^ number)) for number in blocks))
        return little(middle ^ self.hash(tweak, rest)) + rest

    def encrypt(self, tweak, message):
        return self.permute(self.aes.encrypt, tweak, message)

    def decrypt(self, tweak, message):
        return self.permute(self.aes.decrypt, tweak, message)


# --- the documents ----------------------------------------------------------------------------------------------------------------


class Hop:
    """One hop of a set-up: everything of 01-sphinx.md, sections 3, 5 and 6."""

    def __init__(self, vector, slot):
        secret = int.from_bytes(hexed(vector["onion_secret"]), "little")
        public, relay = encode(multiply(secret, G)), hexed(vector["relay_id"])
        assert public.hex() == vector["onion_public"]
        packet = hexed(vector["packet_in"])
        alpha, beta, gamma, body = packet[:32], packet[32:224], packet[224:240], packet[240:]
        element = decode(alpha)
        shared = encode(multiply(secret, element))
        self.sphinx = extract("zmesh sphinx 1", shared + relay + public + alpha)
        assert mac(derive(self.sphinx, "header authenticator"), beta) == gamma

        aes = Aes(derive(self.sphinx, "header stream"))
        plain = xor(beta + bytes(48), b"".join(aes.encrypt(little(number)) for number in range(15)))
        numbers = [int.from_bytes(plain[at : at + 4], "big") for at in (16, 20, 24, 28)]
        assert numbers[0] == slot and numbers[3] in (0, 1)
        self.start, self.own_lane = numbers[1] % 2**30, numbers[1] >> 30
        self.shift, self.mask = numbers[2] % 2**30, numbers[2] >> 30
        self.last = numbers[3] == 1
        self.next_relay = plain[:16].hex()
        body = WideBlock(derive(self.sphinx, "body")).decrypt(b"zmesh setup body", body)
        if self.last:
            assert plain[:16] == bytes(16) and body == bytes(240)
        blinding = int.from_bytes(derive(self.sphinx, "blinding", 64), "little") % ORDER
        self.next_packet = encode(multiply(blinding, element)) + plain[48:] + plain[32:48] + body

        ephemeral = int.from_bytes(hexed(vector["random_bytes_drawn"]), "little") % ORDER
        self.share = encode(multiply(ephemeral, G))
        fresh = encode(multiply(ephemeral, element))
        packet_hash = hashlib.sha256(packet).digest()
        assert packet_hash.hex() == vector["keys_of_the_circuit"]["packet hash"]
        self.circuit = extract("zmesh circuit 1", fresh + shared + relay + public + alpha + self.share + packet_hash)
        for name in ("reply authenticator", "forward", "backward 0", "backward 1", "backward 2", "backward 3"):
            assert derive(self.circuit, name).hex() == vector["keys_of_the_circuit"][name]

    def reply(self, inner):
        """Section 7."""
        if inner is None:
            filler = derive(derive(self.sphinx, "reply filler"), "slots", 144)
            inner = [filler[:48], filler[48:96], filler[96:], bytes(48)]
        own = self.share + mac(derive(self.circuit, "reply authenticator"), self.share + b"".join(inner))
        cipher = WideBlock(derive(self.sphinx, "reply"))
        return [cipher.encrypt(b"zmesh reply slo" + bytes([number]), slot) for number, slot in enumerate([own] + inner[:3])]

    def layer(self, chain, counter, direction, lane, body):
        """02-cells.md, sections 3 and 6."""
        root = derive(self.circuit, chain)
        for _ in range(counter >> 16):
            root = derive(root, "next phase")
        tweak = counter.to_bytes(8, "little") + bytes([direction, lane]) + bytes(6)
        return WideBlock(derive(root, "phase key")).encrypt(tweak, body)


def check_set_up(vector):
    hops = [Hop(hop, vector["slot"]) for hop in vector["hops"]]
    for hop, after in zip(hops, vector["hops"][1:]):
        assert not hop.last and hop.next_relay == after["relay_id"] and hop.next_packet.hex() == after["packet_in"]
    assert hops[-1].last
    reply = None
    for hop, expected in zip(reversed(hops), reversed(vector["hops"])):
        reply = hop.reply(reply)
        assert b"".join(reply).hex() == expected["reply_out"]
    for hop, after in zip(hops, hops[1:]):
        assert (hop.start + hop.shift) % 2**30 == after.start
    return hops


def check_cells(vectors, hops):
    forward, backward = 0, [0] * len(hops)
    for number, cell in enumerate(vectors["cells"]):
        if number == 12:  # the third group: cells were lost
            forward += 65_534
            backward[-1] += 65_534
        payload, to = cell["payload"].encode(), cell["hop"]
        body = bytes(16) + bytes([cell["kind"]]) + len(payload).to_bytes(2, "big") + payload
        body += bytes(504 - len(body))
        assert body.hex() == cell["plain"]
        if cell["direction"] == "forward":
            counter, forward = forward, forward + 1
            for hop, link in reversed(list(zip(hops, cell["links"]))):
                body = hop.layer("forward", counter, 1, 0, body)
                assert link == {"body": body.hex(), "number": (hop.start + counter) % 2**30}
        else:
            counter, lane = backward[to], hops[to].own_lane
            backward[to] += 1
            for hop, link in zip(reversed(hops[: to + 1]), cell["links"]):
                lane ^= hop.mask if hop is not hops[to] else 0
                body = hop.layer(f"backward {lane}", counter, 2, lane, body)
                assert link == {"body": body.hex(), "number": lane << 30 | (hop.start + counter) % 2**30}


# --- repair: fec.md ---------------------------------------------------------------------------------------------------------------


def field_product(a, b):
    """Section 2."""
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11D << (bit - 8)
    return product


def field_inverse(a):
    return next(b for b in range(256) if field_product(a, b) == 1)


def elements(symbol):
    """Bit j of element k is bit k mod 8 of byte 64 j + k div 8."""
    return [sum((symbol[64 * j + k // 8] >> k % 8 & 1) << j for j in range(8)) for k in range(512)]


def from_elements(values):
    symbol = bytearray(512)
    for k, value in enumerate(values):
        for j in range(8):
            symbol[64 * j + k // 8] |= (value >> j & 1) << k % 8
    return bytes(symbol)


def scaled(coefficient, symbol):
    products = [field_product(coefficient, element) for element in range(256)]
    return from_elements([products[element] for element in elements(symbol)])


def coefficients_of(vector):
    """Section 3: id to coefficient."""
    first, mask, seed = int.from_bytes(vector[:2], "big"), int.from_bytes(vector[2:10], "big"), vector[10]
    assert len(vector) == 11 and mask & 1 and seed < 192
    ids = [(first + offset) % 2**16 for offset in range(64) if mask >> offset & 1]
    return {at: field_inverse(at % 64 ^ 64 + seed) for at in ids}


def solve(equations):
    """All unknowns that are determined, by elimination from scratch: [(coefficients, symbol)] to {id: symbol}."""
    rows = [(dict(coefficients), symbol) for coefficients, symbol in equations]
    done = []
    while rows:
        coefficients, symbol = rows.pop()
        coefficients = {at: c for at, c in coefficients.items() if c}
        if not coefficients:
            assert symbol == bytes(512), "contradiction"
            continue
        pivot = next(iter(coefficients))
        scale = field_inverse(coefficients[pivot])
        unit = {at: field_product(scale, c) for at, c in coefficients.items()}, scaled(scale, symbol)

        def reduced(row):
            factor = row[0].get(pivot, 0)
            ids = set(row[0]) | set(unit[0])
            rest = {at: row[0].get(at, 0) ^ field_product(factor, unit[0].get(at, 0)) for at in ids}
            return rest, xor(row[1], scaled(factor, unit[1]))

        rows, done = [reduced(row) for row in rows], [reduced(row) for row in done] + [unit]
    alone = [([at for at, c in coefficients.items() if c], symbol) for coefficients, symbol in done]
    return {ids[0]: symbol for ids, symbol in alone if len(ids) == 1}


def check_repair(vectors):
    for a, b, product in vectors["products"]:
        assert field_product(a, b) == product
    for vector in vectors["symbol_products"]:
        assert scaled(vector["coefficient"], hexed(vector["symbol"])).hex() == vector["product"]
    for vector in vectors["coefficients"]:
        assert coefficients_of(hexed(vector["vector"])) == dict(zip(vector["ids"], vector["coefficients"]))
    for vector in vectors["window_updates"]:
        update = hexed(vector["update"])
        first, held = int.from_bytes(update[:2], "big"), int.from_bytes(update[2:], "big")

        def is_done(at):
            ahead = (at - first) % 2**16
            return ahead >= 2**15 or 1 <= ahead <= 64 and held >> ahead - 1 & 1 == 1

        assert [at for at in vector["asked"] if is_done(at)] == vector["done"]

    sent = vectors["exchange"]["sent"]
    sources = {datagram["id"]: hexed(datagram["symbol"]) for datagram in sent if "id" in datagram}
    for datagram in sent:
        if "vector" in datagram:
            total = bytes(512)
            for at, coefficient in coefficients_of(hexed(datagram["vector"])).items():
                total = xor(total, scaled(coefficient, sources[at]))
            assert total.hex() == datagram["symbol"]
    known, repairs = {}, []
    for arrival in vectors["exchange"]["arrivals"]:
        datagram = sent[arrival["datagram"]]
        if "id" in datagram:
            assert arrival["new"] == (datagram["id"] not in known)
            known[datagram["id"]] = hexed(datagram["symbol"])
        else:
            repairs.append((coefficients_of(hexed(datagram["vector"])), hexed(datagram["symbol"])))
        equations = []
        for coefficients, symbol in repairs:
            for at in coefficients.keys() & known.keys():
                symbol = xor(symbol, scaled(coefficients[at], known[at]))
            equations.append(({at: c for at, c in coefficients.items() if at not in known}, symbol))
        recovered = solve(equations)
        known.update(recovered)
        assert {one["id"]: one["symbol"] for one in arrival["recovered"]} == {at: s.hex() for at, s in recovered.items()}


# --- services: Ed25519, X25519, ChaCha20-Poly1305, Argon2id -----------------------------------------------------------------------


def encode_edwards(point):
    x, y, z, _ = point
    inverse = pow(z, -1, P)
    x, y = x * inverse % P, y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode_edwards(data):
    number = int.from_bytes(data, "little")
    y, sign = number % 2**255, number >> 255
    assert y < P, "not canonical"
    square, x = sqrt_ratio(y * y - 1, D * y * y + 1)
    assert square, "not a point"
    x = (P - x) % P if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = decode_edwards((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def wide(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % ORDER


def x25519(scalar, u):
    k = int.from_bytes(scalar, "little") & ~7 & ~(1 << 255) | 1 << 254
    x1 = int.from_bytes(u, "little") % 2**255
    x2, z2, x3, z3 = 1, 0, x1, 1
    for bit in reversed(range(255)):
        swap = k >> bit & 1
        if swap:
            x2, x3, z2, z3 = x3, x2, z3, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        e, da, cb = a * a - b * b, d * a, c * b
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = a * a * b * b % P, e * (a * a + 121665 * e) % P
        if swap:
            x2, x3, z2, z3 = x3, x2, z3, z2
    return (x2 * pow(z2, -1, P) % P).to_bytes(32, "little")


def chacha_block(key, counter, nonce):
    words = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
    words += [int.from_bytes((key + counter.to_bytes(4, "little") + nonce)[i : i + 4], "little") for i in range(0, 48, 4)]
    state = list(words)

    def quarter(a, b, c, d):
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) % 2**32
            mixed = state[z] ^ state[x]
            state[z] = (mixed << turn | mixed >> 32 - turn) % 2**32

    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            quarter(a, b, c, d)
        for a, b, c, d in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(a, b, c, d)
    return b"".join(((x + y) % 2**32).to_bytes(4, "little") for x, y in zip(words, state))


def open_aead(key, header, data):
    """RFC 8439 with a nonce of zeros."""
    nonce, sealed, tag = bytes(12), data[:-16], data[-16:]
    one_time = chacha_block(key, 0, nonce)
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    pad = lambda part: part + bytes(-len(part) % 16)
    covered = pad(header) + pad(sealed) + len(header).to_bytes(8, "little") + len(sealed).to_bytes(8, "little")
    total = 0
    for i in range(0, len(covered), 16):
        total = (total + int.from_bytes(covered[i : i + 16] + b"\x01", "little")) * r % (2**130 - 5)
    expected = (total + int.from_bytes(one_time[16:32], "little")) % 2**128
    assert expected.to_bytes(16, "little") == tag
    stream = b"".join(chacha_block(key, 1 + i, nonce) for i in range(-(-len(sealed) // 64)))
    return xor(sealed, stream)


def blake_long(data, length):
    if length <= 64:
        return hashlib.blake2b(length.to_bytes(4, "little") + data, digest_size=length).digest()
    out, block = b"", hashlib.blake2b(length.to_bytes(4, "little") + data).digest()
    while length - len(out) > 64:
        out += block[:32]
        rest = length - len(out)
        block = hashlib.blake2b(block, digest_size=min(rest, 64)).digest()
    return out + block


def argon_mix(left, right):
    mixed = [a ^ b for a, b in zip(left, right)]
    state = list(mixed)

    def permute(at):
        v = [state[i] for i in at]

        def g(a, b, c, d):
            for x, y, z, turn in ((a, b, d, 32), (c, d, b, 24), (a, b, d, 16), (c, d, b, 63)):
                v[x] = (v[x] + v[y] + 2 * (v[x] % 2**32) * (v[y] % 2**32)) % 2**64
                t = v[z] ^ v[x]
                v[z] = (t >> turn | t << 64 - turn) % 2**64

        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            g(a, b, c, d)
        for a, b, c, d in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            g(a, b, c, d)
        for i, value in zip(at, v):
            state[i] = value

    for row in range(8):
        permute([16 * row + i for i in range(16)])
    for column in range(8):
        permute([16 * row + 2 * column + i for row in range(8) for i in range(2)])
    return [a ^ b for a, b in zip(mixed, state)]


def argon2id(password, salt, blocks=256):
    """RFC 9106: one pass, one lane, version 0x13, 32 bytes."""
    word = lambda value: value.to_bytes(4, "little")
    head = word(1) + word(32) + word(blocks) + word(1) + word(0x13) + word(2)
    seed = hashlib.blake2b(head + word(len(password)) + password + word(len(salt)) + salt + word(0) + word(0)).digest()
    words = lambda data: [int.from_bytes(data[i : i + 8], "little") for i in range(0, 1024, 8)]
    memory = [words(blake_long(seed + word(i) + word(0), 1024)) for i in range(2)]
    segment, zero = blocks // 4, [0] * 128
    for at in range(2, blocks):
        slice_, index = divmod(at, segment)
        if slice_ < 2:
            # The first half of the first pass: places that do not depend on the password.
            counter = [0, 0, slice_, blocks, 1, 2, 1 + index // 128] + [0] * 121
            addresses = argon_mix(zero, argon_mix(zero, counter))
            random = addresses[index % 128]
        else:
            random = memory[at - 1][0]
        area = at - 1
        x = (random % 2**32) ** 2 >> 32
        reference = area - 1 - (area * x >> 32)
        memory.append(argon_mix(memory[at - 1], memory[reference]))
    return blake_long(b"".join(value.to_bytes(8, "little") for value in memory[-1]), 32)


def hashed(context, *parts):
    return hashlib.sha256(context.encode() + b"\0" + b"".join(parts)).digest()


def check_names(vectors):
    blinded_of = {}
    for vector in vectors:
        seed, period = hexed(vector["seed"]), vector["period"].to_bytes(4, "big")
        expanded = hashlib.sha512(seed).digest()
        a = int.from_bytes(expanded[:32], "little") & ~7 & ~(1 << 255) | 1 << 254
        public = encode_edwards(multiply(a, BASE))
        assert public.hex() == vector["public"]
        check = hashed("zmesh service address check v1", public, b"\x01")[:2]
        name = base64.b32encode(public + check + b"\x01").decode().lower()
        assert vector["address"] == name + ".zmesh" and len(name) == 56
        h = wide(b"zmesh service blinding v1\0", public, period)
        blinded = encode_edwards(multiply(h, decode_edwards(public)))
        secret = h * a % ORDER
        assert blinded == encode_edwards(multiply(secret, BASE)) and blinded.hex() == vector["blinded"]
        assert hashed("zmesh service subcredential v1", public, blinded).hex() == vector["subcredential"]
        prefix = hashlib.sha512(b"zmesh service blinded prefix v1\0" + expanded[32:] + blinded).digest()[:32]
        message = hexed(vector["message"])
        r = wide(prefix, message)
        commitment = encode_edwards(multiply(r, BASE))
        response = (r + wide(commitment, blinded, message) * secret) % ORDER
        assert (commitment + response.to_bytes(32, "little")).hex() == vector["signature"]
        revision_key = hashed("zmesh service revision key v1", prefix)
        begins = vector["period"] * 86400 + 43200
        steps = (vector["unix"] - (begins - 10800)) // 10 + 1
        step = lambda i: int.from_bytes(
            hmac.new(revision_key, b"zmesh service revision v1\0" + i.to_bytes(8, "big"), "sha256").digest()[:2], "big"
        )
        assert sum(step(i) + 1 for i in range(steps)) == vector["revision"]
        blinded_of[public.hex(), vector["period"]] = blinded
    return blinded_of


def hkdf(salt, source, info):
    pseudo = hmac.new(salt, source, "sha256").digest()
    return hmac.new(pseudo, info + b"\x01", "sha256").digest()


def ed25519_public(seed):
    a = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little") & ~7 & ~(1 << 255) | 1 << 254
    return encode_edwards(multiply(a, BASE))


def check_service(vectors):
    check_names(vectors["names"])
    vector = vectors["descriptor"]
    data, public, period = hexed(vector["descriptor"]), hexed(vector["public"]), vector["period"].to_bytes(4, "big")
    assert len(data) == 61 + 1024 + 16 + 64
    h = wide(b"zmesh service blinding v1\0", public, period)
    blinded = encode_edwards(multiply(h, decode_edwards(public)))
    header, body, signature = data[:61], data[61:-64], data[-64:]
    salt = header[45:]
    assert header == b"\x01" + period + blinded + vector["revision"].to_bytes(8, "big") + salt
    challenge = wide(signature[:32], blinded, b"zmesh service descriptor v1\0" + data[:-64])
    response = int.from_bytes(signature[32:], "little")
    right = add(decode_edwards(signature[:32]), multiply(challenge, decode_edwards(blinded)))
    assert encode_edwards(multiply(response, BASE)) == encode_edwards(right)
    subcredential = hashed("zmesh service subcredential v1", public, blinded)
    inner = open_aead(hkdf(salt, public + subcredential, b"zmesh service descriptor key v1"), header, body)
    wanted = b"\x02" + vector["not_after"].to_bytes(8, "big")
    wanted += vector["effort"].to_bytes(4, "big") + hexed(vector["puzzle_seed"]) + bytes([len(vector["intros"])])
    for intro in vector["intros"]:
        wanted += hexed(intro["relay"]) + hexed(intro["name"]) + hexed(intro["key"])
    assert inner == wanted + bytes(1024 - len(wanted))

    vector = vectors["introduction"]
    name = hashed("zmesh introduction name v1", hexed(vector["intro_secret"]))
    assert name.hex() == vector["intro_name"]
    nine = b"\x09" + bytes(31)
    key, x = x25519(hexed(vector["key_secret"]), nine), x25519(hexed(vector["ephemeral_secret"]), nine)
    assert key.hex() == vector["key"]
    shared = x25519(hexed(vector["key_secret"]), x)
    assert shared == x25519(hexed(vector["ephemeral_secret"]), key)
    sealed = hexed(vector["sealed"])
    assert sealed[:33] == b"\x01" + x
    derived = hkdf(hexed(vector["subcredential"]), shared + x + key, b"zmesh service introduction v1\0" + name)
    said = b"\x02" + hexed(vector["relay"]) + hexed(vector["cookie"]) + hexed(vector["seed_head"])
    said += vector["effort"].to_bytes(4, "big") + hexed(vector["nonce"]) + hexed(vector["meeting_secret"])
    assert open_aead(derived, sealed[:33], sealed[33:]) == said + bytes(96 - len(said))
    for role, side in enumerate(("client", "service"), 1):
        seed = hkdf(bytes(32), hexed(vector["meeting_secret"]), b"zmesh service meeting v1\0" + bytes([role]))
        assert ed25519_public(seed) == hexed(vector["meeting_" + side])

    vector = vectors["work"]
    effort = vector["effort"].to_bytes(4, "big")
    tried = b"zmesh service puzzle v1\0" + hexed(vector["blinded"]) + hexed(vector["cookie"]) + hexed(vector["nonce"]) + effort
    digest = argon2id(tried, hexed(vector["seed"]))
    assert digest.hex() == vector["hash"]
    assert int.from_bytes(digest[:4], "big") * vector["effort"] < 2**32

    vector = vectors["place"]
    tried = b"zmesh service place v1\0" + hexed(vector["blinded"]) + vector["period"].to_bytes(4, "big")
    tried += vector["revision"].to_bytes(8, "big") + hexed(vector["work"])
    digest = argon2id(tried, hexed(vector["relay"]))
    assert digest.hex() == vector["hash"]
    assert int.from_bytes(digest[:4], "big") * vector["effort"] < 2**32


# --- agreement: protobuf in one form, Ed25519 (RFC 8032), ECVRF (RFC 9381) ---------------------------------------------------------


def fields(data):
    """The fields of a protobuf message, which have to ascend and be in their shortest form: [(number, value)]."""
    found, at = [], 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                assert byte or shift == 7, "not the shortest form"
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            value = number()
            assert value, "a default"
        else:
            assert key & 7 == 2
            length = number()
            value, at = data[at : at + length], at + length
            assert len(value) == length
        assert not found or found[-1][0] <= key >> 3, "fields ascend"
        found.append((key >> 3, value))
    return found


def only(data):
    found = fields(data)
    assert len(dict(found)) == len(found)
    return dict(found)


def edwards(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square, x = sqrt_ratio(y * y - 1, D * y * y + 1)
    if not square or (x == 0 and sign):
        return None
    x = -x % P if x & 1 != sign else x
    return x, y, 1, x * y % P


def compress(point):
    x, y, z, _ = point
    inverse = pow(z, -1, P)
    x, y = x * inverse % P, y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def negative(point):
    x, y, z, t = point
    return -x % P, y, z, -t % P




def is_signed(key, message, signature):
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    response = int.from_bytes(signature[32:], "little")
    return response < ORDER and compress(add(multiply(response, BASE), multiply(challenge, negative(edwards(key))))) == signature[:32]


def ticket_output(key, message, proof):
    for count in range(256):
        point = edwards(hashlib.sha512(b"\x03\x01" + key + message + bytes([count, 0])).digest()[:32])
        if point and compress(multiply(8, point)) != compress((0, 1, 1, 0)):
            break
    point, gamma = multiply(8, point), edwards(proof[:32])
    challenge, response = int.from_bytes(proof[32:48], "little"), int.from_bytes(proof[48:], "little")
    left = add(multiply(response, BASE), multiply(challenge, negative(edwards(key))))
    right = add(multiply(response, point), multiply(challenge, negative(gamma)))
    parts = key + compress(point) + proof[:32] + compress(left) + compress(right)
    assert hashlib.sha512(b"\x03\x02" + parts + b"\x00").digest()[:16] == proof[32:48], "the proof does not hold"
    return hashlib.sha512(b"\x03\x03" + compress(multiply(8, gamma)) + b"\x00").digest()


def check_agreement(vectors):
    sha = lambda context, *parts: hashlib.sha256(context.encode() + b"\0" + b"".join(parts)).digest()
    genesis = hexed(vectors["genesis"])
    network = sha("zmesh genesis v1", genesis)
    assert network.hex() == vectors["network_id"]
    randomness = sha("zmesh genesis random v1", network)
    assert randomness.hex() == vectors["genesis_randomness"]
    terms = fields(genesis)
    length, zero = dict(terms)[3], dict(terms)[4]
    voters = [only(value) for number, value in terms if number == 6]
    assert [voter[1] for voter in voters] == sorted(voter[1] for voter in voters)
    signers = sha("zmesh voter set v1", *(voter[1] + bytes([len(voter[2])]) + voter[2] for voter in voters))
    assert signers.hex() == vectors["voters_hash"]

    snapshot = only(hexed(vectors["snapshot"]))
    document = only(snapshot[1])
    signed = only(document[1])
    header = only(signed[1])
    header_hash = sha("zmesh epoch header v1", signed[1])
    assert header_hash.hex() == vectors["header_hash"]
    assert header[1] == header[4] == network and header[11] == signers and 3 not in header
    lifetime = {only(value)[1]: only(value)[2] for number, value in terms if number == 7}[b"lifetime"]
    assert (header[5], header[6]) == (zero + header[2] * length, zero + (header[2] + lifetime) * length)
    table = document[2]
    assert sha("zmesh epoch relays v1", table) == header[15] and len(table) == 60 * header[14]
    message = lambda before, round, header: b"zmesh precommit v1\0" + network + before + round.to_bytes(4, "big") + header
    places = [signed[3][at] for at in range(0, len(signed[3]), 65)]
    assert places == sorted(set(places)) and 3 * len(places) > 2 * len(voters)
    for at, place in enumerate(places):
        signature = signed[3][65 * at + 1 : 65 * at + 65]
        assert is_signed(voters[place][1], message(network, signed.get(2, 0), header_hash), signature)
    rest = snapshot[2]
    for at in range(0, len(table), 60):
        size = int.from_bytes(rest[:2], "big")
        descriptor, rest = rest[2 : size + 2], rest[size + 2 :]
        assert hashlib.sha256(descriptor).digest() == table[at + 16 : at + 48]
        assert hashlib.sha256(b"zmesh relay id v1\0" + descriptor[1:33]).digest()[:16] == table[at : at + 16]
        assert descriptor[0] == 2 and is_signed(descriptor[1:33], b"zmesh descriptor v1\0" + descriptor[:-64], descriptor[-64:])
    assert not rest

    kinds = ["commitment", "reveal", "ballot", "proposal", "prevote", "precommit"]
    said_before = {}
    for vote in map(hexed, vectors["votes"]):
        envelope = only(vote)
        body = only(envelope[2])
        if envelope[1] <= 4:
            said_before[kinds[envelope[1] - 1]] = envelope[2], body
        said = f"zmesh vote {kinds[envelope[1] - 1]} v1".encode() + b"\0" + envelope[2]
        if envelope[1] == 6:
            said = message(body[3], body.get(5, 0), body.get(6, bytes(32)))
        assert body[1] == network and is_signed(body[4], said, envelope[3])
    # One secret for each key and document, named and proven in the proposal; the ballot named by what was signed.
    body = said_before["reveal"][1]
    place = [voter[1] for voter in voters].index(body[4])
    secret = ticket_output(body[4], b"zmesh voter secret v1\0" + network + body[3], body[12])[:32]
    assert said_before["commitment"][1][6] == sha("zmesh commitment v1", network, body[3], body[4], secret)
    proposed = said_before["proposal"][1]
    assert proposed[13] == signed[1] and proposed[15] == bytes([place]) + body[12]
    assert proposed[14] == bytes([place]) + sha("zmesh ballot id v1", said_before["ballot"][0])
    envelope = only(hexed(vectors["heartbeat"]))
    assert is_signed(only(envelope[1])[2], b"zmesh heartbeat v1\0" + envelope[1], envelope[2])

    ticket = vectors["ticket"]
    asked = b"zmesh proposer v1\0" + network + network + randomness + ticket["round"].to_bytes(4, "big")
    assert ticket_output(hexed(ticket["key"]), asked, hexed(ticket["proof"])).hex() == ticket["output"]


def main():
    load = lambda name: json.loads((HERE / name).read_text())
    for vector in load("hctr2.json")["vectors"]:
        cipher, tweak = WideBlock(hexed(vector["input"]["key_hex"])), hexed(vector["input"]["tweak_hex"])
        plain, encrypted = hexed(vector["plaintext_hex"]), hexed(vector["ciphertext_hex"])
        assert cipher.encrypt(tweak, plain) == encrypted and cipher.decrypt(tweak, encrypted) == plain
    circuits = [check_set_up(vector) for vector in load("setup.json")["set_ups"]]
    check_cells(load("cells.json"), circuits[2])
    check_repair(load("fec.json"))
    check_service(load("service.json"))
    check_agreement(load("agreement.json"))
    print("hctr2.json, setup.json, cells.json, fec.json, service.json and agreement.json agree with the documents")


if __name__ == "__main__":
    main()
