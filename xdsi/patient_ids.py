"""Patient ids as people write them on a command line."""

from __future__ import annotations

from shared.ebrim.identifiers import CX
from xdsi.failures import WrongUsage


def domain_patient_id(text: str, affinity_domain: str) -> str:
    """The CX of an id of the affinity domain; a whole CX is taken as it is.

    Raises
    ------
    WrongUsage
        It is neither.
    """
    try:
        return str(CX.written(text, affinity_domain))
    except ValueError:
        raise WrongUsage(f"{text!r} is not a patient id; write ID, or ID^^^&OID&ISO") from None
