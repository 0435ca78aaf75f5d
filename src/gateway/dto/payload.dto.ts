import { IsNotEmpty, IsString } from 'class-validator';

/** A text message: not empty, and as long as `limits.maxMessageBytes` lets it be. */
export class PayloadDto {
  @IsString()
  @IsNotEmpty()
  text!: string;
}
