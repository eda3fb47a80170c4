"""The event stream of an album."""

import json
import re

from flask.testing import FlaskClient

from shared.services import Services
from tests.albums import put, work


def test_an_album_without_photos_has_not_ended(client: FlaskClient, services: Services, album: str) -> None:
    stream = client.get(f"{album}/events").iter_encoded()
    first = next(stream).decode()
    seen = re.findall(r"id: (\S+)", first)
    assert first.count("event: progress") == 1
    put(client, album, "1.png")
    work(services)
    assert "event: done" in b"".join(stream).decode()
    again = client.get(f"{album}/events", headers={"Last-Event-ID": seen[0]})
    assert "event: done" in again.text


def test_events_missed_by_a_listener_are_sent_before_the_end(
    client: FlaskClient, services: Services, album: str
) -> None:
    put(client, album, "first.png", 1)
    seen = services.albums.last_event(album.rpartition("/")[2])
    put(client, album, "second.png", 2)
    work(services)
    stream = client.get(f"{album}/events", headers={"Last-Event-ID": seen}).text
    events = re.findall(r"event: (\w+)\ndata: (.*)", stream)
    reported = {
        photo["name"]: photo["state"] for kind, data in events if kind == "state" and (photo := json.loads(data))
    }
    assert reported == {"first.png": "succeeded", "second.png": "succeeded"}
    assert events[-1][0] == "done"
