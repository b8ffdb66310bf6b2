"""From a manifest to requests: everything once, nothing unsafe, nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.study import (
    RequestedInstance,
    UnsafeManifest,
    requested_instances,
    requests,
    still_missing,
)
from shared.dicom.kos import Manifest, ReferencedInstance, ReferencedSeries, ReferencedStudy

uids = st.integers(1, 10**6).map("2.25.{}".format)
instances = st.builds(ReferencedInstance, sop_class_uid=st.just("1.2"), sop_instance_uid=uids)
series = st.builds(
    ReferencedSeries,
    series_instance_uid=uids,
    retrieve_location_uid=st.sampled_from(("1.9.1", "1.9.2")),
    retrieve_url=st.sampled_from(("", "https://a.example/dicomweb")),
    instances=st.lists(instances, max_size=5).map(tuple),
)
studies = st.builds(ReferencedStudy, study_instance_uid=uids, series=st.lists(series, max_size=4).map(tuple))
manifests = st.builds(
    Manifest,
    sop_instance_uid=uids,
    study_instance_uid=uids,
    studies=st.lists(studies, max_size=3).map(tuple),
)


def a_manifest(*uids: str) -> Manifest:
    study, series, instance = uids
    return Manifest(
        sop_instance_uid="2.25.1",
        study_instance_uid=study,
        studies=(
            ReferencedStudy(
                study_instance_uid=study,
                series=(
                    ReferencedSeries(
                        series_instance_uid=series,
                        instances=(ReferencedInstance(sop_class_uid="1.2", sop_instance_uid=instance),),
                    ),
                ),
            ),
        ),
    )


@given(manifests)
def test_every_referenced_instance_is_wanted_once(manifest: Manifest):
    found = requested_instances(manifest)

    assert sorted(one.sop_instance_uid for one in found) == sorted(
        {instance.sop_instance_uid for _, _, instance in manifest.instances}
    )


@given(manifests, st.integers(1, 7), st.integers(1, 4))
def test_requests_hold_everything_once_have_one_place_and_are_not_too_large(
    manifest: Manifest, largest: int, streams: int
):
    found = requested_instances(manifest)

    groups = list(requests(found, largest=largest, streams=streams))

    assert sorted((one for group in groups for one in group), key=str) == sorted(found, key=str)
    for group in groups:
        assert 1 <= len(group) <= largest
        assert len({(one.retrieve_location_uid, one.retrieve_url) for one in group}) == 1


@pytest.mark.parametrize(
    ("number", "streams", "sizes"),
    [
        (500, 4, [63] * 7 + [59]),
        (400, 4, [100] * 4),
        (40, 4, [10] * 4),
        (31, 4, [31]),
        (250, 1, [84, 84, 82]),
    ],
)
def test_every_stream_has_its_share_of_a_study(number: int, streams: int, sizes: list[int]):
    instances = [
        RequestedInstance(
            study_instance_uid="2.25.1", series_instance_uid="2.25.2", sop_instance_uid=f"2.25.3.{one}"
        )
        for one in range(number)
    ]

    assert [len(group) for group in requests(instances, largest=100, streams=streams)] == sizes


@pytest.mark.parametrize(
    "uids",
    [("..", "2.25.2", "2.25.3"), ("2.25.1", "a/b", "2.25.3"), ("2.25.1", "2.25.2", ""), (".", "1", "1" * 65)],
)
def test_what_is_not_a_uid_never_becomes_a_file_name(uids: tuple[str, str, str]):
    with pytest.raises(UnsafeManifest):
        requested_instances(a_manifest(*uids))


def test_a_whole_file_is_not_asked_for_again(tmp_path: Path):
    here, missing = (
        RequestedInstance(study_instance_uid="1.1", series_instance_uid="1.2", sop_instance_uid=uid)
        for uid in ("1.3", "1.4")
    )
    path = tmp_path / here.file_name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"whole")
    (tmp_path / "1.4.part").write_bytes(b"half")

    assert still_missing((here, missing), tmp_path) == (missing,)
