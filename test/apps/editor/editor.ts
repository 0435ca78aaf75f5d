import { Module } from '@nestjs/common';
import { WebSocketGateway } from '@nestjs/websockets';
import { createDecoder, readVarUint, readVarUint8Array } from 'lib0/decoding';
import { createEncoder, toUint8Array, writeVarUint, writeVarUint8Array } from 'lib0/encoding';
import { GatewayError, RawGateway, Roles, WsGatewayModule, WsSession } from 'nestjs-ws-gateway';
import type { WebSocket } from 'ws';
import { modifyAwarenessUpdate } from 'y-protocols/awareness';
import { applyUpdate, Doc, encodeStateAsUpdate, encodeStateVector } from 'yjs';

/** The messages of y-websocket: a kind, for SYNC a step, and bytes. */
const [SYNC, AWARENESS, QUERY_AWARENESS] = [0, 1, 3] as const;
const [STATE_VECTOR, MISSING, UPDATE] = [0, 1, 2] as const;

/** What may be written into a document while it is open: Yjs also keeps what it cannot place yet. */
const MAX_BYTES = 16_777_216;

function message(numbers: readonly number[], bytes?: Uint8Array): Uint8Array {
  const encoder = createEncoder();
  for (const number of numbers) writeVarUint(encoder, number);
  if (bytes !== undefined) writeVarUint8Array(encoder, bytes);
  return toUint8Array(encoder);
}

/** A document while it is open, and who edits it. Yours would be loaded, and stored. */
class OpenDocument {
  readonly editors = new Set<WebSocket>();
  readonly #doc = new Doc();
  #bytes = 0;

  constructor() {
    this.#doc.on('update', (update: Uint8Array, from: unknown) => this.#tell(message([SYNC, UPDATE], update), from));
  }

  enter(editor: WebSocket): void {
    this.editors.add(editor);
    editor.send(message([SYNC, STATE_VECTOR], encodeStateVector(this.#doc)));
    this.#tell(message([QUERY_AWARENESS]), editor); // which the others answer by where their cursors are
  }

  /** @throws GatewayError where the document gets too big; Error for what is no message */
  read(bytes: Buffer, from: WebSocket): void {
    const decoder = createDecoder(bytes);
    const kind = readVarUint(decoder);
    if (kind === QUERY_AWARENESS) return this.#tell(message([QUERY_AWARENESS]), from);
    const step = kind === SYNC ? readVarUint(decoder) : undefined;
    const content = readVarUint8Array(decoder);
    if (kind === AWARENESS) {
      const states = modifyAwarenessUpdate(content, (state) => state); // what is no JSON would break the others
      return this.#tell(message([AWARENESS], states), from);
    }
    if (step === STATE_VECTOR) return from.send(message([SYNC, MISSING], encodeStateAsUpdate(this.#doc, content)));
    if (step !== MISSING && step !== UPDATE) throw new TypeError('No such message');
    this.#bytes += content.length;
    if (this.#bytes > MAX_BYTES) throw new GatewayError('MESSAGE_TOO_BIG');
    applyUpdate(this.#doc, content, from);
  }

  #tell(bytes: Uint8Array, from: unknown): void {
    for (const editor of this.editors) if (editor !== from) editor.send(bytes);
  }
}

@Roles('editor')
@RawGateway({ subprotocols: ['yjs'] })
@WebSocketGateway({ path: '/yjs/:document' })
export class EditorGateway {
  readonly #open = new Map<string, OpenDocument>();

  handleConnection(socket: WebSocket): void {
    const session = WsSession.of(socket);
    const name = String(session.params.document);
    const document = this.#open.get(name) ?? new OpenDocument();
    this.#open.set(name, document);
    document.enter(socket);
    socket.on('message', (bytes: Buffer, isBinary) => {
      if (!isBinary) return session.close('UNSUPPORTED_DATA');
      try {
        document.read(bytes, socket);
      } catch (error) {
        session.close(error instanceof GatewayError ? error.code : 'BAD_FRAME'); // the page does not come back then
      }
    });
  }

  handleDisconnect(socket: WebSocket): void {
    const name = String(WsSession.of(socket).params.document);
    const document = this.#open.get(name);
    document?.editors.delete(socket);
    if (document?.editors.size === 0) this.#open.delete(name);
  }
}

@Module({
  imports: [
    WsGatewayModule.forRoot({
      auth: { jwt: { secret: process.env.JWT_SECRET ?? '' } },
      limits: { maxMessageBytes: 1_048_576, bytesPerSecond: 4_194_304 }, // a document comes as one message
    }),
  ],
  providers: [EditorGateway],
})
export class EditorModule {}
