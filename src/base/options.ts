import type { Type } from '@nestjs/common';

/** Collects problems instead of throwing at the first. A getter returns its fallback where there was one. */
export class OptionCheck {
  readonly problems: string[] = [];

  problem(at: string, what: string): void {
    this.problems.push(at === '' ? what : `${at} ${what}`);
  }

  object(value: unknown, at: string, known: readonly string[]): Record<string, unknown> {
    if (value === undefined) return {};
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      this.problem(at, `${at === '' ? 'the options ' : ''}must be an object, got ${kindOf(value)}`);
      return {};
    }
    for (const key of Object.keys(value)) {
      if (!known.includes(key)) this.problem(at === '' ? key : `${at}.${key}`, 'is not an option');
    }
    return value as Record<string, unknown>;
  }

  integer(value: unknown, at: string, min: number, max: number, fallback: number): number {
    if (value === undefined) return fallback;
    if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return value as number;
    this.problem(at, `must be an integer from ${min} to ${max}, got ${show(value)}`);
    return fallback;
  }

  /** A number of things, of which `Infinity`, written `null` in JSON, means no limit. */
  count(value: unknown, at: string, min: number, max: number, fallback: number): number {
    if (value === Infinity || value === null) return Infinity;
    return this.integer(value, at, min, max, fallback);
  }

  boolean(value: unknown, at: string, fallback: boolean): boolean {
    if (value === undefined || typeof value === 'boolean') return value ?? fallback;
    this.problem(at, `must be true or false, got ${show(value)}`);
    return fallback;
  }

  oneOf<T extends string | boolean | undefined>(value: unknown, at: string, allowed: readonly T[], fallback: T): T {
    if (value === undefined) return fallback;
    const found = allowed.find((candidate) => candidate === value);
    if (found === undefined) this.problem(at, `must be one of ${allowed.join(', ')}, got ${show(value)}`);
    return found ?? fallback;
  }

  /** A list of one whole number or more. */
  integers(value: unknown, at: string, min: number, max: number): readonly number[] | undefined {
    if (value === undefined) return undefined;
    const isOne = (item: unknown): boolean =>
      Number.isInteger(item) && (item as number) >= min && (item as number) <= max;
    if (Array.isArray(value) && value.length > 0 && value.every(isOne)) return [...(value as number[])];
    this.problem(at, `must be a list of integers from ${min} to ${max}, got ${show(value)}`);
    return undefined;
  }

  list<T extends string>(value: unknown, at: string, allowed: readonly T[]): readonly T[] | undefined {
    if (value === undefined) return undefined;
    const ok =
      Array.isArray(value) &&
      value.length > 0 &&
      new Set(value).size === value.length &&
      value.every((item) => allowed.includes(item as T));
    if (ok) return [...(value as T[])];
    this.problem(at, `must be a list of one or more of ${allowed.join(', ')}, each once, got ${show(value)}`);
    return undefined;
  }

  text(value: unknown, at: string, min: number, max: number): string | undefined {
    if (value === undefined) return undefined;
    if (typeof value === 'string' && value.length >= min && value.length <= max) return value;
    this.problem(at, `must be a string of ${min} to ${max} characters, got ${show(value)}`);
    return undefined;
  }

  names(value: unknown, at: string): readonly string[] | undefined {
    if (value === undefined) return undefined;
    const list: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (list.length > 0 && list.every((item) => typeof item === 'string' && item !== '')) return list as string[];
    this.problem(at, `must be a non-empty string or a list of them, got ${show(value)}`);
    return undefined;
  }

  /** An object whose members have names of the application's. */
  record(value: unknown, at: string): Record<string, unknown> | undefined {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
    this.problem(at, `must be an object, got ${kindOf(value)}`);
    return undefined;
  }

  /** A name as HTTP has them (RFC 9110 §5.6.2): of a cookie, for one. */
  token(value: unknown, at: string): string | undefined {
    if (value === undefined) return undefined;
    if (typeof value === 'string' && /^[\w!#$%&'*+.^`|~-]{1,256}$/.test(value)) return value;
    this.problem(at, `must be a name of letters, digits and -_.!#$%&'*+^\`|~, got ${show(value)}`);
    return undefined;
  }

  callable(value: unknown, at: string): ((...args: never[]) => unknown) | undefined {
    if (value === undefined || typeof value === 'function') return value as undefined | (() => unknown);
    this.problem(at, `must be a function, got ${show(value)}`);
    return undefined;
  }

  /** Objects that have a method, or classes whose instances do. */
  instances<T>(value: unknown, at: string, method: string): (Type<T> | T)[] {
    if (value === undefined) return [];
    const has = (item: unknown): boolean =>
      typeof (item as Record<string, unknown> | undefined)?.[method] === 'function';
    const isOne = (item: unknown): boolean => has(typeof item === 'function' ? item.prototype : item);
    if (Array.isArray(value) && value.every(isOne)) return value as (Type<T> | T)[];
    this.problem(at, `must be a list of classes, or objects, with a method ${method}()`);
    return [];
  }

  path(value: unknown, at: string, fallback: string): string {
    if (value === undefined) return fallback;
    if (typeof value === 'string' && /^\/[^\s?#]*$/.test(value)) return value;
    this.problem(at, `must begin with a slash and hold no space, "?" or "#", got ${show(value)}`);
    return fallback;
  }
}

/** What stands where an object belongs, without its content: that may be a secret in the wrong place. */
function kindOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'a list' : `a ${typeof value}`;
}

/** A bad value, as a message shows it. */
export function show(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value);
  if (typeof value === 'string')
    return value.length <= 64 ? JSON.stringify(value) : `a string of ${value.length} characters`;
  return Array.isArray(value) ? JSON.stringify(value).slice(0, 100) : `a value of type ${typeof value}`;
}
