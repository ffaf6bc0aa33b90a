#!/usr/bin/env bash
# Does what a new user does: takes the program and the dependencies out of README.md into an empty
# folder outside of this workspace, makes certificates with `replica-node cert`, runs the program
# as two nodes, and goes from one to the other with one browser's cookies. Status 0 if all of it
# works; else the log of both nodes.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly repo
readonly PATIENCE_SECONDS=60

work=$(mktemp -d)
nodes=()

finish() {
    local status=$?
    if ((${#nodes[@]} > 0)); then
        kill -KILL "${nodes[@]}" 2>/dev/null || true
    fi
    if ((status != 0)); then
        tail -n +1 "$work"/*.log >&2 2>/dev/null || true
        echo "embed: FAILED" >&2
    fi
    rm -rf "$work"
}
trap finish EXIT

fail() {
    echo "embed: $1" >&2
    exit 1
}

# block KIND: the first code block of this kind after the heading "Use it" of the README.
block() {
    awk -v open="\`\`\`$1" '
        /^## Use it/ { here = 1 }
        on && $0 == "```" { exit }
        on { print }
        here && $0 == open { on = 1 }
    ' "$repo/README.md"
}

# free_port tcp|udp: a port that nobody uses, from below those that the system gives away by itself.
free_port() {
    local port
    for _ in {1..100}; do
        port=$((20000 + RANDOM % 12000))
        if ! grep -q "$(printf ':%04X ' "$port")" /proc/net/"$1" && [[ " ${taken:-} " != *" $port "* ]]; then
            taken="${taken:-} $port"
            chosen=$port
            return
        fi
    done
    fail "no free port"
}

# expect WHAT WANTED FOUND
expect() {
    [[ $2 == "$3" ]] || fail "$1: expected \"$2\", got \"$3\""
    echo "  $1: $3"
}

# wait_for WHAT COMMAND…: until the command succeeds.
wait_for() {
    local what=$1 until=$((SECONDS + PATIENCE_SECONDS))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || fail "still not after $PATIENCE_SECONDS s: $what"
        sleep 0.1
    done
}

browse() {
    curl --silent --show-error --fail --max-time 20 --cookie "$work/jar" --cookie-jar "$work/jar" "$@"
}

echo "== a project in an empty folder"
mkdir -p "$work/my-service/src"
cd "$work/my-service"
printf '[package]\nname = "my-service"\nversion = "0.1.0"\nedition = "2024"\n\n' >Cargo.toml
block toml | sed "s|PATH/crates/replica|$repo/crates/replica|" >>Cargo.toml
block rust >src/main.rs
grep -q "$repo/crates/replica" Cargo.toml || fail "README.md names no dependency on PATH/crates/replica"
grep -q 'fn main' src/main.rs || fail "README.md has no program"
cargo build --quiet --manifest-path "$repo/Cargo.toml" -p node
# Of its own, because the settings of the workspace's profiles do not reach this project; inside
# of the other one, so that what was compiled stays for the next time.
CARGO_TARGET_DIR="$repo/target/embed" cargo build --quiet
target="${CARGO_TARGET_DIR:-$repo/target}"

echo "== certificates"
free_port udp && quic1=$chosen
free_port udp && quic2=$chosen
free_port tcp && http1=$chosen
free_port tcp && http2=$chosen
members=(--member "n1=127.0.0.1:$quic1" --member "n2=127.0.0.1:$quic2")
cd "$work"
"$target/debug/replica-node" cert ca --cluster shop --out ca >/dev/null
"$target/debug/replica-node" cert node n1 --ca ca --out n1 "${members[@]}" >/dev/null
"$target/debug/replica-node" cert node n2 --ca ca --out n2 "${members[@]}" >/dev/null

echo "== two nodes"
"$repo/target/embed/debug/my-service" n1/node.toml "127.0.0.1:$http1" >n1.log 2>&1 &
nodes+=($!)
"$repo/target/embed/debug/my-service" n2/node.toml "127.0.0.1:$http2" >n2.log 2>&1 &
nodes+=($!)
first="http://127.0.0.1:$http1" second="http://127.0.0.1:$http2"
wait_for "the first node serves" curl --silent --fail --max-time 5 "$first/health"
wait_for "the second node serves" curl --silent --fail --max-time 5 "$second/health"

echo "== one session on both"
expect "first visit, on the first node" "visit 1, theme " "$(browse "$first/")"
cp jar planted
browse --header 'Content-Type: text/plain' --data ada "$first/login"
expect "after the login, on the second" "visit 2, theme " "$(browse "$second/")"
expect "again on the first" "visit 3, theme " "$(browse "$first/")"
expect "with the id before the login" 410 \
    "$(curl --silent --output /dev/null --write-out '%{http_code}' --cookie planted "$second/")"

echo "== the end"
kill -TERM "${nodes[@]}"
for node in "${nodes[@]}"; do
    status=0
    wait "$node" || status=$?
    expect "status of a node that was asked to end" 0 "$status"
done
nodes=()
echo "embed: ok"
