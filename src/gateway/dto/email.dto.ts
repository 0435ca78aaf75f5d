import { Transform } from 'class-transformer';
import { IsEmail, MaxLength } from 'class-validator';

/** Longest address that SMTP can carry (RFC 5321 §4.5.3.1.3). */
const MAX_EMAIL_LENGTH = 254;

/** One e-mail address: white space around it is dropped, its domain is in lower case, its local part is left alone. */
export class EmailDto {
  @Transform(({ value }: { value: unknown }) => normaliseEmail(value))
  @IsEmail()
  @MaxLength(MAX_EMAIL_LENGTH)
  email!: string;
}

/** The local part may be case-sensitive (RFC 5321 §2.4); a domain never is. */
export function normaliseEmail(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  const address = value.trim();
  const at = address.lastIndexOf('@');
  return at === -1 ? address : address.slice(0, at) + address.slice(at).toLowerCase();
}
