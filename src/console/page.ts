import { readdirSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname } from 'node:path';
import type { PageConfig } from './wire.js';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};

const CSP = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const HEADERS: Readonly<Record<string, string>> = {
  'Content-Security-Policy': CSP,
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

interface Asset {
  readonly type: string;
  readonly plain: Buffer;
  readonly zipped: Buffer | undefined;
}

type Request = IncomingMessage & { readonly originalUrl?: string };

/** Serves the built page: its files are read once, and nothing else is looked up in the file system. */
export class ConsolePage {
  readonly #assets = new Map<string, Asset>();
  readonly #mount: string;

  /**
   * @param path where the page is, without slashes around it
   * @throws Error where the page is not built
   */
  constructor(
    folder: URL,
    path: string,
    private readonly config: Omit<PageConfig, 'page'>,
  ) {
    this.#mount = path === '' ? '/' : `/${path}/`;
    const files = new Map(namesIn(folder).map((name) => [name, readFileSync(new URL(name, folder))]));
    for (const [name, plain] of files) {
      if (name.endsWith('.gz')) continue;
      const type = TYPES[extname(name)] ?? 'application/octet-stream';
      this.#assets.set(name, { type, plain, zipped: files.get(`${name}.gz`) });
    }
    if (!this.#assets.has('index.html')) throw new Error(`The console's page is not built: ${folder.pathname}`);
  }

  /** What the page may ask for, as routes. */
  get routes(): string[] {
    const base = this.#mount.slice(1);
    return [base === '' ? '/' : base.slice(0, -1), `${base}config.json`, `${base}assets/*path`];
  }

  readonly middleware = (request: Request, response: ServerResponse, next: () => void): void => {
    // Fastify cuts `url` down to what is behind the route.
    const [pathname = ''] = (request.originalUrl ?? request.url ?? '').split('?', 1);
    if (request.method !== 'GET' && request.method !== 'HEAD') return next();
    if (this.#mount !== '/' && pathname.endsWith(this.#mount.slice(0, -1))) {
      const [last = ''] = pathname.split('/').slice(-1);
      return answer(request, response, 308, { Location: `${last}/` }); // relative, so a proxy's prefix needs nothing
    }
    const at = this.#mount === '/' ? 0 : pathname.lastIndexOf(this.#mount);
    if (at === -1) return next();
    const name = pathname.slice(at + this.#mount.length);
    if (name === 'config.json') return this.#sendConfig(request, response, pathname);
    this.#send(request, response, name || 'index.html', next);
  };

  #send(request: Request, response: ServerResponse, name: string, next: () => void): void {
    const asset = this.#assets.get(name);
    if (asset === undefined) return next();
    const { type, plain, zipped } = asset;
    const isZipped = zipped !== undefined && /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
    const body = isZipped ? zipped : plain;
    answer(
      request,
      response,
      200,
      {
        'Content-Type': type,
        'Content-Length': String(body.length),
        'Cache-Control': name.startsWith('assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
        Vary: 'Accept-Encoding',
        ...(isZipped && { 'Content-Encoding': 'gzip' }),
      },
      body,
    );
  }

  #sendConfig(request: Request, response: ServerResponse, pathname: string): void {
    const page = pathname.slice(0, -'config.json'.length);
    const body = Buffer.from(JSON.stringify({ ...this.config, page } satisfies PageConfig));
    const headers = {
      'Content-Type': 'application/json',
      'Content-Length': String(body.length),
      'Cache-Control': 'no-cache',
    };
    answer(request, response, 200, headers, body);
  }
}

function answer(
  request: Request,
  response: ServerResponse,
  status: number,
  headers: Record<string, string>,
  body?: Buffer,
): void {
  // Set, then written: helmet of the application has set its own before.
  for (const [name, value] of Object.entries({ ...HEADERS, ...headers })) response.setHeader(name, value);
  response.statusCode = status;
  response.end(request.method === 'HEAD' ? undefined : body);
}

function namesIn(folder: URL): string[] {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => `${entry.parentPath}/${entry.name}`.slice(folder.pathname.length).replace(/^\//, ''));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
