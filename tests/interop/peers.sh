# Other people's mail servers as next hops and as clients, a thousand messages each way. Sourced by scripts/interop.

tests/interop/fetch.sh "$tools/peers" || fail "Exim, OpenSMTPD and chasquid could not be fetched"

# A line for each way, from the program itself.
through_peers() {
    local inside=(python3 -B tests/interop/peers "$binary" "$tools/peers")
    if ! as_root "${inside[@]}" "${PEERS_COUNT:-1000}"; then failed+=(peers); fi
}
through_peers
