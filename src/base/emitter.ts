/** Token of the emitter in the container. */
export const EMITTER = Symbol('nestjs-ws-gateway.emitter');

/** Where a folder's events go. The folders that emit know this alone; who listens is `monitoring`'s affair. */
export interface Emitter<in E extends { readonly kind: string }> {
  /** True while a listener for this kind is subscribed: an event that has none need not be made. */
  has(kind: E['kind']): boolean;
  /** Calls every listener of the kind. It never throws. */
  emit(event: E): void;
}
