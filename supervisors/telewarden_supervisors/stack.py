"""Where a suspended worker waits."""

from __future__ import annotations

from types import CodeType


def waiting_stack(awaitable: object) -> tuple[str, ...]:
    """The calls that a suspended coroutine is in, outermost first: "file:line function".

    Ends where something that is not a coroutine or generator is awaited; empty for a finished coroutine.
    """
    calls = []
    while awaitable is not None:
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(awaitable, f"{prefix}_frame", None)
            if frame is not None:
                code: CodeType = frame.f_code
                calls.append(f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}")
                awaitable = getattr(awaitable, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await", None)
                break
        else:
            break
    return tuple(calls)
