"""Entries of studies whose manifests are made when they are asked for: `xdsi publish --on-demand` and
`--delayed`."""

from __future__ import annotations

from collections.abc import Sequence

import httpx2

from imaging_source.settings import ImagingSourceSettings
from repository.domain.assembly import AssemblyKind
from shared.http.client import http_client
from xdsi.failures import Failed

# The repository asks the imaging source, and then the registry twice at most.
_TIMEOUT_SECONDS = 60.0


async def enter_studies(
    settings: ImagingSourceSettings, studies: Sequence[str], kind: AssemblyKind, patient_id: str = ""
) -> dict[str, tuple[str, str]]:
    """Let the repository register an entry for each study; by study its uniqueId, or empty and why not.

    `patient_id` is the CX of the affinity domain, by default each study's own.

    Raises
    ------
    Failed
        The repository does not answer.
    """
    url = str(httpx2.URL(settings.repository_url).copy_with(path="/api/entries", query=None))
    async with http_client(settings.tls, peers=(url,), timeout_seconds=_TIMEOUT_SECONDS) as http:
        return {study: await _entered(http, url, study, kind, patient_id) for study in studies}


async def _entered(
    http: httpx2.AsyncClient, url: str, study: str, kind: AssemblyKind, patient_id: str
) -> tuple[str, str]:
    content = {"study_instance_uid": study, "patient_id": patient_id, "kind": kind}
    try:
        response = await http.post(url, json=content)
        answer = response.json()
    except (httpx2.HTTPError, OSError) as error:
        raise Failed(
            f"the repository at {url} does not answer ({type(error).__name__}); is it running? name it with"
            " XDSI_REPOSITORY_URL or --config"
        ) from None
    except ValueError:
        raise Failed(f"{url} answers {response.status_code} without JSON") from None
    if response.status_code == httpx2.codes.CREATED:
        return str(answer["document_unique_id"]), ""
    return "", str(answer.get("detail", f"HTTP {response.status_code}"))
