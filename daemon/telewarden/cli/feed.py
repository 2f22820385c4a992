"""`telewarden tail`: follows the feed."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from telewarden.cli.options import ConfigOption, SetOption, SinceOption, fail, since_s
from telewarden.cli.remote import AsOption, JsonLinesOption, KeyFileOption, UrlOption, server
from telewarden.cli.terminal import moment, plain, put

if TYPE_CHECKING:
    from telewarden_http.client import Event, Message

_KINDS = "posted,edited,deleted"


def tail(
    channel: Annotated[
        str | None, typer.Argument(help="A marked id, such as -1001649127710; all if none is given.")
    ] = None,
    since: SinceOption = None,
    after: Annotated[
        str | None, typer.Option("--after", help="An event's id, `beginning`, or `now`, the default.")
    ] = None,
    kinds: Annotated[str, typer.Option("--kinds", help="Comma list of posted, edited, deleted.")] = _KINDS,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on for ever, or end at the newest.")
    ] = True,
    cursor: Annotated[
        Path | None,
        typer.Option("--cursor", help="File that keeps the place; the next time it goes on from there."),
    ] = None,
    as_json: JsonLinesOption = False,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    as_: AsOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Show what is posted, edited and deleted, as it comes; waits out a server that is down. Ctrl-C ends it."""
    import msgspec

    from telewarden_http.client import Kind

    wanted = tuple(word.strip() for word in kinds.split(",") if word.strip())
    if not wanted or not set(wanted) <= set(Kind):
        fail(f"--kinds takes a comma list of {_KINDS.replace(',', ', ')}, not {plain(kinds)!r}")
    if since is not None and after is not None:
        fail("give --since or --after, not both")
    begin = "beginning" if since is not None else after or "now"
    from_s = since_s(since)
    with server(url, key_file, as_, config, set_) as client:
        client.channels()  # a server that is not there, or a wrong key, is told now and not waited for
        events = client.feed(
            channels=None if channel is None else (channel,),
            after=begin,
            kinds=wanted,
            until_caught_up=not follow,
            cursor=cursor,
        )
        with closing(events):  # which keeps the place, however the loop is left
            for event in events:
                if event.at.timestamp() >= from_s:
                    put(msgspec.json.encode(event).decode() if as_json else _line(event))


def _line(event: "Event") -> str:
    return f"{moment(event.at)}  {event.channel:>14}  {event.kind:<7}  {said(event.message)}"


def said(message: "Message") -> str:
    """What a message says, on one line."""
    text = message.text or message.caption or ""
    media = f"[{message.media_type}] " if message.media_type else ""
    return plain(f"{media}{text}".rstrip())
