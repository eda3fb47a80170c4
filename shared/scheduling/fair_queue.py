"""The fair queues of jobs that are not sent yet, so that callers, and the albums of each, share the workers.

Every album is a flow of the bulk lane, and the single photos of a caller are one of the interactive lane: a list of
jobs in order of arrival. Parties take turns, and the flows of each within its turns: callers with their albums or,
where all are one caller, the albums themselves; a party whose only flow is itself has no second level. The party served
least is next, and of its flows that served least (start-time fair queueing, Goyal et al. 1996): a new one starts at the
level of the least served of the others, so it waits for none of them and gains nothing by having been idle. Only a few
jobs are in the message queue at a time; the rest waits here, where it can be reordered and removed.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

from shared import redis_keys
from shared.jobs.record import Job, Lane

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline


# Redis runs a script as one step. What those that add a job have in common; returns how many were not there.
JOIN: Final = """
local function join(parties, party, flow)
    local function enter(turns, name)
        local least = redis.call('ZRANGE', turns, 0, 0, 'WITHSCORES')
        return redis.call('ZADD', turns, 'NX', least[2] or 0, name)
    end
    return enter(parties, party) + (flow == party and 0 or enter(parties .. ':' .. party, flow))
end
"""

# KEYS: the parties, the flow's jobs. ARGV: the party, the flow, the job.
_PUSH: Final = (
    JOIN
    + """
redis.call('RPUSH', KEYS[2], ARGV[3])
join(KEYS[1], ARGV[1], ARGV[2])
"""
)

# KEYS: the parties, the jobs in the message queue. ARGV: now, the prefixes of a flow's jobs and of a job's record, the
# maximum number of jobs in the message queue, which concurrent callers cannot exceed.
_POP: Final = """
while redis.call('ZCARD', KEYS[2]) < tonumber(ARGV[4]) do
    local party = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
    if not party then
        return nil
    end
    local flows = KEYS[1] .. ':' .. party
    local flow = redis.call('ZRANGE', flows, 0, 0)[1]
    local job = redis.call('LPOP', ARGV[2] .. (flow or party))
    if not job then
        redis.call('ZREM', flow and flows or KEYS[1], flow or party)
    else
        local work = redis.pcall('HGET', ARGV[3] .. job, 'work_ms')
        if type(work) == 'string' then
            redis.call('ZINCRBY', KEYS[1], tonumber(work) or 0, party)
            if flow then
                redis.call('ZINCRBY', flows, tonumber(work) or 0, flow)
            end
            redis.call('ZADD', KEYS[2], ARGV[1], job)
            return job
        end
    end
end
"""


class FlowKeys(NamedTuple):
    """The keys of the parties of a lane, and of their flows."""

    parties: str
    prefix: str  # of the list of each flow's jobs
    pixels: str
    outstanding: str

    def flows(self, party: str) -> str:
        """Return the key of the flows of a party that are not the party itself; scripts make it, too."""
        return f"{self.parties}:{party}"

    def work_of(self, party: str, flow: str) -> list[tuple[str, str]]:
        """Return the keys and names under which the work of a flow is counted: its own, then that of its party."""
        own = [] if flow == party else [(f"{self.outstanding}:{party}", flow)]
        return [*own, (self.outstanding, party)]

    def jobs(self, flow: str) -> str:
        """Return the key of the list of a flow's jobs before they are sent."""
        return f"{self.prefix}{flow}"


FLOWS_OF: Final = {
    Lane.INTERACTIVE: FlowKeys(
        redis_keys.SINGLES, redis_keys.SINGLE_PREFIX, redis_keys.SINGLE_PIXELS, redis_keys.SINGLES_OUTSTANDING
    ),
    Lane.BULK: FlowKeys(redis_keys.FLOWS, redis_keys.FLOW_PREFIX, redis_keys.FLOW_PIXELS, redis_keys.OUTSTANDING),
}


def push(pipe: "Pipeline", job: Job) -> None:
    """Append a job to its flow, inside the caller's transaction."""
    keys = FLOWS_OF[job.lane]
    pipe.eval(_PUSH, 2, keys.parties, keys.jobs(job.flow), job.party, job.flow, job.id)


def remove(pipe: "Pipeline", job: Job) -> None:
    """Remove a job, inside the caller's transaction; one that was popped meanwhile is left alone."""
    pipe.lrem(FLOWS_OF[job.lane].jobs(job.flow), 1, job.id)


def pop(redis: "Redis", lane: Lane, most: int, *, now: float) -> str | None:
    """Return the next job of a lane and mark it as sent at the time `now`.

    None if there is none, or if `most` jobs are sent already. Its work is read from its record; a job without a
    record is skipped.
    """
    keys = (FLOWS_OF[lane].parties, redis_keys.lane_sent(lane))
    found = redis.eval(_POP, len(keys), *keys, str(now), FLOWS_OF[lane].prefix, redis_keys.JOB_PREFIX, most)
    return None if found is None else str(found)
