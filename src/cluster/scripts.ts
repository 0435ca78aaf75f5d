import { createHash } from 'node:crypto';
import { EPOCH_MS, KEY_MS } from '../engine/history.js';
import { VERSION } from './frame.js';

/** A script of Redis: its keys are all of one slot, and its loops are bounded. */
export interface Script {
  readonly lua: string;
  readonly sha: string;
}

function script(...parts: readonly string[]): Script {
  const lua = parts.join('\n');
  return { lua, sha: createHash('sha1').update(lua).digest('hex') };
}

/** Longest that a key without an end of its own is kept after its last use: longer than the longest ban. */
const KEPT_MS = 400 * 86_400_000;

/** Entries of the control log. A node that is further behind reads all facts anew. */
export const LOG_LENGTH = 10_000;

/** Expired facts that one script takes out. */
const SWEPT = 128;

const TIME = `
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end`;

/**
 * `master_replid` changes with each restart and each promotion. \`run_id\` is not enough: after a failover and a failback the old master
 * has its old run_id over data that was rolled back.
 */
const REPLID = `
local function replid()
  local info = redis.call('INFO', 'replication')
  if not string.find(info, 'role:master', 1, true) then return nil end
  return string.match(info, 'master_replid:(%w+)')
end`;

/**
 * The life of Redis: its replid, and when it was first seen with it. One that has lost its data is another life, also by FLUSHALL.
 * Its door opens when all nodes that have lived before have told it what they know, or when their time is over.
 */
const LIFE = `
local function life(state, settleMs)
  local id = replid()
  if not id then return nil end
  local at = now()
  local known, since, open = unpack(redis.call('HMGET', state, 'replid', 'since', 'open'))
  if known ~= id then
    redis.call('DEL', state)
    redis.call('HSET', state, 'replid', id, 'since', at)
    since, open = at, false
  end
  if not open and at - since >= tonumber(settleMs) then
    redis.call('HSET', state, 'open', 1)
    open = '1'
  end
  return id .. ':' .. since, open and 1 or 0, at
end
local function seen(state, top, settleMs)
  local id, open, at = life(state, settleMs)
  if not id then return redis.error_reply('READONLY this is not a master') end
  return {tonumber(redis.call('GET', top) or 0), id, open, at}
end`;

/** What is asked at the door. KEYS state, top; ARGV settleMs. Returns the top of the log, the life, whether it is open, the time. */
export const GATE = script(TIME, REPLID, LIFE, `return seen(KEYS[1], KEYS[2], ARGV[1])`);

/**
 * The node has told all it knows. KEYS state, top; ARGV settleMs, id, the nodes that it knew, with commas. Redis is open when each node
 * that any of them knew has done so.
 */
export const MARK = script(
  TIME,
  REPLID,
  LIFE,
  `
local answer = seen(KEYS[1], KEYS[2], ARGV[1])
if answer.err then return answer end
redis.call('HSET', KEYS[1], 'm:' .. ARGV[2], ARGV[3])
local marks, known = {}, {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 2) == 'm:' then
    marks[string.sub(fields[i], 3)] = true
    for id in string.gmatch(fields[i + 1], '[^,]+') do known[id] = true end
  end
end
local told = false
for id in pairs(known) do
  if not marks[id] then return answer end
  told = true
end
if told then
  redis.call('HSET', KEYS[1], 'open', 1)
  answer[3] = 1
end
return answer`,
);

/**
 * Records one fact. KEYS state, top, log, facts, ends; ARGV settleMs, most facts of the topic, topic, key, rank or '', when it was decided
 * or '' for now, until, data, origin, question or ''. Times are of Redis. Returns [number in the log, or 0 where nothing is new, or -1 where the
 * topic is full; when it was decided; the life].
 */
export const RECORD = script(
  TIME,
  REPLID,
  LIFE,
  `
local id, open, at = life(KEYS[1], ARGV[1])
if not id then return redis.error_reply('READONLY this is not a master') end
local topic, key, rank, decided, ends, data = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]) or at, tonumber(ARGV[7]), ARGV[8]
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', at, 'LIMIT', 0, ${SWEPT})) do
  redis.call('HDEL', KEYS[4], gone)
  redis.call('ZREM', KEYS[5], gone)
end
local keeps, isNew = true, true
local old = redis.call('HGET', KEYS[4], key)
if old then
  local oldRank, oldDecided, oldEnds = string.match(old, '^([^\\n]*)\\n([^\\n]*)\\n([^\\n]*)\\n')
  if rank ~= '' then
    keeps = oldRank == '' or tonumber(rank) > tonumber(oldRank)
    isNew = keeps or ends > tonumber(oldEnds)
    ends = math.max(ends, tonumber(oldEnds))
    if not keeps then
      old = oldRank .. '\\n' .. oldDecided .. '\\n' .. string.format('%.0f', ends) .. '\\n' .. string.match(old, '^[^\\n]*\\n[^\\n]*\\n[^\\n]*\\n(.*)$')
    end
  else
    if ARGV[6] == '' then decided = math.max(decided, tonumber(oldDecided) + 1) end
    keeps = decided > tonumber(oldDecided)
    isNew = keeps
  end
elseif redis.call('HLEN', KEYS[4]) >= tonumber(ARGV[2]) then
  return {-1, at, id}
end
if keeps then
  redis.call('HSET', KEYS[4], key, rank .. '\\n' .. string.format('%.0f', decided) .. '\\n' .. string.format('%.0f', ends) .. '\\n' .. data)
elseif isNew then
  redis.call('HSET', KEYS[4], key, old)
end
if ARGV[6] ~= '' and not isNew then return {0, decided, id} end
if isNew then redis.call('ZADD', KEYS[5], ends, key) end
local number = redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[3], 'MAXLEN', ${LOG_LENGTH}, number .. '-0', 't', topic, 'k', key, 'r', rank, 'a', string.format('%.0f', decided),
  'u', string.format('%.0f', ends), 'd', data, 'o', ARGV[9], 'q', ARGV[10])
return {number, decided, id}`,
);

/** Answers to a fact, in the log. KEYS top, log; ARGV origin, question, answer; or origin, '' and 0
 * to say that a node comes or goes; or origin, '!' and a name, and what is told. */
export const ANSWER = script(`
local number = redis.call('INCR', KEYS[1])
redis.call('XADD', KEYS[2], 'MAXLEN', ${LOG_LENGTH}, number .. '-0', 'o', ARGV[1], 'q', ARGV[2], 'v', ARGV[3])
return number`);

/**
 * The node lives. KEYS state, top, nodes, cards, and all that has to be kept; ARGV settleMs, id, card, leaseMs. Returns what is asked at
 * the door, and the cards of the living.
 */
export const BEAT = script(
  TIME,
  REPLID,
  LIFE,
  `
local answer = seen(KEYS[1], KEYS[2], ARGV[1])
if answer.err then return answer end
local at = answer[4]
redis.call('ZADD', KEYS[3], at, ARGV[2])
redis.call('HSET', KEYS[4], ARGV[2], ARGV[3])
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', at - tonumber(ARGV[4]), 'LIMIT', 0, ${SWEPT})) do
  redis.call('ZREM', KEYS[3], dead)
  redis.call('HDEL', KEYS[4], dead)
end
redis.call('PEXPIRE', KEYS[3], ARGV[4])
redis.call('PEXPIRE', KEYS[4], ARGV[4])
for i = 1, #KEYS do
  if i < 3 or i > 4 then redis.call('PEXPIRE', KEYS[i], ${KEPT_MS}) end
end
answer[5] = redis.call('HGETALL', KEYS[4])
answer[6] = redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
return answer`,
);

/** KEYS ticket; ARGV text, ttlMs. It is good as long as this life of Redis. */
export const PUT_TICKET = script(
  REPLID,
  `
local id = replid()
if not id then return redis.error_reply('READONLY this is not a master') end
redis.call('SET', KEYS[1], id .. '\\n' .. ARGV[1], 'PX', ARGV[2])
return 1`,
);

/** KEYS ticket. A failover or a truncated file may bring a ticket back that was taken; its replid is of before then. */
export const TAKE_TICKET = script(
  REPLID,
  `
local id = replid()
if not id then return redis.error_reply('READONLY this is not a master') end
local ticket = redis.call('GETDEL', KEYS[1])
if not ticket then return false end
local of, text = string.match(ticket, '^(%w+)\\n(.*)$')
if of ~= id then return false end
return text`,
);

/** How long the sessions of a subject are kept after the last claim. */
const CLAIM_MS = 7 * 86_400_000;

/**
 * Takes a slot of a subject. KEYS sessions of the subject; ARGV session, node, limit, 1 to refuse it where it is one too many, when it began
 * or '' for now, the living nodes, leaseMs. Returns 1 where it is refused, else 0 and the sessions that are too many, the oldest first, each
 * with its node. What a node has claimed that has not lived for a lease does not count.
 */
export const CLAIM = script(
  TIME,
  `
local at, living, list = now(), {}, {}
for id in string.gmatch(ARGV[6], '[^,]+') do living[id] = true end
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local node, since = string.match(entries[i + 1], '^([^\\n]*)\\n(.*)$')
  since = tonumber(since)
  if entries[i] ~= ARGV[1] then
    if not living[node] and since < at - tonumber(ARGV[7]) then
      redis.call('HDEL', KEYS[1], entries[i])
    else
      list[#list + 1] = {entries[i], node, since}
    end
  end
end
local surplus = #list + 1 - tonumber(ARGV[3])
if surplus > 0 and ARGV[4] == '1' then return {1} end
list[#list + 1] = {ARGV[1], ARGV[2], tonumber(ARGV[5]) or at}
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. '\\n' .. string.format('%.0f', list[#list][3]))
redis.call('PEXPIRE', KEYS[1], ${CLAIM_MS})
local answer = {0}
if surplus > 0 then
  table.sort(list, function(one, other)
    if one[3] ~= other[3] then return one[3] < other[3] end
    if (one[1] == ARGV[1]) ~= (other[1] == ARGV[1]) then return other[1] == ARGV[1] end
    return one[1] < other[1]
  end)
  for i = 1, surplus do
    redis.call('HDEL', KEYS[1], list[i][1])
    answer[#answer + 1] = list[i][1]
    answer[#answer + 1] = list[i][2]
  end
end
return answer`,
);

/**
 * The place of a channel: its epoch, and the offset of its newest message. It belongs to a life of Redis by its replid: a Redis that was
 * restarted, or promoted, may have lost messages whose offsets were seen, so it begins another epoch.
 */
const PLACE = `
local function place(key, history, fresh)
  local id = replid()
  if not id then return nil end
  local known = redis.call('HMGET', key, 'r', 'e', 's')
  if known[1] ~= id then
    redis.call('DEL', history)
    redis.call('HSET', key, 'r', id, 'e', fresh, 's', 0)
    known = {id, fresh, '0'}
  end
  redis.call('PEXPIRE', key, ${EPOCH_MS})
  return known[2], tonumber(known[3])
end`;

/**
 * Publishes the messages of one channel of one turn. KEYS place, history, topic, and the key of each message, or place where it has none;
 * ARGV 1 for history, count, ageMs, an epoch for a fresh channel, origin, then for each message how, text, and the digest of its body, ''
 * without a key. Returns how many have heard it, then for each message [0 sent, 1 published before, 2 the key had another body; epoch; offset].
 */
export const PUBLISH = script(
  TIME,
  REPLID,
  PLACE,
  `
local keeps = ARGV[1] == '1'
local epoch, offset = place(KEYS[1], KEYS[2], ARGV[4])
if not epoch then return redis.error_reply('READONLY this is not a master') end
local at = now()
local answer, frame, first = {0}, {}, offset
for i = 4, #KEYS do
  local from = 6 + (i - 4) * 3
  local how, text, digest = ARGV[from], ARGV[from + 1], ARGV[from + 2]
  local used = digest ~= '' and redis.call('GET', KEYS[i])
  if used then
    local known, e, s = string.match(used, '^([^\\n]*)\\n([^\\n]*)\\n([^\\n]*)$')
    answer[#answer + 1] = {known == digest and 1 or 2, e, tonumber(s)}
  else
    if keeps then
      offset = offset + 1
      redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[2], offset .. '-0', 'a', at, 't', text, unpack(how ~= '-' and {'h', how} or {}))
    end
    local own = keeps and offset or 0
    local e = keeps and epoch or ''
    if digest ~= '' then redis.call('SET', KEYS[i], digest .. '\\n' .. e .. '\\n' .. own, 'PX', ${KEY_MS}) end
    frame[#frame + 1] = '\\n' .. (keeps and offset or '') .. '\\n' .. how .. '\\n' .. text
    answer[#answer + 1] = {0, e, own}
  end
end
if keeps and offset > first then
  redis.call('HSET', KEYS[1], 's', offset)
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
if #frame > 0 then
  local head = '${VERSION}\\n' .. ARGV[5] .. '\\n' .. (keeps and epoch or '')
  answer[1] = redis.call('PUBLISH', KEYS[3], head .. table.concat(frame))
end
return answer`,
);

/**
 * Reads a history. KEYS place, history; ARGV an epoch for a fresh channel, the epoch of the position or '', its offset, most messages, most
 * bytes, count, ageMs. Returns epoch, offset, '' or why not, then offset, text and how of each message.
 */
export const READ = script(
  TIME,
  REPLID,
  PLACE,
  `
local epoch, top = place(KEYS[1], KEYS[2], ARGV[1])
if not epoch then return redis.error_reply('READONLY this is not a master') end
local since, most, bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local oldest, fresh = math.max(1, top - tonumber(ARGV[6]) + 1), now() - tonumber(ARGV[7])
local answer = {epoch, top, ''}
local function isFresh(entry) return tonumber(entry[2][2]) > fresh end
local function put(list, entry)
  list[#list + 1] = tonumber(string.match(entry[1], '^%d+'))
  list[#list + 1] = entry[2][4]
  list[#list + 1] = entry[2][6] or '-'
end
if ARGV[2] == '' then
  if most == 0 then return answer end
  local found = redis.call('XREVRANGE', KEYS[2], '+', oldest .. '-0', 'COUNT', most)
  local from, sum = 0, 0
  for i = 1, #found do
    sum = sum + #found[i][2][4]
    if sum > bytes or not isFresh(found[i]) then break end
    from = i
  end
  for i = from, 1, -1 do
    put(answer, found[i])
  end
  return answer
end
if ARGV[2] ~= epoch or since > top then return {epoch, top, 'epoch'} end
if since == top then return answer end
if since + 1 < oldest then return {epoch, top, 'window'} end
local found = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', since + 1), '+', 'COUNT', most + 1)
if #found == 0 or string.match(found[1][1], '^%d+') ~= string.format('%.0f', since + 1) or not isFresh(found[1]) then
  return {epoch, top, 'window'}
end
if #found > most then return {epoch, top, 'limit'} end
local sum = 0
for i = 1, #found do
  sum = sum + #found[i][2][4]
  put(answer, found[i])
end
if sum > bytes then return {epoch, top, 'limit'} end
return answer`,
);
