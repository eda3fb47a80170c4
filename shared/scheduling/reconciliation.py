"""Corrects the lists and totals that are kept beside the records, where they have drifted from them.

They change in one transaction with each record, so they differ only after something outside of it: Redis removed a
record that no worker could expire, a record is damaged, a key was deleted by hand. The records are authoritative. Only
their fields `state`, `lane`, `pixels`, `work_ms`, `album` and `caller` are read, so these keep their meaning in every
version.
"""

from typing import TYPE_CHECKING, Final, cast

from shared import redis_keys
from shared.jobs.record import Lane

if TYPE_CHECKING:
    from redis import Redis

# Redis runs a script as one step. What both have in common: KEYS: the leases, the flows, what of the interactive lane
# is with the queue, likewise of bulk. ARGV: the prefixes of a job's record and of a flow's jobs.
_COMMON: Final = """
local leases, flows, sent = KEYS[1], KEYS[2], {interactive = KEYS[3], bulk = KEYS[4]}
local names = {'state', 'lane', 'pixels', 'work_ms', 'album', 'caller'}

local function read(id)
    local job, found = {}, redis.pcall('HMGET', ARGV[1] .. id, unpack(names))
    for place, name in ipairs(names) do
        local is_json, value = pcall(cjson.decode, found[place])
        job[name] = is_json and value ~= cjson.null and value or nil
    end
    job.flow = job.album or job.caller
    local numbers = type(job.pixels) == 'number' and type(job.work_ms) == 'number'
    return numbers and job.lane and sent[job.lane] and type(job.flow) == 'string' and job or {}
end
"""

# Find a place for the jobs that have none. ARGV: and the jobs.
_PLACE: Final = (
    _COMMON
    + """
local placed = 0
for place = 3, #ARGV do
    local id = ARGV[place]
    local job = read(id)
    local waits = job.state == 'queued' and not redis.call('ZSCORE', sent[job.lane], id)
    if waits and job.lane == 'interactive' then
        placed = placed + redis.call('ZADD', sent.interactive, 0, id)
    elseif waits and not redis.call('LPOS', ARGV[2] .. job.flow, id) then
        redis.call('RPUSH', ARGV[2] .. job.flow, id)
        redis.call('ZADD', flows, 'NX', redis.call('ZRANGE', flows, 0, 0, 'WITHSCORES')[2] or 0, job.flow)
        placed = placed + 1
    elseif job.state == 'running' then
        placed = placed + redis.call('ZADD', leases, 'NX', 0, id)
    end
end
return placed
"""
)

# Take off the lists what does not belong there, and count the rest anew. KEYS: and the totals of the interactive lane
# and of bulk, the pixels and the work of all flows.
_COUNT: Final = (
    _COMMON
    + """
local totals = {interactive = KEYS[5], bulk = KEYS[6]}
local pixels_of, work_of, seen, mended = {}, {}, {}, 0
local books = {interactive = {jobs = 0, pixels = 0, ms = 0}, bulk = {jobs = 0, pixels = 0, ms = 0}}

local function count(id)
    local job = seen[id] or read(id)
    local waits = job.state == 'queued'
    if not seen[id] and (waits or job.state == 'running') then
        local book = books[job.lane]
        book.ms = book.ms + job.work_ms
        book.jobs = book.jobs + (waits and 1 or 0)
        book.pixels = book.pixels + (waits and job.pixels or 0)
        if job.lane == 'bulk' then
            work_of[job.flow] = (work_of[job.flow] or 0) + job.work_ms
            pixels_of[job.flow] = waits and (pixels_of[job.flow] or 0) + job.pixels or pixels_of[job.flow]
        end
    end
    seen[id] = job
    return job.state
end

local function keep(list, state)
    for _, id in ipairs(redis.call('ZRANGE', list, 0, -1)) do
        mended = mended + (count(id) == state and 0 or redis.call('ZREM', list, id))
    end
end

local function set(key, field, number)
    if tonumber(redis.call('HGET', key, field) or 0) ~= number then
        redis.call('HSET', key, field, string.format('%.0f', number))
        mended = mended + 1
    end
end

local function set_all(key, counted)
    for _, flow in ipairs(redis.call('HKEYS', key)) do
        mended = mended + (counted[flow] and 0 or redis.call('HDEL', key, flow))
    end
    for flow, number in pairs(counted) do
        set(key, flow, number)
    end
end

keep(sent.interactive, 'queued')
keep(sent.bulk, 'queued')
keep(leases, 'running')
for _, flow in ipairs(redis.call('ZRANGE', flows, 0, -1)) do
    for _, id in ipairs(redis.call('LRANGE', ARGV[2] .. flow, 0, -1)) do
        count(id)
    end
end
for lane, book in pairs(books) do
    set(totals[lane], 'jobs', book.jobs)
    set(totals[lane], 'pixels', book.pixels)
    set(totals[lane], 'finished_ms', (tonumber(redis.call('HGET', totals[lane], 'submitted_ms') or 0) or 0) - book.ms)
end
set_all(KEYS[7], pixels_of)
set_all(KEYS[8], work_of)
return mended
"""
)

_LISTS: Final = (
    redis_keys.LEASES,
    redis_keys.FLOWS,
    redis_keys.lane_sent(Lane.INTERACTIVE),
    redis_keys.lane_sent(Lane.BULK),
)
_TOTALS: Final = (
    redis_keys.lane_totals(Lane.INTERACTIVE),
    redis_keys.lane_totals(Lane.BULK),
    redis_keys.FLOW_PIXELS,
    redis_keys.OUTSTANDING,
)
_PREFIXES: Final = (redis_keys.JOB_PREFIX, redis_keys.FLOW_PREFIX)


def reconcile(redis: "Redis") -> int:
    """Correct the lists and totals of unfinished jobs; return how many entries were wrong.

    First every such job is put into its list, some records at a time; then the lists, which are now complete, are
    counted in one step.
    """
    wrong = cursor = 0
    while True:
        cursor, page = cast("tuple[int, list[tuple[str, float]]]", redis.zscan(redis_keys.EXPIRY, cursor, count=100))
        if page:
            wrong += int(redis.eval(_PLACE, len(_LISTS), *_LISTS, *_PREFIXES, *(job_id for job_id, _ in page)))
        if cursor == 0:
            break
    return wrong + int(redis.eval(_COUNT, len(_LISTS + _TOTALS), *_LISTS, *_TOTALS, *_PREFIXES))
