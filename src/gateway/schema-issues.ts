import type { ErrorDetail } from '../protocol/errors.js';

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
    const keys = (issue.path ?? []).map((segment) => (typeof segment === 'object' ? segment.key : segment));
    const path = declared(keys, schema, prefix);
    const code = (issue as { code?: unknown }).code;
    const detail =
      code === 'unrecognized_keys'
        ? { path, rule: 'unknownProperty', message: 'has a property that is not allowed' }
        : {
            path,
            rule: typeof code === 'string' ? code : 'schema',
            message: quotes(issue.message, value, keys) ? 'is not valid' : issue.message,
          };
    if (!details.some((other) => other.path === detail.path && other.rule === detail.rule)) details.push(detail);
  }
  return details;
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

/** True when a message holds the value it is about. A string of one or two characters counts only in quotes. */
function quotes(message: string, root: unknown, keys: readonly PropertyKey[]): boolean {
  let value = root;
  for (const key of keys) value = isObject(value) && Object.hasOwn(value, key) ? value[key as string] : undefined;
  if (typeof value === 'number') return message.includes(String(value));
  if (typeof value !== 'string' || value === '') return false;
  return value.length > 2 ? message.includes(value) : message.includes(`"${value}"`) || message.includes(`'${value}'`);
}
