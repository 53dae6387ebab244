"""A certificate as JUnit XML: what build servers read."""

import xml.etree.ElementTree as ElementTree
from typing import Any

from neuroscan_edge.parity.certificate import Certificate, Verdict
from neuroscan_edge.spec import RESEARCH_USE


def junit(certificate: Certificate) -> bytes:
    """Write a case for each line of the gate, each stage, and whether a claim can be made."""
    document, subject = certificate.document, certificate.subject
    name = f"parity.{subject.model}.{subject.runtime}.{subject.precision}"
    suite = ElementTree.Element("testsuite", name=name, timestamp=str(document["issued_at"]))
    cases = [
        *(_line(name, line) for line in document["criteria"]),
        *(_stage(name, stage) for stage in document["stages"]),
        _claim(name, certificate),
    ]
    suite.extend(cases)
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    for key, count in counts.items():
        suite.set(key, str(count))
    suite.set("time", str(document["elapsed_s"]))
    ElementTree.SubElement(suite, "system-out").text = RESEARCH_USE
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _line(name: str, line: dict[str, Any]) -> ElementTree.Element:
    case = _case(f"{name}.gate", line["name"])
    if not line["passed"]:
        message = f"{line['value']} is not {line['is']} {line['limit']}"
        ElementTree.SubElement(case, "failure", message=message)
    return case


def _stage(name: str, stage: dict[str, Any]) -> ElementTree.Element:
    case = _case(f"{name}.stages", stage["name"])
    if stage["status"] == "failed":
        message = "; ".join(stage["faults"]) or "it falls out of the gate"
        failure = ElementTree.SubElement(case, "failure", message=message)
        failure.text = "\n".join(f"changed: {image}" for image in stage["changes"])
    elif stage["status"] == "not run":
        ElementTree.SubElement(case, "skipped", message=stage["not_run"])
    return case


def _claim(name: str, certificate: Certificate) -> ElementTree.Element:
    case = _case(name, "certificate")
    reasons = "; ".join(certificate.document["reasons"])
    if certificate.verdict is Verdict.CANNOT_CERTIFY:
        ElementTree.SubElement(case, "error", message=f"cannot certify: {reasons}")
    elif certificate.verdict is Verdict.FAILED:
        ElementTree.SubElement(case, "failure", message=reasons)
    return case


def _case(group: str, name: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", classname=group, name=name)
