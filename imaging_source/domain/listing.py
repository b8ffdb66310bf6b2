"""What an archive lists of a study before anything of it is retrieved, and what must come under that name."""

from __future__ import annotations

from dataclasses import dataclass

from shared.imaging.instance import Instance, Issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedInstance:
    """One instance that an archive lists; the patient is as the archive names it, and so is the SOP class.

    `digest` is of all that the archive tells of the instance: another one says that it may have changed.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""
    patient_id: str
    issuer_of_patient_id: Issuer = Issuer()  # noqa: RUF009  # frozen
    digest: str = ""


def contradiction(listed: ListedInstance, received: Instance) -> str:
    """In what an instance that was received is not the one that was listed; empty when it is that.

    An archive that lists no issuer, or no patient at all, leaves that to the instance.
    """
    names = [
        ("Study Instance UID", listed.study_instance_uid, received.study_instance_uid),
        ("Series Instance UID", listed.series_instance_uid, received.series_instance_uid),
        ("SOP Instance UID", listed.sop_instance_uid, received.sop_instance_uid),
        ("Patient ID", listed.patient_id.strip(), received.patient_id.strip()),
    ]
    issuer = listed.issuer_of_patient_id
    if issuer.local and received.issuer_of_patient_id.local:
        names.append(("issuer of Patient ID", issuer.local, received.issuer_of_patient_id.local))
    return next((f"another {name} than the archive lists" for name, a, b in names if a != b), "")
