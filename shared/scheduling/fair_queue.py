"""The fair queues of jobs that are not sent yet, so that albums, and the callers of single photos, share the workers.

Every album is a flow of the bulk lane, and every caller one of the interactive lane: a list of jobs in order of
arrival, and the amount of work served so far. The flow
served least is next (start-time fair queueing, Goyal et al. 1996): a new one starts at the level of the least served
of the others, so it waits for none of them and gains nothing by having been idle. Only a few jobs are in the message
queue at a time; the rest waits here, where it can be reordered and removed.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

from shared import redis_keys
from shared.jobs.record import Lane

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline


# Redis runs a script as one step. KEYS: the flows, the flow's jobs. ARGV: the flow, the job.
_PUSH: Final = """
redis.call('RPUSH', KEYS[2], ARGV[2])
local least = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('ZADD', KEYS[1], 'NX', least[2] or 0, ARGV[1])
"""

# KEYS: the flows, the jobs in the message queue. ARGV: now, the prefixes of a flow's jobs and of a job's record, the
# maximum number of jobs in the message queue, which concurrent callers cannot exceed.
_POP: Final = """
while redis.call('ZCARD', KEYS[2]) < tonumber(ARGV[4]) do
    local flow = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
    if not flow then
        return nil
    end
    local job = redis.call('LPOP', ARGV[2] .. flow)
    if not job then
        redis.call('ZREM', KEYS[1], flow)
    else
        local work = redis.pcall('HGET', ARGV[3] .. job, 'work_ms')
        if type(work) == 'string' then
            redis.call('ZINCRBY', KEYS[1], tonumber(work) or 0, flow)
            redis.call('ZADD', KEYS[2], ARGV[1], job)
            return job
        end
    end
end
"""


class FlowKeys(NamedTuple):
    """The keys of the flows of a lane."""

    flows: str
    prefix: str  # of the list of each flow's jobs
    pixels: str
    outstanding: str

    def jobs(self, flow: str) -> str:
        """Return the key of the list of a flow's jobs before they are sent."""
        return f"{self.prefix}{flow}"


FLOWS_OF: Final = {
    Lane.INTERACTIVE: FlowKeys(
        redis_keys.SINGLES, redis_keys.SINGLE_PREFIX, redis_keys.SINGLE_PIXELS, redis_keys.SINGLES_OUTSTANDING
    ),
    Lane.BULK: FlowKeys(redis_keys.FLOWS, redis_keys.FLOW_PREFIX, redis_keys.FLOW_PIXELS, redis_keys.OUTSTANDING),
}


def push(pipe: "Pipeline", lane: Lane, flow: str, job_id: str) -> None:
    """Append a job to its flow, inside the caller's transaction."""
    pipe.eval(_PUSH, 2, FLOWS_OF[lane].flows, FLOWS_OF[lane].jobs(flow), flow, job_id)


def remove(pipe: "Pipeline", lane: Lane, flow: str, job_id: str) -> None:
    """Remove a job, inside the caller's transaction; one that was popped meanwhile is left alone."""
    pipe.lrem(FLOWS_OF[lane].jobs(flow), 1, job_id)


def pop(redis: "Redis", lane: Lane, most: int, *, now: float) -> str | None:
    """Return the next job of a lane and mark it as sent at the time `now`.

    None if there is none, or if `most` jobs are sent already. Its work is read from its record; a job without a
    record is skipped.
    """
    keys = (FLOWS_OF[lane].flows, redis_keys.lane_sent(lane))
    found = redis.eval(_POP, len(keys), *keys, str(now), FLOWS_OF[lane].prefix, redis_keys.JOB_PREFIX, most)
    return None if found is None else str(found)
