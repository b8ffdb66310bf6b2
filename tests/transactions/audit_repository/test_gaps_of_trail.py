"""The trail is asked for its gaps over HTTP."""

from __future__ import annotations

from datetime import timedelta

from shared.audit.events import AuditSource
from tests.transactions.audit_repository.served import NOW, a_record, asked

OTHER = AuditSource(source_id="xdsi-other", hostname="h")
REQUEST = {"since": NOW.isoformat(), "until": (NOW + timedelta(hours=2)).isoformat()}


async def test_a_record_without_its_counterpart_is_named_and_the_look_is_recorded(tmp_path):
    async with asked(tmp_path) as (service, http):
        both = [a_record(minutes, OTHER) for minutes in (0, 5, 10)]
        await service.trail.append([*both, *(a_record(minutes) for minutes in (0, 5, 10, 15))])

        answer = await http.post("/api/gaps", json=REQUEST)
        (gap,) = answer.json()["gaps"]
        used = (await http.post("/api/search", json={"type": "110101"})).json()["records"]

    assert (gap["kind"], gap["source"]) == ("counterpart", "xdsi-other")
    assert len(used) == 2
