"""The conformance service for programs, in the manner of Gazelle's EVS: `POST /rest/validations` with a file,
or with one in base64 within JSON; the answer names where its report stays."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conformance.recognition import Kind
from conformance.trust import NoCertificates, certificates_of
from conformance.unit import Judged, SentFile, Unit
from conformance.validation import VALIDATORS
from shared.http.problem import BadRequest, TooLarge, Unprocessable, WrongMediaType
from shared.http.raw_asgi import BodyTooLarge, receive_body
from shared.http.refused_body import reasons
from shared.rest.message import JSON, HttpRequest, HttpResponse, json_response
from shared.rest.scheme import NodeAlone
from shared.rest.served import ServedRest
from shared.security.rights import Right

PREFIX: Final = "/rest"
#: Bytes of a request that holds its file in base64; a file that is sent as it is may be longer.
_MOST_JSON: Final = 16 * 1024**2
_MOST_NAME: Final = 200
#: What pages of other sites may send without asking first.
_OF_FORMS: Final = frozenset({"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # EVS has more members than are looked at


class ValidationService(_Body):
    """Which validator; the file is recognised where none is named."""

    validator: str = ""


class ValidationObject(_Body):
    """One file, in base64."""

    originalFileName: str = Field("object", max_length=_MOST_NAME)  # noqa: N815  # as EVS spells it
    content: str


class ValidationRequest(_Body):
    """What EVS is sent."""

    validationService: ValidationService = ValidationService()  # noqa: N815  # as EVS spells it
    objects: tuple[ValidationObject, ...] = Field(min_length=1, max_length=1)
    trust: str = Field("", description="PEM of who may sign, or of their authorities; not a member of EVS")


def kind_of(validator: str) -> Kind | None:
    """The kind that a validator judges; None without one.

    Raises
    ------
    Unprocessable
        There is no such validator.
    """
    if not validator:
        return None
    for kind in VALIDATORS:
        if kind.value == validator:
            return kind
    raise Unprocessable(f"there is no validator of this name; name {', '.join(VALIDATORS)}, or none")


def trust_of(pem: str) -> str:
    """Whose key may sign, PEM; empty where nobody said it.

    Raises
    ------
    Unprocessable
        It holds a private key, or no certificate.
    """
    if "PRIVATE KEY" in pem:
        raise Unprocessable(
            "trust holds a private key, which nobody else should see; give certificates alone"
        )
    if not pem.strip():
        return ""
    # Forms write a blank of an address as +, which in PEM is a character of base64 everywhere else.
    for word in ("BEGIN", "END"):
        pem = pem.replace(f"{word}+CERTIFICATE", f"{word} CERTIFICATE")
    try:
        certificates_of(pem.encode())
    except NoCertificates:
        raise Unprocessable(
            "trust holds no certificate; write PEM, from -----BEGIN CERTIFICATE----- to "
            "-----END CERTIFICATE-----"
        ) from None
    return pem


def displayed(name: str) -> str:
    """The name of a file as reports show it: without folders, control characters, and of bounded length."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(one for one in last if one.isprintable())[:_MOST_NAME] or "object"


async def decode_file(request: HttpRequest) -> SentFile:
    """Read what is to be judged, and how: `?validator=`, `?trust=`, `?name=` beside a file."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in _OF_FORMS:
        raise WrongMediaType("send the file as application/octet-stream, or as the type that it is of")
    if media_type == JSON and "validator" not in request.query:
        return await _of_json(request)
    validator, trust, name = (request.query.get(one, [""])[0] for one in ("validator", "trust", "name"))
    return SentFile(
        name=displayed(name), kind=kind_of(validator), trust=trust_of(trust), chunks=request.chunks()
    )


async def _of_json(request: HttpRequest) -> SentFile:
    try:
        octets = await receive_body(request.receive, limit=_MOST_JSON)
    except BodyTooLarge:
        raise TooLarge(f"JSON is read up to {_MOST_JSON} bytes; send the file itself as the body") from None
    try:
        message = json.loads(octets)
    except (ValueError, RecursionError):
        raise BadRequest("the body is no JSON; correct it, or send a file by another Content-Type") from None
    if not (isinstance(message, dict) and "objects" in message):
        return SentFile(name="object", kind=None, trust="", chunks=_piece(octets))
    try:
        of_evs = ValidationRequest.model_validate(message)
        content = b64decode(of_evs.objects[0].content, validate=True)
    except ValidationError as error:
        where = reasons(error, ValidationRequest)
        raise BadRequest(f"the request cannot be read: {where}") from None
    except (binascii.Error, ValueError):
        raise BadRequest("objects.0.content is no base64") from None
    name = displayed(of_evs.objects[0].originalFileName)
    kind = kind_of(of_evs.validationService.validator)
    return SentFile(name=name, kind=kind, trust=trust_of(of_evs.trust), chunks=_piece(content))


async def _piece(octets: bytes) -> AsyncIterator[bytes]:
    yield octets


async def decode_id(request: HttpRequest) -> str:
    """Which report is asked for."""
    return request.parameters["report"]


async def decode_nothing(_: HttpRequest) -> None:
    """Nothing is said."""


async def validation(unit: Unit, file: SentFile) -> Judged:
    """Judge a file, and keep the report."""
    return await unit.parts.judge(unit.caller, file)


async def report(unit: Unit, id: str) -> Judged:
    """Give a report again."""
    return await unit.parts.report(id)


async def validators(_: Unit, __: None) -> list[dict[str, str]]:
    """List the validators."""
    return [{"name": kind.value, "description": text} for kind, text in VALIDATORS.items()]


def encode_report(judged: Judged) -> HttpResponse:
    """The report, with its id."""
    return json_response({"id": judged.id, **judged.report})


def encode_created(judged: Judged) -> HttpResponse:
    """The report, and where it stays: for programs, and as a page."""
    octets = json.dumps({"id": judged.id, **judged.report}, ensure_ascii=False).encode()
    return HttpResponse(
        status=HTTPStatus.CREATED,
        media_type=JSON,
        headers={
            "location": f"{PREFIX}/validations/{quote(judged.id)}/report",
            "x-validation-report-redirect": f"/reports/{quote(judged.id)}",
        },
        pieces=(octets,),
    )


SERVED_REST: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        name="Validate",
        routes=(f"POST {PREFIX}/validations",),
        right=Right.ASK,
        scheme=NodeAlone,
        decode=decode_file,
        handle=validation,
        encode=encode_created,
    ),
    ServedRest(
        name="Validation report",
        routes=(f"GET {PREFIX}/validations/{{report}}/report",),
        right=Right.ASK,
        scheme=NodeAlone,
        decode=decode_id,
        handle=report,
        encode=encode_report,
    ),
    ServedRest(
        name="Validators",
        routes=(f"GET {PREFIX}/validators",),
        right=Right.ASK,
        scheme=NodeAlone,
        decode=decode_nothing,
        handle=validators,
        encode=json_response,
    ),
)
