"""An issuer of JWTs, for tests: its keys, good tokens of it, and all kinds of bad ones."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER: Final = "https://id.test"
AUDIENCE: Final = "interlock"
KEY: Final = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
OTHER: Final = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
CURVE: Final = ec.generate_private_key(ec.SECP256R1())

#: Long ago and far away: no test waits for either.
PAST: Final = 1_000_000_000
FUTURE: Final = 9_000_000_000
CLAIMS: Final[dict[str, Any]] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "ada",
    "exp": FUTURE,
    "roles": ["approver", "astronaut"],
    "name": "Ada L.",
}


def jwk(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, kid: str) -> dict[str, Any]:
    """The public half, as a set has it."""
    if isinstance(key, rsa.RSAPrivateKey):
        public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**public, "kid": kid, "use": "sig"}


KEYS: Final[dict[str, Any]] = {"keys": [jwk(KEY, "one"), jwk(CURVE, "curve")]}


def token(
    *,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    kid: str | None = "one",
    alg: str = "RS256",
    **claims: Any,  # noqa: ANN401
) -> str:
    """A token; a claim that is None is not in it."""
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return jwt.encode(said, key or KEY, algorithm=alg, headers={} if kid is None else {"kid": kid})


def raw(header: object, payload: object, signature: bytes = b"") -> str:
    """A token by its parts."""
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def _hmac_by_public_key() -> str:
    """The old trick: the public key, which everybody has, as the secret of an HMAC."""
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    unsigned = raw({"alg": "HS256", "typ": "JWT", "kid": "one"}, CLAIMS).rsplit(".", 1)[0]
    signature = hmac.digest(public, unsigned.encode(), hashlib.sha256)
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


#: Tokens that nobody may take, by what is wrong with them.
BAD: Final[dict[str, Callable[[], str]]] = {
    "expired": lambda: token(exp=PAST),
    "not yet": lambda: token(nbf=FUTURE),
    "issued in the future": lambda: token(iat=FUTURE),
    "for another": lambda: token(aud="others"),
    "for nobody": lambda: token(aud=None),
    "without an end": lambda: token(exp=None),
    "of nobody": lambda: token(sub=None),
    "of an empty subject": lambda: token(sub=""),
    "of a number": lambda: token(sub=7),
    "of the anonymous": lambda: token(sub="anonymous"),
    "of too long a name": lambda: token(sub="a" * 257),
    "of a name that is not printable": lambda: token(sub="a\nb"),
    "signed by another": lambda: token(key=OTHER),
    "of an unknown key": lambda: token(kid="two"),
    "without a key among several": lambda: token(kid=None),
    "by another algorithm than its key's": lambda: token(kid="curve"),
    "by an algorithm that is not listed": lambda: token(alg="PS256"),
    "not signed": lambda: raw({"alg": "none", "kid": "one"}, CLAIMS),
    "not signed, in another spelling": lambda: raw({"alg": "nOnE", "kid": "one"}, CLAIMS),
    "by an HMAC with the public key": _hmac_by_public_key,
    "with its claims changed": lambda: ".".join(
        part if number != 1 else raw({}, {**CLAIMS, "sub": "eve"}).split(".")[1]
        for number, part in enumerate(token().split("."))
    ),
    "with a key of its own": lambda: jwt.encode(
        CLAIMS, OTHER, algorithm="RS256", headers={"jwk": jwk(OTHER, "own"), "kid": "own"}
    ),
    "with what must be understood": lambda: jwt.encode(
        CLAIMS, KEY, algorithm="RS256", headers={"kid": "one", "crit": ["x"], "x": 1}
    ),
    "with a key id that is none": lambda: raw({"alg": "RS256", "kid": {"a": 1}}, CLAIMS, b"x"),
    "with an end that is none": lambda: token(exp="soon"),
    "with an end beyond all time": lambda: token(exp=float("inf")),
    "of no object": lambda: raw({"alg": "RS256"}, [ISSUER], b"x"),
    "of no JSON": lambda: "YQ.YQ.YQ",
    "nested deeply": lambda: f"{base64.urlsafe_b64encode(b'[' * 9_000).decode().rstrip('=')}.YQ.YQ",
}
