"""A second, independent client (own codec, own crypto) on the local Telegram. A script: prints one line of JSON.

python kurigram_client.py PORT PUBLIC_KEY_FILE PHONE CODE PASSWORD-or-"" FOLDER TRANSPORT
It signs in, reads the first channel's history, says "ready", and waits for a push of each kind.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import rsa as rsa_package
from pyrogram import Client, filters, handlers
from pyrogram.connection import Connection
from pyrogram.connection.transport import tcp
from pyrogram.crypto import rsa
from pyrogram.errors import SessionPasswordNeeded

from telewarden.sandbox.telegram.crypto import server_fingerprint

_TIMEOUT_S = 20.0


def trust(public_key_file: Path) -> None:
    """Add the local server's key to those that the client knows."""
    key = rsa_package.PublicKey.load_pkcs1(public_key_file.read_bytes())
    rsa.server_public_keys[server_fingerprint(key)] = rsa.PublicKey(key.n, key.e)


async def main(
    port: int, phone: str, code: str, password: str, folder: str, transport: str
) -> dict[str, Any]:
    """Do it all; what was seen."""

    def local(**options: Any) -> Connection:
        chosen = {"server_address": "127.0.0.1", "port": port, "protocol_factory": getattr(tcp, transport)}
        return Connection(**{**options, **chosen})

    factory: Any = local
    client = Client("kurigram", 1, "0" * 32, workdir=folder, connection_factory=factory, workers=1)
    pushed: dict[str, Any] = {}
    complete = asyncio.Event()

    def saw(kind: str, value: Any) -> None:
        pushed[kind] = value
        if len(pushed) == 3:
            complete.set()

    async def posted(_: Client, message: Any) -> None:
        saw("posted", message.text)

    async def edited(_: Client, message: Any) -> None:
        saw("edited", message.text)

    async def deleted(_: Client, messages: Any) -> None:
        saw("deleted", [message.id for message in messages])

    client.add_handler(handlers.MessageHandler(posted, filters.channel))
    client.add_handler(handlers.EditedMessageHandler(edited, filters.channel))
    client.add_handler(handlers.DeletedMessagesHandler(deleted))
    await client.connect()
    sent = await client.send_phone_number_code(phone)
    try:
        user = await client.sign_in(phone, sent.phone_code_hash, code)
        second_step = False
    except SessionPasswordNeeded:
        user = await client.check_password(password)
        second_step = True
    await client.initialize()
    dialogs: list[Any] = [dialog.chat async for dialog in client.get_dialogs()]
    first = min(dialogs, key=lambda chat: -chat.id)
    history = [message.text async for message in client.get_chat_history(first.id)]
    print("ready", flush=True)
    async with asyncio.timeout(_TIMEOUT_S):
        await complete.wait()
    await client.terminate()
    await client.disconnect()
    return {
        "user": getattr(user, "first_name", None),
        "second_step": second_step,
        "channels": sorted(chat.id for chat in dialogs),
        "history": history,
        **pushed,
    }


if __name__ == "__main__":
    trust(Path(sys.argv[2]))
    found = asyncio.run(main(int(sys.argv[1]), *sys.argv[3:8]))
    print(json.dumps(found), flush=True)
