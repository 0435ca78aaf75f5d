import type { Logger } from 'pino';
import type { WsClock } from '../../base/clock.js';
import { AuditFile } from '../../monitoring/audit/audit-file.js';
import type { AuditFileOptions } from '../../monitoring/audit/audit-file.js';
import type { AuditSink } from '../../monitoring/audit/audit-sink.js';
import { ConfigurationError } from '../configuration/configuration.js';

/** How often the service logs the head, in milliseconds: once an hour. */
const HEAD_EVERY_MS = 3_600_000;

/** The audit of the standalone service. */
export interface ServiceAudit {
  /** For the module, which closes it. */
  readonly sink: AuditSink;
  /** Writes what is left, where the module has not done so, and logs the last head. */
  close(): Promise<void>;
}

/**
 * Opens `AUDIT_LOG_FILE`. Its head goes to the log every hour and at the end: a writer of the file cannot change it there, and a
 * verification against it finds a missing tail.
 *
 * @throws ConfigurationError when the file is in use, was changed or cannot be written
 */
export async function openAudit(
  options: AuditFileOptions,
  clock: WsClock,
  pino: Pick<Logger, 'info' | 'error'>,
): Promise<ServiceAudit> {
  const file = await AuditFile.open(options, clock, (message, error) => pino.error({ err: error }, message)).catch(
    ({ message }: Error) => {
      throw new ConfigurationError([`AUDIT_LOG_FILE: ${message}`]);
    },
  );
  const logHead = (): void => pino.info({ auditHead: file.head.hash, auditSeq: file.head.seq }, 'Head of the audit');
  const stopLogging = clock.every(HEAD_EVERY_MS, logHead);
  return {
    sink: file,
    async close() {
      stopLogging();
      await file.close();
      logHead();
    },
  };
}
