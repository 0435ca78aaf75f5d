/** Characters that end a line, steer a terminal or turn a line round. */
export const ACTIVE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

/** A text that would forge a line of the log, clear the terminal and read from right to left. */
export const HOSTILE =
  'eve\r\n{"level":30,"msg":"forged"}\n[Nest] LOG forged\u001b[2J\u009b1A\u007f\u2028\u2029\u202eecila\u2066\u200f\u200b';
