import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasProgram } from './service.js';

/** For `describe.runIf`. */
export const hasOpenssl = (): boolean => hasProgram('openssl', 'openssl', ['version']);

/** A certificate and its key, as files and as what is in them. */
export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: Buffer;
  readonly key: Buffer;
}

export interface CertificateRequest {
  /** Names of the subject, in their order. @default [['CN', 'localhost']] */
  readonly subject?: readonly (readonly [name: string, value: string])[];
  /** Alternative names, as `DNS`, `IP`, `URI` or `email`. @default localhost and 127.0.0.1 */
  readonly names?: readonly (readonly [kind: string, value: string])[];
  /** 0 or less: it has expired. @default 2 */
  readonly days?: number;
  readonly isAuthority?: boolean;
}

const LOCAL = [['DNS', 'localhost'], ['IP', '127.0.0.1']] as const; // prettier-ignore

/** An authority of its own, in a folder of its own. */
export class CertificateAuthority {
  readonly folder = mkdtempSync(join(tmpdir(), 'ws-gateway-tls-'));
  readonly certificate: Certificate;
  #issued = 0;

  constructor(name = 'Authority of the tests') {
    this.certificate = this.#make({ subject: [['CN', name]], names: [], isAuthority: true }, undefined);
  }

  /** @throws Error with what OpenSSL says */
  issue(request: CertificateRequest = {}): Certificate {
    return this.#make(request, this.certificate);
  }

  /** For a server on this machine. */
  forServer(): Certificate {
    return this.issue();
  }

  /** For a client of this name. */
  forClient(name: string, rest: Omit<CertificateRequest, 'subject'> = {}): Certificate {
    return this.issue({ names: [], ...rest, subject: [['CN', name]] });
  }

  #make(request: CertificateRequest, issuer: Certificate | undefined): Certificate {
    const { subject = [['CN', 'localhost']], names = LOCAL, days = 2, isAuthority = false } = request;
    const at = (extension: string): string => join(this.folder, `${this.#issued}.${extension}`);
    this.#issued++;
    const alternative = names.map(([kind, value], index) => `${kind}.${index}=${value}`);
    writeFileSync(
      at('cnf'),
      [
        '[req]\nprompt=no\ndistinguished_name=dn\n[dn]',
        ...subject.map(([name, value], index) => `${index}.${name}=${value}`),
        `[ext]\nbasicConstraints=critical,CA:${isAuthority ? 'TRUE' : 'FALSE'}`,
        ...(alternative.length > 0 ? ['subjectAltName=@alt\n[alt]', ...alternative] : []),
      ].join('\n'),
    );
    const [config, keyFile, certFile, csr] = [at('cnf'), at('key'), at('crt'), at('csr')];
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile];
    openssl(['req', '-new', '-config', config, ...newKey, '-out', csr]);
    const by =
      issuer === undefined
        ? ['-signkey', keyFile]
        : ['-CA', issuer.certFile, '-CAkey', issuer.keyFile, '-CAcreateserial'];
    const extensions = ['-extfile', config, '-extensions', 'ext'];
    openssl(['x509', '-req', '-in', csr, ...by, '-days', String(days), ...extensions, '-out', certFile]);
    return { certFile, keyFile, cert: readFileSync(certFile), key: readFileSync(keyFile) };
  }
}

function openssl(args: string[]): void {
  const { status, stderr } = spawnSync('openssl', args);
  if (status !== 0) throw new Error(`openssl ${args[0]}: ${stderr.toString()}`);
}

let local: { authority: CertificateAuthority; server: Certificate } | undefined;

/** What a server of the tests and those who connect to it use; made when it is first asked for. */
export function localTls(): { ca: Buffer; server: Certificate } {
  if (local === undefined) {
    const authority = new CertificateAuthority();
    local = { authority, server: authority.forServer() };
  }
  return { ca: local.authority.certificate.cert, server: local.server };
}
