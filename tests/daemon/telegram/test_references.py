"""What people write when they mean a channel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telewarden.telegram.references import BadReference, ById, ByInvite, ByName, Reference, parse_reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("@signals", ByName("signals")),
        (" signals ", ByName("signals")),
        ("https://t.me/signals", ByName("signals")),
        ("http://www.t.me/signals/123?single", ByName("signals")),
        ("t.me/s/signals", ByName("signals")),
        ("telegram.me/signals", ByName("signals")),
        ("tg://resolve?domain=signals&post=7", ByName("signals")),
        ("https://t.me/+AbC-dEf_123456", ByInvite("AbC-dEf_123456")),
        ("https://t.me/joinchat/AbC-dEf_123456", ByInvite("AbC-dEf_123456")),
        ("tg://join?invite=AbC-dEf_123456", ByInvite("AbC-dEf_123456")),
        ("-1001649127710", ById(-1001649127710)),
        ("1001649127710", ById(-1001649127710)),
        ("1649127710", ById(-1001649127710)),
        ("https://t.me/c/1649127710/55", ById(-1001649127710)),
        ("tg://privatepost?channel=1649127710&post=5", ById(-1001649127710)),
    ],
)
def test_names_links_and_ids_are_understood(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    "text",
    ["", "@", "@ab", "a b c d e", "-123456", "0", "https://t.me/", "https://example.org/signals", "tg://x"],
)
def test_what_names_no_channel_is_refused_with_what_would(text: str) -> None:
    with pytest.raises(BadReference, match="write @name"):
        parse_reference(text)


def test_an_invite_is_no_part_of_an_error() -> None:
    with pytest.raises(BadReference) as refused:
        parse_reference("https://t.me/+secret part")
    assert "secret" not in str(refused.value)


@given(st.text())
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except BadReference:
        return
    if isinstance(reference, ById):
        assert reference.channel_id < -(10**12)
