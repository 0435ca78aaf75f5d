import type { Privacy } from '../privacy.js';

/** What words of free text are made of, so that each is looked at once, however long the text is. */
const WORD = /[^\s"'`<>()[\]{},;:=/\\|]+/g;

/** A part of a token as RFC 7515 §7.1 writes it; a header is `{"…` in base64url. */
const TOKEN_HEADER = /^eyJ[\w-]*$/;
const EMAIL_DOMAIN = /^[\w-]+(\.[\w-]+)*\.[A-Za-z]{2,}$/;

/** A parameter of a URL's query. Names are bounded, so that each character is looked at a limited number of times. */
const PARAMETER = /([?&])([^\s"'`<>?&=#]{1,192})=[^\s"'`<>&#]*/g;
const HIDDEN = '[hidden]';

const HIDDEN_TOKEN = '[token]';

/**
 * Free text for a line of the log: an error's message may quote what it choked on. Tokens, and parameters of URLs that hold
 * credentials, are taken out; e-mail addresses are shown as the options say.
 */
export function scrub(text: string, show: Privacy): string {
  const shown = text.includes('?')
    ? text.replace(PARAMETER, (all, before: string, name: string) =>
        isSecret(name, show) ? `${before}${name}=${HIDDEN}` : all,
      )
    : text;
  if (!shown.includes('eyJ') && !shown.includes('@')) return shown;
  return shown.replace(WORD, (word) => {
    if (word.includes('@')) return emailOf(word, show);
    return isToken(word) ? HIDDEN_TOKEN : word;
  });
}

/** Names may be percent-encoded, in part or as a whole: `%74oken` is `token`. */
function isSecret(name: string, { secretParameters }: Privacy): boolean {
  if (secretParameters.has(name)) return true;
  if (!name.includes('%')) return false;
  const [decoded = ''] = new URLSearchParams(name).keys();
  return secretParameters.has(decoded);
}

function isToken(word: string): boolean {
  const [header = '', payload = ''] = word.split('.');
  return TOKEN_HEADER.test(header) && payload !== '';
}

function emailOf(word: string, show: Privacy): string {
  const end = word.replace(/[.!?]$/, ''); // of a sentence
  const at = end.lastIndexOf('@');
  if (at < 1 || !EMAIL_DOMAIN.test(end.slice(at + 1))) return word;
  return `${show('email', end)}${word.slice(end.length)}`;
}
