"""What becomes of a message that is not what it should be. (The kinds of posts: tests/sandbox_telegram.)"""

from datetime import UTC, datetime

import msgspec
import pytest
from telethon.tl import types

from telewarden.telegram.normalise import clean, seen_from

DATE = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)
PEER = types.PeerChannel(1_649_127_710)


def test_a_medium_that_this_version_does_not_know_is_kept_by_its_constructor() -> None:
    media = types.MessageMediaGiveaway(channels=[1], quantity=1, until_date=DATE)
    seen = seen_from(types.Message(7, PEER, date=DATE, message="win", media=media), -1001649127710)
    assert seen is not None
    assert seen.content.media_type == "unknown"
    assert seen.content.caption == "win"
    (ref,) = msgspec.json.decode(seen.content.media_refs)
    assert ref["constructor"] == f"{types.MessageMediaGiveaway.CONSTRUCTOR_ID:#010x}"


def test_a_message_that_cannot_be_understood_stops_nothing_and_keeps_its_text() -> None:
    broken = types.MessageMediaPoll(poll=None, results=types.PollResults())
    seen = seen_from(types.Message(7, PEER, date=DATE, message="vote", media=broken), -1001649127710)
    assert seen is not None
    assert seen.content.text == "vote"
    assert seen.content.media_type == "unknown"
    assert msgspec.json.decode(seen.content.metadata) == {"notUnderstood": "MessageMediaPoll"}
    assert seen.content.telegram_date_us == 1_795_435_230_000_000


def test_an_empty_message_is_nothing() -> None:
    assert seen_from(types.MessageEmpty(7, PEER), -1001649127710) is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [("a\0b", "a\ufffdb"), ("\ud800", "?"), ("", None), (None, None), ("BUY 🚀", "BUY 🚀")],
)
def test_text_is_kept_as_a_database_can_store_it(text: str | None, kept: str | None) -> None:
    assert clean(text) == kept


def reply(**values: object) -> types.MessageReplyHeader:
    return types.MessageReplyHeader(**values)


OTHER_CHAT = types.PeerChannel(5)


@pytest.mark.parametrize(
    ("header", "thread_id", "message_type"),
    [
        (None, None, "channel_post"),
        (reply(reply_to_msg_id=5), 5, "channel_post_comment"),
        (reply(reply_to_msg_id=6, reply_to_top_id=5), 5, "channel_post_comment"),
        (reply(reply_to_msg_id=5, forum_topic=True), 5, "channel_post"),
        (reply(reply_to_msg_id=6, reply_to_top_id=5, forum_topic=True), 5, "channel_post"),
        # An answer to what this account cannot see, and to messages of other chats, in a thread and in none.
        (reply(), None, "channel_post"),
        (reply(reply_to_msg_id=6, reply_to_peer_id=OTHER_CHAT), None, "channel_post"),
        (
            reply(reply_to_msg_id=6, reply_to_peer_id=OTHER_CHAT, reply_to_top_id=5),
            5,
            "channel_post_comment",
        ),
        (types.MessageReplyStoryHeader(peer=OTHER_CHAT, story_id=3), None, "channel_post"),
    ],
)
def test_the_thread_of_a_message_in_a_group(header: object, thread_id: int | None, message_type: str) -> None:
    seen = seen_from(types.Message(7, PEER, date=DATE, message="an answer", reply_to=header), -1001649127710)
    assert seen is not None
    assert (seen.content.thread_id, seen.content.message_type) == (thread_id, message_type)


def test_an_answer_to_another_chat_says_which() -> None:
    header = reply(reply_to_msg_id=6, reply_to_peer_id=OTHER_CHAT)
    seen = seen_from(types.Message(7, PEER, date=DATE, message="an answer", reply_to=header), -1001649127710)
    assert seen is not None
    assert msgspec.json.decode(seen.content.metadata)["replyTo"] == {
        "messageId": "6",
        "text": None,
        "channelId": "-1000000000005",
    }
