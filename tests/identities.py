"""An issuer of JWTs, for tests: its keys, and tokens of it that are good unless told otherwise."""

from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
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
