import dataclasses
import json
import math

import pytest

from neuroscan_edge.errors import NeuroScanError, SpecError
from neuroscan_edge.spec import MAX_SIDE, PREPROCESSING_SCHEMA, Interpolation, Preprocessing

# In every bundle, calibration table and engine manifest: never edit without a new schema.
DEFAULT_JSON = {
    "schema": 1,
    "height": 224,
    "width": 224,
    "interpolation": "linear",
    "clip_limit": 2.0,
    "tile_grid": [8, 8],
}
DEFAULT_SHA256 = "b23a170b9f68eaf9f247e2d583388e1338b97484b97b0a2c38fa2186656688b2"

CHANGED = {
    "height": {"height": 225},
    "width": {"width": 225},
    "interpolation": {"interpolation": Interpolation.NEAREST},
    "clip_limit": {"clip_limit": 2.5},
    "tile columns": {"tile_grid": (7, 8)},
    "tile rows": {"tile_grid": (8, 7)},
}

INVALID = {
    "height zero": {"height": 0},
    "height negative": {"height": -224},
    "height above limit": {"height": MAX_SIDE + 1},
    "height fractional": {"height": 224.0},
    "height boolean": {"height": True},
    "height text": {"height": "224"},
    "height none": {"height": None},
    "width zero": {"width": 0},
    "width negative": {"width": -1},
    "width above limit": {"width": MAX_SIDE + 1},
    "width fractional": {"width": 0.5},
    "width boolean": {"width": True},
    "interpolation without reference": {"interpolation": "cubic"},
    "interpolation in capitals": {"interpolation": "LINEAR"},
    "interpolation as OpenCV flag": {"interpolation": 1},
    "interpolation none": {"interpolation": None},
    "clip limit zero": {"clip_limit": 0},
    "clip limit negative": {"clip_limit": -2.0},
    "clip limit nan": {"clip_limit": math.nan},
    "clip limit infinite": {"clip_limit": math.inf},
    "clip limit text": {"clip_limit": "2.0"},
    "clip limit boolean": {"clip_limit": True},
    "clip limit none": {"clip_limit": None},
    "clip limit beyond float": {"clip_limit": 10**400},
    "tile grid of one": {"tile_grid": (8,)},
    "tile grid of three": {"tile_grid": (8, 8, 8)},
    "tile grid zero columns": {"tile_grid": (0, 8)},
    "tile grid zero rows": {"tile_grid": (8, 0)},
    "tile grid negative": {"tile_grid": (-8, 8)},
    "tile grid fractional": {"tile_grid": (8.0, 8)},
    "tile grid boolean": {"tile_grid": (True, 8)},
    "tile grid text": {"tile_grid": "88"},
    "tile grid of a number": {"tile_grid": 8},
    "tile grid none": {"tile_grid": None},
    "more tile columns than pixels": {"tile_grid": (225, 8)},
    "more tile rows than pixels": {"tile_grid": (8, 225)},
}

INVALID_JSON = {
    "no schema": {k: v for k, v in DEFAULT_JSON.items() if k != "schema"},
    "newer schema": {**DEFAULT_JSON, "schema": PREPROCESSING_SCHEMA + 1},
    "older schema": {**DEFAULT_JSON, "schema": PREPROCESSING_SCHEMA - 1},
    "schema as text": {**DEFAULT_JSON, "schema": "1"},
    "unknown field": {**DEFAULT_JSON, "gamma": 1.0},
    **{
        f"missing {name}": {k: v for k, v in DEFAULT_JSON.items() if k != name}
        for name in DEFAULT_JSON
        if name != "schema"
    },
    "tile grid of a number": {**DEFAULT_JSON, "tile_grid": 8},
    "tile grid as text": {**DEFAULT_JSON, "tile_grid": "88"},
    "unknown interpolation": {**DEFAULT_JSON, "interpolation": "area"},
    "height out of range": {**DEFAULT_JSON, "height": 0},
    "height null": {**DEFAULT_JSON, "height": None},
}


def test_defaults():
    spec = Preprocessing()
    assert (spec.height, spec.width, spec.shape) == (224, 224, (224, 224))
    assert spec.interpolation is Interpolation.LINEAR
    assert spec.clip_limit == 2.0
    assert spec.tile_grid == (8, 8)


def test_default_json_is_pinned():
    assert Preprocessing().to_json() == DEFAULT_JSON


def test_default_hash_is_pinned():
    assert Preprocessing().sha256 == DEFAULT_SHA256


def test_shape_is_rows_then_columns():
    assert Preprocessing(height=96, width=128).shape == (96, 128)


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED.keys())
def test_every_parameter_is_in_the_hash(change):
    assert Preprocessing(**change).sha256 != DEFAULT_SHA256
    assert Preprocessing(**change) != Preprocessing()


def test_no_two_changes_share_a_hash():
    assert len({Preprocessing(**change).sha256 for change in CHANGED.values()}) == len(CHANGED)


@pytest.mark.parametrize(
    "same",
    [
        {"clip_limit": 2},
        {"tile_grid": [8, 8]},
        {"interpolation": "linear"},
    ],
    ids=["whole clip limit", "tile grid as list", "interpolation by name"],
)
def test_spelling_does_not_change_the_hash(same):
    assert Preprocessing(**same) == Preprocessing()
    assert Preprocessing(**same).sha256 == DEFAULT_SHA256


@pytest.mark.parametrize("change", [{}, *CHANGED.values()], ids=["default", *CHANGED.keys()])
def test_json_round_trip(change):
    spec = Preprocessing(**change)
    read = Preprocessing.from_json(json.loads(json.dumps(spec.to_json())))
    assert read == spec
    assert read.sha256 == spec.sha256


def test_from_json_leaves_its_input_alone():
    fields = dict(DEFAULT_JSON)
    Preprocessing.from_json(fields)
    assert fields == DEFAULT_JSON


@pytest.mark.parametrize(
    "valid",
    [
        {"height": 1, "width": 1, "tile_grid": (1, 1)},
        {"height": MAX_SIDE, "width": MAX_SIDE},
        {"tile_grid": (224, 224)},
        {"clip_limit": 1e-9},
    ],
    ids=["one pixel", "largest side", "one pixel a tile", "tiny clip limit"],
)
def test_edges_of_the_domain_are_valid(valid):
    spec = Preprocessing(**valid)
    assert {name: getattr(spec, name) for name in valid} == valid


@pytest.mark.parametrize("parameters", INVALID.values(), ids=INVALID.keys())
def test_invalid_parameter_is_refused_by_name(parameters):
    (name,) = parameters
    with pytest.raises(SpecError, match=name):
        Preprocessing(**parameters)


@pytest.mark.parametrize("fields", INVALID_JSON.values(), ids=INVALID_JSON.keys())
def test_invalid_json_is_refused(fields):
    with pytest.raises(SpecError):
        Preprocessing.from_json(fields)


def test_newer_schema_is_named():
    with pytest.raises(SpecError, match="schema is 2, this version reads 1"):
        Preprocessing.from_json({**DEFAULT_JSON, "schema": 2})


def test_odd_json_fields_are_named():
    fields = {**DEFAULT_JSON, "gamma": 1.0}
    del fields["width"]
    with pytest.raises(SpecError, match="gamma, width"):
        Preprocessing.from_json(fields)


def test_spec_error_is_both_ours_and_a_value_error():
    assert issubclass(SpecError, NeuroScanError)
    assert issubclass(SpecError, ValueError)


def test_spec_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Preprocessing().height = 1


def test_interpolation_prints_as_its_value():
    assert f"{Interpolation.LINEAR}" == "linear"
