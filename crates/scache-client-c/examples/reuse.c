/*
 * reuse - say a line to a server over a connection that an earlier process has left in the cache
 *
 *     reuse SOCKET PORT LINE
 *
 * SOCKET is that of scached (or of Postfix's scache), PORT a port of a server on this machine that answers each line
 * with a line. Says whether the connection was reused, and what the server said.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scache.h"

static int connect_to(const char *port)
{
    struct sockaddr_in address;
    int connection = socket(AF_INET, SOCK_STREAM, 0);

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)atoi(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address) != 0) {
        perror("connect");
        exit(1);
    }
    return connection;
}

/* Says a line and reads one. 0 if the connection is no good. */
static int talk(int connection, const char *line, char *answer, size_t room)
{
    size_t length = 0;

    if (send(connection, line, strlen(line), MSG_NOSIGNAL) < 0 || send(connection, "\n", 1, MSG_NOSIGNAL) < 0)
        return 0;
    while (length + 1 < room) {
        if (read(connection, answer + length, 1) != 1)
            return 0;
        if (answer[length] == '\n')
            break;
        length++;
    }
    answer[length] = '\0';
    return 1;
}

int main(int argc, char **argv)
{
    scache *cache;
    struct scache_found found;
    char destination[64], endpoint[64], answer[256];
    const char *endpoints[1];
    int connection, reused;

    if (argc != 4) {
        fprintf(stderr, "usage: reuse SOCKET PORT LINE\n");
        return 2;
    }
    snprintf(destination, sizeof destination, "line:localhost:%s", argv[2]);
    snprintf(endpoint, sizeof endpoint, "line:[127.0.0.1]:%s", argv[2]);
    endpoints[0] = endpoint;

    cache = scache_open(argv[1]);
    scache_set_timeout(cache, 5000);

    switch (scache_find(cache, destination, endpoints, 1, &found)) {
    case SCACHE_OK:
        connection = found.connection;
        reused = 1;
        break;
    case SCACHE_NOT_FOUND:
        connection = connect_to(argv[2]);
        reused = 0;
        break;
    default:
        /* The cache is away: that costs a handshake, no more. */
        fprintf(stderr, "reuse: %s\n", scache_error(cache));
        connection = connect_to(argv[2]);
        reused = 0;
    }

    if (!talk(connection, argv[3], answer, sizeof answer)) {
        /* It may have been closed a moment ago. */
        close(connection);
        connection = connect_to(argv[2]);
        reused = 0;
        if (!talk(connection, argv[3], answer, sizeof answer)) {
            fprintf(stderr, "reuse: the server does not answer\n");
            return 1;
        }
    }
    printf("%s: %s\n", reused ? "reused" : "connected", answer);

    /* The answer was read to its end: the next process may have the connection. */
    if (scache_save(cache, 30, destination, "", endpoint, "", connection) != SCACHE_OK)
        fprintf(stderr, "reuse: %s\n", scache_error(cache));
    close(connection);
    scache_close(cache);
    return 0;
}
