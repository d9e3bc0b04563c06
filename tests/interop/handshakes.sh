# What a TLS client is answered, row by row, seen by OpenSSL and by Postfix's client. Sourced by scripts/interop.

# tls_to PORT FLAG…: all that s_client says of a STARTTLS session, whatever becomes of it.
tls_to() {
    timeout 20 openssl s_client -starttls smtp -connect "127.0.0.1:$1" -CAfile "$authority" "${@:2}" 2>&1 || true
}

# expect WANTED SAID WHAT: fails, with all that was said, unless a line of it matches.
expect() {
    grep -Eq "$1" <<<"$2" || { printf '%s: no "%s" in:\n%s\n' "$3" "$1" "$2"; return 1; }
}

# answers PORT NAME FLAG…: that the server answers with the certificate of that subject, and its chain verifies.
answers() {
    local said
    said=$(tls_to "$1" "${@:3}" </dev/null)
    expect "^subject=CN = $2\$" "$said" "${*:3}"
    expect '^Verification: OK' "$said" "${*:3}"
}

by_name() {
    answers "$port" localhost -servername localhost
    answers "$port" localhost -servername LOCALHOST
    answers "$port" exact.wild.test -servername exact.wild.test
    answers "$port" wild.test -servername other.wild.test
}

by_default() {
    answers "$port" localhost -noservername
    answers "$port" localhost -servername elsewhere.test
    answers "$port" localhost -servername two.labels.wild.test
    answers "$port" localhost -servername 127.0.0.1
}

by_parent() {
    answers "$table_port" deep.test -servername one.deep.test
    answers "$table_port" deep.test -servername over.two.deep.test
    answers "$table_port" exact.deep.test -servername exact.deep.test
    answers "$table_port" localhost -servername elsewhere.test
}

by_key() {
    local said
    said=$(tls_to "$port" -servername localhost -sigalgs ECDSA+SHA256 </dev/null)
    expect '^Peer signature type: ECDSA' "$said" ECDSA
    said=$(tls_to "$port" -servername localhost -sigalgs RSA-PSS+SHA256:RSA+SHA256 </dev/null)
    expect '^Peer signature type: RSA-PSS' "$said" RSA
    said=$(tls_to "$port" -servername localhost -tls1_2 -cipher aRSA </dev/null)
    expect 'Cipher is ECDHE-RSA' "$said" "RSA by TLS 1.2"
}

versions() {
    local version
    for version in 2 3; do
        expect "^New, TLSv1.$version," "$(tls_to "$port" "-tls1_$version" </dev/null)" "TLS 1.$version"
    done
    for version in -tls1 -tls1_1; do
        expect 'alert (protocol version|handshake failure)' "$(tls_to "$port" $version -cipher ALL:@SECLEVEL=0 </dev/null)" "$version"
    done
}

asked_again() {
    local said
    said=$(tls_to "$port" -tls1_3 -groups P-521:P-256 -msg </dev/null)
    expect 'Temp Key: ECDH, prime256v1' "$said" groups
    [ "$(grep -c '>>>.*ClientHello' <<<"$said")" = 2 ] || { echo "not two ClientHellos: $said"; return 1; }
}

alpn() {
    expect '^ALPN protocol: smtp' "$(tls_to "$port" -alpn smtp </dev/null)" smtp
    expect 'alert no application protocol' "$(tls_to "$port" -alpn h2,http/1.1 </dev/null)" h2
}

renegotiation() {
    local said
    # s_client takes R for the wish only when it comes alone; the refusal ends the session and so the wait.
    said=$({ echo R; timeout 5 cat <>"$folder/fifo"; } | tls_to "$port" -tls1_2)
    expect RENEGOTIATING "$said" "the wish"
    expect 'no renegotiation' "$said" "the refusal"
}

resumption() {
    local version said
    for version in -tls1_2 -tls1_3; do
        rm -f "$folder/session"
        # Long enough for tickets that come after the handshake: until the server has said goodbye.
        said=$(printf 'QUIT\r\n' | tls_to "$port" $version -ign_eof -sess_out "$folder/session")
        expect '^221 ' "$said" "$version"
        [ ! -e "$folder/session" ] || { echo "$version: a session to resume: $said"; return 1; }
        ! grep -qi 'session ticket\|early data was accepted' <<<"$said" || { echo "$version: a ticket: $said"; return 1; }
    done
}

# Relays by the client's certificate if it is the one listed; RCPT's reply tells.
relays() {
    local said
    said=$(printf 'EHLO client.test\nMAIL FROM:<ann@client.test>\nRCPT TO:<eve@elsewhere.test>\nQUIT\n' |
        tls_to "$client_port" -crlf -quiet "${@:2}")
    expect "^$1 " "$said" "${*:2}"
}

client_certificates() {
    relays '250 2.1.5' -cert "$folder/listed.pem" -key "$folder/listed.key"
    relays '550' -cert "$folder/stranger.pem" -key "$folder/stranger.key"
    relays '550' -tls1_3
    relays '550' -tls1_2
}

implicit() {
    local said
    said=$(printf 'QUIT\r\n' | timeout 20 openssl s_client -connect "127.0.0.1:$tls_port" -CAfile "$authority" -ign_eof \
        -servername exact.wild.test -verify_hostname exact.wild.test -verify_return_error 2>&1)
    expect '^220 localhost ' "$said" greeting
    expect '^Verification: OK' "$said" chain
}

# finger LEVEL MATCH…: what posttls-finger makes of a session at this level.
finger() {
    timeout 30 posttls-finger -c -l "$1" -d sha256 -F "$authority" -s localhost "[127.0.0.1]:$port" "${@:2}" 2>&1
}

postfix_client() {
    local mine=$folder/certs/localhost/fullchain.pem
    expect 'Verified TLS connection established' "$(finger secure localhost)" secure
    expect 'Verified TLS connection established' "$(finger fingerprint "$(fingerprint "$mine")")" fingerprint
    # That it can say no as well.
    expect 'Untrusted TLS connection established' "$(finger secure other.test)" "secure, another name"
    expect 'Untrusted TLS connection established' "$(finger fingerprint "$(fingerprint "$authority")")" \
        "fingerprint, another certificate"
}

start clients "$binary" "$client_port" "${served_from[@]}" --relay-clientcert "$(fingerprint "$folder/listed.pem")"
mkfifo "$folder/fifo"
proves "openssl s_client, names" by_name "the exact name, in any case, before the wildcard, which serves the rest"
proves "openssl s_client, default" by_default "no name, an unknown one, one too deep for a wildcard and an address get the default"
if [ -z "${FACTEUR_BIN:-}" ]; then
    with_table
    start table target/debug/facteur-interop "$table_port"
    proves "openssl s_client, .parent" by_parent "the compiled-in table's .parent serves at any depth, the exact name before it"
else
    echo "openssl s_client, .parent: not tried, the table of FACTEUR_BIN is its own"
fi
proves "openssl s_client, keys" by_key "one name, ECDSA or RSA as the client can verify"
proves "openssl s_client, versions" versions "TLS 1.2 and 1.3 are taken, 1.0 and 1.1 refused by an alert"
proves "openssl s_client, groups" asked_again "a client that offers a share of P-521 is asked again, for P-256"
proves "openssl s_client, ALPN" alpn "smtp is agreed on, anything else refused by an alert"
proves "openssl s_client, renegotiation" renegotiation "refused"
proves "openssl s_client, resumption" resumption "no ticket and no session by TLS 1.2 or 1.3, so nothing to resume"
proves "openssl s_client, client certificate" client_certificates "the listed one may relay; another or none is served, not relayed"
proves "openssl s_client, implicit TLS" implicit "chain and name verified, then the greeting"
proves posttls-finger postfix_client "Verified at secure and at fingerprint level, and neither for another name or certificate"
