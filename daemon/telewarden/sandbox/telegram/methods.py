"""What each request is answered with. No I/O: a request and the world in, a TL object out."""

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from telethon.tl import functions, types

from telewarden.sandbox.telegram.account import Account, RpcFailed
from telewarden.sandbox.telegram.faults import Faults
from telewarden.sandbox.telegram.finding import JOINS, finding_handlers
from telewarden.sandbox.telegram.login_tokens import OPEN, LoginTokens
from telewarden.sandbox.telegram.world import Channel, World, WorldError

DIFFERENCE_LIMIT = 100
_OPEN = (
    functions.help.GetConfigRequest,
    functions.help.GetNearestDcRequest,
    functions.auth.SendCodeRequest,
    functions.auth.SignInRequest,
    functions.auth.CheckPasswordRequest,
    functions.account.GetPasswordRequest,
    *OPEN,
)
"""What may be asked before signing in."""


def method_name(request: Any) -> str:
    """A request's name as Telegram writes it, such as messages.getHistory."""
    module = type(request).__module__.rpartition(".")[2]
    name = type(request).__name__.removesuffix("Request")
    name = name[0].lower() + name[1:]
    return name if module == "functions" else f"{module}.{name}"


class Methods:
    """Answers requests. address: (host, port) that clients are told. calls: how often each method was asked.

    on_keys: told when a key may have signed in or out. on_change: told what changed the channels, as the control socket
    would have asked for it.
    """

    def __init__(self, world: World, account: Account, faults: Faults, address: tuple[str, int]) -> None:
        self._world, self._account, self._faults = world, account, faults
        self._address = address
        self.signed_in: set[bytes] = set()
        """Ids of the authorisation keys that have signed in."""
        self.login_tokens = LoginTokens(account, self.signed_in)
        self.calls: dict[str, int] = {}
        self.on_keys: Callable[[], object] = lambda: None
        self.on_change: Callable[[dict[str, Any]], object] = lambda request: None
        f = functions
        self._handlers: dict[type, Callable[[Any, bytes], Any]] = {
            f.help.GetConfigRequest: lambda r, k: self._config(),
            f.help.GetNearestDcRequest: lambda r, k: types.NearestDc("BR", 2, 2),
            f.auth.SendCodeRequest: lambda r, k: self._account.send_code(r.phone_number),
            f.auth.SignInRequest: self._sign_in,
            f.auth.CheckPasswordRequest: self._check_password,
            f.auth.LogOutRequest: self._log_out,
            f.auth.ExportLoginTokenRequest: self.login_tokens.export,
            f.auth.ImportLoginTokenRequest: self.login_tokens.take_over,
            f.account.GetPasswordRequest: lambda r, k: self._account.password(),
            f.account.UpdateStatusRequest: lambda r, k: True,
            f.users.GetUsersRequest: lambda r, k: [self._account.user()],
            f.users.GetFullUserRequest: self._full_user,
            f.updates.GetStateRequest: lambda r, k: types.updates.State(1, 0, _now(), 1, 0),
            f.updates.GetDifferenceRequest: lambda r, k: types.updates.DifferenceEmpty(_now(), 1),
            f.updates.GetChannelDifferenceRequest: self._channel_difference,
            f.messages.GetDialogsRequest: self._dialogs,
            f.messages.GetPinnedDialogsRequest: self._pinned_dialogs,
            f.messages.GetHistoryRequest: self._history,
            f.channels.GetMessagesRequest: self._messages,
            f.channels.GetChannelsRequest: self._channels,
            f.channels.GetFullChannelRequest: self._full_channel,
            **finding_handlers(world, self._channel),
        }

    def answer(self, request: Any, key_id: bytes) -> Any:
        """The result of a request. Raises RpcFailed."""
        name = method_name(request)
        self.calls[name] = self.calls.get(name, 0) + 1
        failure = self._faults.failure_of(name, _asked_for(request))
        if failure is not None:
            raise RpcFailed(failure.code, failure.message)
        handler = self._handlers.get(type(request))
        if handler is None:
            raise RpcFailed(400, f"METHOD_NOT_SUPPORTED_{name}")
        if key_id not in self.signed_in and not isinstance(request, _OPEN):
            raise RpcFailed(401, "AUTH_KEY_UNREGISTERED")
        answer = handler(request, key_id)
        if name.startswith("auth."):
            self.on_keys()
        elif isinstance(request, JOINS):
            joined = answer.chats[0].id
            self.on_change({"op": "channel_join", "channel": joined})
        return answer

    def _sign_in(self, request: Any, key_id: bytes) -> Any:
        self._account.check_code(request.phone_number, request.phone_code, request.phone_code_hash)
        return self._signed_in(key_id)

    def _check_password(self, request: Any, key_id: bytes) -> Any:
        self._account.check_password(request.password)
        return self._signed_in(key_id)

    def _signed_in(self, key_id: bytes) -> Any:
        self.signed_in.add(key_id)
        return types.auth.Authorization(self._account.user())

    def _log_out(self, request: Any, key_id: bytes) -> Any:
        self.signed_in.discard(key_id)
        return types.auth.LoggedOut()

    def _full_user(self, request: Any, key_id: bytes) -> Any:
        full = types.UserFull(
            id=self._account.user().id,
            settings=types.PeerSettings(),
            notify_settings=types.PeerNotifySettings(),
            common_chats_count=0,
        )
        return types.users.UserFull(full, [], [self._account.user()])

    def _full_channel(self, request: Any, key_id: bytes) -> Any:
        channel = self._channel(request.channel)
        full = types.ChannelFull(
            id=channel.bare_id,
            about="",
            read_inbox_max_id=0,
            read_outbox_max_id=0,
            unread_count=0,
            chat_photo=types.PhotoEmpty(0),
            notify_settings=types.PeerNotifySettings(),
            bot_info=[],
            pts=channel.pts,
        )
        return types.messages.ChatFull(full, [channel.tl()], [])

    def _config(self) -> Any:
        host, port = self._address
        zero = dict.fromkeys(
            [
                "chat_size_max",
                "megagroup_size_max",
                "forwarded_count_max",
                "online_update_period_ms",
                "offline_blur_timeout_ms",
                "offline_idle_timeout_ms",
                "online_cloud_timeout_ms",
                "notify_cloud_delay_ms",
                "notify_default_delay_ms",
                "push_chat_period_ms",
                "push_chat_limit",
                "edit_time_limit",
                "revoke_time_limit",
                "revoke_pm_time_limit",
                "rating_e_decay",
                "stickers_recent_limit",
                "channels_read_media_period",
                "call_receive_timeout_ms",
                "call_ring_timeout_ms",
                "call_connect_timeout_ms",
                "call_packet_timeout_ms",
                "caption_length_max",
                "message_length_max",
                "webfile_dc_id",
            ],
            0,
        )
        now = _now()
        return types.Config(
            date=now,
            expires=now,
            test_mode=False,
            this_dc=2,
            dc_options=[types.DcOption(2, host, port)],
            dc_txt_domain_name="",
            me_url_prefix="",
            **zero,
        )

    def _channel(self, peer: Any) -> Channel:
        try:
            channel = self._world.find(getattr(peer, "channel_id", 0))
        except WorldError as error:
            raise RpcFailed(400, "CHANNEL_INVALID") from error
        if not channel.accessible or not (channel.joined or channel.username):
            raise RpcFailed(400, "CHANNEL_PRIVATE")
        if getattr(peer, "access_hash", None) != channel.access_hash:
            raise RpcFailed(400, "CHANNEL_PRIVATE")
        return channel

    def _dialogs(self, request: Any, key_id: bytes) -> Any:
        found = sorted(
            (c for c in self._world.channels.values() if c.accessible and c.joined),
            key=lambda c: (_date_of(c), c.bare_id),
            reverse=True,
        )
        bare_id = getattr(request.offset_peer, "channel_id", None)
        if bare_id is not None:
            position = next((i + 1 for i, c in enumerate(found) if c.bare_id == bare_id), len(found))
        else:
            position = 0
        page = found[position : position + max(1, min(request.limit, 100))]
        dialogs = [
            types.Dialog(
                peer=types.PeerChannel(c.bare_id),
                top_message=c.top,
                read_inbox_max_id=0,
                read_outbox_max_id=0,
                unread_count=0,
                unread_mentions_count=0,
                unread_reactions_count=0,
                unread_poll_votes_count=0,
                notify_settings=types.PeerNotifySettings(),
                pts=c.pts,
            )
            for c in page
        ]
        messages = [c.posts[c.top] for c in page if c.top]
        chats = [c.tl() for c in page]
        return types.messages.DialogsSlice(len(found), dialogs, messages, chats, [])

    def _pinned_dialogs(self, request: Any, key_id: bytes) -> Any:
        state = types.updates.State(1, 0, _now(), 1, 0)
        return types.messages.PeerDialogs([], [], [], [], state)

    def _history(self, request: Any, key_id: bytes) -> Any:
        """messages.getHistory (core.telegram.org/api/offsets): newest first, from offset_id moved by add_offset."""
        channel = self._channel(request.peer)
        ids = sorted(channel.posts, reverse=True)
        start = 0
        if request.offset_id:
            start = next((i for i, message_id in enumerate(ids) if message_id < request.offset_id), len(ids))
        elif request.offset_date and request.offset_date.timestamp() > 0:
            start = next(
                (i for i, n in enumerate(ids) if channel.posts[n].date < request.offset_date), len(ids)
            )
        start += request.add_offset
        end = start + min(request.limit, 100)
        page = ids[max(start, 0) : max(end, 0)]
        page = [i for i in page if i > request.min_id and (not request.max_id or i < request.max_id)]
        return self._found(channel, [channel.posts[i] for i in page], len(ids))

    def _messages(self, request: Any, key_id: bytes) -> Any:
        channel = self._channel(request.channel)
        wanted = [getattr(item, "id", item) for item in request.id]
        peer = types.PeerChannel(channel.bare_id)
        found = [channel.posts.get(i) or types.MessageEmpty(i, peer) for i in wanted]
        return self._found(channel, found, len(found))

    def _found(self, channel: Channel, messages: list[Any], count: int) -> Any:
        return types.messages.ChannelMessages(channel.pts, count, messages, [], [channel.tl()], [])

    def _channels(self, request: Any, key_id: bytes) -> Any:
        return types.messages.Chats([self._channel(peer).tl() for peer in request.id])

    def _channel_difference(self, request: Any, key_id: bytes) -> Any:
        """updates.getChannelDifference: messages in their present state, other changes as updates."""
        channel = self._channel(request.channel)
        # Asking is what makes Telegram push for a channel again.
        self._faults.withheld.discard(channel.bare_id)
        changes = channel.log[bisect_right(channel.log, request.pts, key=lambda change: change.pts) :]
        if not changes:
            return types.updates.ChannelDifferenceEmpty(channel.pts, final=True, timeout=30)
        if channel.bare_id in self._faults.too_long:
            self._faults.too_long.discard(channel.bare_id)
            return self._too_long(channel)
        limit = max(1, min(request.limit, DIFFERENCE_LIMIT))
        part = changes[:limit]
        new = [c.ids[0] for c in part if c.kind == "new" and c.ids[0] in channel.posts]
        others = [self._world.update(channel, c) for c in part if c.kind != "new" and c.ids[0] not in new]
        return types.updates.ChannelDifference(
            pts=part[-1].pts,
            new_messages=[channel.posts[i] for i in new],
            other_updates=[update for update in others if update is not None],
            chats=[channel.tl()],
            users=[],
            final=len(part) == len(changes),
            timeout=30,
        )

    def _too_long(self, channel: Channel) -> Any:
        dialog = types.Dialog(
            types.PeerChannel(channel.bare_id),
            channel.top,
            0,
            0,
            0,
            0,
            0,
            0,
            types.PeerNotifySettings(),
            pts=channel.pts,
        )
        newest = [channel.posts[channel.top]] if channel.top else []
        return types.updates.ChannelDifferenceTooLong(dialog, newest, [channel.tl()], [], final=True)


def _asked_for(request: Any) -> int | None:
    """The bare id of the channel that a request is about."""
    peer = getattr(request, "channel", None) or getattr(request, "peer", None)
    bare_id = getattr(peer, "channel_id", None)
    return bare_id if isinstance(bare_id, int) else None


def _date_of(channel: Channel) -> float:
    return float(channel.posts[channel.top].date.timestamp()) if channel.top else 0.0


def _now() -> datetime:
    return datetime.now(UTC)
