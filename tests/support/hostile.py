"""Message contents that are hard on whoever writes JSON: what Telegram may send, as the normaliser leaves it."""

from hypothesis import strategies as st

from telewarden.messages import Content, canonical_json
from telewarden.telegram.normalise import clean, finite

_HARD = (
    'he said "BUY"',
    "back\\slash \\u0041 \\n",
    "</script><!-- &amp; ' ` $1 {} %s",
    "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f",
    "a\0b",
    "line\r\nline\u2028line\u2029",
    "🚀👩‍👩‍👧‍👦🇧🇷 e\u0301 \u202eLLES\u202c \ufeff\ufffe\uffff",
    "lone \ud83d and \ude80",
    "ß🚀" * 1024,
    '\\"' * 2048,
    " ",
    "null",
)

texts = st.one_of(
    st.none(),
    st.integers(0, len(_HARD) - 1).map(lambda number: clean(_HARD[number])),
    st.text(max_size=20).map(clean),
)
"""A text or a caption."""

_numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats().map(finite),
    st.sampled_from([-0.0, 12.0, 1e16, 5e-324, 1e308, float("nan"), float("-inf"), -23.5505199]).map(finite),
)
_keys = st.text(max_size=8).map(lambda text: clean(text) or "key")
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=3)),
    max_leaves=6,
)
_metadata = st.dictionaries(_keys, _values, max_size=4)

contents = st.builds(
    Content,
    text=texts,
    caption=texts,
    media_type=st.sampled_from([None, "photo", "document", "location", "unknown"]),
    media_refs=st.lists(_metadata, max_size=2).map(canonical_json),
    metadata=_metadata.map(canonical_json),
    thread_id=st.sampled_from([None, 1, 2**63 - 1]),
    message_type=st.sampled_from(["channel_post", "channel_post_comment"]),
    telegram_date_us=st.sampled_from([None, 0, 1_730_649_600_000_000]),
)
"""What a message says."""
