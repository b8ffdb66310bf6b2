"""The plans over DIMSE: an archive of another maker meets them, and one that is wrong in one way does not."""

from __future__ import annotations

import gc
import socket
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from conformance.plans.catalogue import probes
from conformance.plans.dimse import EntityAddress
from conformance.plans.images import STOW_RS, the_study
from conformance.plans.probe import Outcome
from conformance.plans.run import Run, chosen, run
from conformance.plans.stand import Target
from tests.support.dimse_archive import WRONG, an_archive

pytestmark = [pytest.mark.heavy]
#: What pynetdicom's own service class does otherwise: it names itself as Move Originator, and counts
#: what remains in its last response.
OF_PYNETDICOM = {"IMG-16-205", "IMG-16-208"}
PLANS = ("IMG-18", "IMG-14", "IMG-16", "IMG-10-")


#: The plan that finds what an archive does wrongly.
PLAN_OF = {
    **dict.fromkeys(("store", "syntaxes"), "IMG-18"),
    **dict.fromkeys(("selected", "found"), "IMG-14"),
    **dict.fromkeys(("given", "anywhere"), "IMG-16"),
    **dict.fromkeys(("committed", "takes"), "IMG-10-"),
}


@pytest.fixture(autouse=True)
def _leaves_no_sockets() -> Iterator[None]:
    """pynetdicom leaves sockets to the collector where the other side closed them first."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def asked(folder: Path, wrong: str = "", plans: Sequence[str] = PLANS, **changes: object) -> Run:
    with socket.create_server(("127.0.0.1", 0)) as free:
        entity = f"PROBE@127.0.0.1:{free.getsockname()[1]}"
    archive = an_archive(EntityAddress.of(entity), wrong)
    with archive.listening() as address:
        target = Target(endpoints={"dimse": address}, entity=entity, **changes)  # type: ignore[arg-type]
        return run(chosen(probes(), plans), target, folder)


def failures(outcome: Run) -> list[tuple[str, str]]:
    return [
        (one.probe.id, one.reason)
        for one in outcome.verdicts
        if one.outcome in (Outcome.FAILED, Outcome.UNDECIDED) and one.probe.id not in OF_PYNETDICOM
    ]


def test_an_archive_that_is_right_meets_every_requirement(tmp_path: Path):
    outcome = asked(tmp_path)

    assert failures(outcome) == []
    assert outcome.count(Outcome.PASSED) == len(outcome.verdicts) - len(OF_PYNETDICOM) > 40


def test_an_archive_that_is_wrong_in_one_way_is_found(tmp_path: Path, long: bool):
    told = {}
    for number, wrong in enumerate(WRONG if long else list(WRONG)[::9]):
        plans = [PLAN_OF[changed] for changed in WRONG[wrong]]
        told[wrong] = failures(asked(tmp_path / str(number), wrong, plans))

    print(f"{sum(map(bool, told.values()))} of {len(told)} wrong archives were told")
    assert [wrong for wrong, reasons in told.items() if not reasons] == []
    assert not [one for reasons in told.values() for _, one in reasons if "the probe failed" in one]


def test_images_come_in_by_c_store_where_there_is_no_other_way(tmp_path: Path):
    outcome = asked(tmp_path, plans=["IMG-14-101"], without=frozenset({STOW_RS}))
    assert failures(outcome) == []


def test_images_that_are_there_already_are_not_stored(tmp_path: Path):
    outcome = asked(tmp_path, plans=["IMG-14-101"], study_is_there=True)
    ((_, reason),) = failures(outcome)
    assert "does not find the study" in reason
    assert [one.uid for one in the_study().files] == [one.uid for one in the_study().files]


def test_who_does_not_say_by_which_title_it_is_known_is_asked_nothing(tmp_path: Path):
    target = Target(endpoints={"dimse": "ARCHIVE@127.0.0.1:9"})
    (verdict,) = run(chosen(probes(), ["IMG-18-101"]), target, tmp_path).verdicts
    assert verdict.outcome is Outcome.NOT_OFFERED
    assert "--entity" in verdict.reason


@pytest.mark.parametrize(
    "text", ["127.0.0.1:11112", "A@:1", "A@host", "A@host:x", "@host:1", "A" * 17 + "@h:1"]
)
def test_what_is_no_entity_is_told_so(text: str):
    with pytest.raises(ValueError, match="TITLE@host:port"):
        EntityAddress.of(text)
