import type { ResolvedOptions } from '../ws-gateway.options.js';
import type { Reloadable } from './reloadable.js';

/**
 * The options in force. `current` stays the same object for the life of the module, and so does each group in it: a reader that
 * holds one of them reads what is in force now. A part that copies something out of them is added as a {@link Reloadable}.
 */
export class LiveOptions {
  readonly current: ResolvedOptions;
  readonly #parts: Reloadable[] = [];

  constructor(first: ResolvedOptions) {
    const current: Record<string, unknown> = { ...first };
    for (const [name, value] of Object.entries(first)) if (isGroup(value)) current[name] = { ...value };
    this.current = current as unknown as ResolvedOptions; // because it has the members of one
  }

  add(...parts: Reloadable[]): void {
    this.#parts.push(...parts);
  }

  /**
   * Puts other options in force: prepares all parts, replaces the options, commits all parts. No part sees some of the old options and
   * some of the new.
   *
   * @throws what a part's `prepare()` throws: then nothing has changed
   */
  async replace(next: ResolvedOptions, isChanged: (option: string) => boolean): Promise<void> {
    const commits = await Promise.all(this.#parts.map(async (part) => part.prepare(next, isChanged)));
    const current = this.current as unknown as Record<string, unknown>; // because only here it is not readonly
    for (const [name, value] of Object.entries(next)) {
      const group = current[name];
      if (isGroup(group) && isGroup(value)) become(group, value);
      else current[name] = value;
    }
    await Promise.all(commits.map((commit) => commit()));
  }
}

/** Makes the one object what the other is. */
function become(group: object, next: object): void {
  for (const name of Object.keys(group)) if (!(name in next)) Reflect.deleteProperty(group, name); // a path without options any more
  Object.assign(group, next);
}

function isGroup(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
