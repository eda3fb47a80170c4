"""Webhooks: the end of an album is delivered once, signed, and never to a private address."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from socketserver import BaseRequestHandler, TCPServer, ThreadingTCPServer

import pytest
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from shared.albums.store import Albums
from shared.jobs.record import State
from shared.redis_keys import WEBHOOKS_DUE, webhook_message
from shared.services import Services, connect
from shared.settings import Settings
from shared.usecases.albums import notify_finished
from shared.webhooks import delivery, outbox, senders
from shared.webhooks.addresses import is_public
from shared.webhooks.messages import Message, new_secret
from tests.conftest import ToyEngine, photo_bytes, wait_until
from web.album_schemas import AlbumEnded
from web.app import create_app
from worker import tasks

LOOPBACK = [f"127.0.0.{number}" for number in range(1, 11)]  # all of them point to this machine


@contextmanager
def serving(server: TCPServer) -> Iterator[int]:
    """Run a server on a thread of its own; yield its port."""
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@dataclass
class Receiver:
    """A webhook receiver."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/hook?a=b"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.received.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(found.answers.pop(0) if found.answers else 204)
            self.send_header("Location", found.url)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with serving(HTTPServer(("127.0.0.1", 0), Handler)) as found.port:
        yield found


@pytest.fixture
def trusting(services: Services, settings: Settings) -> Services:
    """Services that may call this machine, with an empty Redis."""
    assert services.redis.ping()
    hosts = ",".join(["localhost", *LOOPBACK])
    return connect(settings.model_copy(update={"webhook_hosts": hosts}))


def ended_album(services: Services, url: str) -> str:
    """Finish an album of one photo; return the secret of its webhook."""
    client = create_app(services).test_client()
    made = client.post("/api/v1/albums", json={"webhook": url, "name": "Trip"})
    assert made.status_code == 201, made.text
    client.put(f"{made.headers['Location']}/photos/a.png", data=photo_bytes(), content_type="image/png")
    work(services)
    return str(made.json["webhook_secret"] if made.json else "")


def work(services: Services) -> None:
    """Convert waiting jobs, and look for finished albums, as a worker node does."""
    while convert_one(services):
        pass
    notify_finished(services)


def convert_one(services: Services) -> bool:
    """Convert one photo; returns whether there was one."""
    message = services.redis.rpop("bulk")
    if message:
        tasks.convert(json.loads(str(message))["headers"]["id"], services, lambda _: ToyEngine())
    return message is not None


def put(services: Services, message_id: str, url: str, *, caller: str = "public") -> None:
    services.webhooks.put(Message(message_id, url, new_secret(), "{}", caller), keep_s=60)


def make_due(services: Services) -> None:
    for message in services.redis.zrange(WEBHOOKS_DUE, 0, -1):
        services.redis.zadd(WEBHOOKS_DUE, {str(message): 0})


def test_the_end_of_an_album_is_delivered_signed(trusting: Services, receiver: Receiver) -> None:
    secret = ended_album(trusting, receiver.url)
    assert trusting.webhooks.send_due() == 1
    ((headers, data),) = receiver.received
    payload = Webhook(secret).verify(data, headers)
    assert payload["type"] == "album.ended"
    AlbumEnded.model_validate(payload, extra="forbid")
    assert payload["timestamp"].endswith("Z")
    assert payload["data"]["counts"] == dict.fromkeys(State, 0) | {"succeeded": 1}
    assert payload["data"]["name"] == "Trip"
    assert headers["Host"] == f"localhost:{receiver.port}"
    assert trusting.webhooks.send_due() == 0


def test_delivery_is_retried_under_the_same_id_until_acknowledged(trusting: Services, receiver: Receiver) -> None:
    receiver.answers = [500, 302]
    ended_album(trusting, receiver.url)
    for _ in range(3):
        trusting.webhooks.send_due()
        make_due(trusting)
    assert len(receiver.received) == 3
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1
    assert trusting.redis.zcard(WEBHOOKS_DUE) == 0


def test_a_receiver_that_never_acknowledges_is_given_up(trusting: Services) -> None:
    ended_album(trusting, "http://localhost:9/")
    tries = 0
    while trusting.redis.zcard(WEBHOOKS_DUE):
        make_due(trusting)
        assert trusting.webhooks.send_due() == 0
        tries += 1
    assert tries == 8


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "[::1]", "[::ffff:10.0.0.1]", "10.1.2.3", "169.254.169.254", "0.0.0.0"],  # noqa: S104  called, not bound
)
def test_private_addresses_are_never_called(services: Services, receiver: Receiver, host: str) -> None:
    put(services, "msg_1", f"http://{host}:{receiver.port}/")
    assert services.webhooks.send_due() == 0
    assert receiver.received == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "[::1]",
        "10.1.2.3:8080",
        "169.254.169.254",
        "0",
        "127.0.0.1.",
        "127.1.",
        "0x7f.1",
        "0X7F000001",
        "2130706433",
        "017700000001",
        "192.0.0.192",
        "[::ffff:0:7f00:1]",
    ],
)
def test_private_urls_are_refused_at_once_unless_the_operator_allows_them(
    services: Services, settings: Settings, host: str
) -> None:
    refused = create_app(services).test_client().post("/api/v1/albums", json={"webhook": f"http://{host}/"})
    assert refused.status_code == 422
    assert "SAKUGA_WEBHOOK_HOSTS" in refused.text
    allowing = connect(settings.model_copy(update={"webhook_hosts": "localhost, 10.1.2.3"}))
    for url in ("http://localhost:8000/", "http://10.1.2.3/"):
        made = create_app(allowing).test_client().post("/api/v1/albums", json={"webhook": url})
        assert made.status_code == 201
    allowing.redis.close()


def test_a_host_name_is_resolved_only_at_delivery(services: Services) -> None:
    client = create_app(services).test_client()
    assert client.post("/api/v1/albums", json={"webhook": "http://intranet.example/"}).status_code == 201


def test_the_payload_is_documented(services: Services) -> None:
    client = create_app(services).test_client()
    document = client.get("/openapi.json").json
    assert document
    call = document["webhooks"]["album.ended"]["post"]
    assert call["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/AlbumEnded")
    assert {given["name"] for given in call["parameters"]} == {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
    page = client.get("/docs").text
    assert 'id="album.ended"' in page
    assert "SAKUGA_WEBHOOK_HOSTS" in page


@pytest.fixture
def dripping() -> Iterator[str]:
    """The URL of a server that sends a byte now and then, and never finishes its headers."""
    is_over = threading.Event()

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            with suppress(OSError):
                while not is_over.wait(0.05):
                    self.request.sendall(b"x")

    with serving(ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}/"
        is_over.set()


def test_a_dripping_receiver_is_cut_off_at_the_deadline_and_the_others_are_called(
    trusting: Services, receiver: Receiver, dripping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT_S", 600)  # only the deadline ends it
    monkeypatch.setattr(delivery, "DEADLINE_S", 1)
    slow = [f"msg_{number}" for number in range(senders.SENDERS_PER_HOST)]
    for message_id in slow:
        put(trusting, message_id, dripping)
    put(trusting, "msg_heard", receiver.url)
    assert trusting.webhooks.send_due() == 1
    assert [headers["webhook-id"] for headers, _ in receiver.received] == ["msg_heard"]
    assert [trusting.redis.hget(f"sakuga:webhook:{message_id}", "tries") for message_id in slow] == ["1"] * len(slow)


def test_a_message_is_sent_by_one_node_for_longer_than_sending_may_take() -> None:
    assert delivery.DEADLINE_S < outbox.CLAIM_S


def test_a_message_enqueued_twice_is_sent_once(trusting: Services, receiver: Receiver) -> None:
    put(trusting, "msg_1", receiver.url)
    put(trusting, "msg_1", "http://localhost:9/")
    assert trusting.webhooks.send_due() == 1


def test_an_unexpected_error_in_delivery_is_logged_and_retried(
    trusting: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    put(trusting, "msg_1", receiver.url)
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(outbox, "post", fail)
        (sending,) = trusting.webhooks.start_due()
        assert isinstance(sending.exception(), RuntimeError)
        wait_until(lambda: len(logs) == 1, "it is logged")
    make_due(trusting)
    assert trusting.webhooks.send_due() == 1


@dataclass
class Silent:
    """A server that accepts requests and does not respond until the test is over."""

    port: int = 0
    asked: list[object] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def url(self, host: str) -> str:
        return f"http://{host}:{self.port}/"


@pytest.fixture
def silent() -> Iterator[Silent]:
    found = Silent()

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            found.asked.append(self.client_address)
            found.is_over.wait()

    with serving(ThreadingTCPServer(("0.0.0.0", 0), Handler)) as found.port:  # noqa: S104  every address of `LOOPBACK`
        yield found
        found.is_over.set()


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set timeouts that no test reaches, so that messages cannot proceed merely because one expires."""
    monkeypatch.setattr(delivery, "TIMEOUT_S", 600)
    monkeypatch.setattr(delivery, "DEADLINE_S", 600)


@pytest.mark.usefixtures("_patient")
def test_ten_silent_receivers_of_one_caller_keep_no_other_waiting(
    trusting: Services, receiver: Receiver, silent: Silent
) -> None:
    for number in range(50):
        put(trusting, f"msg_{number}", silent.url(LOOPBACK[number % 10]), caller="mallory")
    sending = trusting.webhooks.start_due()
    wait_until(lambda: len(silent.asked) == senders.SENDERS_PER_CALLER, "as many senders as may are waiting")
    put(trusting, "msg_heard", receiver.url, caller="alice")
    sending += trusting.webhooks.start_due()
    wait_until(lambda: len(receiver.received) == 1, "the other is told")
    assert not any(one.done() for one in sending[:-1])
    silent.is_over.set()
    assert [one.result() for one in sending] == [False] * senders.SENDERS_PER_CALLER + [True]


@pytest.mark.usefixtures("_patient")
def test_a_silent_receiver_of_many_callers_keeps_no_other_waiting(
    trusting: Services, receiver: Receiver, silent: Silent
) -> None:
    for number in range(50):
        put(trusting, f"msg_{number}", silent.url("127.0.0.1"), caller=f"caller {number}")
    put(trusting, "msg_heard", receiver.url, caller="caller 0")
    sending = trusting.webhooks.start_due()
    wait_until(lambda: len(receiver.received) == 1, "the other is told")
    assert len(sending) == senders.SENDERS_PER_HOST + 1
    silent.is_over.set()
    assert sum(one.result() for one in sending) == 1


def calls(services: Services) -> dict[str, int]:
    """Return how often each command was called since the counts were reset."""
    found = services.redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(counted["calls"]) for name, counted in found.items()}


@pytest.mark.usefixtures("_patient")
def test_only_messages_with_a_free_sender_are_read(trusting: Services, silent: Silent) -> None:
    for number in range(50):
        put(trusting, f"msg_{number:02}", silent.url("127.0.0.1"))
    trusting.redis.config_resetstat()
    sending = trusting.webhooks.start_due()
    wait_until(lambda: len(silent.asked) == senders.SENDERS_PER_HOST, "as many senders as may are waiting")
    assert calls(trusting)["hgetall"] == len(sending) == senders.SENDERS_PER_HOST
    silent.is_over.set()
    assert not any(one.result() for one in sending)


@pytest.mark.usefixtures("_patient")
def test_no_message_is_claimed_while_no_sender_is_free(trusting: Services, receiver: Receiver, silent: Silent) -> None:
    for number in range(senders.SENDERS):
        url = silent.url(LOOPBACK[number // senders.SENDERS_PER_HOST])
        put(trusting, f"msg_{number}", url, caller=f"caller {number // senders.SENDERS_PER_CALLER}")
    sending = trusting.webhooks.start_due()
    wait_until(lambda: len(silent.asked) == senders.SENDERS, "all senders are waiting")
    put(trusting, "msg_late", receiver.url, caller="alice")
    due = trusting.redis.zscore(WEBHOOKS_DUE, "msg_late")
    trusting.redis.config_resetstat()
    assert trusting.webhooks.start_due() == []
    assert calls(trusting).keys() <= {"config|resetstat", "info"}
    assert trusting.redis.zscore(WEBHOOKS_DUE, "msg_late") == due
    silent.is_over.set()
    assert not any(one.result() for one in sending)
    assert trusting.webhooks.send_due() == 1


@pytest.mark.usefixtures("_patient")
def test_a_crowded_receiver_delays_no_other(
    trusting: Services, receiver: Receiver, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_WAITING", 40)
    for number in range(200):
        put(trusting, f"msg_{number:03}", silent.url("127.0.0.1"), caller="mallory")
    put(trusting, "msg_heard", receiver.url, caller="alice")
    sending = trusting.webhooks.start_due()
    assert len(sending) == senders.SENDERS_PER_HOST, "the others are older"
    for _ in range(5):
        sending += trusting.webhooks.start_due()
    wait_until(lambda: len(receiver.received) == 1, "the other is told")
    silent.is_over.set()
    assert sum(one.result() for one in sending) == 1


def test_a_message_that_finds_no_free_sender_is_delivered_in_turn(trusting: Services, receiver: Receiver) -> None:
    count = 2 * senders.SENDERS_PER_HOST + 1
    for number in range(count):
        put(trusting, f"msg_{number}", receiver.url)
    for sent in (senders.SENDERS_PER_HOST, senders.SENDERS_PER_HOST, 1):
        assert trusting.webhooks.send_due() == sent
        make_due(trusting)
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == count
    assert trusting.redis.zcard(WEBHOOKS_DUE) == 0


@pytest.mark.usefixtures("_patient")
def test_a_message_being_sent_by_one_node_is_left_alone_by_another(
    trusting: Services, receiver: Receiver, silent: Silent, settings: Settings
) -> None:
    another = connect(settings.model_copy(update={"webhook_hosts": "localhost,127.0.0.1"}))
    put(trusting, "msg_1", silent.url("127.0.0.1"))
    (sending,) = trusting.webhooks.start_due()
    assert another.webhooks.start_due() == []
    silent.is_over.set()
    assert not sending.result()
    make_due(trusting)
    trusting.redis.hset("sakuga:webhook:msg_1", "url", receiver.url)
    assert another.webhooks.send_due() == 1
    another.redis.close()


@pytest.mark.usefixtures("_patient")
def test_a_message_that_expires_while_it_is_sent_is_forgotten(trusting: Services, silent: Silent) -> None:
    put(trusting, "msg_1", silent.url("127.0.0.1"))
    (sending,) = trusting.webhooks.start_due()
    trusting.redis.delete("sakuga:webhook:msg_1")
    silent.is_over.set()
    assert not sending.result()
    assert trusting.redis.keys("sakuga:webhook*") == []


def test_what_an_earlier_release_left_of_an_expired_message_is_forgotten(trusting: Services) -> None:
    trusting.redis.hset(webhook_message("msg_1"), "tries", "1")
    trusting.redis.zadd(WEBHOOKS_DUE, {"msg_1": 0})
    assert trusting.webhooks.send_due() == 0
    assert trusting.redis.keys("sakuga:webhook*") == []


def test_a_delivered_message_keeps_no_contents_in_redis(trusting: Services, receiver: Receiver) -> None:
    put(trusting, "msg_1", receiver.url)
    assert trusting.webhooks.send_due() == 1
    assert set(trusting.redis.hkeys(webhook_message("msg_1"))) == {"caller", "tries"}


@pytest.mark.parametrize(
    "url", ["ftp://example.com", "example.com/hook", "https://user:pw@example.com/", "http://", "http://x:99999/"]
)
def test_invalid_urls_are_refused_at_once(services: Services, url: str) -> None:
    client = create_app(services).test_client()
    refused = client.post("/api/v1/albums", json={"webhook": url})
    assert refused.status_code == 422
    assert "https://" in refused.text


def test_an_album_that_ends_again_is_delivered_again(trusting: Services, receiver: Receiver) -> None:
    client = create_app(trusting).test_client()
    album = str(client.post("/api/v1/albums", json={"webhook": receiver.url}).headers["Location"])
    for seed in range(2):
        photos = [(BytesIO(photo_bytes(seed=seed)), f"{seed}.png")]
        client.post(f"{album}/photos", data={"photos": photos})
        work(trusting)
        trusting.webhooks.send_due()
    assert [json.loads(data)["data"]["counts"]["succeeded"] for _, data in receiver.received] == [1, 2]


def test_a_photo_that_ends_while_its_album_is_looked_at_is_not_lost(
    trusting: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = create_app(trusting).test_client()
    album = str(client.post("/api/v1/albums", json={"webhook": receiver.url}).headers["Location"])
    for seed in range(2):
        client.put(f"{album}/photos/{seed}.png", data=photo_bytes(seed=seed), content_type="image/png")
    counts_at = Albums.counts_at

    def before_the_last_ended(self: Albums, album_id: str) -> tuple[dict[State, int], str]:
        found = counts_at(self, album_id)
        monkeypatch.setattr(Albums, "counts_at", counts_at)
        convert_one(trusting)
        return found

    convert_one(trusting)
    monkeypatch.setattr(Albums, "counts_at", before_the_last_ended)
    for _ in range(3):
        notify_finished(trusting)
        trusting.webhooks.send_due()
    assert [json.loads(data)["data"]["counts"]["succeeded"] for _, data in receiver.received] == [2]
    assert trusting.albums.unnotified(9) == []


@pytest.mark.parametrize(
    "address",
    [
        "fec0::1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1:ffff::8.8.8.8",
        "2002:7f00:1::",
        "::169.254.169.254",
        "::8.8.8.8",
        "::1",
        "fd00::1",
        "10.0.0.1",
        "224.0.0.1",
        "192.0.0.192",
        "192.88.99.1",
        "168.63.129.16",
        "100.100.100.200",
        "::ffff:0:127.0.0.1",
        "::ffff:10.0.0.1",
        "2001:0:7f00:1::",
        "3fff::1",
        "5f00::1",
        "4000::1",
    ],
)
def test_private_addresses_are_recognised(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_public_addresses_are_recognised(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "a..b",
        "x" * 64 + ".com",
        "a." * 127 + "com",
        "exa mple.com",
        "a%20b",
        "ex%61mple.com",
        "-a.com",
        "a,b",
        "1.2.3.4.5",
        "example.256",
        "[::g]",
        "[1.2.3.4]",
    ],
)
def test_an_impossible_host_name_is_refused_at_once(services: Services, host: str) -> None:
    client = create_app(services).test_client()
    assert client.post("/api/v1/albums", json={"webhook": f"https://{host}/"}).status_code == 422
