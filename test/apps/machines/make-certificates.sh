#!/bin/sh
# An authority, a server's certificate and one for a machine called "meter-1", in the folder that is given.
set -eu
mkdir -p "$1"
cd "$1"
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
openssl req -x509 $new -days 365 -subj "/CN=Our machines" -keyout ca.key -out ca.pem
for name in server meter-1; do
  subject=$([ "$name" = server ] && echo localhost || echo "$name")
  openssl req -new $new -subj "/CN=$subject" -keyout "$name.key" -out "$name.csr"
  printf 'basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n' >"$name.ext"
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile "$name.ext" -out "$name.pem"
done
chmod 600 -- *.key
