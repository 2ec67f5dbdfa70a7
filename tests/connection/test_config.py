"""Options and the error tree."""

from __future__ import annotations

import pytest

import starling_py
from starling_py import errors
from starling_py.config import LEAST_MEMORY, parse_size, resolve


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000", 1000),
        ("512MB", 512_000_000),
        ("512 MiB", 512 << 20),
        ("1.5gb", 1_500_000_000),
        ("2G", 2_000_000_000),
        ("2GiB", 2 << 30),
        ("1TB", 10**12),
        ("64kb", 64_000),
        ("10B", 10),
    ],
)
def test_sizes(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1XB", "1 2GB", "1e9", "inf", "1iB", "٣GB"])
def test_what_is_no_size(text):
    with pytest.raises(errors.UsageError):
        parse_size(text)


def test_defaults():
    config = resolve()
    assert config.tasks is None
    assert config.workers == config.cores >= 1
    assert config.memory >= LEAST_MEMORY
    assert resolve(memory="1GiB").memory == 1 << 30


def _kinds(kind: type[errors.StarlingError]) -> set[type[errors.StarlingError]]:
    found = {kind}
    for child in kind.__subclasses__():
        if child.__module__.startswith(
            (
                "starling_py.shuffle",
                "starling_py.operators",
                "starling_py.planner",
                "starling_py.catalog",
            )
        ):
            found |= _kinds(child)
    return found


def test_the_whole_tree_is_shown():
    for kind in _kinds(errors.StarlingError):
        assert getattr(errors, kind.__name__) is kind
        assert kind.__name__ in errors.__all__
        assert f" {kind.__name__} " in f"{errors.__doc__} ".replace("\n", " \n")


def test_codes_are_unique_and_lead_back():
    kinds = _kinds(errors.StarlingError)
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        record = errors.ErrorRecord(kind.code, "message", "hint")
        again = errors.StarlingError.from_record(record)
        assert type(again) is kind
        assert again.hint == "hint"


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (errors.StarlingError, errors.Error),
        (errors.UsageError, errors.ProgrammingError),
        (errors.DataError, errors.DatabaseError),
        (errors.SqlError, errors.ProgrammingError),
        (errors.Unsupported, errors.NotSupportedError),
        (errors.TaskError, errors.OperationalError),
        (errors.StoreError, errors.OperationalError),
        (errors.OutputError, errors.OperationalError),
    ],
)
def test_pep_249(kind, base):
    assert issubclass(kind, base)


def test_the_package_shows_what_it_names():
    assert starling_py.apilevel == "2.0"
    for name in starling_py.__all__:
        assert getattr(starling_py, name) is not None
        assert name in dir(starling_py)
    with pytest.raises(AttributeError):
        _ = starling_py.nothing
