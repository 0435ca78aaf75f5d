/**
 * Characters that end a line, steer a terminal or change the order in which a line is read: controls, format characters
 * (bidi marks among them), line and paragraph separators, halves of surrogate pairs.
 */
const ACTIVE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** The text on one line, in which every active character is written as JavaScript would escape it. */
export function visible(text: string): string {
  return text.replace(ACTIVE, (character) => SHORT[character] ?? escaped(character));
}

/**
 * A stack over several lines. A line feed stays only before a frame and before a cause: what a client wrote may be in the message,
 * and the lines that it begins there would look like lines of the log.
 */
export function visibleStack(stack: string): string {
  return stack
    .split(/\n(?= {4}(?:at |caused by: ))/)
    .map(visible)
    .join('\n');
}

/** JSON text that says the same without an active character: only within its strings can there be any. */
export function visibleJson(json: string): string {
  return json.replace(ACTIVE, escaped);
}

/** A copy of a line of the log in which every text is visible. */
export function visibleTexts<T extends object>(line: T): T {
  const texts = Object.entries(line).map(([name, value]: [string, unknown]) => {
    if (typeof value !== 'string') return [name, value];
    return [name, name === 'stack' ? visibleStack(value) : visible(value)];
  });
  return Object.fromEntries(texts) as T; // because a text is still a text
}

/** In UTF-16 units, as JSON escapes them (RFC 8259 §7). */
function escaped(character: string): string {
  let text = '';
  for (let at = 0; at < character.length; at++) {
    text += `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`;
  }
  return text;
}
