"""Corrects the lists and totals that are kept beside the records, where they have drifted from them.

They change in one transaction with each record, so they differ only after something outside of it: Redis removed a
record that no worker could expire, a record is damaged, a key was deleted by hand. The records are authoritative. Only
their fields `state`, `lane`, `pixels`, `work_ms`, `album`, `caller` and `expires_at` are read, so these keep their
meaning in every version.

However many jobs there are, every step is short: Redis answers others in between.
"""

import secrets
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, cast

from shared import redis_keys
from shared.callers.api_keys import PUBLIC_ID
from shared.jobs.record import Lane, State
from shared.scheduling.fair_queue import FLOWS_OF, JOIN
from shared.scheduling.recount import ADD

if TYPE_CHECKING:
    from redis import Redis

PAGE: Final = 100  # jobs, or flows, per step
RECOUNT_TTL_S: Final = 3600  # after its last step
_END: Final = 1e300  # later than any job expires

# Redis runs a script as one step. What those of jobs have in common: ARGV: the prefix of a job's record.
_READ: Final = (
    JOIN
    + f"local everyone = '{PUBLIC_ID}'\n"
    + """
local names = {'state', 'lane', 'pixels', 'work_ms', 'album', 'caller', 'expires_at'}

local function read(id)
    local job, found = {}, redis.pcall('HMGET', ARGV[1] .. id, unpack(names))
    for place, name in ipairs(names) do
        local is_json, value = pcall(cjson.decode, found[place])
        job[name] = is_json and value ~= cjson.null and value or nil
    end
    job.flow = job.album or job.caller
    job.party = job.caller == everyone and job.flow or job.caller
    local numbers = type(job.pixels) == 'number' and type(job.work_ms) == 'number'
    local is_known = job.lane == 'interactive' or job.lane == 'bulk'
    local has_place = type(job.flow) == 'string' and type(job.party) == 'string'
    return numbers and is_known and has_place and job or {}
end
"""
)

# Remove what does not belong on a list, and let the rest expire. KEYS: the jobs by expiry, the list if it is a sorted
# set. ARGV: and the state of the jobs that belong there, and some of them.
_CLEAN: Final = (
    _READ
    + """
local wrong = 0
for place = 3, #ARGV do
    local id = ARGV[place]
    local job = read(id)
    if job.state ~= ARGV[2] then
        wrong = wrong + (KEYS[2] and redis.call('ZREM', KEYS[2], id) or 0)
    elseif type(job.expires_at) == 'number' then
        wrong = wrong + redis.call('ZADD', KEYS[1], 'NX', string.format('%.17g', job.expires_at), id)
    end
end
return wrong
"""
)

# Count the next jobs, and find a place for those that have none; nil if another recount has begun meanwhile. KEYS: the
# recount, the jobs by expiry, the leases, then of the interactive and of the bulk lane: the parties, what is sent.
# ARGV: and the prefixes of a flow's jobs in both lanes, the recount's id, how many jobs, the time to live of the
# recount, when all have expired.
_COUNT: Final = (
    ADD
    + _READ
    + """
local recount, expiry, leases = KEYS[1], KEYS[2], KEYS[3]
local parties, sent = {interactive = KEYS[4], bulk = KEYS[6]}, {interactive = KEYS[5], bulk = KEYS[7]}
local prefix = {interactive = ARGV[2], bulk = ARGV[3]}

local function place(id, job)
    if job.state == 'running' then
        return redis.call('ZADD', leases, 'NX', 0, id)
    elseif redis.call('ZSCORE', sent[job.lane], id) then
        return 0
    elseif not redis.call('LPOS', prefix[job.lane] .. job.flow, id) then
        redis.call('RPUSH', prefix[job.lane] .. job.flow, id)
        join(parties[job.lane], job.party, job.flow)
        return 1
    end
    return join(parties[job.lane], job.party, job.flow)
end

if redis.call('HGET', recount, 'id') ~= ARGV[4] then
    return nil
end
local from = '(' .. redis.call('HGET', recount, 'counted_until')
local last = redis.call('ZRANGEBYSCORE', expiry, from, '+inf', 'WITHSCORES', 'LIMIT', ARGV[5] - 1, 1)[2] or ARGV[7]
local placed = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', expiry, from, last)) do
    local job = read(id)
    if job.state == 'queued' then
        placed = placed + place(id, job)
        add(job.lane, job.party, job.flow, 1, job.pixels, job.work_ms)
    elseif job.state == 'running' then
        placed = placed + place(id, job)
        add(job.lane, job.party, job.flow, 0, 0, job.work_ms)
    end
end
write(recount)
redis.call('HSET', recount, 'counted_until', last)
redis.call('EXPIRE', recount, ARGV[6])
return {placed, last == ARGV[7] and 1 or 0}
"""
)

# Set totals to what was counted. KEYS: the recount, totals. ARGV: the recount's id, ...
_SET: Final = """
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then
    return 0
end

local function counted(field)
    return tonumber(redis.call('HGET', KEYS[1], field) or 0)
end

local function set(key, field, number)
    if tonumber(redis.call('HGET', key, field) or 0) == number then
        return 0
    end
    redis.call('HSET', key, field, string.format('%.0f', number))
    return 1
end
"""

# ... the lane.
_SET_LANE: Final = (
    _SET
    + """
local submitted_ms = tonumber(redis.call('HGET', KEYS[2], 'submitted_ms') or 0) or 0
return set(KEYS[2], 'jobs', counted('jobs ' .. ARGV[2]))
    + set(KEYS[2], 'pixels', counted('pixels ' .. ARGV[2]))
    + set(KEYS[2], 'finished_ms', submitted_ms - counted('ms ' .. ARGV[2]))
"""
)

# ... "pixels" or "ms" and the lane, and some parties, or parties with a space and one of their flows; one without any
# leaves nothing behind.
_SET_SHARES: Final = (
    _SET
    + """
local wrong = 0
for place = 3, #ARGV do
    local number = counted(ARGV[2] .. ' ' .. ARGV[place])
    local party, flow = string.match(ARGV[place], '^(.*) (.*)$')
    local key, name = party and KEYS[2] .. ':' .. party or KEYS[2], flow or ARGV[place]
    if number == 0 then
        wrong = wrong + redis.call('HDEL', key, name)
    else
        wrong = wrong + set(key, name, number)
    end
end
return wrong
"""
)

# Stop following the changes of jobs. KEYS: the recount. ARGV: its id.
_STOP: Final = """
if redis.call('HGET', KEYS[1], 'id') == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
"""

_SENT: Final = (redis_keys.lane_sent(Lane.INTERACTIVE), redis_keys.lane_sent(Lane.BULK))


def reconcile(redis: "Redis") -> Iterator[int]:
    """Correct the lists and totals of unfinished jobs step by step; yield how many entries each step found wrong."""
    yield from _clean(redis)
    recount_id = secrets.token_hex(8)
    with redis.pipeline() as pipe:
        pipe.delete(redis_keys.RECOUNT)
        pipe.hset(redis_keys.RECOUNT, mapping={"id": recount_id, "counted_until": -1})
        pipe.expire(redis_keys.RECOUNT, RECOUNT_TTL_S)
        pipe.execute()
    yield from _count(redis, recount_id)
    for lane in Lane:
        yield int(redis.eval(_SET_LANE, 2, redis_keys.RECOUNT, redis_keys.lane_totals(lane), recount_id, lane))
    for lane, keys in FLOWS_OF.items():
        yield from _set_shares(redis, recount_id, f"pixels {lane}", keys.pixels)
        yield from _set_shares(redis, recount_id, f"ms {lane}", keys.outstanding)
    redis.eval(_STOP, 1, redis_keys.RECOUNT, recount_id)


def _clean(redis: "Redis") -> Iterator[int]:
    """Clean the lists in the order in which a job passes through them: so none is missed on the way."""
    for keys in FLOWS_OF.values():
        for party in _each(redis.zscan, keys.parties):
            for flow in chain([party], _each(redis.zscan, keys.flows(party))):
                yield from _clean_flow(redis, keys.jobs(flow))
    for key, state in ((_SENT[0], State.QUEUED), (_SENT[1], State.QUEUED), (redis_keys.LEASES, State.RUNNING)):
        for ids in _pages(redis.zscan, key):
            yield int(redis.eval(_CLEAN, 2, redis_keys.EXPIRY, key, redis_keys.JOB_PREFIX, state, *ids))


def _clean_flow(redis: "Redis", key: str) -> Iterator[int]:
    """Go through a flow from its end, which stays where it is while jobs are taken from the front."""
    last = -1
    while ids := cast("list[str]", redis.lrange(key, last - PAGE + 1, last)):
        yield int(redis.eval(_CLEAN, 1, redis_keys.EXPIRY, redis_keys.JOB_PREFIX, State.QUEUED, *ids))
        last -= PAGE


def _count(redis: "Redis", recount_id: str) -> Iterator[int]:
    lanes = [key for lane in Lane for key in (FLOWS_OF[lane].parties, redis_keys.lane_sent(lane))]
    keys = (redis_keys.RECOUNT, redis_keys.EXPIRY, redis_keys.LEASES, *lanes)
    prefixes = (redis_keys.JOB_PREFIX, *(FLOWS_OF[lane].prefix for lane in Lane))
    while found := redis.eval(_COUNT, len(keys), *keys, *prefixes, recount_id, PAGE, RECOUNT_TTL_S, _END):
        placed, is_last = cast("list[int]", found)
        yield placed
        if is_last:
            return


def _set_shares(redis: "Redis", recount_id: str, what: str, key: str) -> Iterator[int]:
    """Set the totals of all parties, and of their flows, that have any or were counted."""
    names = chain(_shares(redis, key), _counted_shares(redis, what))
    while page := list(islice(names, PAGE)):
        yield int(redis.eval(_SET_SHARES, 2, redis_keys.RECOUNT, key, recount_id, what, *page))


def _shares(redis: "Redis", key: str) -> Iterator[str]:
    for party in _each(redis.hscan, key):
        yield party
        yield from (f"{party} {flow}" for flow in _each(redis.hscan, f"{key}:{party}"))


def _counted_shares(redis: "Redis", what: str) -> Iterator[str]:
    fields = _each(redis.hscan, redis_keys.RECOUNT)
    return (field.removeprefix(f"{what} ") for field in fields if field.startswith(f"{what} "))


def _each(scan: Callable[..., Any], key: str) -> Iterator[str]:
    return chain.from_iterable(_pages(scan, key))


def _pages(scan: Callable[..., Any], key: str) -> Iterator[list[str]]:
    """Yield the members of a sorted set, or the fields of a hash, some at a time."""
    cursor = None
    while cursor != 0:
        cursor, found = scan(key, cursor or 0, count=PAGE)
        names = list(dict(found))  # all at once where there are few
        yield from (names[first : first + PAGE] for first in range(0, len(names), PAGE))
