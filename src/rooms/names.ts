const MAX_ROOM_LENGTH = 256;
const MAX_CHANNEL_LENGTH = 128;

const CONTROL = /\p{Cc}/u;
const CHANNEL = /^[A-Za-z0-9_:=@%~-]+(\.[A-Za-z0-9_:=@%~-]+)*$/;

/** True for a name of 1 to 256 UTF-16 units without control characters. */
export function isRoomName(value: unknown): value is string {
  return typeof value === 'string' && value.length >= 1 && value.length <= MAX_ROOM_LENGTH && !CONTROL.test(value);
}

/** True for 1 to 128 of `A-Za-z0-9_.:=@%~-`, with something between each two dots. */
export function isChannelName(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_CHANNEL_LENGTH && CHANNEL.test(value);
}

/** True for an idempotency key: 1 to 64 characters. */
export function isKey(value: unknown): value is string {
  return typeof value === 'string' && value.length >= 1 && value.length <= 64;
}
