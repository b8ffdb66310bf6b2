"""Patient Identity Feed (ITI-8)."""

from __future__ import annotations

from conformance.envelopes import NAMES
from conformance.plans.feed import told
from conformance.plans.metadata import (
    IDENTIFIERS,
    Entry,
    Patients,
    a_submission,
    an_entry,
    documents_of,
    expect_found,
    register,
    registered,
)
from conformance.plans.probe import Plan, expect_equal
from conformance.plans.stand import Stand

PLAN = Plan("registry", needs=("registry",))


@PLAN.requires("REG-08-101", "ITI TF-2 3.8.4.1.3", needs=("feed",))
def _(stand: Stand) -> None:
    """A patient who was fed can have documents."""
    patient = Patients(stand).new()
    registered(stand, a_submission(stand, an_entry(stand, patient)))


for _number, _event in enumerate(("A01", "A04", "A05", "A08"), 2):

    def _acknowledged(stand: Stand, event: str = _event) -> None:
        answer = told(stand, event, stand.patient_id())
        expect_equal(answer.get("1"), "AA", "MSA-1")

    PLAN.add(
        f"REG-08-10{_number}",
        "ITI TF-2 3.8.4.1",
        f"ADT^{_event} is acknowledged with AA and its control id",
        _acknowledged,
        needs=("feed",),
    )


def _merged(stand: Stand) -> tuple[str, str, Entry]:
    old, new = Patients(stand).new(), Patients(stand).new()
    entry = an_entry(stand, old)
    registered(stand, a_submission(stand, entry))
    expect_equal(told(stand, "A40", new, merged=old).get("1"), "AA", "MSA-1 of the merge")
    return old, new, entry


@PLAN.requires("REG-08-111", "ITI TF-2 3.8.4.2.3", needs=("feed",))
def _(stand: Stand) -> None:
    """After a merge the documents are found under the surviving id, and name it."""
    _, new, entry = _merged(stand)
    matches = documents_of(stand, new)
    expect_found(matches, entry.unique_id)
    scheme = IDENTIFIERS["document patientId"][0]
    told_id = matches[0].xpath(
        f"string(rim:ExternalIdentifier[@identificationScheme='{scheme}']/@value)", namespaces=NAMES
    )
    expect_equal(str(told_id), new, "patientId")


@PLAN.requires("REG-08-112", "ITI TF-2 3.8.4.2.3", needs=("feed",))
def _(stand: Stand) -> None:
    """After a merge nothing is found under the id that was merged away."""
    old, _, _ = _merged(stand)
    expect_found(documents_of(stand, old))


@PLAN.requires("REG-08-113", "ITI TF-2 3.8.4.2.3", needs=("feed",))
def _(stand: Stand) -> None:
    """After a merge nothing can be registered under the id that was merged away."""
    old, _, _ = _merged(stand)
    register(stand, a_submission(stand, an_entry(stand, old))).expect_failure("XDSUnknownPatientId")


@PLAN.requires("REG-08-114", "ITI TF-2 3.8.4.2.3", needs=("feed",))
def _(stand: Stand) -> None:
    """A merge with a patient whom nobody knows changes nothing."""
    patient = Patients(stand).new()
    entry = an_entry(stand, patient)
    registered(stand, a_submission(stand, entry))
    told(stand, "A40", stand.patient_id(), merged=patient)
    expect_found(documents_of(stand, patient), entry.unique_id)


@PLAN.requires("REG-08-115", "ITI TF-2 3.8.4.2.3", needs=("feed",))
def _(stand: Stand) -> None:
    """What was merged away does not come back by being fed again."""
    old, _, _ = _merged(stand)
    told(stand, "A04", old)
    register(stand, a_submission(stand, an_entry(stand, old))).expect_failure("XDSUnknownPatientId")
