#!/bin/sh
# Ten mails, sent by ten processes one after the other, over one SMTP session.
#
#     scached --ttl-limit 30s &
#     ten-mails.sh mail.example.com:25 me@example.com you@example.com
#
# SCACHECTL names the program if it is not in PATH, SCACHE_SOCKET the socket of the cache if it is not found by
# itself. Each process runs this script again, as `ten-mails.sh --one N FROM TO`, with the connection as its
# descriptors 6 and 7.

set -u
umask 077

# Reads a reply from the server, with all of its lines, and wants this code.
# read takes no byte beyond the end of a line from a socket: whoever goes on with the session misses nothing.
hear() {
    while IFS= read -r line <&6; do
        case $line in
            "$1"-*) ;;
            "$1"*) return 0 ;;
            *)
                printf '%s: the server says: %s\n' "${0##*/}" "$line" >&2
                return 1 ;;
        esac
    done
    printf '%s: the server has closed the connection\n' "${0##*/}" >&2
    return 1
}

# Says a line, and hears the reply.
say() {
    printf '%s\r\n' "$2" >&7 && hear "$1"
}

# A new session begins with a greeting; one that somebody left has to be reset. 75 says that it is worth another try.
begin() {
    if [ "$SCACHE_REUSED" -gt 0 ]; then
        say 250 RSET || exit 75
    else
        hear 220 && say 250 "EHLO $(uname -n)" || exit 69
    fi
}

# One mail. The session is clean when the last reply was read, so the end with 0 leaves it to the next one.
deliver() {
    say 250 "MAIL FROM:<$2>" &&
    say 250 "RCPT TO:<$3>" &&
    say 354 DATA &&
    printf '%s\r\n' "From: <$2>" "To: <$3>" "Subject: mail $1" '' 'Hello.' >&7 &&
    say 250 . || exit 69
    printf 'mail %s: process %s, session used %s times before\n' "$1" "$$" "$SCACHE_REUSED"
}

# A writer whose reader is gone is told so, and does not die of it.
trap '' PIPE

if [ "${1-}" = --one ]; then
    shift
    begin
    deliver "$@"
    exit 0
fi

if [ $# -ne 3 ]; then
    printf 'usage: %s HOST:PORT FROM TO\n' "${0##*/}" >&2
    exit 64
fi
server=$1 from=$2 to=$3
number=1

# With the options of scachectl connect, if any are needed.
send() {
    "${SCACHECTL:-scachectl}" connect "$@" "$server" \
        "$0" --one "$number" "$from" "$to"
}

while [ "$number" -le 10 ]; do
    send
    status=$?
    if [ "$status" -eq 75 ]; then
        # The session was closed in the moment in which it was taken.
        send --no-cache
        status=$?
    fi
    [ "$status" -eq 0 ] || exit "$status"
    number=$((number + 1))
done
