"""A search finds what a naive filter finds: over made studies, by made keys, in the order of arrival."""

from __future__ import annotations

import random
from collections.abc import Callable
from fnmatch import fnmatchcase

from tests.support.imaging_source import Source, source
from tests.transactions.imaging_source.test_rad129 import an_image, search, values

__all__ = ["source"]

NAMES = ("Doe^Jane", "Doe^John", "Roe^Rick", "Do^Jan", "Ødegård^Åse")
DATES = ("20230101", "20240229", "20240301", "")
IDS = ("P1", "P12", "Q1", "p1")
MODALITIES = ("CT", "MR", "US")

Studied = dict[str, str]
Naive = Callable[[Studied], bool]


def a_key(chance: random.Random) -> tuple[str, str, Naive]:
    """A key, and what it means, said another way than the product says it."""
    match chance.randrange(5):
        case 0:
            name = chance.choice((*NAMES, "doe*", "*j*", "?o*", "Ø*", "x*"))
            return "PatientName", name, lambda one: fnmatchcase(one["name"].lower(), name.lower())
        case 1:
            pattern = chance.choice((*IDS, "P*", "?1", "*2"))
            return "PatientID", pattern, lambda one: fnmatchcase(one["id"], pattern)
        case 2:
            first, last = sorted(chance.choices(DATES[:3], k=2))
            text = chance.choice((f"{first}-{last}", f"{first}-", first))
            upper = {f"{first}-{last}": last, f"{first}-": "9", first: first}[text]
            return "StudyDate", text, lambda one: bool(one["date"]) and first <= one["date"] <= upper
        case 3:
            modality = chance.choice((*MODALITIES, "C*", "PT"))
            return "ModalitiesInStudy", modality, lambda one: fnmatchcase(one["modality"], modality)
        case _:
            uids = [f"2.25.1{chance.randrange(40):04}" for _ in range(3)]
            return "StudyInstanceUID", ",".join(uids), lambda one: one["uid"] in uids


async def made_studies(source: Source, chance: random.Random) -> list[Studied]:
    studies = []
    for number in chance.sample(range(40), 24):
        one = {
            "uid": f"2.25.1{number:04}",
            "name": chance.choice(NAMES),
            "date": chance.choice(DATES),
            "id": chance.choice(IDS),
            "modality": chance.choice(MODALITIES),
        }
        await source.keep(
            an_image(
                1,
                study=number,
                PatientName=one["name"],
                StudyDate=one["date"],
                PatientID=one["id"],
                Modality=one["modality"],
            )
        )
        studies.append(one)
    return studies


async def test_a_search_equals_a_naive_filter(source, long):
    chance = random.Random(2026)
    studies = await made_studies(source, chance)
    for _ in range(2_000 if long else 80):
        listed = {name: (text, is_met) for name, text, is_met in (a_key(chance) for _ in range(2))}
        keys = {name: text for name, (text, _) in listed.items()}
        right = [one["uid"] for one in studies if all(is_met(one) for _, is_met in listed.values())]

        assert values(await search(source, "studies", **keys), "0020000D") == right, keys
