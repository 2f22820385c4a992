"""What schemathesis has to know of the API beside its document; the runs of test_openapi.py load it."""

from datetime import UTC, datetime
from typing import Any

import schemathesis
from hypothesis import strategies as st

from telewarden_http.v1.token import Position, encode

_positions = st.builds(Position, st.integers(0, 3), st.integers(0, 40))
schemathesis.openapi.format("feed-token", _positions.map(encode))

_names = st.from_regex(r"[a-z][a-z0-9_]{4,20}", fullmatch=True)
_references = _names.map("@{}".format) | _names.map("https://t.me/{}".format) | st.just("-1001649127710")
schemathesis.openapi.format("channel-reference", _references)


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """Long polls are as good when they are short: a run has no minute for each. A key that is to expire does so in a
    time to come, which no schema can say."""
    wait = _number(case.query.get("wait")) if case.query else None
    if wait is not None and 0 < wait <= 60:
        case.query["wait"] = 0
    if isinstance(case.body, dict) and _is_over(case.body.get("expiresAt")):
        case.body["expiresAt"] = "2999-12-31T00:00:00Z"


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None


def _is_over(value: object) -> bool:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return False
    return moment is not None and moment.tzinfo is not None and moment < datetime.now(UTC)
