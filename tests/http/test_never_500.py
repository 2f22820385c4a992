"""No input to the two main routes makes the API fail: every answer is the contract's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from http.conftest import Answer, Api

pytestmark = pytest.mark.anyio

# One app serves all examples: it keeps nothing between requests that an example could see.
many = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    print_blob=True,
)

edges = st.sampled_from([0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**4000])
words = st.one_of(
    st.text(max_size=20),
    edges.map(lambda number: str(number) if abs(number) < 10**100 else "9" * 4000),
    st.sampled_from(
        ["-1001649127710", "received", "received,queued", "\x00", "null", "true", "[]", ",", "%"]
    ),
)
names = st.one_of(st.sampled_from(["channel", "status", "limit", "excludeProcessedBy"]), st.text(max_size=5))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
acknowledgements = st.fixed_dictionaries(
    {},
    optional={
        "messageIds": st.lists(json_values | words, max_size=4) | json_values,
        "processedBy": words | json_values,
        "channel": words | json_values,
    },
)


def assert_is_of_the_contract(answer: Answer) -> None:
    assert answer.status in (200, 400, 413)
    if answer.status == 200:
        assert answer.json["success"] is True
    else:
        assert answer.refusal


@many
@given(pairs=st.lists(st.tuples(names, words), max_size=5))
async def test_no_query_makes_a_poll_fail(api: Api, pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{quote_plus(n, errors='replace')}={quote_plus(v, errors='replace')}" for n, v in pairs)

    assert_is_of_the_contract(await api.ask("GET", f"/api/messages/unprocessed?{query}"))


@many
@given(
    raw=st.text(
        alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=60
    )
)
async def test_no_raw_query_string_makes_a_poll_fail(api: Api, raw: str) -> None:
    assert_is_of_the_contract(await api.ask("GET", f"/api/messages/unprocessed?channel=-1&{raw}"))


@many
@given(body=acknowledgements)
async def test_no_json_makes_an_acknowledgement_fail(api: Api, body: dict[str, Any]) -> None:
    assert_is_of_the_contract(await api.acknowledge(json.dumps(body).encode()))


@many
@given(
    body=st.binary(max_size=200)
    | st.text(alphabet='{}[]":,0123456789.eE+-\\ud8truefalsn ', max_size=80).map(str.encode)
)
async def test_no_bytes_make_an_acknowledgement_fail(api: Api, body: bytes) -> None:
    assert_is_of_the_contract(await api.acknowledge(body))


@many
@given(data=st.data())
async def test_no_damage_to_a_good_acknowledgement_makes_it_fail(api: Api, data: st.DataObject) -> None:
    body = bytearray(b'{"messageIds":["101",102,-3],"processedBy":"parser","channel":"-1001649127710"}')
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    assert_is_of_the_contract(await api.acknowledge(bytes(body)))
