import type { ErrorDetail } from '../protocol/errors.js';
import { UNKNOWN_PROPERTY } from './dto-rules.js';

/** An issue of a Standard Schema; some libraries add a `code`. */
interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/**
 * The details of what a Standard Schema refused. A schema knows nothing of our rule that no word of the client's comes
 * back: unknown properties and keys of records stand in its paths, and some libraries quote them, or the value, in the message.
 *
 * @param limit how many details are made; the issues can be as many as the payload has values
 */
export function detailsOfIssues(
  issues: readonly Issue[],
  value: unknown,
  schema: object,
  prefix: string,
  limit: number,
): ErrorDetail[] {
  const details = new Map<string, ErrorDetail>();
  for (const issue of issues) {
    if (details.size >= limit) break;
    const keys = keysOf(issue);
    const { path, node, unknown } = declared(keys, schema, prefix);
    const code = (issue as { code?: unknown } | null)?.code;
    const isUnknown = code === 'unrecognized_keys';
    const rule = isUnknown ? UNKNOWN_PROPERTY.rule : typeof code === 'string' ? code : 'schema';
    const detailKey = `${rule} ${path}`;
    if (details.has(detailKey)) continue; // before its words are looked at: that is what costs
    const message = isUnknown ? UNKNOWN_PROPERTY.message : messageOf(issue, value, keys, node, unknown);
    details.set(detailKey, { path, rule, message });
  }
  return details.size > 0 ? [...details.values()] : [{ path: prefix, rule: 'schema', message: NOT_VALID }];
}

const NOT_VALID = 'is not valid';

function messageOf(
  issue: Issue,
  root: unknown,
  keys: readonly PropertyKey[],
  node: unknown,
  unknown: readonly string[],
): string {
  const message: unknown = (issue as Issue | null)?.message;
  if (typeof message !== 'string') return NOT_VALID;
  const value = valueAt(root, keys);
  return quotesValue(message, value) || quotesKey(message, value, node, unknown) ? NOT_VALID : message;
}

function keysOf(issue: Issue): PropertyKey[] {
  const path: unknown = (issue as Issue | null)?.path;
  if (!Array.isArray(path)) return [];
  return path.map((segment: unknown) => (isObject(segment) ? segment.key : segment) as PropertyKey);
}

/** A path as far as the schema declares it: property names of its shape, and positions in arrays. */
interface DeclaredPath {
  readonly path: string;
  /** The schema at the end of it. */
  readonly node: unknown;
  /** The names that follow: the client's own. */
  readonly unknown: readonly string[];
}

function declared(keys: readonly PropertyKey[], schema: object, prefix: string): DeclaredPath {
  const path = prefix === '' ? [] : [prefix];
  let node: unknown = unwrapped(schema);
  for (const [depth, key] of keys.entries()) {
    const next = childOf(node, key);
    if (next === undefined) {
      const unknown = keys.slice(depth).filter((name) => typeof name === 'string');
      return { path: path.join('.'), node: undefined, unknown };
    }
    node = unwrapped(next);
    path.push(String(key));
  }
  return { path: path.join('.'), node, unknown: [] };
}

/** What the schema says of one property or position; undefined where it does not declare it, or not in a way known here. */
function childOf(node: unknown, key: PropertyKey): unknown {
  const shape = memberOf(node, 'shape') ?? memberOf(node, 'entries');
  if (isObject(shape) && Object.hasOwn(shape, key)) return shape[key as string];
  const element = memberOf(node, 'element') ?? memberOf(node, 'item');
  if (element !== undefined && typeof key === 'number') return element;
  const props = memberOf(node, 'props');
  const prop: unknown = Array.isArray(props) ? props.find((one: unknown) => memberOf(one, 'key') === key) : undefined;
  return memberOf(prop, 'value');
}

/** Optional, nullable and defaulted schemas name what they wrap in one of these ways. */
function unwrapped(node: unknown): unknown {
  let inner: unknown = node;
  for (let depth = 0; depth < 8; depth++) {
    const next = memberOf(memberOf(inner, 'def'), 'innerType') ?? memberOf(inner, 'wrapped');
    if (next === undefined) return inner;
    inner = next;
  }
  return inner;
}

/** A schema is a library's own object: an accessor may throw where its kind has no such member. */
function memberOf(node: unknown, name: string): unknown {
  try {
    return isObject(node) ? node[name] : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return (typeof value === 'object' || typeof value === 'function') && value !== null;
}

function valueAt(root: unknown, keys: readonly PropertyKey[]): unknown {
  let value = root;
  for (const key of keys) value = isObject(value) && Object.hasOwn(value, key) ? value[key as string] : undefined;
  return value;
}

/** True when a message holds the value it is about, or a part of that. Short strings count only in quotes. */
function quotesValue(message: string, value: unknown): boolean {
  return leavesOf(value).some((whole) => {
    const leaf = whole.trim(); // a schema may have trimmed it
    if (leaf.length > 2) return message.toLowerCase().includes(leaf.toLowerCase());
    return leaf !== '' && (message.includes(`"${leaf}"`) || message.includes(`'${leaf}'`));
  });
}

/** True when a message holds a name that the client chose: one of the path, or of the value that the issue is about. */
function quotesKey(message: string, value: unknown, node: unknown, unknown: readonly string[]): boolean {
  const words = new Set(message.match(WORDS));
  if (unknown.some((name) => words.has(name) || (name.length > 2 && message.includes(name)))) return true;
  if (!isObject(value) || Array.isArray(value)) return false;
  // Word by word, since the value may have thousands of names.
  return [...words].some((word) => Object.hasOwn(value, word) && childOf(node, word) === undefined);
}

/** Names as messages have them: bare, or between quotation marks. */
const WORDS = /[\p{L}\p{N}_$-]+|(?<=")[^"]+(?=")|(?<=')[^']+(?=')/gu;

/** Most leaves looked at; the rest of so large a value is not what a message quotes. */
const MAX_LEAVES = 100;

/** The strings and numbers in a value. */
function leavesOf(value: unknown, leaves: string[] = []): string[] {
  if (typeof value === 'string' || typeof value === 'number') leaves.push(String(value));
  else if (isObject(value)) {
    for (const member of Object.values(value)) {
      if (leaves.length >= MAX_LEAVES) break;
      leavesOf(member, leaves);
    }
  }
  return leaves;
}
