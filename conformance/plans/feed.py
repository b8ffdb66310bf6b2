"""Patient identities by ITI-8 (HL7 v2.3.1 over MLLP)."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from conformance.plans.probe import expect
from conformance.plans.stand import Stand


def adt(event: str, patient_id: str, *, merged: str = "", family: str = "Probe") -> tuple[str, str]:
    """A message and its control id."""
    control = uuid4().hex[:20]
    now = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    structure = "ADT_A39" if event == "A40" else "ADT_A01"
    segments = [
        f"MSH|^~\\&|PROBE|CONFORMANCE|XDSREG|XDS|{now}||ADT^{event}^{structure}|{control}|P|2.3.1",
        f"EVN|{event}|{now}",
        f"PID|||{patient_id}||{family}^Rick||19560527|M",
        f"MRG|{merged}" if merged else "PV1||O",
    ]
    return "\r".join(segments) + "\r", control


def told(stand: Stand, event: str, patient_id: str, *, merged: str = "") -> dict[str, str]:
    """Send an event; the fields of the MSA segment of its acknowledgement by number."""
    message, control = adt(event, patient_id, merged=merged)
    answer = stand.mllp("feed", message)
    acknowledged = [line.split("|") for line in answer.split("\r") if line.startswith("MSA")]
    expect(acknowledged, f"the acknowledgement has no MSA segment: {answer[:80]!r}")
    fields = {str(number): value for number, value in enumerate(acknowledged[0])}
    expect(fields.get("2") == control, f"MSA-2 is {fields.get('2')!r}, and MSH-10 was {control!r}")
    return fields


def admit(stand: Stand, patient_id: str) -> None:
    """Make a patient known."""
    answer = told(stand, "A04", patient_id)
    expect(answer.get("1") == "AA", f"ADT^A04 was acknowledged with {answer.get('1')}, not AA")
