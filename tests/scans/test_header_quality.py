"""What a file says of its slice, and what is made of it."""

import pytest

from neuroscan_edge.scans import SourceFacts
from neuroscan_edge.scans.header_quality import header_findings
from neuroscan_edge.spec import Finding


def found(**facts):
    return list(header_findings(SourceFacts(**facts)))


def typed(*values):
    return found(modality="MR", image_type=values)


def test_a_file_that_says_nothing_is_not_found_fault_with():
    assert found() == []
    assert found(modality="", image_type=("",), body_part=" ") == []


@pytest.mark.parametrize("modality", ["MR", "mr", " MR "])
def test_mr(modality):
    assert found(modality=modality) == []


@pytest.mark.parametrize("modality", ["CT", "OT", "SC", "PT", "US", "MRI", "M R"])
def test_any_other_modality(modality):
    assert found(modality=modality) == [Finding.NOT_MR]


@pytest.mark.parametrize(
    "values",
    [
        ("ORIGINAL", "PRIMARY", "M", "ND", "NORM"),
        ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"),
        ("ORIGINAL", "PRIMARY", "OTHER"),
        ("ORIGINAL", "PRIMARY", "M", "SE"),
        ("ORIGINAL", "PRIMARY", "FLUID_ATTENUATED", "NONE"),
        ("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND"),
        ("ORIGINAL",),
    ],
    ids=str,
)
def test_slices_as_scanners_make_them(values):
    assert typed(*values) == []


@pytest.mark.parametrize(
    "values",
    [
        ("ORIGINAL", "PRIMARY", "LOCALIZER"),
        ("ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"),
        ("ORIGINAL", "PRIMARY", "M", "SCOUT"),
        ("original", "primary", "localizer"),
        ("ORIGINAL", "PRIMARY", "3-PLANE_LOCALIZER"),
    ],
    ids=str,
)
def test_localizers(values):
    assert typed(*values) == [Finding.LOCALIZER]


@pytest.mark.parametrize(
    "values",
    [
        ("DERIVED", "SECONDARY"),
        ("DERIVED", "PRIMARY", "MPR", "ND", "NORM"),
        ("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"),
        ("DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND"),
        ("derived", "secondary", "OTHER"),
        ("DERIVED", "PRIMARY", "DIXON", "WATER"),
    ],
    ids=str,
)
def test_derived_slices_are_for_a_person(values):
    assert typed(*values) == [Finding.DERIVED]
    assert not Finding.DERIVED.rejects


@pytest.mark.parametrize(
    "values",
    [
        ("DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND", "NORM"),
        ("DERIVED", "PRIMARY", "PROJECTION IMAGE"),
        ("DERIVED", "PRIMARY", "PROJECTION_IMAGE"),
        ("DERIVED", "SECONDARY", "MIP"),
        ("DERIVED", "SECONDARY", "OTHER", "CSA MIP"),
        ("ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"),
        ("ORIGINAL", "PRIMARY", "P", "ND"),
        ("DERIVED", "PRIMARY", "PERFUSION", "CBF"),
        ("DERIVED", "PRIMARY", "MODULUS_SUBTRACT"),
        ("DERIVED", "PRIMARY", "M", "SUB"),
        ("ORIGINAL", "PRIMARY", "T1 MAP"),
        ("ORIGINAL", "PRIMARY", "VELOCITY MAP"),
        ("DERIVED", "SECONDARY", "SCREEN SAVE"),
    ],
    ids=str,
)
def test_what_is_computed_from_slices_is_none(values):
    assert typed(*values) == [Finding.COMPUTED]
    assert Finding.COMPUTED.rejects


@pytest.mark.parametrize(
    "body_part",
    [
        "HEAD",
        "BRAIN",
        "SKULL",
        "HEADNECK",
        "HEAD/NECK",
        "HEAD_NECK",
        "Head and Neck",
        "brain w/o contrast",
        "BRAINSTEM",
        "CEREBRUM",
        "CEREBELLUM",
        "PITUITARY",
        "SELLA",
        "IAC",
        "SCHÄDEL",
        "TÊTE",
        "CRÂNE",
        "CABEZA",
        "WHOLEBODY",
        "UNKNOWN",
        "NECK BRAIN",
    ],
)
def test_heads(body_part):
    assert found(body_part=body_part) == []


@pytest.mark.parametrize(
    "body_part",
    ["KNEE", "NECK", "CSPINE", "ABDOMEN", "PELVIS", "FEMORAL HEAD", "BREAST", "FOREARM", "???KNEE"],
)
def test_other_parts(body_part):
    assert found(body_part=body_part) == [Finding.NOT_HEAD]


def test_colour_rejects_and_annotation_refers():
    assert found(colour=True, burned_in_annotation=True) == [
        Finding.COLOUR,
        Finding.BURNED_IN_ANNOTATION,
    ]
    assert Finding.COLOUR.rejects
    assert not Finding.BURNED_IN_ANNOTATION.rejects


def test_all_that_is_wrong_is_said():
    facts = {
        "modality": "CT",
        "image_type": ("DERIVED", "SECONDARY", "LOCALIZER"),
        "body_part": "CHEST",
    }
    wanted = [Finding.NOT_MR, Finding.LOCALIZER, Finding.DERIVED, Finding.NOT_HEAD]
    assert found(**facts) == wanted
