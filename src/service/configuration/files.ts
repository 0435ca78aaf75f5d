import { readFileSync } from 'node:fs';

/** What a file holds that a variable names; undefined when it cannot be read, which `problems` says then. */
export function readFile(name: string, path: string, problems: string[]): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    return void problems.push(`${name}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}
