"""The errors that the API answers with, each with its status and a text for the client."""


class ApiError(Exception):
    """Base of the answers that are the client's doing; `str(error)` is the message in the body."""

    status = 400


class BadRequest(ApiError):
    """The request cannot be understood; the message names the parameter and what it must be (400)."""


class QueryNotTaken(BadRequest):
    """The route takes no parameters, and the request has some (400)."""

    def __init__(self) -> None:
        super().__init__("This takes no parameters in the query; leave them out")


class KeyMissing(ApiError):
    """The route needs a key and the request carries none (401)."""

    status = 401

    def __init__(self) -> None:
        super().__init__(
            "A key is required: send X-API-Key, X-Gateway-Token or Authorization: Bearer with the request"
        )


class KeyWrong(ApiError):
    """The request carries a key, but none that is known (403)."""

    status = 403

    def __init__(self) -> None:
        super().__init__("The key is not valid")


class KeyExpired(ApiError):
    """The key was right, and its time is over (403)."""

    status = 403

    def __init__(self) -> None:
        super().__init__("The key has expired; ask for another one")


class KeysUnknown(ApiError):
    """The key may be right, and the stored keys were not read yet (503)."""

    status = 503

    def __init__(self) -> None:
        super().__init__("The stored keys were not read yet, since the database does not answer; try again")


class ScopeMissing(ApiError):
    """The key is known, and does not allow this (403)."""

    status = 403

    def __init__(self, scope: str) -> None:
        super().__init__(f"The key does not have the scope {scope!r}, which this needs")


class TooManyRequests(ApiError):
    """The client asks more often than it may (429). retry_after_s: when it is worth to try again."""

    status = 429

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class MessageNotFound(ApiError):
    """There is no message with this id (404)."""

    status = 404
