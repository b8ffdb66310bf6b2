"""`xdsi consent`: record, show and explain the consent policies of a patient, at the registry."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer

from shared.http.client import http_client
from shared.settings import ServiceSettings
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.listing import Column, counted
from xdsi.listing import show as show_list
from xdsi.options import AsJson, Config, Quiet
from xdsi.patient_ids import domain_patient_id

app = typer.Typer()

_COLUMNS = (
    Column("effect"),
    Column("for"),
    Column("until"),
    Column("description"),
    Column("policy", is_id=True),
)
_BREAK_COLUMNS = (
    Column("declared"),
    Column("until"),
    Column("user"),
    Column("patient"),
    Column("reason"),
    Column("policy", is_id=True),
)
_PREVIEW_COLUMNS = (
    Column("who"),
    Column("finds now"),
    Column("then"),
    Column("opens now"),
    Column("then"),
)
_FHIR_CONSENT = "https://profiles.ihe.net/ITI/PCF/StructureDefinition/IHE.PCF.consentBasic"
_BREAK_FIELDS = ("created", "valid_until", "author", "patient_id", "description", "policy_id")
Patient = Annotated[str, typer.Argument(metavar="PATIENT", help="Id in the affinity domain, or a whole CX.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="CODE or CODE^^SCHEME; may be repeated.")]
Organizations = Annotated[list[str] | None, typer.Option("--organization", help="Id; may be repeated.")]
Purposes = Annotated[
    list[str] | None, typer.Option("--purpose", help="CODE or CODE^^SCHEME; may be repeated.")
]
Users = Annotated[list[str] | None, typer.Option("--user", help="USER@ISSUER; may be repeated.")]
HomeCommunities = Annotated[
    list[str] | None, typer.Option("--home-community", help="homeCommunityId; may be repeated.")
]
DocumentTypes = Annotated[
    list[str] | None,
    typer.Option("--document-type", help="Class or type: CODE or CODE^^SCHEME; may be repeated."),
]
Authors = Annotated[
    list[str] | None,
    typer.Option("--author", help="ID^^AUTHORITY or ID, of a person or institution; may be repeated."),
]
DocumentIds = Annotated[
    list[str] | None,
    typer.Option("--document-id", help="uniqueId, or Study Instance UID; may be repeated."),
]
Confidentiality = Annotated[
    list[str] | None, typer.Option("--confidentiality", help="CODE or CODE^^SCHEME; may be repeated.")
]

Reason = Annotated[str, typer.Option(help="Why, for the trail.")]


@app.command(name="set")
def set_policy(
    patient: Patient,
    effect: Annotated[str, typer.Argument(metavar="permit|deny", help="What the policy does.")],
    role: Roles = None,
    organization: Organizations = None,
    purpose: Purposes = None,
    user: Users = None,
    confidentiality: Confidentiality = None,
    home_community: HomeCommunities = None,
    document_type: DocumentTypes = None,
    author: Authors = None,
    document_id: DocumentIds = None,
    absolute: Annotated[bool, typer.Option(help="A deny that breaking the glass does not override.")] = False,
    until: Annotated[str, typer.Option(help="End, for example 2030-05-04T00:00:00Z.")] = "",
    description: Annotated[str, typer.Option(help="Free text for whoever reads it later.")] = "",
    replace: Annotated[str, typer.Option(help="policy_id of the policy that this one replaces.")] = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Record a policy: who is permitted, or denied, to find and retrieve the patient's documents.

    Without conditions a policy is for everyone.

    Example: [bold]xdsi consent set P-1001 deny --role RAD-PHYS^^2.999.40.1[/bold]
    """
    content: dict[str, Any] = {
        "effect": effect,
        "roles": role or [],
        "organizations": organization or [],
        "purposes": purpose or [],
        "confidentiality": confidentiality or [],
        "description": description,
    }
    content |= {"users": user} if user else {}
    content |= {"home_communities": home_community} if home_community else {}
    content |= {"document_types": document_type} if document_type else {}
    content |= {"authors": author} if author else {}
    content |= {"documents": document_id} if document_id else {}
    content |= {"absolute": True} if absolute else {}
    content |= {"valid_until": until} if until else {}
    content |= {"policy_id": replace} if replace else {}
    policy = ask(config, "set", patient, content)
    typer.echo(json.dumps(policy, indent=2) if as_json else f"recorded {policy['policy_id']}")


@app.command()
def remove(
    patient: Patient,
    policy_id: Annotated[str, typer.Argument(metavar="POLICY_ID", help="As `xdsi consent show` names it.")],
    reason: Reason = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Remove a policy of a patient.

    Example: [bold]xdsi consent remove P-1001 urn:uuid:…[/bold]
    """
    ask(config, "remove", patient, {"policy_id": policy_id, "reason": reason})
    typer.echo(json.dumps({"removed": policy_id}) if as_json else f"removed {policy_id}")


@app.command()
def show(patient: Patient, as_json: AsJson = False, quiet: Quiet = False, config: Config = None) -> None:
    """Show the policies of a patient.

    Example: [bold]xdsi consent show P-1001[/bold]
    """
    answer = ask(config, "policies", patient, {})
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    policies = answer["policies"]
    if quiet:
        for policy in policies:
            typer.echo(policy["policy_id"])
        return
    typer.echo(f"{counted(len(policies), 'policy', 'policies')} of {answer['patient_id']}")
    show_list(
        _COLUMNS,
        (
            (
                policy["effect"],
                _conditions(policy),
                policy["valid_until"] or "",
                policy["description"],
                policy["policy_id"],
            )
            for policy in policies
        ),
    )


@app.command()
def why(
    patient: Patient,
    role: Roles = None,
    organization: Organizations = None,
    purpose: Purposes = None,
    user: Annotated[str, typer.Option(help="USER@ISSUER.")] = "",
    confidentiality: Confidentiality = None,
    home_community: Annotated[str, typer.Option(help="homeCommunityId of the user.")] = "",
    document_type: Annotated[str, typer.Option(help="Type of the document: CODE^^SCHEME.")] = "",
    author: Authors = None,
    document_id: DocumentIds = None,
    action: Annotated[str, typer.Option(help="query or retrieve.")] = "query",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Explain what would be decided for a caller, by which policy, and why no other applied.

    Example: [bold]xdsi consent why P-1001 --role RAD-PHYS^^2.999.40.1 --purpose TREAT[/bold]
    """
    answer = ask(
        config,
        "why",
        patient,
        {
            "action": action,
            "roles": role or [],
            "organizations": organization or [],
            "purposes": purpose or [],
            "confidentiality": confidentiality or [],
            "user_id": user,
            "home_community": home_community,
            "type_code": document_type,
            "authors": author or [],
            "documents": document_id or [],
        },
    )
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    typer.echo(f"{'permitted' if answer['permitted'] else 'refused'}: {answer['reason']}")
    typer.echo(f"  {answer['sentence']}")
    for each in answer["considered"]:
        unmet = ", ".join(each["unmet"])
        policy = each["policy"]
        typer.echo(
            f"  {policy['policy_id']} {policy['effect']} {_conditions(policy)}: "
            + (f"does not apply ({unmet})" if unmet else "applies")
        )


@app.command(name="import")
def import_document(
    document: Annotated[Path, typer.Argument(metavar="FILE", help="BPPC, APPC or FHIR Consent.")],
    replace: Annotated[str, typer.Option(help="Source of the consent that this one replaces.")] = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Keep a consent document, translated to policies; what is not wholly understood is refused.

    Example: [bold]xdsi consent import consent.xml[/bold]
    """
    settings = load(ServiceSettings, config)
    content = _document(document) | ({"replaces": replace} if replace else {})
    answer = asyncio.run(ask_registry(settings, "documents", content))
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    typer.echo(f"kept as {answer['source']}")
    for text in answer["sentences"]:
        typer.echo(f"  {text}")


@app.command()
def withdraw(
    patient: Patient,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="As `xdsi consent import` named it.")],
    reason: Reason = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Withdraw a consent document of a patient, with all its policies.

    Example: [bold]xdsi consent withdraw P-1001 urn:uuid:…[/bold]
    """
    answer = ask(config, "withdraw", patient, {"source": source, "reason": reason})
    typer.echo(json.dumps(answer) if as_json else f"withdrawn {source}")


@app.command()
def preview(
    patient: Patient,
    effect: Annotated[str, typer.Argument(metavar="permit|deny", help="What the policy would do.")] = "",
    document: Annotated[Path | None, typer.Option(help="A consent document instead of a policy.")] = None,
    without: Annotated[str, typer.Option(help="policy_id or SOURCE of what would end instead.")] = "",
    role: Roles = None,
    organization: Organizations = None,
    purpose: Purposes = None,
    user: Users = None,
    confidentiality: Confidentiality = None,
    home_community: HomeCommunities = None,
    document_type: DocumentTypes = None,
    author: Authors = None,
    document_id: DocumentIds = None,
    until: Annotated[str, typer.Option(help="End, for example 2030-05-04T00:00:00Z.")] = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show who would see what with a policy or a document, or without one, before anything is kept or ended.

    Example: [bold]xdsi consent preview P-1001 deny --role RAD-PHYS^^2.999.40.1[/bold]
    """
    conditions: dict[str, Any] = {
        "effect": effect,
        "roles": role,
        "organizations": organization,
        "purposes": purpose,
        "users": user,
        "confidentiality": confidentiality,
        "home_communities": home_community,
        "document_types": document_type,
        "authors": author,
        "documents": document_id,
        "valid_until": until,
        "without": without,
    }
    content = {name: value for name, value in conditions.items() if value}
    if document is not None:
        content |= _document(document)
    answer = ask(config, "preview", patient, content)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for text in answer["sentences"]:
        typer.echo(text)
    show_list(_PREVIEW_COLUMNS, map(_previewed, answer["persons"]))


def _previewed(row: Mapping[str, Any]) -> tuple[str, ...]:
    person = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in row["person"].items())
    total = row["documents"]
    return (
        person or "anybody else",
        *(f"{row[what][when]} of {total}" for what in ("find", "open") for when in ("now", "then")),
    )


def _document(path: Path) -> dict[str, str]:
    """A consent document as the registry takes it: its format is told by what it begins with."""
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise Failed(f"{path} cannot be read ({error.strerror})") from None
    if octets.lstrip()[:1] == b"{":
        format_code = _FHIR_CONSENT
    elif b"urn:oasis:names:tc:xacml:2.0:policy:schema:os" in octets:
        format_code = "urn:ihe:iti:appc:2016:consent"
    else:
        format_code = "urn:ihe:iti:bppc:2007"
    return {"format_code": format_code, "document": b64encode(octets).decode()}


@app.command()
def breaks(
    sign_off: Annotated[
        str, typer.Option(metavar="POLICY_ID", help="Sign this break off; one in force ends.")
    ] = "",
    note: Annotated[str, typer.Option(help="What the review found; for the trail.")] = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List who broke the glass and waits for a review, or sign one off.

    Example: [bold]xdsi consent breaks --sign-off urn:uuid:… --note "unconscious, on call"[/bold]
    """
    if sign_off and not note.strip():
        raise Failed("--note: say what the review found; it goes into the trail")
    settings = load(ServiceSettings, config)
    action, content = ("sign-off", {"policy_id": sign_off, "note": note}) if sign_off else ("breaks", {})
    answer = asyncio.run(ask_registry(settings, action, content))
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    elif sign_off:
        typer.echo(f"signed off {answer['policy_id']}")
    else:
        typer.echo(f"{counted(len(answer['breaks']), 'break', 'breaks')} to review")
        show_list(
            _BREAK_COLUMNS,
            (tuple(one[name] for name in _BREAK_FIELDS) for one in answer["breaks"]),
        )


_NAMES = (
    "roles",
    "organizations",
    "purposes",
    "users",
    "confidentiality",
    "home_communities",
    "document_types",
    "authors",
    "documents",
)


def _conditions(policy: Mapping[str, Any]) -> str:
    conditions = (
        f"{name.replace('_', ' ')} {' or '.join(policy[name])}" for name in _NAMES if policy.get(name)
    )
    always = ", never overridden" if policy.get("absolute") else ""
    return (", ".join(conditions) or "everyone") + always


def ask(config: Path | None, action: str, patient: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the registry of the settings; a refusal is `Failed` with the registry's reason."""
    settings = load(ServiceSettings, config)
    patient_id = domain_patient_id(patient, settings.affinity_domain)
    return asyncio.run(ask_registry(settings, action, {"patient_id": patient_id, **content}))


async def ask_registry(settings: ServiceSettings, action: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The registry's answer to `content`, or `Failed`."""
    url = settings.registry_url.removesuffix("/").removesuffix("/xds/registry") + f"/consent/{action}"
    try:
        async with http_client(settings.tls, peers=(url,)) as http:
            response = await http.post(url, json=content)
            answer = response.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise Failed(
            f"the registry at {settings.registry_url} cannot be asked ({type(error).__name__}); "
            "is it running? name it in XDSI_REGISTRY_URL"
        ) from None
    if not response.is_success or not isinstance(answer, dict):
        reason = answer.get("detail") if isinstance(answer, dict) else None
        raise Failed(f"the registry refused: {reason or response.status_code}")
    return answer
