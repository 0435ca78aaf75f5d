/**
 * What a log says of a thrown value, which may be anything: a text, an object whose getters throw, an error with a chain of
 * causes that closes in a circle. Every text is bounded, and nothing here throws.
 */

/** Longest stack, and longest text of a thrown value, in UTF-16 units. */
const MAX_LENGTH = 8_192;
/** The same where causes follow, and for each of those: a line of the log has 12 KiB of them at most. */
const MAX_OUTER_LENGTH = 4_096;
const MAX_CAUSE_LENGTH = 1_024;
/** Longest text of one cause in {@link causesOf}. */
const MAX_WORDS_LENGTH = 256;

/** Causes that are shown: the first ones, and the last, which is what began it. */
const MAX_CAUSES = 8;
/** Causes that are looked at. */
const MAX_DEPTH = 100;
/** Errors of one AggregateError that are looked at. */
const MAX_ERRORS = 4;

const FRAME = '\n    at ';
/** Begins the stack of a cause; see `visibleStack()`. */
const CAUSED_BY = '\n    caused by: ';

/**
 * The stack of an error and those of its causes, or what a thrown value that is no error looks like; undefined for a value that
 * throws when inspected.
 */
export function stackOf(thrown: unknown): string | undefined {
  try {
    const causes = chosenCauses(thrown);
    if (causes.length === 0) return textOf(thrown).slice(0, MAX_LENGTH);
    const texts = causes.map((cause) => `${CAUSED_BY}${safely(textOf, cause).slice(0, MAX_CAUSE_LENGTH)}`);
    return textOf(thrown).slice(0, MAX_OUTER_LENGTH) + texts.join('');
  } catch {
    return undefined; // a getter, or a trap of a Proxy, threw
  }
}

/** The causes of an error on one line, each with the place where it was made; undefined where it has none. */
export function causesOf(thrown: unknown): string | undefined {
  try {
    const causes = chosenCauses(thrown);
    return causes.length === 0 ? undefined : causes.map((cause) => safely(wordsOf, cause)).join(' < ');
  } catch {
    return undefined;
  }
}

/** False for a value that throws when inspected. */
export function isError(thrown: unknown): thrown is Error {
  try {
    return thrown instanceof Error;
  } catch {
    return false;
  }
}

/** Stands for the causes between those that are shown. */
class LeftOut {
  constructor(readonly count: number) {}
}

function chosenCauses(thrown: unknown): unknown[] {
  const seen = new Set<unknown>([thrown]); // in the order of insertion, which is that of the chain
  for (const value of seen) {
    for (const cause of directCauses(value)) if (seen.size <= MAX_DEPTH) seen.add(cause);
  }
  const causes = [...seen].slice(1);
  if (causes.length <= MAX_CAUSES) return causes;
  return [...causes.slice(0, MAX_CAUSES - 1), new LeftOut(causes.length - MAX_CAUSES), causes.at(-1)];
}

function directCauses(value: unknown): unknown[] {
  try {
    if (!isObject(value)) return [];
    const errors = value instanceof AggregateError ? value.errors.slice(0, MAX_ERRORS) : [];
    const { cause } = value as { cause?: unknown };
    return [...(cause === undefined || cause === null ? [] : [cause]), ...errors];
  } catch {
    return [];
  }
}

function safely(show: (thrown: unknown) => string, thrown: unknown): string {
  try {
    return show(thrown);
  } catch {
    return 'a value that throws when inspected';
  }
}

function textOf(thrown: unknown): string {
  return thrown instanceof Error ? String(thrown.stack ?? thrown.message) : looksOf(thrown);
}

/** `TypeError: no rows, at Orders.find (orders.js:12:5)`. */
function wordsOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return looksOf(thrown).slice(0, MAX_WORDS_LENGTH);
  const { name, message, code, stack } = thrown as NodeJS.ErrnoException;
  const title = typeof code === 'string' && !String(message).includes(code) ? `${name} [${code}]` : name;
  const words = `${title}: ${message}`.slice(0, MAX_WORDS_LENGTH);
  const [, frame] = typeof stack === 'string' ? stack.split(FRAME, 2) : [];
  return frame === undefined ? words : `${words}, at ${frame.slice(0, MAX_WORDS_LENGTH)}`;
}

/** A text, a number, or the like as it is, and of an object what objects that stand for errors have in common. */
function looksOf(thrown: unknown): string {
  if (thrown instanceof LeftOut) return `${thrown.count} more`;
  if (typeof thrown === 'string') return `thrown: ${thrown}`;
  if (typeof thrown === 'function') return 'thrown: function';
  return `thrown: ${isObject(thrown) ? shapeOf(thrown) : String(thrown)}`;
}

/** Members by which libraries say what is wrong (RFC 9457 among them). Others may hold the payload: only their names are shown. */
const TELLING = [
  'name',
  'code',
  'message',
  'title',
  'type',
  'status',
  'statusCode',
  'errno',
  'syscall',
  'reason',
  'error',
];
const MAX_NAMES = 8;
const IDENTIFIER = /^[A-Za-z_$][\w$]{0,31}$/;

function shapeOf(value: object): string {
  const kind = (value as { constructor?: { name?: unknown } }).constructor?.name;
  const title = typeof kind === 'string' && IDENTIFIER.test(kind) ? kind : 'object';
  if (Array.isArray(value)) {
    const first: unknown = value[0];
    return `${title}(${value.length})${isObject(first) && !Array.isArray(first) ? ` of ${shapeOf(first)}` : ''}`;
  }
  const members = value as Readonly<Record<string, unknown>>;
  const told = TELLING.flatMap((name) => {
    const member = members[name];
    if (typeof member === 'string') return [`${name}: ${JSON.stringify(member.slice(0, MAX_WORDS_LENGTH))}`];
    return typeof member === 'number' ? [`${name}: ${member}`] : [];
  });
  const names: string[] = [];
  for (const name in value) {
    if (names.length === MAX_NAMES) break;
    if (!TELLING.includes(name) && IDENTIFIER.test(name)) names.push(name);
  }
  return `${title} { ${[...told, ...names].join(', ')} }`;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
