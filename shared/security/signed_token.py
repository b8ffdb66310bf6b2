"""What every JWT is verified for, whatever it is about: its form, its type, the signature of its issuer."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from joserfc import jws
from joserfc.errors import JoseError
from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from shared.faults import SecurityFault
from shared.security.key_sets import KeySets

MAX_BYTES: Final = 16 * 1024

#: No `none`; of shared secrets one, for parties that agreed on it (IUA 3.72.4).
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "HS256")
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class _Issued(BaseModel):
    model_config = ConfigDict(extra="ignore")

    iss: StrictStr


async def signed_claims(token: str, keys: KeySets, types: Collection[str]) -> bytes:
    """The claims of `token`, which a key of its issuer signed; its `typ` is one of `types`, in lower case.

    Raises
    ------
    SecurityFault
        The first of these rules that is broken.
    """
    if len(token) > MAX_BYTES:
        raise SecurityFault("InvalidSecurityToken", f"the token is larger than {MAX_BYTES} bytes")
    if not _COMPACT.fullmatch(token):
        raise SecurityFault("InvalidSecurity", "the token is no signed JWT in three parts")
    try:
        signed = jws.extract_compact(token.encode())
        header = signed.headers()
        if header.get("alg") not in ALGORITHMS:
            raise SecurityFault("UnsupportedAlgorithm", "the algorithm of the token is not accepted")
        if str(header.get("typ", "")).lower() not in types:
            raise SecurityFault("UnsupportedSecurityToken", f"the token is of no type of {', '.join(types)}")
        issuer = _Issued.model_validate_json(signed.payload).iss
        key = await keys.find(issuer, header)
        if not jws.validate_compact(signed, key, algorithms=list(ALGORITHMS)):
            raise SecurityFault("FailedCheck", "the signature of the token is wrong")
    except ValidationError:
        raise SecurityFault("InvalidSecurityToken", "the token names no issuer") from None
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise SecurityFault("FailedCheck", f"the token cannot be verified ({type(error).__name__})") from None
    return signed.payload
