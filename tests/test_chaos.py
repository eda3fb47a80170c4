"""No photo is lost or duplicated, whatever fails: the quick half of `make chaos`."""

from collections.abc import Iterator

import pytest

from tests.chaos import faults
from tests.chaos.faults import Fault, inject
from tests.chaos.rig import Rig

QUICK = [
    Fault("a child is killed", faults.kill_child, photos=16, again=1),
    Fault("a node is killed", faults.kill_node, photos=16, again=1),
    Fault("a node is paused and wakes", faults.pause_node, photos=16, again=1),
    Fault("the queue is killed", faults.kill_queue, photos=16),
    Fault("a clock jumps", faults.put_clock_forward, photos=16),
    Fault("a photo crashes its process", faults.crash, photos=16, costs={"attempts_exhausted": 1}, again=1),
]

pytestmark = pytest.mark.alone  # killed and paused parts must restart and react in time


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("chaos")) as rig:
        yield rig


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.title)
def test_every_photo_reaches_exactly_one_terminal_state(rig: Rig, fault: Fault[Rig]) -> None:
    outcome = inject(fault, rig, seed=1 + QUICK.index(fault))
    assert (outcome.lost, outcome.twice) == (0, 0)
    assert outcome.failed == fault.costs
    assert outcome.accepted >= fault.photos + len(fault.costs)
    assert outcome.succeeded == outcome.accepted - len(fault.costs)
    assert fault.again is None or outcome.again >= fault.again, "it did no harm"
