"""Frames of server-sent events."""

import pytest

from telewarden_http.sse import frame, retry


def test_a_frame_names_its_id_its_kind_and_its_data() -> None:
    assert frame(b'{"a":1}', event="posted", id_="x1") == b'id: x1\nevent: posted\ndata: {"a":1}\n\n'
    assert frame(b"{}") == b"data: {}\n\n"
    assert retry(2000) == b"retry: 2000\n\n"


@pytest.mark.parametrize("parts", [(b"a\nb", "", ""), (b"a", "p\r", ""), (b"a", "", "1\nevent: x")])
def test_a_line_break_cannot_make_further_fields(parts: tuple[bytes, str, str]) -> None:
    data, event, id_ = parts
    with pytest.raises(ValueError, match="line break"):
        frame(data, event=event, id_=id_)
