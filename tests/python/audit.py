"""Reads an audit log, its checkpoints and proofs by nothing but the public specifications:
RFC 6962, RFC 9162 (how proofs are checked), C2SP signed-note, tlog-checkpoint, tlog-tiles and
tlog-proof, and docs/spec/audit.md for the rest.

    audit.py log DIR KEY            verify a whole log; prints its size and root as JSON
    audit.py entry PROOF KEY        check a proof of an entry; prints the entry
    audit.py growth PROOF OLD KEY   check that a log continues the checkpoint OLD
    audit.py figures FROM TO DIR    the figures of `sealwire report`, from the lines alone; FROM and
                                    TO in milliseconds
"""

import base64
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sha256(data):
    return hashlib.sha256(data).digest()


def leaf_hash(entry):
    return sha256(b"\x00" + entry)


def node_hash(left, right):
    return sha256(b"\x01" + left + right)


def mth(leaves):
    """RFC 6962, 2.1: the Merkle Tree Hash, as it is defined there."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def b64(text):
    return base64.b64decode(text, validate=True)


class Key:
    """A verifier key: name+id+base64(type || public key)."""

    def __init__(self, text):
        self.name, key_id, key = text.strip().split("+", 2)
        key = b64(key)
        assert key[0] == 1 and len(key) == 33, "an Ed25519 key"
        self.id = sha256(self.name.encode() + b"\n" + key)[:4]
        assert self.id.hex() == key_id, "the key's id"
        self.key = Ed25519PublicKey.from_public_bytes(key[1:])

    def text_of(self, note):
        """The text of a note that this key signed."""
        text, blank, signatures = note.rpartition("\n\n")
        assert blank and signatures.endswith("\n"), "a signed note"
        text += "\n"
        signed = False
        for line in signatures.split("\n")[:-1]:
            dash, name, signature = line.split(" ")
            assert dash == "\u2014", "a signature line"
            signature = b64(signature)
            if name == self.name and signature[:4] == self.id:
                self.key.verify(signature[4:], text.encode())
                signed = True
        assert signed, "signed by this key"
        return text

    def checkpoint(self, note, origin=None):
        first, size, root, end = self.text_of(note).split("\n")
        assert first == (origin or self.name) and end == "", "the lines of a checkpoint"
        assert size == str(int(size)) and len(b64(root)) == 32
        return int(size), b64(root)


def check_inclusion(leaf, index, size, proof, root):
    """RFC 9162, 2.1.3.2."""
    assert index < size
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        assert sn != 0, "the proof is too long"
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            if not fn & 1:
                while not (fn & 1 or fn == 0):
                    fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0 and r == root, "the proof leads elsewhere"


def check_consistency(first, first_hash, second, second_hash, proof):
    """RFC 9162, 2.1.4.2."""
    if first == second:
        assert not proof and first_hash == second_hash
        return
    assert 0 < first < second and proof
    if first & (first - 1) == 0:
        proof = [first_hash] + proof
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for c in proof[1:]:
        assert sn != 0, "the proof is too long"
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            if not fn & 1:
                while not (fn & 1 or fn == 0):
                    fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0 and fr == first_hash and sr == second_hash, "the proof leads elsewhere"


def entries(directory):
    """The lines of all days, in order, each an entry."""
    for day in sorted(Path(directory).glob("????-??-??.jsonl")):
        data = day.read_bytes()
        assert data.endswith(b"\n") or not data, f"{day} ends within a line"
        yield from data.split(b"\n")[:-1]


def tile_path(directory, level, index):
    parts = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03}")
    return Path(directory, "tile", str(level), *parts)


def verify_log(directory, key):
    lines = list(entries(directory))
    for number, line in enumerate(lines):
        assert len(line) <= 65535
        entry = json.loads(line)
        assert list(entry)[:3] == ["entry", "time", "type"] and entry["entry"] == number
    leaves = [leaf_hash(line) for line in lines]
    size, root = key.checkpoint(Path(directory, "checkpoint").read_text())
    assert size <= len(leaves), "entries are missing"
    assert mth(leaves[:size]) == root, "the entries are not those that were signed"
    history = Path(directory, "checkpoints")
    earlier = history.read_text().splitlines() if history.exists() else []
    for line in earlier:
        old, old_root, signature = line.split(" ")
        note = f"{key.name}\n{old}\n{old_root}\n\n\u2014 {key.name} {signature}\n"
        old, old_root = key.checkpoint(note)
        assert mth(leaves[:old]) == old_root
    # Every full tile up to the checkpoint is there, and has the hashes of what is below it.
    level, hashes, tiles = 0, leaves[:size], 0
    while len(hashes) >= 256:
        above = []
        for n in range(len(hashes) // 256):
            tile = hashes[256 * n : 256 * (n + 1)]
            assert tile_path(directory, level, n).read_bytes() == b"".join(tile)
            above.append(mth(tile))
            tiles += 1
        level, hashes = level + 1, above
    root = base64.b64encode(root).decode()
    return {"tree_size": size, "root_hash": root, "tiles": tiles, "earlier": len(earlier)}


def calls(entry):
    """An entry may be about several calls: one for each."""
    count = entry.pop("calls", None)
    if count is None:
        return [entry]
    own = {name: values for name, values in entry.items() if isinstance(values, list)}
    assert 2 <= count <= 4096 and all(len(values) == count for values in own.values())
    return [entry | {name: own[name][n] for name in own} for n in range(count)]


def figures(directory, start, end):
    """Counts without any of the program's own questions: what each figure's name says."""
    log = [json.loads(line) for line in entries(directory)]
    log = [entry for entry in log if start <= entry["time"] < end]
    log = [call for entry in log for call in calls(entry)]

    def of(*types):
        return [entry for entry in log if entry["type"] in types]

    def begins(prefix):
        return [entry for entry in log if entry["type"].startswith(prefix)]

    def by(found, member):
        return dict(Counter(entry.get(member, "") for entry in found))

    def having(found, member):
        return [entry for entry in found if member in entry]

    accepted, decisions = of("connection.accepted"), of("call.decision")
    denied = [entry for entry in decisions if entry["decision"] == "deny"]
    unverified = Counter()
    for entry in of("refusals"):
        unverified.update(entry["counts"])
    mutual = len(having(accepted, "certificate"))
    found = {
        "entries": by(log, "type"),
        "connections": len(accepted),
        "connections.resumed": len(of("connection.resumed")),
        "connections.mutual": mutual,
        "connections.by_peer": by(accepted, "peer"),
        "connections.suites": by(having(accepted, "tls.cipher"), "tls.cipher"),
        "connections.groups": by(having(accepted, "tls.curve"), "tls.curve"),
        "connections.refused": by(of("connection.refused"), "reason"),
        "connections.refused_unverified": dict(unverified),
        "decisions": by(decisions, "decision"),
        "decisions.by_server": by(decisions, "server"),
        "decisions.denied": by(denied, "reason"),
        "decisions.policies": by(having(decisions, "policy"), "policy"),
        "outcomes": by(having(begins("call."), "outcome"), "outcome"),
        "messages": by(begins("message."), "type"),
        "messages.refused": by(of("message.refused"), "reason"),
        "pins": by(begins("pin."), "type"),
        "incidents": by(of("incident"), "kind"),
        "incidents.actions": by(of("incident"), "action"),
        "quarantine.added": len(of("quarantine.added")),
        "quarantine.lifted": len(of("quarantine.lifted")),
        "revocations": len(of("revocation")),
        "certificates.issued": len(of("certificate.issued")),
        "keys.changed": len(of("key.changed")),
        "keys.rotated": by(
            [e for e in of("key.changed") if e["detail"].split(",")[0] == "rotated"], "subject"
        ),
        "config.changed": len(of("config.changed")),
        "config.refused": len(of("config.refused")),
        "alerts.failed": len(of("alert.failed")),
        "log.starts": len(of("log.start")),
        "log.recovered": len(of("log.recovered")),
    }
    return {
        "figures": found,
        "mutual_tls_share": mutual / len(accepted) if accepted else None,
        "first_entry": log[0]["entry"] if log else None,
        "last_entry": log[-1]["entry"] if log else None,
    }


def main():
    command, *arguments = sys.argv[1:]
    if command == "figures":
        start, end, directory = arguments
        print(json.dumps(figures(directory, int(start), int(end))))
        return
    key = Key(Path(arguments[-1]).read_text())
    if command == "log":
        print(json.dumps(verify_log(arguments[0], key)))
    elif command == "entry":
        head, _, note = Path(arguments[0]).read_text().partition("\n\n")
        version, extra, index, *hashes = head.split("\n")
        assert version == "c2sp.org/tlog-proof@v1"
        assert extra.startswith("extra ") and index.startswith("index ")
        entry = b64(extra[len("extra ") :])
        size, root = key.checkpoint(note)
        index = int(index[len("index ") :])
        check_inclusion(leaf_hash(entry), index, size, [b64(h) for h in hashes], root)
        assert json.loads(entry)["entry"] == index
        print(entry.decode())
    elif command == "growth":
        head, _, note = Path(arguments[0]).read_text().partition("\n\n")
        old, *hashes = head.split("\n")
        size, root = key.checkpoint(note)
        old_size, old_root = key.checkpoint(Path(arguments[1]).read_text())
        assert old == f"old {old_size}"
        check_consistency(old_size, old_root, size, root, [b64(h) for h in hashes])
        print(f"{old_size} to {size}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
