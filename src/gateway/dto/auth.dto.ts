import { IsString } from 'class-validator';

/** `data` of an `auth` event. What the token is worth is not a question of its shape. */
export class AuthDto {
  @IsString()
  token!: string;
}
