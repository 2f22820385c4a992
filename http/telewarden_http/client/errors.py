"""What can go wrong between a program and the API; each error says which, and carries the server's own words."""


class ClientError(Exception):
    """Base of all errors of the client. `str(error)` is the server's detail, or what happened on the way.

    status: of the answer; None if there was none.
    """

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


class Transient(ClientError):
    """Base of what may be gone when the same is asked again. retry_after_s: how long the server asks to wait."""

    def __init__(self, detail: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(detail, status)
        self.retry_after_s = retry_after_s


class ServerUnavailable(Transient):
    """Nobody answers, or the server cannot at the moment (408, 5xx)."""


class AnswerUnusable(Transient):
    """The answer was cut off, is not JSON, or is not what this version of the API answers."""


class RateLimited(Transient):
    """The key asks too often (429)."""


class RequestRefused(ClientError):
    """The server understood the request and does not do it (4xx); asking again would not help."""


class KeyRefused(RequestRefused):
    """There is no key, it is wrong, or it does not allow this (401, 403)."""


class NotFound(RequestRefused):
    """There is no such channel, message or consumer, or not for this key (404)."""


class CursorExpired(RequestRefused):
    """The place in the feed is older than what is kept (410).

    oldest: the token to go on from; what lies between is not in the feed any more.
    """

    def __init__(self, detail: str, oldest: str) -> None:
        super().__init__(detail, 410)
        self.oldest = oldest


class AcknowledgementsNotSent(ClientError):
    """Work is done and the server was not told so before the time was over: it will be served again.

    receipts: of what will be served again.
    """

    def __init__(self, detail: str, receipts: tuple[str, ...]) -> None:
        super().__init__(detail)
        self.receipts = receipts


class CursorFileUnusable(ClientError):
    """The file that keeps the place in the feed does not hold one, or cannot be read or written."""
