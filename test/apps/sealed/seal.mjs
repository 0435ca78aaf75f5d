// Sealed fields with nothing but WebCrypto: compact JWE (RFC 7516) with `dir` and A256GCM, event and subject in the
// protected header. For browsers, Node and workers alike.

/**
 * @param value any JSON value
 * @param binding `{ event, subject }` of the message that will carry it
 * @param key `{ kid, k }`, `k` being 32 bytes in base64url
 */
export async function seal(value, { event, subject }, { kid, k }) {
  const header = base64url(utf8(JSON.stringify({ alg: 'dir', enc: 'A256GCM', kid, evt: event, sub: subject })));
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const algorithm = { name: 'AES-GCM', iv, additionalData: utf8(header), tagLength: 128 };
  const secret = await crypto.subtle.importKey('raw', bytesOf(k), 'AES-GCM', false, ['encrypt']);
  const encrypted = new Uint8Array(await crypto.subtle.encrypt(algorithm, secret, utf8(JSON.stringify(value))));
  return [header, '', base64url(iv), base64url(encrypted.subarray(0, -16)), base64url(encrypted.subarray(-16))].join(
    '.',
  );
}

/**
 * @param keys all that may have sealed it
 * @throws Error for what was not sealed under one of the keys for this event and subject
 */
export async function open(sealed, { event, subject }, keys) {
  const [header, none, iv, ciphertext, tag] = sealed.split('.');
  const { alg, enc, kid, evt, sub, ...others } = JSON.parse(new TextDecoder().decode(bytesOf(header)));
  const key = keys.find((candidate) => candidate.kid === kid);
  const isAsExpected = alg === 'dir' && enc === 'A256GCM' && none === '' && Object.keys(others).length === 0;
  if (!isAsExpected || key === undefined) throw new Error('not sealed by us');
  if (evt !== event || sub !== subject) throw new Error('sealed for something else');
  const algorithm = { name: 'AES-GCM', iv: bytesOf(iv), additionalData: utf8(header), tagLength: 128 };
  const secret = await crypto.subtle.importKey('raw', bytesOf(key.k), 'AES-GCM', false, ['decrypt']);
  const encrypted = Uint8Array.of(...bytesOf(ciphertext), ...bytesOf(tag));
  return JSON.parse(new TextDecoder().decode(await crypto.subtle.decrypt(algorithm, secret, encrypted)));
}

const utf8 = (text) => new TextEncoder().encode(text);

const base64url = (bytes) =>
  btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');

const bytesOf = (text) =>
  Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (character) => character.charCodeAt(0));
