"""Media with Telegram's own types and nothing behind them: what a client learns of a medium without its file."""

from datetime import UTC, datetime
from typing import Any

from telethon.tl import TLObject, types

_DATE = datetime(2024, 1, 1, tzinfo=UTC)


def _document(number: int, mime_type: str, attributes: list[Any]) -> Any:
    document = types.Document(
        id=number,
        access_hash=number,
        file_reference=b"",
        date=_DATE,
        mime_type=mime_type,
        size=1000 + number,
        dc_id=2,
        attributes=attributes,
    )
    return types.MessageMediaDocument(document=document)


def _text(text: str) -> Any:
    return types.TextWithEntities(text, [])


UNREADABLE, UNREADABLE_ID = "unreadable", 0x0BADCAFE
"""A medium of a later layer: a client of this one cannot read the message, nor what it comes in."""


class UnreadableMedia(TLObject):  # type: ignore[misc]
    """Its constructor is unknown to everybody."""

    def _bytes(self) -> bytes:
        return UNREADABLE_ID.to_bytes(4, "little") + bytes(12)


def make_media(kind: str, number: int) -> Any:
    """A medium of one of KINDS, numbered; None for the kinds that are no medium."""
    match kind:
        case "photo":
            sizes = [types.PhotoSize("x", 800, 600, 12345)]
            photo = types.Photo(number, number, b"", _DATE, sizes, 2)
            return types.MessageMediaPhoto(photo=photo)
        case "video":
            return _document(number, "video/mp4", [types.DocumentAttributeVideo(duration=12.0, w=640, h=480)])
        case "voice":
            return _document(number, "audio/ogg", [types.DocumentAttributeAudio(duration=3, voice=True)])
        case "audio":
            attribute = types.DocumentAttributeAudio(duration=180, title="Song", performer="Somebody")
            return _document(number, "audio/mpeg", [attribute])
        case "animation":
            moving = types.DocumentAttributeVideo(duration=2.0, w=320, h=240, nosound=True)
            return _document(number, "video/mp4", [moving, types.DocumentAttributeAnimated()])
        case "document":
            return _document(number, "application/pdf", [types.DocumentAttributeFilename("report.pdf")])
        case "sticker":
            attribute = types.DocumentAttributeSticker(alt="🚀", stickerset=types.InputStickerSetEmpty())
            return _document(number, "image/webp", [attribute])
        case "location":
            return types.MessageMediaGeo(types.GeoPoint(long=-46.63, lat=-23.55, access_hash=number))
        case "contact":
            return types.MessageMediaContact("+5511999999999", "Ana", "Souza", "", 0)
        case "poll":
            answers = [types.PollAnswer(_text("up"), b"0"), types.PollAnswer(_text("down"), b"1")]
            poll = types.Poll(number, _text("PETR4 tomorrow?"), answers, 0)
            return types.MessageMediaPoll(poll, types.PollResults())
        case "webpage":
            page = types.WebPage(
                number, "https://example.com/", "example.com", 0, type="article", title="Example"
            )
            return types.MessageMediaWebPage(page)
        case "unreadable":
            return UnreadableMedia()
        case _:
            return None


KINDS = (
    "photo",
    "video",
    "voice",
    "audio",
    "animation",
    "document",
    "sticker",
    "location",
    "contact",
    "poll",
    "webpage",
    "forward",
    "service",
)
"""What a post can be beside plain text; the last two are no media."""
