"""A run as JUnit XML, which every build server reads."""

from __future__ import annotations

import re

from lxml import etree

from conformance.plans.probe import Outcome
from conformance.plans.run import Run

# What no XML can carry.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENTS = {Outcome.FAILED: "failure", Outcome.UNDECIDED: "error", Outcome.NOT_OFFERED: "skipped"}


def junit(run: Run) -> bytes:
    """The document: one suite for each actor."""
    root = etree.Element("testsuites", name="xdsi conform", time=f"{run.seconds:.3f}")
    for actor in dict.fromkeys(verdict.probe.actor for verdict in run.verdicts):
        verdicts = [verdict for verdict in run.verdicts if verdict.probe.actor == actor]
        outcomes = [verdict.outcome for verdict in verdicts]
        suite = etree.SubElement(
            root,
            "testsuite",
            name=actor,
            tests=str(len(verdicts)),
            failures=str(outcomes.count(Outcome.FAILED)),
            errors=str(outcomes.count(Outcome.UNDECIDED)),
            skipped=str(outcomes.count(Outcome.NOT_OFFERED)),
            timestamp=run.began.strftime("%Y-%m-%dT%H:%M:%S"),
        )
        for verdict in verdicts:
            probe = verdict.probe
            case = etree.SubElement(
                suite,
                "testcase",
                classname=actor,
                name=f"{probe.id} {probe.purpose}",
                time=f"{verdict.seconds:.4f}",
            )
            if element := _ELEMENTS.get(verdict.outcome):
                etree.SubElement(
                    case, element, message=_ILLEGAL.sub("?", f"{verdict.reason} [{probe.clause}]")
                )
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)
