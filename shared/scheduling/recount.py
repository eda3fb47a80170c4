"""The recount of unfinished jobs, which goes on for many steps while jobs come and go.

It passes through all jobs in the order in which they expire. A job's place in that order is fixed while it is
unfinished, so every change is either of a job that is still ahead, and will be counted as it is then, or of one that
has been counted: then the observer changes the count as well, in the transaction of the job. At the end the count is
exact, although no step has seen more than a few jobs.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

from shared import redis_keys
from shared.jobs.observer import Change, Observer
from shared.jobs.record import Job, State

if TYPE_CHECKING:
    from redis.client import Pipeline

# Of each job its party is counted, too, and its flow if that is another.
ADD: Final = """
local sums = {}

local function sum(field, number)
    sums[field] = (sums[field] or 0) + number
end

local function add(lane, party, flow, jobs, pixels, ms)
    sum('jobs ' .. lane, jobs)
    for _, name in ipairs({lane, lane .. ' ' .. party}) do
        sum('pixels ' .. name, pixels)
        sum('ms ' .. name, ms)
    end
    if flow ~= party then
        sum('ms ' .. lane .. ' ' .. party .. ' ' .. flow, ms)
    end
end

local function write(recount)
    for field, number in pairs(sums) do
        redis.call('HINCRBY', recount, field, number)
    end
end
"""

# Redis runs a script as one step. KEYS: the recount. ARGV: when the job expires, its lane, party and flow, by how
# much the queued jobs, their pixels and the unfinished work change.
_FOLLOW: Final = (
    ADD
    + """
local counted_until = redis.call('HGET', KEYS[1], 'counted_until')
if counted_until and tonumber(ARGV[1]) <= tonumber(counted_until) then
    add(unpack(ARGV, 2))
    write(KEYS[1])
end
"""
)


class _Share(NamedTuple):
    """The amounts that a job adds to the totals of its lane, party and flow."""

    jobs: int
    pixels: int
    ms: int


class Recount(Observer):
    """Keeps what has been counted so far up to date."""

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """Change the count if the job has been counted."""
        before, after = _share(change.before), _share(change.after)
        if before != after:
            # a job expires at another time only once it has finished, and then has no share any more
            job = change.before if change.before and any(before) else change.job
            by = (new - old for old, new in zip(before, after, strict=True))
            pipe.eval(_FOLLOW, 1, redis_keys.RECOUNT, repr(job.expires_at), job.lane, job.party, job.flow, *by)


def _share(job: Job | None) -> _Share:
    if job is None or job.ended:
        return _Share(0, 0, 0)
    is_queued = job.state is State.QUEUED
    return _Share(int(is_queued), job.pixels if is_queued else 0, job.work_ms)
