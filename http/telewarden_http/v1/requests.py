"""Query strings and bodies of version 1, decoded into the structs that also describe them in the OpenAPI document."""

from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from quart import request

from telewarden_http.errors import BadRequest

_T = TypeVar("_T", bound=msgspec.Struct)
_MOST_PARAMETERS = 50
_EXACT: Final = 2.0**53


def parse_query(kind: type[_T]) -> _T:
    """The query string of the present request. Raises BadRequest that names the parameter."""
    raw: bytes = request.scope["query_string"]
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS, errors="strict"
        )
    except ValueError:
        raise BadRequest("The query string cannot be read; percent-encode it as UTF-8") from None
    given = dict(pairs)
    if len(given) < len(pairs):
        twice = next(name for name, _ in pairs if [n for n, _ in pairs].count(name) > 1)
        raise BadRequest(f'The parameter "{twice[:60]}" is given more than once')
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The query is not right: {_words(error)}") from None


async def parse_body(kind: type[_T]) -> _T:
    """The JSON body of the present request. Raises BadRequest that names the member."""
    body: bytes = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    try:
        return _decoded(body or b"{}", kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The body is not right: {_words(error)}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not JSON: {error}") from None


def _decoded(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        # To JSON, and so to the document, 30.0 is the same number as 30; to msgspec it is no int.
        return msgspec.convert(_whole(msgspec.json.decode(body)), kind)


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer() and abs(value) <= _EXACT:
            return int(value)
        case dict():
            return {name: _whole(each) for name, each in value.items()}
        case list():
            return [_whole(each) for each in value]
        case _:
            return value


def _words(error: msgspec.ValidationError) -> str:
    return str(error).replace("`", '"')
