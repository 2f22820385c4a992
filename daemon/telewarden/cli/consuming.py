"""`telewarden poll`, `ack` and `lag`: what a consumer does, by hand."""

from typing import TYPE_CHECKING, Annotated

import typer

from telewarden.cli.feed import said
from telewarden.cli.options import ConfigOption, SetOption, fail
from telewarden.cli.remote import (
    EXIT_REFUSED,
    AsOption,
    JsonLinesOption,
    KeyFileOption,
    UrlOption,
    server,
)
from telewarden.cli.terminal import moment, plain, put

if TYPE_CHECKING:
    from telewarden_http.client import ConsumerInfo

_RECEIPTS_MOST = 1000


def poll(
    channel: Annotated[
        str | None, typer.Argument(help="A marked id, such as -1001649127710; none with --consume.")
    ] = None,
    consume: Annotated[
        bool, typer.Option("--consume", help="Lease what waits for this key's consumer, of all its channels.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 100,
    status: Annotated[str, typer.Option("--status", help="Comma list of statuses.")] = "received",
    lease: Annotated[
        int, typer.Option("--lease", min=1, max=3600, help="Seconds for which nobody else gets them.")
    ] = 30,
    wait: Annotated[
        int, typer.Option("--wait", min=0, max=60, help="With --consume: seconds to wait for something.")
    ] = 0,
    as_json: JsonLinesOption = False,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    as_: AsOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Show what waits in a channel, oldest first, and change nothing; or lease it with --consume.

    The first column is what `telewarden ack` takes: a message's id in its channel, or a receipt.
    """
    import msgspec

    if consume == (channel is not None):
        fail("give a channel, or --consume for what waits for the key's consumer")
    with server(url, key_file, as_, config, set_) as client:
        if channel is None:
            for delivery in client.lease(limit=limit, lease_s=lease, wait_s=wait):
                again = f" ({delivery.deliveries} times)" if delivery.deliveries > 1 else ""
                put(
                    msgspec.json.encode(delivery).decode()
                    if as_json
                    else f"{delivery.receipt}  {moment(delivery.at)}  {delivery.channel:>14}  {delivery.kind:<7}"
                    f"{again}  {said(delivery.message)}"
                )
            return
        statuses = tuple(word.strip() for word in status.split(",") if word.strip())
        for message in client.unprocessed(channel, statuses=statuses, limit=limit):
            put(
                msgspec.json.encode(message).decode()
                if as_json
                else f"{message.message_id:>8}  {moment(message.received_at)}  {said(message)}"
            )


def ack(
    ids: Annotated[
        list[str],
        typer.Argument(help="Receipts, as `poll --consume` shows them; message ids with --channel."),
    ],
    channel: Annotated[
        str | None,
        typer.Option("--channel", help="The old contract: mark these message ids of it processed."),
    ] = None,
    processed_by: Annotated[
        str, typer.Option("--processed-by", metavar="NAME", help="With --channel: who processed them.")
    ] = "telewarden-ack",
    give_back: Annotated[bool, typer.Option("--give-back", help="Have them served again instead.")] = False,
    delay: Annotated[
        int, typer.Option("--delay", min=0, max=86_400, help="With --give-back: after so many seconds.")
    ] = 0,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    as_: AsOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Acknowledge what was polled. Repeating it is fine. Exit status 1 if something was not acknowledged."""
    if channel is not None and give_back:
        fail("--give-back is for receipts; message ids with --channel have none")
    with server(url, key_file, as_, config, set_) as client:
        if channel is not None:
            marked = client.mark_processed(ids, processed_by=processed_by, channel=channel)
            put(
                f"{marked.updated} of {marked.requested} marked as processed; the others were before, or are not known"
            )
            return
        outcomes = []
        for begin in range(0, len(ids), _RECEIPTS_MOST):
            some = ids[begin : begin + _RECEIPTS_MOST]
            outcomes += client.give_back(some, delay) if give_back else client.acknowledge(some)
        for outcome in outcomes:
            put(f"{plain(outcome.receipt)}  {outcome.result}")
    if any(outcome.result in ("unknown", "expired") for outcome in outcomes):
        raise typer.Exit(EXIT_REFUSED)


def lag(
    all_: Annotated[
        bool, typer.Option("--all", help="Of all consumers; needs an admin key, or http.gateway_token.")
    ] = False,
    as_json: JsonLinesOption = False,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    as_: AsOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Show how much waits for the key's consumer, or for all."""
    import msgspec
    from rich.console import Console
    from rich.table import Column, Table

    with server(url, key_file, as_, config, set_, admin=all_) as client:
        found = client.consumers() if all_ else [client.consumer()]
    if as_json:
        for each in found:
            put(msgspec.json.encode(each).decode())
        return
    table = Table(
        Column("consumer", min_width=12, overflow="fold"),
        "waiting",
        "leased",
        "delayed",
        "dead",
        "oldest waiting",
        "channels",
        "kinds",
    )
    for each in found:
        table.add_row(*_cells(each))
    Console().print(table, markup=False)


def _cells(each: "ConsumerInfo") -> tuple[str, ...]:
    lag = each.lag
    return (
        plain(each.name),
        f"{lag.waiting}{'' if lag.is_exact else ' or more'}",
        str(lag.leased),
        str(lag.delayed),
        str(lag.dead),
        moment(lag.oldest_waiting_at),
        "all" if each.channels is None else ", ".join(each.channels),
        ", ".join(each.kinds),
    )
