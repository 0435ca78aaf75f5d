import type { ResolvedOptions } from '../ws-gateway.options.js';

/**
 * The options in force. `view` stays the same object for the life of the module, and so does each group in it: whoever
 * holds one of them reads what is in force now. What copies a value out of them asks to be told with `onChange()`.
 */
export class LiveOptions {
  readonly view: ResolvedOptions;
  readonly #listeners: ((options: ResolvedOptions) => void)[] = [];

  constructor(first: ResolvedOptions) {
    const view: Record<string, unknown> = { ...first };
    for (const [name, value] of Object.entries(first)) if (isGroup(value)) view[name] = { ...value };
    this.view = view as unknown as ResolvedOptions; // because it has the members of one
  }

  /** @param listener called after every change, with the view; it must not throw */
  onChange(listener: (options: ResolvedOptions) => void): void {
    this.#listeners.push(listener);
  }

  /** Puts other options in force, all at once: nobody sees some of the old and some of the new. */
  replace(next: ResolvedOptions): void {
    const view = this.view as unknown as Record<string, unknown>; // because only here it is not readonly
    for (const [name, value] of Object.entries(next)) {
      const group = view[name];
      if (isGroup(group) && isGroup(value)) Object.assign(group, value);
      else view[name] = value;
    }
    for (const listener of this.#listeners) listener(this.view);
  }
}

function isGroup(value: unknown): value is object {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
