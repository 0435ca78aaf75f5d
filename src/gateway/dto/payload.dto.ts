import { IsNotEmpty, IsString, MaxLength } from 'class-validator';

/** Longest text of a payload, in UTF-16 units. */
const MAX_TEXT_LENGTH = 10_000;

/** A text message. */
export class PayloadDto {
  @IsString()
  @IsNotEmpty()
  @MaxLength(MAX_TEXT_LENGTH)
  text!: string;
}
