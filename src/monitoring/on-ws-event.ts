import { MetadataScanner } from '@nestjs/core';
import type { ModulesContainer } from '@nestjs/core';
import { WS_EVENT_KINDS } from './ws-monitor.js';
import type { WsEventKind, WsEventListener, WsEvents, WsMonitor } from './ws-monitor.js';

const METADATA = 'nestjs-ws-gateway:on-ws-event';

/** A method that takes events of these kinds. */
type Listening<Kind extends WsEventKind> = <Method extends (event: WsEvents[Kind]) => unknown>(
  target: object,
  key: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;

/**
 * Calls this method of a provider, controller or gateway for every event of these kinds, or for every event there is. The
 * class must not be of request scope.
 *
 * @example
 * @OnWsEvent('ban')
 * onBan({ action, target }: BanEvent) { … }
 */
export function OnWsEvent<Kind extends WsEventKind = WsEventKind>(...kinds: Kind[]): Listening<Kind> {
  return (_, key, { value }) => {
    const unknown = kinds.filter((kind) => !WS_EVENT_KINDS.includes(kind));
    if (unknown.length > 0) throw new TypeError(`@OnWsEvent() on ${String(key)}: no such event: ${unknown.join(', ')}`);
    const given: readonly WsEventKind[] = kinds.length === 0 ? WS_EVENT_KINDS : kinds;
    Reflect.defineMetadata(METADATA, given, value as object); // because a decorated method has one
  };
}

/**
 * Subscribes the decorated methods of an application.
 *
 * @throws Error for one in a class of request or transient scope, of which there is no instance to call
 */
export function subscribeDecorated(modules: ModulesContainer, monitor: WsMonitor): void {
  const scanner = new MetadataScanner();
  const seen = new Set<object>();
  for (const { providers, controllers } of modules.values()) {
    for (const wrapper of [...providers.values(), ...controllers.values()]) {
      const instance: unknown = wrapper.instance;
      if (typeof instance !== 'object' || instance === null || seen.has(instance)) continue;
      seen.add(instance); // a provider may be there under several names
      const prototype = Object.getPrototypeOf(instance) as Record<string, object> | null;
      if (prototype === null || prototype === Object.prototype) continue;
      for (const name of scanner.getAllMethodNames(prototype)) {
        const kinds = Reflect.getMetadata(METADATA, prototype[name] as object) as readonly WsEventKind[] | undefined;
        if (kinds === undefined) continue;
        if (!wrapper.isDependencyTreeStatic() || wrapper.isTransient) {
          throw new Error(`@OnWsEvent() on ${wrapper.name}.${name}: the class must be of the default scope`);
        }
        const method = prototype[name] as unknown as WsEventListener; // because the decorator is on methods only
        monitor.on(kinds, (event) => method.call(instance, event));
      }
    }
  }
}
