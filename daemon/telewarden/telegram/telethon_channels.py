"""Finding channels through Telethon: the account's dialogs, names, invite links, ids."""

from collections.abc import Awaitable, Callable
from typing import Any

from telethon import errors, functions, utils
from telethon.tl import types

from telewarden.telegram.feed import ChannelNotFound, Found, TelegramUnavailable
from telewarden.telegram.references import ById, ByInvite, ByName, Reference

Ask = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Awaits a request within its time-out; raises this package's errors."""

_NOBODY = (errors.UsernameNotOccupiedError, errors.UsernameInvalidError)
_NO_INVITE = (
    errors.InviteHashExpiredError,
    errors.InviteHashInvalidError,
    errors.InviteHashEmptyError,
    errors.InviteRequestSentError,
)
_NOT_IN = "the account is not in it: let it join with --join, or in any Telegram app"


def found(chat: Any) -> Found:
    """What Telegram says of a channel."""
    channel_id = int(utils.get_peer_id(types.PeerChannel(chat.id)))
    return Found(channel_id, chat.title or "", chat.username or "", bool(chat.megagroup or chat.gigagroup))


async def read_dialogs(client: Any) -> list[Found]:
    """Every channel and group that the account is in. Small groups (without a channel's id) are left out."""
    return [
        found(dialog.entity)
        async for dialog in client.iter_dialogs()
        if isinstance(dialog.entity, types.Channel) and not dialog.entity.left
    ]


async def resolve(client: Any, ask: Ask, reference: Reference, *, join: bool) -> Found:
    """See `Connection.resolve`."""
    try:
        match reference:
            case ByName(name):
                chat = await _named(client, ask, name)
            case ByInvite(invite):
                return await _invited(client, ask, invite, join=join)
            case ById(channel_id):
                chat = await _numbered(client, ask, channel_id)
        if chat.left:
            if not join:
                raise ChannelNotFound(f"{chat.title!r} is a public channel, but {_NOT_IN}")
            await ask(client(functions.channels.JoinChannelRequest(utils.get_input_channel(chat))))
    except TelegramUnavailable as error:
        # What the driver takes for Telegram's trouble may be an answer to this question.
        raise _answered(error) from error
    return found(chat)


async def _named(client: Any, ask: Ask, name: str) -> Any:
    answer = await ask(client(functions.contacts.ResolveUsernameRequest(name)))
    if not isinstance(answer.peer, types.PeerChannel) or not answer.chats:
        raise ChannelNotFound(f"@{name} is a person or a bot, no channel")
    return answer.chats[0]


async def _invited(client: Any, ask: Ask, invite: str, *, join: bool) -> Found:
    answer = await ask(client(functions.messages.CheckChatInviteRequest(invite)))
    if not isinstance(answer, types.ChatInviteAlready):
        if not join:
            raise ChannelNotFound(f"{answer.title!r} can be joined, but {_NOT_IN}")
        answer = (await ask(client(functions.messages.ImportChatInviteRequest(invite)))).chats[0]
    chat = getattr(answer, "chat", answer)
    if not isinstance(chat, types.Channel):
        raise ChannelNotFound("the link leads to a small group, no channel; such groups cannot be taken in")
    return found(chat)


async def _numbered(client: Any, ask: Ask, channel_id: int) -> Any:
    try:
        peer = client.session.get_input_entity(channel_id)
    except ValueError:
        # Telegram gives no channel by its bare number: it has to have been seen among the dialogs.
        entity = await ask(_among_dialogs(client, channel_id))
        if entity is None:
            raise ChannelNotFound(
                f"the account is in no channel {channel_id}: use its @name or an invite link, with --join"
            ) from None
        return entity
    answer = await ask(client(functions.channels.GetChannelsRequest([utils.get_input_channel(peer)])))
    return answer.chats[0]


async def _among_dialogs(client: Any, channel_id: int) -> Any:
    async for dialog in client.iter_dialogs():
        if dialog.id == channel_id:
            return dialog.entity
    return None


def _answered(error: TelegramUnavailable) -> Exception:
    match error.__cause__:
        case cause if isinstance(cause, _NOBODY):
            return ChannelNotFound("nobody on Telegram has that name")
        case cause if isinstance(cause, errors.InviteRequestSentError):
            return ChannelNotFound(
                "the channel's owner has to let the account in first; try again after that"
            )
        case cause if isinstance(cause, _NO_INVITE):
            return ChannelNotFound("the invite link has expired, or never was one")
        case cause if isinstance(cause, errors.ChannelsTooMuchError):
            return ChannelNotFound("the account is in too many channels; leave some first")
        case _:
            return error
