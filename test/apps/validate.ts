import { IsEmail, IsString, MaxLength } from 'class-validator';
import { dtoValidator } from 'nestjs-ws-gateway';

export class AddressDto {
  @IsEmail() email!: string;
  @IsString() @MaxLength(100) text!: string;
}

const validator = dtoValidator(AddressDto);

export function parse(text: string): AddressDto | Promise<AddressDto> {
  return validator.validate(JSON.parse(text)); // throws, or rejects with, VALIDATION_FAILED
}
