"""What a service cannot start with, all of it at once, and without beginning anything.

`xdsi serve` refuses by these checks before it opens or makes anything, and `xdsi doctor` tells what it would
refuse. Each is the very code by which the service itself reads what the settings name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.settings import ConsentSource, ServiceSettings, SettingsError
from shared.settings.storage import is_object_store, storage_folder
from xdsi import data_folder
from xdsi.checks import storage
from xdsi.services import Service


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a service does not start; `problem` is a sentence that begins with the setting."""

    check: str
    problem: str


def refusals(service: Service, settings: ServiceSettings) -> Iterator[Refusal]:
    """Everything that the service would refuse to start with, of what can be known before it starts."""
    for name, check in (*_EVERYWHERE.items(), *_OF_SERVICE.get(service, {}).items()):
        try:
            check(settings)
        except SettingsError as error:
            yield from (Refusal(name, problem) for problem in error.problems)


def refuse(service: Service, settings: ServiceSettings) -> None:
    """Raise what is found.

    Raises
    ------
    SettingsError
        With every refusal.
    """
    if problems := tuple(dict.fromkeys(one.problem for one in refusals(service, settings))):
        raise SettingsError(problems)


# --- every service -----------------------------------------------------------------------------------


def _folder(settings: ServiceSettings) -> None:
    if problem := data_folder.trouble(settings.data) or data_folder.trouble(settings.folder):
        raise SettingsError((problem,))


def _wire_folder(settings: ServiceSettings) -> None:
    if settings.wire_folder is None:
        return
    if problem := data_folder.trouble(settings.wire_folder, "XDSI_WIRE_FOLDER"):
        raise SettingsError((problem,))


def _collector(settings: ServiceSettings) -> None:
    from shared.telemetry.otlp import is_installed

    if settings.otlp_url is not None and not is_installed():
        raise SettingsError(
            (
                "XDSI_OTLP_URL: the libraries of OpenTelemetry are not installed; "
                "pip install 'xdsi[opentelemetry]', or remove it",
            )
        )


def _tls(settings: ServiceSettings) -> None:
    from shared.security.tls import server_context

    if settings.tls.enabled:
        server_context(settings.tls)


def _nodes(settings: ServiceSettings) -> None:
    from shared.security.rights import Rights

    try:
        Rights(settings)
    except SettingsError as error:
        # A certificate that cannot be read is told with the others of TLS.
        others = tuple(one for one in error.problems if not one.startswith("XDSI_TLS__"))
        if others:
            raise SettingsError(others) from None


def _assertions(settings: ServiceSettings) -> None:
    from shared.security.xua import AssertionVerifier

    AssertionVerifier(settings.assertion, settings.audience, settings.home_community_id)


def _tokens(settings: ServiceSettings) -> None:
    if settings.token.issuers:
        from shared.security.key_sets import KeySets

        KeySets(settings.token.issuers, settings.tls)


def _providers(settings: Any) -> None:
    if settings.providers:
        from shared.security.key_sets import KeySets

        places = {issuer: provider.keys for issuer, provider in settings.providers.items()}
        KeySets(places, settings.tls, setting="XDSI_IDENTITY__PROVIDERS")


def _issuer(settings: ServiceSettings) -> None:
    from shared.security.issuer import AssertionIssuer

    signer = settings.assertion
    parts = {"ISSUER": signer.issuer, "KEY": signer.key, "CERTIFICATE": signer.certificate}
    absent = [name for name, value in parts.items() if value is None]
    if len(absent) == len(parts):
        return
    if absent or signer.issuer is None or signer.key is None or signer.certificate is None:
        name = f"XDSI_ASSERTION__{absent[0]}"
        raise SettingsError(
            (f"{name}: is not set, and others of the provider of assertions are; give all three, or none",)
        )
    AssertionIssuer.load(signer.issuer, signer.key, signer.certificate)


def _trail(settings: ServiceSettings) -> None:
    from shared.audit.delivery import destinations

    destinations(settings)


# --- one service -------------------------------------------------------------------------------------


def _policies(settings: ServiceSettings) -> None:
    from shared.consent.policy import PolicyError
    from shared.consent.sources import read_policies

    consent = settings.consent
    if consent.source is ConsentSource.POLICIES and consent.policies is not None:
        try:
            read_policies(consent.policies)
        except PolicyError as error:
            raise SettingsError((f"XDSI_CONSENT__POLICIES: {error}",)) from None


def _keys(settings: Any) -> None:
    from repository.store.stores import encoding_of

    encoding_of(settings)


def _storage(settings: Any) -> None:
    for name, url in storage.urls(settings):
        folder = storage_folder(url)
        if folder is not None and (trouble := data_folder.trouble(folder, name)):
            raise SettingsError((trouble,))


def _object_store(settings: Any) -> None:
    """A store that refuses us; one that is away is waited for."""
    from shared.security.tls import certificates_of

    if settings.s3.trust is not None:
        certificates_of("XDSI_S3__TRUST", settings.s3.trust)
    stores = [(name, url) for name, url in storage.urls(settings) if is_object_store(url)]
    troubles = [storage.object_store_trouble(name, url, settings.s3, settled=True) for name, url in stores]
    if problems := tuple(filter(None, troubles)):
        raise SettingsError(problems)


def _left_behind(settings: Any) -> None:
    from imaging_source.store.stores import check_left_behind

    check_left_behind(settings)


def _gateways(settings: Any) -> None:
    from shared.security.rights import NodeList

    for entry in settings.responding_gateways.values():
        NodeList((entry,), "XDSI_RESPONDING_GATEWAYS")


def _links(settings: Any) -> None:
    from gateway.domain.links import LinksError, read_links

    if settings.patient_links is None:
        return
    try:
        with settings.patient_links.open(encoding="utf-8", newline="") as lines:
            read_links(lines)
    except (OSError, UnicodeDecodeError, LinksError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(
            (f"XDSI_PATIENT_LINKS: {settings.patient_links}: {reason}; correct it, or name another file",)
        ) from None


def _sources(settings: Any) -> None:
    from shared.security.rights import NodeList

    for source_id, nodes in settings.sources.items():
        NodeList(nodes, f"XDSI_AUDIT_REPOSITORY__SOURCES ({source_id})")


def _signing_key(settings: Any) -> None:
    from audit_repository.store.signing import SigningKeyError, check_key

    try:
        check_key(settings.folder)
    except SigningKeyError as error:
        raise SettingsError((f"XDSI_DATA: {error}",)) from None


def _relay(settings: Any) -> None:
    from audit_repository.background.relay import relay_destinations

    relay_destinations(settings)


_EVERYWHERE: Mapping[str, Callable[[ServiceSettings], None]] = {
    "data-folder": _folder,
    "wire-folder": _wire_folder,
    "collector": _collector,
    "certificates": _tls,
    "nodes": _nodes,
    "assertions": _assertions,
    "tokens": _tokens,
    "assertion-provider": _issuer,
}
_OF_SERVICE: Mapping[Service, Mapping[str, Callable[[Any], None]]] = {
    Service.REGISTRY: {"trail": _trail},
    Service.REPOSITORY: {
        "trail": _trail,
        "policies": _policies,
        "encryption-keys": _keys,
        "documents": _storage,
        "object-store": _object_store,
    },
    Service.IMAGING_SOURCE: {
        "trail": _trail,
        "policies": _policies,
        "documents": _storage,
        "object-store": _object_store,
        "instances": _left_behind,
    },
    Service.CONSUMER: {"trail": _trail},
    Service.GATEWAY: {"trail": _trail, "gateways": _gateways, "patient-links": _links},
    Service.IDENTITY: {"trail": _trail, "providers": _providers},
    Service.CONFORMANCE: {"trail": _trail},
    Service.AUDIT_REPOSITORY: {"sources": _sources, "signing-key": _signing_key, "relay": _relay},
}
