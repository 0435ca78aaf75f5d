import type { ErrorDetail } from '../protocol/errors.js';
import { UNKNOWN_PROPERTY } from './dto-rules.js';

/** An issue of a Standard Schema; some libraries add a `code`. */
interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/**
 * The details of what a Standard Schema refused. A schema knows nothing of our rule that no word of the client's comes
 * back: unknown properties and keys of records stand in its paths, and some libraries quote the value in the message.
 */
export function detailsOfIssues(
  issues: readonly Issue[],
  value: unknown,
  schema: object,
  prefix: string,
): ErrorDetail[] {
  const details: ErrorDetail[] = [];
  for (const issue of issues) {
    const keys = keysOf(issue);
    const path = declared(keys, schema, prefix);
    const code = (issue as { code?: unknown } | null)?.code;
    const rule = typeof code === 'string' ? code : 'schema';
    const message = messageOf(issue, value, keys);
    const detail = code === 'unrecognized_keys' ? { path, ...UNKNOWN_PROPERTY } : { path, rule, message };
    if (!details.some((other) => other.path === path && other.rule === detail.rule)) details.push(detail);
  }
  return details.length > 0 ? details : [{ path: prefix, rule: 'schema', message: NOT_VALID }];
}

const NOT_VALID = 'is not valid';

function messageOf(issue: Issue, value: unknown, keys: readonly PropertyKey[]): string {
  const message: unknown = (issue as Issue | null)?.message;
  return typeof message !== 'string' || quotes(message, value, keys) ? NOT_VALID : message;
}

function keysOf(issue: Issue): PropertyKey[] {
  const path: unknown = (issue as Issue | null)?.path;
  if (!Array.isArray(path)) return [];
  return path.map((segment: unknown) => (isObject(segment) ? segment.key : segment) as PropertyKey);
}

/** The part of a path that the schema declares: property names of its shape, and positions in arrays. */
function declared(keys: readonly PropertyKey[], schema: object, prefix: string): string {
  const path = prefix === '' ? [] : [prefix];
  let node: unknown = schema;
  for (const key of keys) {
    node = unwrapped(node);
    const shape = memberOf(node, 'shape') ?? memberOf(node, 'entries');
    const element = memberOf(node, 'element') ?? memberOf(node, 'item');
    if (isObject(shape) && Object.hasOwn(shape, key)) node = shape[key as string];
    else if (element !== undefined && typeof key === 'number') node = element;
    else break;
    path.push(String(key));
  }
  return path.join('.');
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

function memberOf(node: unknown, name: string): unknown {
  return isObject(node) ? node[name] : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return (typeof value === 'object' || typeof value === 'function') && value !== null;
}

/** True when a message holds the value it is about, or a part of that. Short strings count only in quotes. */
function quotes(message: string, root: unknown, keys: readonly PropertyKey[]): boolean {
  let value = root;
  for (const key of keys) value = isObject(value) && Object.hasOwn(value, key) ? value[key as string] : undefined;
  return leavesOf(value).some((whole) => {
    const leaf = whole.trim(); // a schema may have trimmed it
    if (leaf.length > 2) return message.toLowerCase().includes(leaf.toLowerCase());
    return leaf !== '' && (message.includes(`"${leaf}"`) || message.includes(`'${leaf}'`));
  });
}

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
