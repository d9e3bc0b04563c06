# What scanners of TLS servers find. Each is asked for a report in a format of its own, which scanned.py judges. Sourced by
# scripts/interop.

# judged SCANNER FILE: nothing was found, and the report is whole.
judged() {
    python3 tests/interop/scanned.py "$@"
}

testssl_sh() {
    # Protocols, ciphers, forward secrecy, preferences, certificate, vulnerabilities: all but simulated clients.
    timeout 500 testssl -t smtp -p -s -f -P -S -U --warnings batch -n none --openssl-timeout 20 --color 0 \
        --add-ca "$authority" --jsonfile "$folder/testssl.json" "localhost:$port" </dev/null || true
    judged testssl "$folder/testssl.json"
}

by_sslscan() {
    timeout 120 sslscan --no-colour --starttls-smtp --sni-name=localhost --xml="$folder/sslscan.xml" "127.0.0.1:$port"
    judged sslscan "$folder/sslscan.xml"
}

by_sslyze() {
    # Exit status 1 where anything differs from Mozilla's profile.
    timeout 200 "$tools/venv/bin/sslyze" --starttls smtp --resum --sni localhost --mozilla_config=intermediate \
        --certinfo_ca_file "$authority" --json_out "$folder/sslyze.json" "127.0.0.1:$port"
    judged sslyze "$folder/sslyze.json"
}

proves sslscan by_sslscan "TLS 1.2 and 1.3 alone, no weak cipher or group, no renegotiation, compression or Heartbleed"
proves sslyze by_sslyze "compliant with Mozilla's intermediate profile, nothing to resume, no known attack"
proves testssl.sh testssl_sh "no finding above LOW, certificate and vulnerabilities included"
