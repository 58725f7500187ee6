# What a page's script is run with: see main.rs. Sourced by it.

place='the beginning' last=/dev/null where=me
stopping=()

explain() {
    code=$?
    [ "$code" = 0 ] && return
    echo "FAILED in $place, exit code $code"
    for output in /doc/*.out; do echo "--- $output"; cat "$output"; done
}
trap explain EXIT

# The page is at this line.
at() { place="$1"; }

# The page goes on at that machine: the home of a user of that name.
on() {
    [ "$1" = "$where" ] && return
    where="$1"
    mkdir -p "/home/$1"
    export HOME="/home/$1" USER="$1"
    cd "$HOME"
}

# In this shell, as blocks are.
begin() {
    cd "$HOME"
    mkdir -p .cargo/bin
    place='<!-- before -->'
    "$1" >/doc/before.out 2>&1
}

# into BLOCK FILE [LINE]: a block that is shown as a file, or as a part of one, is added to it:
# at its end, or below that line.
into() {
    mkdir -p "$(dirname "$2")"
    if [ $# = 2 ]; then
        cat "$1" >>"$2"
    else
        grep -qxF -e "$3" "$2"
        local text
        text="$(cat "$2")"
        printf '%s\n' "${text/"$3"/"$3"$'\n'"$(cat "$1")"}" >"$2"
    fi
}

# stands_for LINE LITERAL PATTERN: in that block LITERAL becomes what was printed last that
# matches PATTERN.
stands_for() {
    local found text
    found="$(cat /doc/*.out | grep -oE -e "$3" | tail -n 1)"
    text="$(cat "/doc/block-$1.sh")"
    case "$text" in *"$2"*) ;; *) echo "$2 is not in the block" && return 1 ;; esac
    printf '%s\n' "${text//"$2"/"$found"}" >"/doc/block-$1.sh"
}

# wait_for FILE TEXT PID
wait_for() {
    local tries=0
    until grep -qF -e "$2" "$1"; do
        kill -0 "$3" 2>/dev/null || { grep -qF -e "$2" "$1" && return; echo "it ended before it said $2" && return 1; }
        tries=$((tries + 1))
        [ "$tries" -lt 1000 ] || { echo "it never said $2" && return 1; }
        sleep 0.05
    done
}

# A program in a terminal of its own.
keeps_running() {
    bash -eu "/doc/block-$1.sh" >"/doc/block-$1.out" 2>&1 </dev/null &
    wait_for "/doc/block-$1.out" "$2" $!
}

fails() {
    local code=0
    bash -eu "/doc/block-$1.sh" >"/doc/block-$1.out" 2>&1 </dev/null || code=$?
    [ "$code" = "$2" ] || { echo "it ended with $code, not with $2" && return 1; }
}

end() {
    place='the end'
    exit 0
}

# For <!-- before -->: a home with the server `demo`, running.
serving() {
    sealwire init
    printf '%s\n' '[mcp_servers.demo]' 'command = "sealwire"' 'args = ["demo-server"]' \
        'default_level = 1' >>~/.sealwire/sealwire.toml
    sealwire cert issue --all
    serve
}
serve() {
    sealwire serve >/doc/serve.out 2>&1 &
    serving=$!
    wait_for /doc/serve.out listening "$serving"
}
# Ctrl-C in its terminal.
stop_serving() {
    kill -INT "$serving"
    while kill -0 "$serving" 2>/dev/null; do sleep 0.05; done
}
# A client's first call: what it opens is closed again.
call() {
    printf '%s\n' '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"hand","version":"1"}}}' \
        '{"jsonrpc":"2.0","method":"notifications/initialized"}' \
        '{"jsonrpc":"2.0","id":2,"method":"tools/list"}' \
        '{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"}}}' |
        sealwire connect demo
}
