/** Traffic between the nodes of a cluster, and the state of their link: `disconnected` is a node that has gone blind. */
export interface BusEvent {
  readonly kind: 'bus';
  readonly action: 'published' | 'received' | 'dropped' | 'connected' | 'disconnected';
}
