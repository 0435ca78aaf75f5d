"""Sealed fields with jwcrypto: compact JWE with `dir` and A256GCM, event and subject in the protected header."""

import json
import sys

from jwcrypto import jwe, jwk


def seal(value, event: str, subject: str, kid: str, k: str) -> str:
    """Seals any JSON value; `k` is the key, 32 bytes in base64url."""
    header = {"alg": "dir", "enc": "A256GCM", "kid": kid, "evt": event, "sub": subject}
    token = jwe.JWE(json.dumps(value).encode(), protected=json.dumps(header))
    token.add_recipient(jwk.JWK(kty="oct", k=k))
    return token.serialize(compact=True)


def open_sealed(sealed: str, event: str, subject: str, keys: dict[str, str]):
    """Opens what was sealed for this event and subject; `keys` has a `k` for every `kid`. Raises ValueError."""
    token = jwe.JWE(algs=["dir", "A256GCM"])
    try:
        token.deserialize(sealed)
        header = token.jose_header
        if set(header) != {"alg", "enc", "kid", "evt", "sub"} or header["kid"] not in keys:
            raise ValueError("not sealed by us")
        if (header["evt"], header["sub"]) != (event, subject):
            raise ValueError("sealed for something else")
        token.decrypt(jwk.JWK(kty="oct", k=keys[header["kid"]]))
    except (jwe.InvalidJWEData, jwe.InvalidJWEOperation) as error:
        raise ValueError("not sealed by us") from error
    return json.loads(token.payload)


if __name__ == "__main__":
    # One task as JSON on standard input: {"event", "subject", "keys": [{"kid", "k"}], "seal": value, "open": [sealed, …]}
    task = json.load(sys.stdin)
    binding = {"event": task["event"], "subject": task["subject"]}
    keys = {key["kid"]: key["k"] for key in task["keys"]}
    results = {"sealed": seal(task["seal"], **binding, **task["keys"][0]), "opened": [], "refused": []}
    for sealed in task["open"]:
        try:
            results["opened"].append(open_sealed(sealed, **binding, keys=keys))
        except ValueError as error:
            results["refused"].append(str(error))
    print(json.dumps(results))
