import { damaged } from './random.js';
import type { Random } from './random.js';
import { MARKER } from './input.js';
import { GOOD_TOKEN, ODD_TOKENS } from './tokens.js';

const EVENTS = [
  'order',
  'order.later',
  'wide',
  'email',
  'text',
  'echo',
  'field',
  'nothing',
  'later',
  'stream',
  'stream.empty',
  'stream.later',
  'stream.failing',
  'stream.i',
  'stream.public',
  'fails',
  'fails.later',
  '__proto__',
  'i.order',
  'i.later',
  'public.echo',
  'public.text',
  'public.who',
  'admin',
  'scoped',
  'session',
  'ping',
] as const;

const NUMBERS = ['0', '-0', '1', '-1', '1.5', '1e3', '1e999', '-1e999', '1e-999', '9007199254740991', '9007199254740992', '123456789012345678901234567890', '4.9e-324', '0.1', '2147483648']; // prettier-ignore
const NOT_NUMBERS = ['NaN', 'Infinity', '01', '+1', '.5', '1.', '0x10', '1e', '-', '1_000'];
const LITERALS = ['true', 'false', 'null'];
const NOT_LITERALS = ['True', 'undefined', "'x'", '`x`', 'nul', '//x', '/**/1', '[1,]', '{,}', '{a:1}'];

const STRINGS = ['', 'x', MARKER, `${MARKER} $value $property`, '\u0000', '\ud800', '\udfff\ud83d', '😀', '\u2028', '\ufeff', '../../etc', "'; --", 'a@b.example', 'ada@example.org', '2024-02-29T00:00:00Z', '3f2b8c1e-0000-4000-8000-000000000000', 'https://a.example/', 'toString', '__proto__']; // prettier-ignore
const KEYS = ['event', 'data', 'id', 'done', 'meta', 'name', 'lines', 'article', 'amount', 'gift', 'speed', 'email', 'url', 'uuid', 'at', 'flag', 'number', 'tags', 'date', 'first', 'map', 'text', 'token', '', MARKER, 'length', 'toString', 'valueOf', 'toJSON', 'then', 'hasOwnProperty', 'constructor', 'prototype', '__defineGetter__', '0', '\u0000']; // prettier-ignore
const POISON = ['"__proto__":{"x":1}', '"__proto__":null', '"constructor":{"prototype":1}', '"constructor":{"prototype":{}}', '"\\u005f_proto__":1', '"c\\u006fnstructor":{"\\u0070rototype":0}', '"__proto_":1', '"constructor":{"prototyp":1}']; // prettier-ignore

/** A JSON string, in one of the ways there are to write it. */
function quoted(random: Random, text: string): string {
  const plain = JSON.stringify(text);
  if (!random.chance(0.15)) return plain;
  const units = Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
  return `"${units
    .map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`)
    .map((escape) => (random.chance(0.5) ? escape : escape.toUpperCase().replace('\\U', '\\u')))
    .join('')}"`;
}

function space(random: Random): string {
  if (random.chance(0.001)) return random.pick(['\u00a0', '\f', '\u2028', '\ufeff', '\0']); // no white space in JSON
  return random.chance(0.1) ? random.pick([' ', '\n', '\t', '\r\n']) : '';
}

/** A JSON value as text, now and then not quite one. */
export function value(random: Random, depth = 0): string {
  const roll = random.below(100);
  if (roll < 25) return random.pick(NUMBERS);
  if (roll < 50) return quoted(random, random.pick(STRINGS));
  if (roll < 60) return random.pick(LITERALS);
  if (roll < 61) return random.chance(0.2) ? random.pick([...NOT_NUMBERS, ...NOT_LITERALS]) : '""';
  if (roll < 62) return quoted(random, MARKER.repeat(random.between(1, 3_000)));
  if (roll < 63) return nested(random, random.between(25, 40));
  if (depth > 6) return '{}';
  const length = random.between(0, depth > 2 ? 2 : 4);
  if (roll < 82) return `[${Array.from({ length }, () => value(random, depth + 1)).join(',')}]`;
  const members = Array.from({ length }, () => member(random, random.pick(KEYS), value(random, depth + 1)));
  if (random.chance(0.02)) members.push(random.pick(POISON));
  return `{${members.join(',')}}`;
}

function member(random: Random, key: string, text: string): string {
  return `${space(random)}${quoted(random, key)}${space(random)}:${space(random)}${text}${space(random)}`;
}

/** About as deep as is allowed, or far deeper. */
function nested(random: Random, depth: number): string {
  const levels = random.chance(0.1) ? random.between(1_000, 20_000) : depth;
  const [open, close] = random.pick([['[', ']'], ['{"a":', '}']] as const); // prettier-ignore
  return random.chance(0.05) ? open.repeat(levels) : `${open.repeat(levels)}1${close.repeat(levels)}`;
}

const orElse = (random: Random, usual: string): string => (random.chance(0.2) ? value(random) : usual);

function line(random: Random, depth = 0): string {
  const gift = depth < 3 && random.chance(0.3) ? `,"gift":${orElse(random, line(random, depth + 1))}` : '';
  return `{"article":${orElse(random, '"tea"')},"amount":${orElse(random, String(random.between(-1, 1_001)))}${gift}}`;
}

/** What the handlers ask for, with something else in its place here and there. */
function payload(random: Random, event: string): string {
  if (random.chance(0.25)) return value(random);
  switch (event) {
    case 'order':
    case 'order.later':
    case 'i.order': {
      const lines = Array.from({ length: random.pick([0, 1, 2, 20, 21]) }, () => line(random));
      const extra = random.chance(0.2) ? `,${member(random, random.pick(KEYS), value(random))}` : '';
      return `{"name":${orElse(random, '"ada"')},"lines":${orElse(random, `[${lines.join(',')}]`)}${extra}}`;
    }
    case 'wide': {
      const keys = ['email', 'url', 'uuid', 'at', 'flag', 'number', 'tags', 'date', 'first', 'map'];
      return `{${random.shuffled(keys).slice(0, random.between(0, 5)).map((key) => member(random, key, value(random))).join(',')}}`; // prettier-ignore
    }
    case 'email':
      return `{"email":${orElse(random, random.pick(['"ada@example.org"', '" Ada@EXAMPLE.org "', '"ada"']))}}`;
    case 'text':
    case 'public.text':
      return `{"text":${orElse(random, quoted(random, random.pick(STRINGS)))}}`;
    default:
      return value(random);
  }
}

/** An `id` as text: good ones, ones at the limits, and what is none. */
function idOf(random: Random, index: number): string {
  const roll = random.below(100);
  if (roll < 60) return JSON.stringify(`i${index}-${random.below(1_000)}`);
  if (roll < 70) return String(random.between(0, 0xffff_ffff));
  if (roll < 85) return random.pick(['0', '-0', '1e3', '1.0', '9007199254740991', '"x"', '"😀"', '"\\ud800"', '"\\u0000"', '"__proto__"', JSON.stringify('i'.repeat(64))]); // prettier-ignore
  return random.pick(['-1', '1.5', '9007199254740992', '1e999', '""', 'true', '[]', '{}', '["x"]', JSON.stringify(MARKER.repeat(20)), 'null']); // prettier-ignore
}

function eventOf(random: Random, event: string): string {
  if (random.chance(0.9)) return quoted(random, event);
  return random.pick([
    JSON.stringify(`${MARKER}.nobody`),
    JSON.stringify('e'.repeat(128)),
    JSON.stringify(MARKER.repeat(30)),
    '""',
    '1',
    'null',
    '["ping"]',
    '{"x":1}',
    '"toString"',
    '"constructor"',
    '"exception"',
    '"disconnect"',
    '"handleConnection"',
    '"\\u0000"',
  ]);
}

/** One text message: an envelope, in most cases nearly right. */
export function envelope(random: Random, index: number): string {
  if (random.chance(0.02)) return value(random);
  const event = random.pick(EVENTS);
  const members: string[] = [];
  if (random.chance(0.97)) members.push(member(random, 'event', eventOf(random, event)));
  if (random.chance(0.9)) members.push(member(random, 'data', payload(random, event)));
  if (random.chance(0.85)) members.push(member(random, 'id', idOf(random, index)));
  if (random.chance(0.05)) members.push(member(random, random.pick(KEYS), value(random)));
  if (random.chance(0.03)) members.push(random.pick(members.length > 0 ? members : ['"x":1']));
  if (random.chance(0.03)) members.push(member(random, 'id', idOf(random, index)));
  return `${space(random)}{${random.shuffled(members).join(',')}}${space(random)}`;
}

/** An `auth` frame, or the bare token. */
export function authentication(random: Random, index: number): string {
  const token = random.chance(0.3) ? GOOD_TOKEN : random.pick(ODD_TOKENS);
  const text = random.chance(0.1) ? damaged(random, Buffer.from(token)).toString('latin1') : token;
  if (random.chance(0.3)) return text;
  const id = random.chance(0.8) ? `,"id":${idOf(random, index)}` : '';
  const inside = random.chance(0.9) ? `{"token":${JSON.stringify(text)}}` : value(random);
  return `{"event":"auth","data":${inside}${id}}`;
}
