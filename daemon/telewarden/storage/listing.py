"""The statements of a list of messages: they hold only the conditions that were asked for. Pure."""

from dataclasses import dataclass

from telewarden.storage.statements import statement
from telewarden_http.protocols import ListQuery


@dataclass(frozen=True, slots=True)
class Asked:
    """page takes `arguments`, then limit and offset; count takes `arguments`."""

    page: str
    count: str
    arguments: tuple[object, ...]


def listing(query: ListQuery) -> Asked:
    """The statements for a list. Cost, newest first: an index has the order, and is read until the page is full; a
    search for what is rare reads every text of what the other conditions leave. Oldest first, or since a time: what the
    narrowest condition leaves is read whole and sorted. A count reads all that it counts."""
    arguments: list[object] = []
    conditions = []

    def where(condition: str, argument: object) -> None:
        arguments.append(argument)
        conditions.append(condition.format(f"${len(arguments)}"))

    if query.channels:
        where("m.channel_id = any({}::text[])", list(query.channels))
    if query.message_id is not None:
        where("m.message_id = {}::bigint", query.message_id)
    if query.statuses:
        where("m.status = any({}::text[])", list(query.statuses))
    if query.sources:
        where("m.source = any({}::text[])", list(query.sources))
    if query.received_from is not None:
        where("m.received_at >= {}::timestamptz", query.received_from)
    if query.received_to is not None:
        where("m.received_at <= {}::timestamptz", query.received_to)
    if query.search is not None:
        where("(m.text ilike {0} or m.caption ilike {0})", f"%{_literally(query.search)}%")
    if not query.deleted:
        conditions.append("m.deleted_at is null")
    matching = " and ".join(conditions) or "true"
    direction = "desc" if query.newest_first else "asc"
    order = ", ".join(f"m.{name} {direction} nulls last" for name in ("telegram_date", "received_at", "id"))
    page = statement("list").format(
        conditions=matching,
        apart="" if query.received_from is None else "offset 0",
        order=order,
        limit=f"${len(arguments) + 1}::bigint",
        offset=f"${len(arguments) + 2}::bigint",
    )
    return Asked(page, statement("list_count").format(conditions=matching), tuple(arguments))


def _literally(text: str) -> str:
    """A pattern of LIKE that means the text itself."""
    return text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
