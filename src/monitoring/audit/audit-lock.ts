import { createHash } from 'node:crypto';
import { realpath, unlink } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { once } from 'node:events';
import { AuditFileError } from './audit-tail.js';

/** Bytes of the path of a Unix socket: 108 on Linux, 104 elsewhere, with the zero at its end. */
const MAX_SOCKET_PATH = 103;
const ATTEMPTS = 5;

/**
 * Keeps a second process off the file. The lock is a Unix socket beside it (on Windows a named pipe) that this process
 * listens on: the kernel answers only for the process that holds it, so a process that was killed, a process id
 * that was given out again and a container that began anew need no guessing. Two hosts on one network file system do not
 * see each other's sockets; the writer notices foreign bytes by itself.
 */
export class AuditLock {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @throws AuditFileError when the file is in use */
  static async acquire(path: string): Promise<AuditLock> {
    const resolved = await resolvePath(path);
    const beside = join(dirname(resolved), `.${basename(resolved)}.lock`);
    const name = `ws-gateway-${createHash('sha256').update(resolved).digest('hex').slice(0, 32)}.lock`;
    // Where a socket cannot lie beside the file (a long path, a file system without sockets) it lies among the temporary
    // files: every process comes to the same place.
    const places =
      process.platform === 'win32'
        ? [`\\\\.\\pipe\\${name}`]
        : [...(Buffer.byteLength(beside) <= MAX_SOCKET_PATH ? [beside] : []), join(tmpdir(), name)];
    let failure: unknown;
    for (const place of places) {
      try {
        return new AuditLock(await hold(place, path));
      } catch (error) {
        if (error instanceof AuditFileError) throw error;
        failure = error;
      }
    }
    throw new AuditFileError(`${path} cannot be locked (${(failure as NodeJS.ErrnoException).code})`, {
      cause: failure,
    });
  }

  async release(): Promise<void> {
    this.#server.close(); // which removes the socket
    await once(this.#server, 'close');
  }
}

async function hold(place: string, path: string): Promise<Server> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      return await listen(place);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
    if (await answers(place)) break;
    await unlink(place).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error; // another process was faster
    });
  }
  throw new AuditFileError(`${path} is in use: another process writes its audit there, and two cannot share one chain`);
}

async function listen(place: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  server.listen({ path: place });
  await once(server, 'listening');
  // What fails from here on is one visitor's connection, and no visitor is told anything.
  server.on('error', () => undefined);
  return server.unref();
}

/** @returns false when no process listens: the one that made the socket has ended */
async function answers(place: string): Promise<boolean> {
  const socket = connect(place);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code !== 'ECONNREFUSED' && code !== 'ENOENT'; // not allowed to ask, for one, is held
  } finally {
    socket.destroy();
  }
}

/** The same name for the same file, whether or not it is there yet. */
async function resolvePath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return join(await realpath(dirname(path)), basename(path));
  }
}
