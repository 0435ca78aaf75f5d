import type { AuditEntry } from './audit-event.js';

/** Where the audit goes: the chained file of {@link AuditFile}, or a provider of the application's own. */
export abstract class AuditSink {
  /** Takes an entry. It is not waited for; what it throws, or rejects with, becomes a warning of the process. */
  abstract write(entry: AuditEntry): void;

  /** What keeps it from writing now, in a few words for an operator; undefined when nothing does. */
  get problem(): string | undefined {
    return undefined;
  }

  /** Resolves when all that was written is kept. Nothing is written after it. It is waited for, for five seconds. */
  async close(): Promise<void> {
    // a sink that keeps nothing back has nothing to do
  }
}
