"""The WSDLs that we publish: each one document, with the address that was asked (WSDL 1.1)."""

from __future__ import annotations

import re
from pathlib import Path

from shared.xml import escape_attribute

FOLDER = Path(__file__).parents[1] / "wsdl"
ADDRESS = "http://localhost/"
CONTENT_TYPE = "text/xml; charset=utf-8"

_INCLUDED = re.compile(
    r'<xs:schema[^>]*>\s*<xs:include schemaLocation="(?P<file>[a-z]+\.xsd)"\s*/>\s*</xs:schema>'
)
_DECLARATION = re.compile(r"^<\?xml[^>]*\?>\s*")


def read_wsdl(service: str) -> str | None:
    """The WSDL of `service` as one document with a placeholder for the address; None without one."""
    path = FOLDER / f"{service}.wsdl"
    if not path.is_file():
        return None
    return _INCLUDED.sub(lambda match: _schema(match["file"]), path.read_text("utf-8"))


def at_address(wsdl: str, address: str) -> bytes:
    """The document for a service that is reached under `address`."""
    return wsdl.replace(f'location="{ADDRESS}"', f'location="{escape_attribute(address)}"').encode()


def _schema(name: str) -> str:
    return _DECLARATION.sub("", (FOLDER / name).read_text("utf-8"))
