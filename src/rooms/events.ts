/** A session has become a member of a room, or is one no longer: it left, was taken out, or its connection ended. */
export interface RoomEvent {
  readonly kind: 'room';
  readonly room: string;
  readonly action: 'joined' | 'left';
  readonly sessionId: string;
  /** Undefined while the session is anonymous. */
  readonly subject?: string;
}

/** A client has subscribed to a channel, or is a subscriber no longer. A {@link RoomEvent} comes as well. */
export interface ChannelEvent {
  readonly kind: 'channel';
  readonly channel: string;
  readonly action: 'subscribed' | 'unsubscribed';
  readonly sessionId: string;
  readonly subject?: string;
}

export type RoomsEvent = RoomEvent | ChannelEvent;
