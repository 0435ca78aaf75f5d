import { constants, X509Certificate } from 'node:crypto';
import { unwatchFile, watchFile } from 'node:fs';
import type { Server as HttpServer, ServerOptions } from 'node:https';
import { createSecureContext } from 'node:tls';
import { readFile } from './files.js';

/** What `TLS_CERT_FILE`, `TLS_KEY_FILE` and `TLS_CLIENT_CA_FILE` hold, seen to go together. */
export interface TlsMaterial {
  readonly cert: Buffer;
  readonly key: Buffer;
  /** The authorities whose client certificates are accepted; undefined: the server requests none. */
  readonly clientCa: Buffer | undefined;
}

/** Where they are. */
export interface TlsFiles {
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly clientCa: string | undefined;
}

/** Forward secrecy and authenticated encryption, and nothing else (RFC 9325 §4.2); the first three are of TLS 1.3. */
const CIPHERS = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'TLS_AES_128_GCM_SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
].join(':');

/** How long a session of TLS can be resumed, in seconds: long enough for a reconnect. */
const SESSION_SECONDS = 300;

/** How long a handshake of TLS may take, in milliseconds; Node's two minutes are a stranger's to fill. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

/** How often the service checks the files, in milliseconds. `stat` follows the links that a mounted secret consists of. */
const LOOK_EVERY_MS = 1_000;

/** How long a certificate and a key may mismatch, in milliseconds, before the service reports it: until then a change may be in progress. */
const SETTLING_MS = 3_000;

/** Reads the files and checks that they go together; what is wrong goes to `problems`. Undefined without any. */
export function readTls(files: TlsFiles, problems: string[]): TlsMaterial | undefined {
  if (files.cert === undefined && files.key === undefined) {
    if (files.clientCa !== undefined) problems.push('TLS_CLIENT_CA_FILE needs TLS_CERT_FILE and TLS_KEY_FILE');
    return undefined;
  }
  if (files.cert === undefined || files.key === undefined) {
    return void problems.push('TLS_CERT_FILE and TLS_KEY_FILE are needed together');
  }
  const cert = readFile('TLS_CERT_FILE', files.cert, problems);
  const key = readFile('TLS_KEY_FILE', files.key, problems);
  const clientCa = files.clientCa === undefined ? undefined : readFile('TLS_CLIENT_CA_FILE', files.clientCa, problems);
  if (cert === undefined || key === undefined || (files.clientCa !== undefined && clientCa === undefined)) {
    return undefined;
  }
  if (!isUsable({ cert, key })) {
    problems.push('TLS_CERT_FILE and TLS_KEY_FILE are not a certificate and its key in PEM');
  }
  // OpenSSL takes a file without any certificate for an empty list, and no client would get in.
  if (clientCa !== undefined && !(clientCa.includes('-----BEGIN CERTIFICATE-----') && isUsable({ ca: clientCa }))) {
    problems.push('TLS_CLIENT_CA_FILE holds no certificates in PEM');
  }
  return { cert, key, clientCa };
}

function isUsable(context: { cert?: Buffer; key?: Buffer; ca?: Buffer }): boolean {
  try {
    createSecureContext({ ...context, minVersion: 'TLSv1.2' });
    return true;
  } catch {
    return false; // the caller says which file it is; OpenSSL's own words say less
  }
}

/**
 * The options of the HTTPS server: TLS 1.2 and 1.3. A client's certificate that does not verify ends no handshake: it is
 * answered with a code.
 */
export function tlsOptions({ cert, key, clientCa }: TlsMaterial): ServerOptions {
  return {
    cert,
    key,
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.3',
    ciphers: CIPHERS,
    honorCipherOrder: true,
    // A renegotiation costs the server far more than the client that asks for it.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    sessionTimeout: SESSION_SECONDS,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    ...(clientCa !== undefined && { ca: clientCa, requestCert: true, rejectUnauthorized: false }),
  };
}

/** Handshakes from now on are made with these; connections that are there keep what they have. */
export function useTls(server: HttpServer, material: TlsMaterial): void {
  server.setSecureContext(tlsOptions(material));
}

/** Which of the files' contents differ, as variables. */
export function tlsChanges(before: TlsMaterial, after: TlsMaterial): string[] {
  const names = { cert: 'TLS_CERT_FILE', key: 'TLS_KEY_FILE', clientCa: 'TLS_CLIENT_CA_FILE' } as const;
  return Object.entries(names)
    .filter(([name]) => {
      const [one, other] = [before, after].map((material) => material[name as keyof typeof names]);
      return one === undefined || other === undefined ? one !== other : !one.equals(other);
    })
    .map(([, variable]) => variable);
}

/** When the server's certificate ends, in ISO 8601. */
export function endOf({ cert }: TlsMaterial): string {
  return new Date(new X509Certificate(cert).validTo).toISOString();
}

/**
 * Calls `reload` when one of the files has changed, and once more if the files do not match yet: a certificate and its key are
 * seldom written at the same moment.
 *
 * @param reload returns what is wrong
 * @param complain called with the problems when they persist
 * @returns a function that ends it
 */
export function watchTls(
  files: TlsFiles,
  reload: () => readonly string[],
  complain: (problems: readonly string[]) => void,
): () => void {
  const paths = [files.cert, files.key, files.clientCa].filter((path) => path !== undefined);
  let settling: NodeJS.Timeout | undefined;
  const again = (): void => {
    settling = undefined;
    const problems = reload();
    if (problems.length > 0) complain(problems);
  };
  const onChange = (): void => {
    clearTimeout(settling);
    settling = reload().length === 0 ? undefined : setTimeout(again, SETTLING_MS).unref();
  };
  for (const path of paths) watchFile(path, { interval: LOOK_EVERY_MS, persistent: false, bigint: true }, onChange);
  return () => {
    clearTimeout(settling);
    for (const path of paths) unwatchFile(path, onChange);
  };
}
