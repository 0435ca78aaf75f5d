export interface Binding {
  readonly event: string;
  readonly subject?: string;
}

export interface Key {
  readonly kid: string;
  /** 32 bytes in base64url. */
  readonly k: string;
}

export function seal(value: unknown, binding: Binding, key: Key): Promise<string>;
export function open(sealed: string, binding: Binding, keys: readonly Key[]): Promise<unknown>;
