"""Sending one message to its receiver: a signed POST, of whose answer only the status is read."""

import asyncio
import ssl
from collections.abc import Collection
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx
from standardwebhooks import Webhook

from shared.webhooks.addresses import DeliveryError, resolve
from shared.webhooks.messages import Message

TIMEOUT_S: Final = 10  # of each step: the connection, the TLS handshake, every read
DEADLINE_S: Final = 20  # of all steps: a receiver that sends a byte now and then stays within the other


def post(message: Message, private_hosts: Collection[str]) -> None:
    """Sign a message and send it once.

    Raises:
        DeliveryError: it was not acknowledged.
    """
    now = datetime.now(UTC)
    address = resolve(message.url, private_hosts)
    headers = {
        "Host": urlsplit(message.url).netloc,
        "Content-Type": "application/json",
        "User-Agent": "Sakuga",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(message.secret).sign(message.id, now, message.body),
    }
    try:
        request = httpx.Request(  # to the address, and still under the name for the certificate
            "POST",
            httpx.URL(message.url).copy_with(host=address),
            content=message.body.encode(),
            headers=headers,
            extensions={"sni_hostname": message.host, "timeout": httpx.Timeout(TIMEOUT_S).as_dict()},
        )
        status = asyncio.run(_status_of_answer(request))
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise DeliveryError(f"{type(error).__name__}") from error
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise DeliveryError(f"The receiver answered {status}.")


async def _status_of_answer(request: httpx.Request) -> int:
    """Send a request and read the head of the answer, no more.

    A coroutine, since one that is blocked can be canceled; a thread cannot.

    Raises:
        httpx.HTTPError: there is no answer.
        TimeoutError: it took longer than `DEADLINE_S`.
    """
    async with httpx.AsyncClient(verify=_trust(), trust_env=False) as client, asyncio.timeout(DEADLINE_S):
        answer = await client.send(request, stream=True)
        await answer.aclose()
    return answer.status_code


@cache
def _trust() -> ssl.SSLContext:
    """Load the trusted certificate authorities once; that takes longer than sending a message."""
    return httpx.create_ssl_context(trust_env=False)
