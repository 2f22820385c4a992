"""A Telethon message as the contract's content. Nothing is downloaded; what is unknown is kept by its name."""

from datetime import UTC, datetime
from typing import Any

import structlog
from telethon import utils
from telethon.tl import TLObject, types

from telewarden.messages import Content, canonical_json
from telewarden.storage.acceptance import Seen

log = structlog.get_logger(__name__)

_KINDS = {
    "MessageMediaPhoto": "photo",
    "MessageMediaGeo": "location",
    "MessageMediaGeoLive": "location",
    "MessageMediaVenue": "location",
    "MessageMediaContact": "contact",
    "MessageMediaPoll": "poll",
    "MessageMediaDice": "dice",
    "MessageMediaGame": "game",
    "MessageMediaInvoice": "invoice",
    "MessageMediaStory": "story",
    "MessageMediaUnsupported": "unsupported",
}


def clean(text: str | None) -> str | None:
    """Text as a database can store it: no NUL, no lone surrogate."""
    if not text:
        return None
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text.encode("utf-8", "replace").decode("utf-8")


def finite(number: float) -> float | None:
    """A number as a database gives it back, in the same digits; None for one that stands for nothing on earth."""
    # jsonb knows no infinity and no negative zero, and writes out a number that is too large for that.
    return number + 0 if abs(number) < 1e15 else None


def seen_from(message: Any, channel_id: int, asked_at_us: int | None = None) -> Seen | None:
    """An observation of a Message or MessageService; None for the empty ones that stand for deleted messages.

    channel_id: the marked id. asked_at_us: see `Seen`.
    """
    if isinstance(message, types.MessageEmpty):
        return None
    try:
        content = _service(message) if isinstance(message, types.MessageService) else _post(message)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # One message that is not what it should be must not stop the others; what it is called is kept.
        log.error("message_not_understood", channel_id=channel_id, message_id=message.id, error=repr(error))
        content = _not_understood(message)
    edit_date = getattr(message, "edit_date", None)
    return Seen(channel_id, message.id, content, _seconds(edit_date), asked_at_us)


def unknown_message(channel_id: int, message_id: int, constructor_id: int) -> Seen:
    """What is left of a message that is newer than this version: that it is there."""
    metadata = canonical_json({"notUnderstood": f"{constructor_id:#010x}"})
    return Seen(channel_id, message_id, Content(media_type="unknown", metadata=metadata))


def _not_understood(message: Any) -> Content:
    medium = type(getattr(message, "media", None) or getattr(message, "action", None)).__name__
    return Content(
        text=clean(getattr(message, "message", None)),
        media_type="unknown",
        metadata=canonical_json({"notUnderstood": medium}),
        telegram_date_us=_seconds(getattr(message, "date", None)) * 1_000_000,
    )


def _post(message: Any) -> Content:
    media_type, refs, metadata = _media(message)
    metadata |= _metadata(message)
    text = clean(message.message)
    with_caption = media_type is not None and media_type != "webpage"
    thread_id, is_comment = _thread(message)
    return Content(
        text=None if with_caption else text,
        caption=text if with_caption else None,
        media_type=media_type,
        media_refs=canonical_json(refs),
        metadata=canonical_json(metadata),
        thread_id=thread_id,
        message_type="channel_post_comment" if is_comment else "channel_post",
        telegram_date_us=_seconds(message.date) * 1_000_000,
    )


def _thread(message: Any) -> tuple[int | None, bool]:
    """The id of the message that begins a message's thread, and whether it is a comment.

    A forum's topics, and the threads below a channel's posts in its linked group (core.telegram.org/api/threads). In a
    channel itself a reply begins no thread. What a reply answers may be in another chat, and then names no thread of
    this one. The message itself does not tell a linked group from another: in any group, what is in a thread and in no
    topic counts as a comment.
    """
    reply = message.reply_to if isinstance(message.reply_to, types.MessageReplyHeader) else None
    if reply is None or (message.post and not reply.forum_topic):
        return None, False
    answered_here = reply.reply_to_msg_id if reply.reply_to_peer_id is None else None
    thread_id = reply.reply_to_top_id or answered_here
    return thread_id, thread_id is not None and not reply.forum_topic


def _service(message: Any) -> Content:
    metadata = {"service": {"action": type(message.action).__name__}}
    title = getattr(message.action, "title", None)
    if isinstance(title, str):
        metadata["service"]["title"] = clean(title) or ""
    return Content(
        media_type="service",
        metadata=canonical_json(metadata),
        telegram_date_us=_seconds(message.date) * 1_000_000,
    )


def _metadata(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if message.entities:
        found["entities"] = [
            {"type": type(entity).__name__.removeprefix("MessageEntity"), "offset": entity.offset}
            | {"length": entity.length}
            | ({"url": clean(entity.url)} if isinstance(entity, types.MessageEntityTextUrl) else {})
            for entity in message.entities
        ]
    sender = message.from_id
    if sender is not None:
        found["fromId"] = str(getattr(sender, "user_id", None) or getattr(sender, "channel_id", None))
    if message.fwd_from is not None:
        found["isForwarded"] = True
        origin = message.fwd_from.from_id
        found["forwardedFrom"] = {
            "id": str(getattr(origin, "channel_id", None) or getattr(origin, "user_id", None) or "") or None,
            "name": clean(message.fwd_from.from_name),
            "messageId": None if not message.fwd_from.channel_post else str(message.fwd_from.channel_post),
        }
    reply = message.reply_to
    if isinstance(reply, types.MessageReplyHeader) and reply.reply_to_msg_id:
        found["replyTo"] = {"messageId": str(reply.reply_to_msg_id), "text": clean(reply.quote_text)}
        if reply.reply_to_peer_id is not None:
            found["replyTo"]["channelId"] = str(utils.get_peer_id(reply.reply_to_peer_id))
    if message.grouped_id:
        found["groupedId"] = str(message.grouped_id)
    if message.views is not None:
        found["views"] = message.views
    if message.forwards is not None:
        found["forwards"] = message.forwards
    if message.post_author:
        found["postAuthor"] = clean(message.post_author)
    return found


def _media(message: Any) -> tuple[str | None, list[dict[str, Any]], dict[str, Any]]:
    """(media type, media references, metadata that the medium adds)."""
    media = message.media
    if media is None or isinstance(media, types.MessageMediaEmpty):
        return None, [], {}
    if isinstance(media, types.MessageMediaWebPage):
        page = media.webpage
        url = getattr(page, "url", None)
        preview = {
            "type": clean(getattr(page, "type", None)),
            "url": clean(url),
            "title": clean(getattr(page, "title", None)),
        }
        return "webpage", [], {"linkPreview": preview}
    if isinstance(media, types.MessageMediaPhoto) and isinstance(media.photo, types.Photo):
        photo = {"id": str(media.photo.id), "dcId": media.photo.dc_id}
        return "photo", [{"type": "photo", **photo}], {"photo": photo}
    if isinstance(media, types.MessageMediaDocument) and isinstance(media.document, types.Document):
        return _document(media.document)
    kind = _KINDS.get(type(media).__name__, "unknown")
    facts = {"type": kind, "constructor": f"{media.CONSTRUCTOR_ID:#010x}", **_facts(media)}
    return kind, [facts], {}


def _document(document: Any) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    kind = "document"
    facts: dict[str, Any] = {}
    for attribute in document.attributes:
        match attribute:
            case types.DocumentAttributeSticker():
                kind, facts["emoji"] = "sticker", clean(attribute.alt)
            case types.DocumentAttributeAudio():
                kind = "voice" if attribute.voice else "audio"
                facts["durationSeconds"] = finite(attribute.duration)
            case types.DocumentAttributeVideo():
                kind = kind if kind == "sticker" else "video"
                facts["durationSeconds"] = finite(attribute.duration)
            case types.DocumentAttributeAnimated():
                kind = "animation"
            case types.DocumentAttributeFilename():
                facts["fileName"] = clean(attribute.file_name)
            case _:
                pass
    ref = {
        "type": kind,
        "id": str(document.id),
        "mimeType": clean(document.mime_type),
        "sizeBytes": document.size,
        **facts,
    }
    return kind, [ref], {}


def _facts(media: Any) -> dict[str, Any]:
    """The plain facts of a location, contact or poll."""
    match media:
        case types.MessageMediaContact():
            name = " ".join(filter(None, (media.first_name, media.last_name)))
            return {"phone": clean(media.phone_number), "name": clean(name)}
        case types.MessageMediaPoll():
            answers = [clean(_plain(answer.text)) for answer in media.poll.answers]
            return {"question": clean(_plain(media.poll.question)), "answers": answers}
        case _:
            point = getattr(media, "geo", None)
            if isinstance(point, types.GeoPoint):
                facts: dict[str, Any] = {
                    "latitude": finite(point.lat),
                    "longitude": finite(point.long),
                }
                title = getattr(media, "title", None)
                return facts | ({"title": clean(title)} if isinstance(title, str) else {})
            return {}


def _plain(text: Any) -> str:
    return text.text if isinstance(text, TLObject) else str(text)


def _seconds(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.astimezone(UTC).timestamp())
