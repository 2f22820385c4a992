"""Finding and joining channels: names, invite links, memberships. A request and the world in, a TL object out."""

from collections.abc import Callable
from typing import Any

from telethon.tl import functions, types

from telewarden.sandbox.telegram.account import RpcFailed
from telewarden.sandbox.telegram.world import Channel, World

JOINS = (functions.messages.ImportChatInviteRequest, functions.channels.JoinChannelRequest)
"""Requests that change the account's memberships."""


def finding_handlers(
    world: World, channel_of: Callable[[Any], Channel]
) -> dict[type, Callable[[Any, bytes], Any]]:
    """What answers each of these requests. channel_of: the channel that an input channel names; may raise RpcFailed."""

    def resolve(request: Any, key_id: bytes) -> Any:
        channel = _by(world, lambda c: c.username.casefold() == request.username.casefold() != "")
        if channel is None:
            raise RpcFailed(400, "USERNAME_NOT_OCCUPIED")
        return types.contacts.ResolvedPeer(types.PeerChannel(channel.bare_id), [channel.tl()], [])

    def invited(request: Any) -> Channel:
        channel = _by(world, lambda c: c.invite == request.hash != "")
        if channel is None:
            raise RpcFailed(400, "INVITE_HASH_EXPIRED")
        return channel

    def check(request: Any, key_id: bytes) -> Any:
        channel = invited(request)
        if channel.joined:
            return types.ChatInviteAlready(channel.tl())
        return types.ChatInvite(
            title=channel.title,
            photo=types.PhotoEmpty(0),
            participants_count=1,
            color=0,
            channel=True,
            broadcast=True,
        )

    def take_invite(request: Any, key_id: bytes) -> Any:
        return _joined(invited(request))

    def join(request: Any, key_id: bytes) -> Any:
        return _joined(channel_of(request.channel))

    f = functions
    return {
        f.contacts.ResolveUsernameRequest: resolve,
        f.messages.CheckChatInviteRequest: check,
        f.messages.ImportChatInviteRequest: take_invite,
        f.channels.JoinChannelRequest: join,
    }


def _by(world: World, matches: Callable[[Channel], bool]) -> Channel | None:
    return next((channel for channel in world.channels.values() if matches(channel)), None)


def _joined(channel: Channel) -> Any:
    channel.joined = True
    return types.Updates([], [], [channel.tl()], channel.tl().date, 0)
