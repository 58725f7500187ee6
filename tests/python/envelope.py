"""Agent messages, read and made by other people's COSE: `cwt` with `pyhpke`, and `pycose`.

Written from docs/spec/envelope.md. Reads one JSON object a line, and writes one for each.
"""

import hashlib
import json
import os
import sys

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cwt import COSE, COSEKey, Recipient
from pycose.keys import OKPKey
from pycose.messages import CoseMessage

ED25519, X25519 = 6, 4
A256GCM, HPKE_4_KE = 3, 50
SIGNED_AS = b"sealwire/1 msg"
TYPE = "application/vnd.sealwire.message+cose"
PRIVATE = -65537


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def okp(curve, public, private=None, **more):
    """A COSE_Key: key type OKP, curve, x, d."""
    key = {1: 1, -1: curve, -2: public, **{int(k): v for k, v in more.items()}}
    if private is not None:
        key[-4] = private
    return COSEKey.new(key)


def signing_key(public, seed=None):
    return okp(ED25519, public, seed, **{"2": sha256(public), "3": -8})


def recipient_key(public, private=None):
    return okp(X25519, public, private, **{"2": sha256(public), "3": HPKE_4_KE})


def extra_info(protected, recipient_kid):
    claims = protected[15]
    return cbor2.dumps([claims[1], protected[4], claims[3], claims[7], recipient_kid])


def open_message(job):
    message, signer = bytes.fromhex(job["message"]), bytes.fromhex(job["signing_public"])
    private = bytes.fromhex(job["recipient_private"])
    public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()

    # pycose reads the outer layer alone.
    outer = CoseMessage.decode(message)
    outer.external_aad = SIGNED_AS
    outer.key = OKPKey(crv="ED25519", x=signer)
    assert outer.verify_signature(), "pycose: the signature does not hold"

    protected, unprotected, payload = COSE.new().decode_with_headers(
        message, signing_key(signer), external_aad=SIGNED_AS
    )
    assert unprotected == {} and outer.payload == payload
    assert protected[16] == TYPE and protected[2] == [15, PRIVATE]
    private_fields = protected[PRIVATE]
    recipients = cbor2.loads(payload).value[3]
    assert sha256(cbor2.dumps(recipients)) == private_fields[7], "recipients_digest"

    header = cbor2.loads(message).value[0]
    content = COSE.new().decode(
        payload,
        recipient_key(public, private),
        external_aad=sha256(header),
        extra_info=extra_info(protected, sha256(public)),
    )
    claims = protected[15]
    return {
        "content": content.hex(),
        "iss": claims[1],
        "aud": claims[3],
        "exp": claims[4],
        "iat": claims[6],
        "cti": claims[7].hex(),
        "private": [value.hex() if isinstance(value, bytes) else value for value in private_fields],
    }


class Encoded:
    """A recipient of cwt's that was encoded before: the header has its digest."""

    def __init__(self, recipient, cek):
        self.recipient = recipient
        self.encoded, _ = recipient.encode(cek)

    def encode(self, *_):
        return self.encoded, None

    def __getattr__(self, name):
        return getattr(self.recipient, name)


def make_message(job):
    seed = bytes.fromhex(job["signing_seed"])
    signer = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    cek, cti = os.urandom(32), os.urandom(16)
    protected = {
        1: -8,
        2: [15, PRIVATE],
        4: sha256(signer),
        15: {1: job["iss"], 3: job["aud"], 4: job["exp"], 6: job["iat"], 7: cti},
        16: TYPE,
    }
    recipients = []
    for public in sorted((bytes.fromhex(key) for key in job["recipients"]), key=sha256):
        kid = sha256(public)
        recipient = Recipient.new(
            protected={1: HPKE_4_KE},
            unprotected={4: kid},
            recipient_key=recipient_key(public),
            extra_info=extra_info(protected, kid),
        )
        recipient.content_alg = A256GCM
        recipients.append(Encoded(recipient, cek))
    protected[PRIVATE] = [
        1,
        job["type"],
        job["priority"],
        job["epoch"],
        job["seq"],
        bytes.fromhex(job["in_reply_to"]) if job["in_reply_to"] else None,
        job["roster"],
        sha256(cbor2.dumps([recipient.encoded for recipient in recipients])),
        sha256(b"sealwire/1 cek", cek, cti),
    ]
    payload = COSE.new().encode(
        bytes.fromhex(job["content"]),
        COSEKey.from_symmetric_key(cek, alg="A256GCM"),
        protected={1: A256GCM},
        unprotected={5: os.urandom(12)},
        recipients=recipients,
        external_aad=sha256(cbor2.dumps(protected)),
    )
    message = COSE.new().encode(
        payload, signing_key(signer, seed), protected=protected, external_aad=SIGNED_AS
    )
    return {"message": message.hex()}


for line in sys.stdin:
    job = json.loads(line)
    work = {"open": open_message, "make": make_message}[job["do"]]
    print(json.dumps(work(job)), flush=True)
