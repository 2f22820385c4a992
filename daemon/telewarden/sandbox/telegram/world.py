"""What this Telegram knows: channels with their messages and the log of what changed, and nothing of connections."""

import itertools
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from telethon import utils
from telethon.tl import types

from telewarden.sandbox.telegram.media import KINDS, UNREADABLE, make_media


class WorldError(ValueError):
    """What was asked for is not possible; the message says why."""


_MAX_ID = 2**31 - 1
WRITER_ID = 7_000_002
"""Who writes in groups."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a channel's log. pts: the log's length after it, counted as Telegram does; ids: what it is about."""

    pts: int
    kind: str
    ids: tuple[int, ...]

    @property
    def pts_count(self) -> int:
        """How far it moves pts: by one, or by one for each deleted message."""
        return len(self.ids)


@dataclass
class Channel:
    """One broadcast channel, or a group (megagroup). posts: TL messages by id; deleted: those that are gone.

    username: its public @name, empty without one; invite: the secret part of its link. joined: the account is in it.
    linked: of a channel its discussion group, of a group its channel.
    """

    bare_id: int
    title: str
    access_hash: int
    next_id: int = 1
    accessible: bool = True
    username: str = ""
    invite: str = ""
    joined: bool = True
    megagroup: bool = False
    linked: "Channel | None" = None
    pts: int = 1
    posts: dict[int, Any] = field(default_factory=dict)
    deleted: dict[int, Any] = field(default_factory=dict)
    log: list[Change] = field(default_factory=list)

    @property
    def marked_id(self) -> int:
        """The id as clients write it, -100…"""
        return int(utils.get_peer_id(types.PeerChannel(self.bare_id)))

    @property
    def top(self) -> int:
        """The newest message that is there; 0 for none."""
        return max(self.posts, default=0)

    def tl(self) -> Any:
        """The channel as clients see it."""
        return types.Channel(
            id=self.bare_id,
            title=self.title,
            photo=types.ChatPhotoEmpty(),
            date=datetime(2024, 1, 1, tzinfo=UTC),
            broadcast=not self.megagroup,
            megagroup=self.megagroup,
            access_hash=self.access_hash,
            username=self.username or None,
            left=not self.joined,
            has_link=self.linked is not None,
        )

    def record(self, kind: str, ids: tuple[int, ...]) -> Change:
        """Note a change and move pts."""
        self.pts += len(ids)
        change = Change(self.pts, kind, ids)
        self.log.append(change)
        return change


class World:
    """All channels. ids_apart: channel k's messages begin at k times that, so that bare ids are unique."""

    def __init__(self, *, channels: int = 0, ids_apart: int = 0, seed: int = 1) -> None:
        self._dice = random.Random(seed)
        self._ids_apart = ids_apart
        self.now_s: float | None = None
        """The time of what happens, seconds since the epoch; None for the clock's."""
        self.channels: dict[int, Channel] = {}
        for number in range(channels):
            self.create(f"Channel {number + 1}")

    def create(
        self,
        title: str,
        *,
        username: str = "",
        invite: str = "",
        joined: bool = True,
        megagroup: bool = False,
    ) -> Channel:
        """A new, empty channel."""
        for text in (title, username, invite):
            check_text(text)
        number = len(self.channels)
        channel = Channel(
            1_649_127_710 + number,
            title,
            self._dice.getrandbits(62),
            next_id=number * self._ids_apart + 1,
            username=username,
            invite=invite,
            joined=joined,
            megagroup=megagroup,
        )
        self.channels[channel.bare_id] = channel
        return channel

    def find(self, channel_id: int) -> Channel:
        """A channel by its bare or its marked id. Raises WorldError."""
        bare_id = int(utils.resolve_id(channel_id)[0]) if channel_id < 0 else channel_id
        channel = self.channels.get(bare_id)
        if channel is None:
            known = ", ".join(
                str(channel.marked_id) for channel in itertools.islice(self.channels.values(), 5)
            )
            raise WorldError(f"there is no channel {channel_id}; there are: {known} …")
        return channel

    def post(
        self,
        channel: Channel,
        text: str,
        *,
        media: str | None = None,
        message_id: int | None = None,
        reply_to: int | None = None,
        thread: int | None = None,
        topic: int | None = None,
        grouped_id: int | None = None,
        hidden: bool = False,
    ) -> Change:
        """A new post. message_id: one that was not used, for messages that appear late. thread: the message that
        begins the thread of one that is a reply. topic: the message that begins a forum's topic. hidden: it counts as
        no change, so that only history shows it. Raises WorldError."""
        check_text(text)
        _check_number(message_id, "message_id", _MAX_ID)
        _check_number(reply_to, "reply_to", _MAX_ID)
        _check_number(thread, "thread", _MAX_ID)
        _check_number(topic, "topic", _MAX_ID)
        _check_number(grouped_id, "grouped_id", 2**63 - 1)
        if message_id is None:
            message_id = channel.next_id
        if message_id in channel.posts or message_id in channel.deleted:
            raise WorldError(f"channel {channel.marked_id} has had a message {message_id}")
        if media is not None and media not in (*KINDS, UNREADABLE):
            raise WorldError(f"there is no medium {media!r}; there are: {', '.join(KINDS)}")
        channel.next_id = max(channel.next_id, message_id + 1)
        peer = types.PeerChannel(channel.bare_id)
        now = self._now()
        if media == "service":
            message: Any = types.MessageService(
                id=message_id,
                peer_id=peer,
                date=now,
                post=True,
                action=types.MessageActionChatEditTitle(text),
            )
        else:
            message = types.Message(
                id=message_id,
                peer_id=peer,
                date=now,
                message=text,
                post=not channel.megagroup,
                from_id=types.PeerUser(WRITER_ID) if channel.megagroup else None,
                media=None if media is None else make_media(media, message_id),
                reply_to=_reply(reply_to, thread, topic),
                fwd_from=types.MessageFwdHeader(date=now, from_name="Elsewhere")
                if media == "forward"
                else None,
                views=1,
                forwards=0,
                grouped_id=grouped_id,
            )
            if channel.linked is not None and not channel.megagroup:
                message.replies = types.MessageReplies(
                    replies=0, replies_pts=channel.pts, comments=True, channel_id=channel.linked.bare_id
                )
        channel.posts[message_id] = message
        return Change(channel.pts, "new", (message_id,)) if hidden else channel.record("new", (message_id,))

    def link(self, channel: Channel, group: Channel) -> None:
        """Make a group, or an empty channel that becomes one, the discussion of a channel. Raises WorldError."""
        if channel is group or channel.megagroup or channel.linked or group.linked:
            raise WorldError(f"{group.marked_id} cannot be the discussion of {channel.marked_id}")
        group.megagroup = True
        channel.linked, group.linked = group, channel

    def forward_to_discussion(self, channel: Channel, changes: list[Change]) -> list[Change]:
        """What Telegram does by itself with new posts of a channel: each begins a thread in the linked group."""
        group = channel.linked
        if group is None or channel.megagroup:
            return []
        return [
            self._forward(channel, group, channel.posts[change.ids[0]])
            for change in changes
            if change.kind == "new" and isinstance(channel.posts.get(change.ids[0]), types.Message)
        ]

    def _forward(self, channel: Channel, group: Channel, post: Any) -> Change:
        message_id = group.next_id
        group.next_id += 1
        peer = types.PeerChannel(channel.bare_id)
        group.posts[message_id] = types.Message(
            id=message_id,
            peer_id=types.PeerChannel(group.bare_id),
            date=self._now(),
            message=post.message,
            from_id=peer,
            media=post.media,
            fwd_from=types.MessageFwdHeader(
                date=post.date,
                from_id=peer,
                channel_post=post.id,
                saved_from_peer=peer,
                saved_from_msg_id=post.id,
            ),
            grouped_id=post.grouped_id,
        )
        return group.record("new", (message_id,))

    def _now(self) -> datetime:
        now = datetime.now(UTC) if self.now_s is None else datetime.fromtimestamp(self.now_s, UTC)
        return now.replace(microsecond=0)

    def edit(self, channel: Channel, message_id: int, text: str) -> Change:
        """Another text for a post. Raises WorldError."""
        check_text(text)
        message = channel.posts.get(message_id)
        if message is None or isinstance(message, types.MessageService):
            raise WorldError(f"channel {channel.marked_id} has no post {message_id} to edit")
        message.message = text
        message.edit_date = self._now()
        return channel.record("edit", (message_id,))

    def delete(self, channel: Channel, ids: list[int]) -> Change:
        """Posts that are gone. Raises WorldError if one of them is not there."""
        ids = list(dict.fromkeys(ids))
        missing = [message_id for message_id in ids if message_id not in channel.posts]
        if missing or not ids:
            raise WorldError(
                f"channel {channel.marked_id} has no posts {missing or 'without an id'} to delete"
            )
        for message_id in ids:
            channel.deleted[message_id] = channel.posts.pop(message_id)
        return channel.record("delete", tuple(ids))

    def update(self, channel: Channel, change: Change) -> Any:
        """A change as clients are told it: with the message's present state. None if that message is gone again."""
        if change.kind == "delete":
            return types.UpdateDeleteChannelMessages(
                channel.bare_id, list(change.ids), change.pts, change.pts_count
            )
        message = channel.posts.get(change.ids[0])
        if message is None:
            return None
        kind = types.UpdateNewChannelMessage if change.kind == "new" else types.UpdateEditChannelMessage
        return kind(message, change.pts, change.pts_count)


def _reply(reply_to: int | None, thread: int | None, topic: int | None) -> Any:
    """How a message says what it answers. In a topic, what answers nothing answers the topic's first message."""
    if topic is not None:
        return types.MessageReplyHeader(
            forum_topic=True, reply_to_msg_id=reply_to or topic, reply_to_top_id=topic if reply_to else None
        )
    if reply_to is None:
        return None
    return types.MessageReplyHeader(reply_to_msg_id=reply_to, reply_to_top_id=thread)


def check_text(text: str) -> None:
    """Raises WorldError for text that no client could be sent: it would spoil every later answer of its channel."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise WorldError(f"the text is no Unicode: {error}") from error


def _check_number(value: int | None, name: str, most: int) -> None:
    if value is not None and (not isinstance(value, int) or not 1 <= value <= most):
        raise WorldError(f"{name} has to be a whole number from 1 to {most}, not {value!r}")
