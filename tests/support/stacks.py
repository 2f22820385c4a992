"""What a consumer of a running stack sees."""

import anyio
import httpx

from telewarden.sandbox.stack import Stack


def consumer(stack: Stack) -> httpx.AsyncClient:
    """A client of the API with the consumer's key."""
    headers = {"X-API-Key": stack.daemon.api_key}
    return httpx.AsyncClient(base_url=stack.daemon.url, headers=headers, trust_env=False)


async def polled(stack: Stack, channel_id: int) -> list[str]:
    """The texts that a poll gives; the status alone where it is not 200."""
    async with consumer(stack) as client:
        answer = await client.get("/api/messages/unprocessed", params={"channel": str(channel_id)})
    if answer.status_code != 200:
        return [f"{answer.status_code}"]
    return [message["text"] for message in answer.json()["data"]]


async def stored(stack: Stack, count: int) -> None:
    """Until the database has so many messages."""
    with anyio.fail_after(30):
        while len(await stack.rows()) < count:
            await anyio.sleep(0.05)
