"""What schemathesis has to know of the API beside its document. Loaded by the runs of tests/integration/test_openapi.py."""

import schemathesis
from hypothesis import strategies as st

from telewarden_http.v1.token import Position, encode

LONGEST_WAIT_S = 0.05

_positions = st.builds(Position, st.integers(0, 3), st.integers(0, 40))
schemathesis.openapi.format("feed-token", _positions.map(encode))


@schemathesis.hook
def map_query(context: schemathesis.HookContext, query: dict[str, object] | None) -> dict[str, object] | None:
    """Long polls are as good when they are short: a run has no minute for each."""
    if query is not None and "wait" in query:
        wait = query["wait"]
        if isinstance(wait, int | float) and not isinstance(wait, bool) and LONGEST_WAIT_S < wait <= 60:
            query["wait"] = 0
    return query
