import type { Type } from '@nestjs/common';
import type { Module } from '@nestjs/core/internal';
import type { WireProtocol } from '../protocol/wire-protocol.js';
import { ForeignProtocol } from '../session/foreign-protocol.js';
import type { WsSession } from '../session/ws-session.js';
import { instanceOf } from './resolve-instance.js';

/** What `@UseProtocol()` takes: a class, which Nest makes, or an object. */
export type ProtocolSource = Type<WireProtocol<WsSession>> | WireProtocol<WsSession>;

const METHODS = ['decode', 'reply', 'push', 'exception', 'disconnect'] as const;

/** A token (RFC 9110 §5.6.2), as a subprotocol is one. */
const TOKEN = /^[\w!#$%&'*+.^`|~-]{1,128}$/;

/** The protocols of one application, each made once: what is pushed to many is written once for those of one protocol. */
export class Protocols {
  readonly #known = new Map<ProtocolSource, WireProtocol<WsSession>>();

  /** @throws Error for one that cannot be made, or lacks a method, or names a subprotocol that none can be */
  async of(source: ProtocolSource, module: Module, gateway: string): Promise<WireProtocol<WsSession>> {
    const known = this.#known.get(source);
    if (known !== undefined) return known;
    const protocol = await instanceOf<WireProtocol<WsSession>>(source, module);
    const missing = METHODS.filter((name) => typeof protocol[name] !== 'function');
    if (missing.length > 0) throw new Error(`The protocol of ${gateway} has no ${missing.join(', no ')}`);
    const { subprotocols = [] } = protocol;
    if (!Array.isArray(subprotocols) || !subprotocols.every((name) => typeof name === 'string' && TOKEN.test(name))) {
      throw new Error(`The protocol of ${gateway} has "subprotocols" that are no list of tokens as RFC 9110 has them`);
    }
    const wire = protocol.isTrusted === true ? protocol : new ForeignProtocol(protocol);
    this.#known.set(source, wire);
    return wire;
  }
}
