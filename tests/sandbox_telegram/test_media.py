"""Each kind of post, through the local Telegram and Telethon, as the content that the database is given."""

import json
from typing import Any

import pytest

from sandbox_telegram.local import World, gather
from telewarden.sandbox.telegram.media import KINDS
from telewarden.storage.acceptance import Seen

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


NUMBER = "<number>"
"""Stands for the message's id, which the media are numbered by."""


def document(kind: str, mime_type: str, **facts: Any) -> dict[str, Any]:
    return {"type": kind, "id": NUMBER, "mimeType": mime_type, "sizeBytes": NUMBER, **facts}


PHOTO = {"id": NUMBER, "dcId": 2}
PLACE = {"latitude": -23.55, "longitude": -46.63}
POLL = {"question": "PETR4 tomorrow?", "answers": ["up", "down"]}
PAGE = {"type": "article", "url": "https://example.com/", "title": "Example"}
COUNTS = {"views": 1, "forwards": 0}
MEDIA: dict[str, tuple[str | None, str | None, list[dict[str, Any]], dict[str, Any]]] = {
    # kind: (media type, where the text goes, references, metadata)
    "photo": ("photo", "caption", [{"type": "photo", **PHOTO}], {"photo": PHOTO, **COUNTS}),
    "video": ("video", "caption", [document("video", "video/mp4", durationSeconds=12.0)], COUNTS),
    "voice": ("voice", "caption", [document("voice", "audio/ogg", durationSeconds=3)], COUNTS),
    "audio": ("audio", "caption", [document("audio", "audio/mpeg", durationSeconds=180)], COUNTS),
    "animation": (
        "animation",
        "caption",
        [document("animation", "video/mp4", durationSeconds=2.0)],
        COUNTS,
    ),
    "document": (
        "document",
        "caption",
        [document("document", "application/pdf", fileName="report.pdf")],
        COUNTS,
    ),
    "sticker": ("sticker", "caption", [document("sticker", "image/webp", emoji="🚀")], COUNTS),
    "location": (
        "location",
        "caption",
        [{"type": "location", "constructor": "0x56e0d474", **PLACE}],
        COUNTS,
    ),
    "contact": (
        "contact",
        "caption",
        [
            {
                "type": "contact",
                "constructor": "0x70322949",
                "phone": "+5511999999999",
                "name": "Ana Souza",
            }
        ],
        COUNTS,
    ),
    "poll": ("poll", "caption", [{"type": "poll", "constructor": None, **POLL}], COUNTS),
    "webpage": ("webpage", "text", [], {"linkPreview": PAGE, **COUNTS}),
    "forward": (
        None,
        "text",
        [],
        {
            "isForwarded": True,
            "forwardedFrom": {"id": None, "name": "Elsewhere", "messageId": None},
            **COUNTS,
        },
    ),
    "service": (
        "service",
        None,
        [],
        {"service": {"action": "MessageActionChatEditTitle", "title": "what it says"}},
    ),
}


def test_every_kind_that_can_be_posted_is_in_the_table() -> None:
    assert set(MEDIA) == set(KINDS)


@pytest.mark.parametrize("kind", MEDIA)
async def test_each_kind_of_post_keeps_its_meaning(world: World, kind: str) -> None:
    media_type, where, refs, metadata = MEDIA[kind]
    channel = await world.channel()
    # Ids that leave no doubt what is the number of a medium, and what its count.
    number = 987_000 + channel % 1000
    async with world.feed() as feed:
        await feed.places([channel])
        await world.control.post(channel, "what it says", media=kind, message_id=number)
        (seen,) = await gather(feed, 1)
        (read,) = await feed.newest(channel, 1)
    assert isinstance(seen, Seen)
    content = seen.content
    assert content == read.content
    assert content.media_type == media_type
    assert content.text == ("what it says" if where == "text" else None)
    assert content.caption == ("what it says" if where == "caption" else None)
    assert (content.telegram_date_us or 0) > 1_700_000_000_000_000
    assert json.loads(content.metadata) == numbered(metadata, number)
    found = json.loads(content.media_refs)
    for ref, expected in zip(found, refs, strict=True):
        if expected.get("constructor", "") is None:
            # A poll's constructor changes with the layer; that it is told is what matters.
            expected = {**expected, "constructor": ref["constructor"]}
            assert ref["constructor"].startswith("0x")
        assert ref == numbered(expected, number)


def numbered(value: Any, number: int) -> Any:
    """A row of the table with a medium's number in it: ids are text, sizes are 1000 and it."""
    if not isinstance(value, dict):
        return value
    known = {"id": str(number), "sizeBytes": 1000 + number}
    return {
        name: known[name] if inner == NUMBER else numbered(inner, number) for name, inner in value.items()
    }


async def test_a_discussion_group_keeps_threads_replies_forwards_and_albums(world: World) -> None:
    channel = await world.control.create_channel("Signals")
    group = await world.control.create_channel("Signals: discussion", megagroup=True)
    await world.control.link(channel.channel_id, group.channel_id)
    async with world.feed() as feed:
        # The channel's post, and Telegram's forward of it into the group, which begins the thread.
        origin = await world.control.post(channel.channel_id, "a post of the channel")
        posted, forwarded = await gather(feed, 2)
        assert (posted.channel_id, posted.message_id) == (channel.channel_id, origin.message_id)
        assert forwarded.channel_id == group.channel_id
        root = forwarded.message_id
        comment = await world.control.post(group.channel_id, "a comment", reply_to=root)
        await world.control.post(
            group.channel_id, "an answer to it", reply_to=comment.message_id, thread=root
        )
        await world.control.post(group.channel_id, "one of an album", media="photo", grouped_id=77)
        found = [forwarded, *await gather(feed, 3)]
        await feed.places([group.channel_id])
        read = await feed.after(group.channel_id, 0, 100)
    assert [(o.message_id, o.content) for o in read] == [
        (o.message_id, o.content) for o in found if isinstance(o, Seen)
    ]
    copy, commented, answered, album = [o.content for o in found if isinstance(o, Seen)]
    assert (copy.text, copy.thread_id, copy.message_type) == ("a post of the channel", None, "channel_post")
    said = json.loads(copy.metadata)
    assert said["isForwarded"] is True
    assert said["forwardedFrom"]["messageId"] == str(origin.message_id)
    assert said["forwardedFrom"]["id"] == str(channel.bare_id)
    assert (commented.thread_id, commented.message_type) == (root, "channel_post_comment")
    assert (answered.thread_id, answered.message_type) == (root, "channel_post_comment")
    assert json.loads(answered.metadata)["replyTo"]["messageId"] == str(comment.message_id)
    assert json.loads(answered.metadata)["fromId"]
    assert (album.caption, json.loads(album.metadata)["groupedId"]) == ("one of an album", "77")


async def test_a_topic_of_a_forum_is_a_thread_and_no_comment(world: World) -> None:
    forum = await world.control.create_channel("Forum", megagroup=True)
    async with world.feed() as feed:
        begun = await world.control.post(forum.channel_id, "the topic", media="service")
        first = await world.control.post(forum.channel_id, "in the topic", topic=begun.message_id)
        await world.control.post(
            forum.channel_id, "an answer there", topic=begun.message_id, reply_to=first.message_id
        )
        _, said, answered = [o.content for o in await gather(feed, 3) if isinstance(o, Seen)]
    for content in (said, answered):
        assert (content.thread_id, content.message_type) == (begun.message_id, "channel_post")


async def test_a_reply_in_a_channel_begins_no_thread(world: World) -> None:
    channel_id = await world.channel()
    async with world.feed() as feed:
        first = await world.control.post(channel_id, "first")
        await world.control.post(channel_id, "second", reply_to=first.message_id)
        _, second = [o.content for o in await gather(feed, 2) if isinstance(o, Seen)]
    assert (second.thread_id, second.message_type) == (None, "channel_post")
    assert json.loads(second.metadata)["replyTo"]["messageId"] == str(first.message_id)
