"""SOAP faults: the message never reached its semantics (SOAP 1.2 part 1, 5.4; ITI TF-2 Appendix V).

SoapFault
  VersionMismatch     a SOAP 1.1 envelope
  MustUnderstandFault a header that must be understood and is not
  SenderFault         the message cannot be read
    ActionFault       WS-Addressing: no or unknown action, foreign reply address
    SecurityFault     WS-Security: the assertion is absent or not accepted
      NodeRefused     the node may not do this, whoever its user is
  ReceiverFault       our failure
"""

from __future__ import annotations

from typing import ClassVar

SOAP12 = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://www.w3.org/2005/08/addressing"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"

ADDRESSING_FAULT = "http://www.w3.org/2005/08/addressing/fault"
SOAP_FAULT = "http://www.w3.org/2005/08/addressing/soap/fault"


class SoapFault(Exception):
    """A fault; `reason` is shown to the sender: what is wrong, and what would be right.

    `subcode` is a QName as (namespace, local name), or None.
    """

    code: ClassVar[str]
    status: ClassVar[int] = 500
    action: ClassVar[str] = SOAP_FAULT

    def __init__(self, reason: str, *, subcode: tuple[str, str] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.subcode = subcode


class VersionMismatch(SoapFault):
    """The envelope is not SOAP 1.2."""

    code = "VersionMismatch"


class MustUnderstandFault(SoapFault):
    """A header targeted at us with mustUnderstand is not one that we process."""

    code = "MustUnderstand"


class SenderFault(SoapFault):
    """The message is at fault; sending it again unchanged will not help."""

    code = "Sender"
    status = 400


class ActionFault(SenderFault):
    """A WS-Addressing fault; `subcode` is one of its local names, for example ActionNotSupported."""

    action = ADDRESSING_FAULT

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason, subcode=(WSA, name))


class SecurityFault(SenderFault):
    """A WS-Security fault; `name` is the subcode's local name in wsse, for example FailedAuthentication.

    The reason is generic by intent; `detail` goes to the log and the trail. `claimed` is the user that the
    refused assertion names, for the failure record, or empty; `of_a_known_node` tells that a node brought it
    which has the right to ask.
    """

    of_a_known_node = False

    def __init__(self, name: str, detail: str = "", *, claimed: str = "", namespace: str = WSSE) -> None:
        super().__init__("The security token could not be accepted.", subcode=(namespace, name))
        self.detail = detail
        self.claimed = claimed


class NodeRefused(SecurityFault):
    """The node may not do this; `reason` says, unlike that of other security faults, what would let it in."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__("FailedAuthentication", detail)
        self.reason = reason


class ReceiverFault(SoapFault):
    """Our failure; `reason` holds a correlation id and no detail."""

    code = "Receiver"
