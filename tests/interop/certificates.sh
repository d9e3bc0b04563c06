# Certificates from an authority of our own, laid out as certbot does. Sourced by scripts/interop.

authority=$folder/authority.pem

# extensions LINE…: what the next certificate says of itself.
extensions() {
    printf '%s\n' "$@" >"$folder/extensions"
}

# signed NAME ISSUER KEY…: a certificate of the name and its key, $folder/NAME.pem and .key, by $folder/ISSUER.
signed() {
    local name=$1 issuer=$2
    openssl req "${@:3}" -nodes -subj "/CN=$name" -keyout "$folder/$name.key" -out "$folder/request.pem"
    openssl x509 -req -days 80 -in "$folder/request.pem" -CA "$folder/$issuer.pem" -CAkey "$folder/$issuer.key" \
        -CAcreateserial -extfile "$folder/extensions" -out "$folder/$name.pem"
}

ec=(-newkey ec -pkeyopt ec_paramgen_curve:P-256)
rsa=(-newkey rsa:2048)

# served FOLDER NAME KEY…: a lineage below certs/ for a DNS name, with the issuing authority's certificate and no root.
served() {
    extensions "subjectAltName=DNS:$2" basicConstraints=CA:FALSE keyUsage=critical,digitalSignature \
        extendedKeyUsage=serverAuth crlDistributionPoints=URI:http://authority.test/list.crl
    signed "$1" issuing "${@:3}"
    mkdir -p "$folder/certs/$1"
    cat "$folder/$1.pem" "$folder/issuing.pem" >"$folder/certs/$1/fullchain.pem"
    cp "$folder/$1.key" "$folder/certs/$1/privkey.pem"
}

certificates() {
    openssl req -x509 "${rsa[@]}" -nodes -days 90 -subj "/CN=facteur interop" -keyout "$folder/authority.key" \
        -out "$authority" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
    extensions basicConstraints=critical,CA:TRUE keyUsage=critical,keyCertSign
    signed issuing authority "${rsa[@]}"
    served localhost localhost "${ec[@]}"
    served localhost-0001 localhost "${rsa[@]}"
    served wild.test '*.wild.test' "${ec[@]}"
    served exact.wild.test exact.wild.test "${ec[@]}"
    served deep.test '*.deep.test' "${ec[@]}"
    served exact.deep.test exact.deep.test "${ec[@]}"
    # These are for the compiled-in table alone, and the next two are clients'.
    mv "$folder/certs/deep.test" "$folder/certs/exact.deep.test" "$folder"
    extensions basicConstraints=CA:FALSE extendedKeyUsage=clientAuth
    signed listed authority "${ec[@]}"
    signed stranger authority "${ec[@]}"
}
certificates >"$folder/openssl.log" 2>&1 || fail "no certificates: $(tail -1 "$folder/openssl.log")"

# fingerprint FILE: SHA-256 of its first certificate.
fingerprint() {
    openssl x509 -in "$1" -noout -fingerprint -sha256 | cut -d= -f2
}
