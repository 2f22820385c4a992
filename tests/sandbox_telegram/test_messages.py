"""Messages, numbers and keys of the local Telegram, without a socket."""

import os
from hashlib import sha1, sha256

import pytest

from telewarden.sandbox.telegram.crypto import ServerKey, ige_encrypt
from telewarden.sandbox.telegram.messages import Numbering, bad_message_code

NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("seconds", "low_bits", "code"),
    [
        (0, 0, None),
        (-300, 0, None),
        (-301, 0, 16),
        (30, 0, None),
        (31, 0, 17),
        (0, 1, 18),
        (0, 3, 18),
        (-NOW, 0, 16),
    ],
)
def test_a_client_gives_ids_of_about_now_that_are_divisible_by_four(
    seconds: int, low_bits: int, code: int | None
) -> None:
    assert bad_message_code((NOW + seconds) << 32 | low_bits, NOW) == code


def test_ids_increase_and_tell_answers_from_pushes() -> None:
    numbering = Numbering()
    ids = [numbering.next_id(answer=n % 3 == 0) for n in range(1000)]
    assert ids == sorted(set(ids))
    assert [i & 3 for i in ids] == [1 if n % 3 == 0 else 3 for n in range(1000)]


def test_content_counts_and_the_rest_does_not() -> None:
    numbering = Numbering()
    assert [numbering.next_seqno(content=c) for c in (True, True, False, True, False)] == [1, 3, 4, 5, 6]


def padded_by_rsa_pad(data: bytes, temporary_key: bytes) -> bytes:
    """RSA_PAD of core.telegram.org/mtproto/auth_key, before the number is raised."""
    with_hash = data[::-1] + sha256(temporary_key + data).digest()
    encrypted = ige_encrypt(with_hash, temporary_key, bytes(32))
    return bytes(a ^ b for a, b in zip(temporary_key, sha256(encrypted).digest(), strict=True)) + encrypted


def test_a_secret_is_read_by_either_scheme_even_if_its_block_begins_with_zero() -> None:
    key = ServerKey.make()
    data = os.urandom(192)
    blocks: dict[bool, bytes] = {}
    while len(blocks) < 2:
        block = padded_by_rsa_pad(data, os.urandom(32))
        if int.from_bytes(block, "big") < key.private.n:
            blocks[block[0] == 0] = block
    old = b"\0" + sha1(data).digest() + data + os.urandom(235 - len(data))
    for block in (*blocks.values(), old):
        number = pow(int.from_bytes(block, "big"), key.public.e, key.public.n)
        assert key.decrypt(number.to_bytes(256, "big"))[:192] == data


def test_a_secret_that_was_not_encrypted_to_this_key_is_refused() -> None:
    key = ServerKey.make()
    with pytest.raises(ValueError, match="neither RSA_PAD"):
        key.decrypt((key.private.n - 5).to_bytes(256, "big"))
