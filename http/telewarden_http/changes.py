"""The routes that change one message: delete it, have it processed once more."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from quart import Response, request

from telewarden_http.answering import in_time
from telewarden_http.errors import MessageNotFound
from telewarden_http.parameters import parse_deletion, parse_message_id, parse_reprocess
from telewarden_http.protocols import MessageChanger, MessageReader
from telewarden_http.responses import json_response, may_read_message
from telewarden_http.routing import principal


class ChangeRoutes:
    """The handlers. reader: tells which channel a message is of."""

    def __init__(self, changer: MessageChanger, reader: MessageReader, answer_timeout_s: float) -> None:
        self._changer, self._reader = changer, reader
        self._answer_timeout_s = answer_timeout_s

    async def delete(self, id: str) -> Response:
        """`DELETE /api/messages/{id}`"""
        wanted = parse_message_id(id)
        reason = parse_deletion(await _body())
        return await self._changed(wanted, lambda: self._changer.delete(wanted, reason))

    async def reprocess(self, id: str) -> Response:
        """`POST /api/messages/{id}/reprocess`"""
        wanted = parse_message_id(id)
        requested_by = parse_reprocess(await _body())
        return await self._changed(wanted, lambda: self._changer.reprocess(wanted, requested_by))

    async def _changed(self, message_id: UUID, change: Callable[[], Awaitable[bytes | None]]) -> Response:
        async def made() -> bytes | None:
            return await change() if await self._exists(message_id) else None

        body = await in_time(
            made(),
            self._answer_timeout_s,
            "The change was not made in time; it is not known whether it will be",
        )
        if body is None:
            raise MessageNotFound(f"There is no message with the id {message_id}")
        return json_response(b'{"success":true,"data":' + body + b"}")

    async def _exists(self, message_id: UUID) -> bool:
        """Nothing is changed of a channel that does not exist for the caller."""
        who = principal()
        if who.channels is None:
            return True
        body = await self._reader.message(message_id)
        return body is not None and may_read_message(who, body)


async def _body() -> bytes:
    body: bytes = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    return body
