import { IsEmailAddress } from '../../email/is-email-address.js';

/** One e-mail address, normalised: see {@link IsEmailAddress}. */
export class EmailDto {
  @IsEmailAddress()
  email!: string;
}
