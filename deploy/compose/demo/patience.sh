# Waits by time and not by tries: on a busy machine a single command takes a minute.
PATIENCE_SECONDS=900

# Carry a command out again and again until it succeeds. While services start it fails, which is nobody's concern; what
# it said last is told when the time is over.
patiently() {
    end=$(($(date +%s) + PATIENCE_SECONDS))
    until "$@" >/tmp/said 2>&1; do
        if [ "$(date +%s)" -ge "$end" ]; then
            cat /tmp/said
            echo "given up after $PATIENCE_SECONDS s: $*"
            exit 1
        fi
        sleep 2
    done
    cat /tmp/said
}
