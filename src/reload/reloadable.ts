import type { ResolvedOptions } from '../ws-gateway.options.js';

/** A part of the module that holds more of the options than the numbers and names that it reads anew each time. */
export interface Reloadable {
  /**
   * Makes what the next options need, and changes nothing yet.
   *
   * @param isChanged true for the name of an option that was given another value
   * @returns what puts it in force: it does not fail
   * @throws what is wrong with the options: then all parts stay as they were
   */
  prepare(next: ResolvedOptions, isChanged: (option: string) => boolean): Commit | Promise<Commit>;
}

export type Commit = () => void | Promise<void>;
