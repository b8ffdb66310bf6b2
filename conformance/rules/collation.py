"""Files that are judged together: manifests against metadata, an archive, and their twins in FHIR."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from conformance.codes import KEY_OBJECT_SELECTION
from conformance.findings import Finding
from conformance.readers.dicom import Item, read_dicom
from conformance.readers.json import Node, NotJson, read_json
from conformance.readers.source import MOST_HELD, Source
from conformance.readers.xml import Element, NotXml, XmlReader
from conformance.recognition import HEAD, Kind, recognise
from conformance.requirements import finding
from conformance.rules import imaging_metadata, twins
from conformance.rules.kos import Manifest, Reference
from conformance.rules.metadata.ebrim import RIM, identifier

_ENTRY = f"{RIM}ExtrinsicObject"


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file and what it is called."""

    name: str
    source: Source


@dataclass(slots=True)
class Collection:
    """What several files hold: manifests, entries of metadata, instances by their UID."""

    manifests: list[tuple[NamedFile, Manifest]] = field(default_factory=list)
    entries: list[Element] = field(default_factory=list)
    instances: dict[str, Item] = field(default_factory=dict)
    bundles: list[Node] = field(default_factory=list)

    def add(self, file: NamedFile) -> None:
        """Look at one more file."""
        kind = recognise(file.source.read(0, HEAD))
        if kind is Kind.DICOM:
            data_set = read_dicom(file.source.buffer()).data_set
            if data_set.text(0x00080016) == KEY_OBJECT_SELECTION:
                self.manifests.append((file, Manifest(data_set)))
            else:
                self.instances[data_set.text(0x00080018)] = data_set
        elif kind in (Kind.METADATA, Kind.MESSAGE):
            self.entries += _entries(file.source)
        elif kind is Kind.FHIR:
            with suppress(NotJson):  # told where the file itself is judged
                self.bundles.append(read_json(file.source, "Bundle"))


def _entries(source: Source) -> Iterator[Element]:
    reader = XmlReader((_ENTRY,))
    try:
        for piece in source.pieces():
            yield from (one for one in reader.feed(piece) if one.tag == _ENTRY)
        yield from reader.close()
    except NotXml:
        return  # told where the file itself is judged


def collated(files: Sequence[NamedFile]) -> tuple[bool, Iterator[Finding]]:
    """Whether any files belong together, and what is wrong between those that do."""
    collection = Collection()
    for file in files:
        collection.add(file)
    pairs = [
        (file, manifest, entry)
        for file, manifest in collection.manifests
        for entry in collection.entries
        if identifier(entry, "DocumentEntry", "uniqueId") == manifest.data_set.text(0x00080018)
    ]
    studies = {one.text(0x0020000D) for one in collection.instances.values()}
    archived = [
        (file, manifest)
        for file, manifest in collection.manifests
        if studies & {study for study, _ in manifest.series_items}
    ]
    both = [
        (bundle, manifest)
        for _, manifest in collection.manifests
        for bundle in collection.bundles
        if twins.study_of(bundle) == manifest.data_set.text(0x0020000D)
    ]
    return bool(pairs or archived or both), _findings(collection, pairs, archived, both)


def _findings(
    collection: Collection,
    pairs: Sequence[tuple[NamedFile, Manifest, Element]],
    archived: Sequence[tuple[NamedFile, Manifest]],
    both: Sequence[tuple[Node, Manifest]],
) -> Iterator[Finding]:
    for file, _, entry in pairs:
        digest = hashlib.sha1(usedforsecurity=False)
        for piece in file.source.pieces():
            digest.update(piece)
        size = len(file.source)
        octets = file.source.read(0, size) if size <= MOST_HELD else None
        yield from imaging_metadata.document(entry, octets, size, digest.hexdigest())
    for file, manifest in archived:
        yield from _archive(file.name, manifest, collection.instances)
    for bundle, manifest in both:
        yield from twins.twins(bundle, manifest)


def _archive(name: str, manifest: Manifest, instances: dict[str, Item]) -> Iterator[Finding]:
    """A manifest against the instances of its study that are there."""
    referenced = {one.sop_instance for one in manifest.evidence}
    studies = {study for study, _ in manifest.series_items}
    for one in manifest.evidence:
        instance = instances.get(one.sop_instance)
        at = f"{name}: {one.item.place(0x00081155)}"
        if instance is None:
            yield finding("XDSI-ARCH-001", at, "an instance that is not there", one.sop_instance)
        else:
            yield from _same(one, instance, at)
    for uid, instance in instances.items():
        if instance.text(0x0020000D) in studies and uid not in referenced:
            yield finding("XDSI-ARCH-004", name, "an instance of the study that is not referenced", uid)
    main = manifest.data_set
    for number, id in ((0x00100020, "XDSI-ARCH-005"), (0x00080050, "XDSI-ARCH-006")):
        values = {instance.text(number) for uid, instance in instances.items() if uid in referenced}
        if len(values) == 1 and main.text(number) not in values:
            right = next(iter(values))
            wrong = "not that of the instances"
            yield finding(id, f"{name}: {main.place(number)}", wrong, main.text(number), right=right)


def _same(one: Reference, instance: Item, at: str) -> Iterator[Finding]:
    pairs = (
        (one.sop_class, 0x00080016, "XDSI-ARCH-002"),
        (one.series, 0x0020000E, "XDSI-ARCH-003"),
        (one.study, 0x0020000D, "XDSI-ARCH-003"),
    )
    for stated, number, id in pairs:
        if stated != instance.text(number):
            yield finding(id, at, "not what the instance says", stated, right=instance.text(number))
