# SPDX-License-Identifier: Apache-2.0
"""The documents: their schemas are up to date, and they say what they should as JSON."""

import json
from collections.abc import Callable
from importlib import resources

import jsonschema
import pytest
from msgspec import UNSET

from pmupass import diff, results

Make = Callable[..., results.Result]


def committed(name: str) -> dict:
    """Return a schema as the package carries it."""
    text = (resources.files("pmupass") / "schemas" / f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text)


@pytest.mark.parametrize("name", results.DOCUMENTS)
def test_the_committed_schema_is_the_types(name: str) -> None:
    """``python -m pmupass.schemas`` writes them anew."""
    assert committed(name) == results.schema(name)
    jsonschema.Draft202012Validator.check_schema(results.schema(name))


@pytest.mark.parametrize("mode", ["native", "emulated", "mediated"])
def test_a_result_fits_its_schema(make: Make, mode: str) -> None:
    document = json.loads(results.encode(make(mode)))
    jsonschema.validate(document, committed("result"))
    assert document["schema"] == "pmupass.result/1"


def test_optional_keys_are_left_out_and_only_two_can_be_null(make: Make) -> None:
    result = make("native", overhead=None)
    document = json.loads(results.encode(result))
    assert "host" not in document
    assert "report" not in document["guest"]
    assert [key for key, value in document.items() if value is None] == [
        "overhead",
        "standing_cost",
    ]


def test_a_document_may_gain_keys(make: Make) -> None:
    """A reader of version 1 that validates must not trip over what a later pmupass adds."""
    document = json.loads(results.encode(make()))
    document["guest"]["colour"] = "blue"
    jsonschema.validate(document, committed("result"))


def test_a_document_without_its_parts_is_refused(make: Make) -> None:
    document = json.loads(results.encode(make()))
    for key in ("schema", "exits", "overhead"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(
                {k: v for k, v in document.items() if k != key}, committed("result")
            )


def test_a_diff_holds_results_and_refusals(make: Make) -> None:
    modes = {"emulated": make("emulated"), "mediated": results.Refused("-EBUSY")}
    document = json.loads(results.encode(diff.compare("perf-record", modes)))
    jsonschema.validate(document, committed("diff"))
    assert document["modes"]["mediated"] == {"refused": "-EBUSY"}
    assert document["modes"]["emulated"]["schema"] == "pmupass.result/1"


def test_a_bench_fits_its_schema() -> None:
    bench = results.Bench(
        complete=True,
        results=[
            results.Measurement("a", "g", 1.5, "MIPS"),
            results.Measurement("b", "g", 2, "%", published=3, source="somewhere"),
        ],
        host=UNSET,
    )
    document = json.loads(results.encode(bench))
    jsonschema.validate(document, committed("bench"))
    assert "published" not in document["results"][0]


def test_large_integers_stay_exact(make: Make, make_counter: Callable) -> None:
    """Counts beyond 2^53 are integers in the text; raw registers are strings."""
    big = (1 << 60) + 1
    result = make(counters=[make_counter("cycles", big, big)])
    text = results.encode(result).decode()
    assert f'"true": {big}' in text
    assert json.loads(text)["counters"][0]["config"] == "0x3c"


def test_encoding_is_repeatable(make: Make) -> None:
    assert results.encode(make()) == results.encode(make())
