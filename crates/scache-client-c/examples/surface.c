/*
 * surface - each function of scache.h, once
 *
 *     surface SOCKET [details]
 *
 * Says what is wrong, if anything, and ends with 1 then. `details`: the cache is one of ours, which says more than stock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scache.h"

static int failures;

static void check(int line, const char *what, int holds)
{
    if (!holds) {
        printf("line %d: %s\n", line, what);
        failures++;
    }
}

#define CHECK(condition) check(__LINE__, #condition, condition)

/* Whether a byte that is said at one end is heard at the other. */
static int connected(int one, int other)
{
    char said = 'x', heard = 0;

    return write(one, &said, 1) == 1 && read(other, &heard, 1) == 1 && heard == said;
}

static void all(scache *cache, int details)
{
    struct scache_found found;
    const char *endpoints[] = {"none", "e2"};
    int first[2], second[2], third[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, first) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, second) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, third) == 0);

    CHECK(scache_find_endpoint(cache, "e1", &found) == SCACHE_NOT_FOUND);
    CHECK(strcmp(scache_error(cache), "") == 0);
    CHECK(scache_taken(cache) == -1);

    CHECK(scache_save_endpoint(cache, 1, "e1", "p1", first[0]) == SCACHE_OK);
    CHECK(scache_granted_ms(cache) == (details ? 1000 : -1));
    close(first[0]);
    CHECK(scache_find_endpoint(cache, "e1", &found) == SCACHE_OK);
    CHECK(strcmp(found.endpoint, "e1") == 0);
    CHECK(strcmp(found.property, "p1") == 0);
    CHECK(strcmp(found.destination_property, "") == 0);
    CHECK(scache_taken(cache) == (details ? 1 : -1));
    CHECK(details ? scache_age_ms(cache) >= 0 : scache_age_ms(cache) == -1);
    CHECK(scache_granted_ms(cache) == -1);
    CHECK(connected(found.connection, first[1]));
    CHECK(scache_save_endpoint(cache, 1, "e1", "p1", found.connection) == SCACHE_OK);
    close(found.connection);
    CHECK(scache_find_endpoint(cache, "e1", &found) == SCACHE_OK);
    CHECK(scache_taken(cache) == (details ? 2 : -1));
    close(found.connection);

    CHECK(scache_save(cache, 9, "d", "pd", "e2", "p2", second[0]) == SCACHE_OK);
    CHECK(scache_save_endpoint(cache, 9, "e2", "p3", third[0]) == SCACHE_OK);
    close(second[0]);
    close(third[0]);
    CHECK(scache_find(cache, "d", NULL, 0, &found) == SCACHE_OK);
    CHECK(strcmp(found.property, "p2") == 0);
    CHECK(strcmp(found.destination_property, "pd") == 0);
    CHECK(connected(found.connection, second[1]));
    close(found.connection);
    CHECK(scache_find(cache, "other", endpoints, 2, &found) == SCACHE_OK);
    CHECK(strcmp(found.endpoint, "e2") == 0);
    CHECK(strcmp(found.property, "p3") == 0);
    CHECK(connected(found.connection, third[1]));

    CHECK(scache_save_destination(cache, 9, "d2", "pd2", "e4") == SCACHE_OK);
    CHECK(scache_save_endpoint(cache, 9, "e4", "p4", found.connection) == SCACHE_OK);
    close(found.connection);
    CHECK(scache_find(cache, "d2", endpoints, 2, &found) == SCACHE_OK);
    CHECK(strcmp(found.destination_property, "pd2") == 0);
    CHECK(connected(found.connection, third[1]));
    close(found.connection);

    close(first[1]);
    close(second[1]);
    close(third[1]);
}

int main(int argc, char **argv)
{
    scache *cache, *away;
    struct scache_found found;
    char directory[] = "/tmp/scache-surface-XXXXXX", path[128];

    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: surface SOCKET [details]\n");
        return 2;
    }
    cache = scache_open(argv[1]);
    CHECK(cache != NULL);
    scache_set_timeout(cache, 20000);
    all(cache, argc == 3);

    /* What makes no sense is an error, and says so. */
    CHECK(scache_save_endpoint(cache, 9, "e", "p", -1) == SCACHE_ERROR);
    CHECK(strstr(scache_error(cache), "descriptor") != NULL);
    CHECK(scache_save_endpoint(cache, 0, "e", "p", 0) == SCACHE_ERROR);
    CHECK(strstr(scache_error(cache), "time to live") != NULL);
    CHECK(scache_save_endpoint(cache, 9, NULL, "p", 0) == SCACHE_ERROR);
    CHECK(scache_find_endpoint(cache, "e", NULL) == SCACHE_ERROR);
    CHECK(scache_find(cache, "d", NULL, 1, &found) == SCACHE_ERROR);
    CHECK(scache_find_endpoint(NULL, "e", &found) == SCACHE_ERROR);
    CHECK(scache_open(NULL) == NULL);
    CHECK(scache_error(NULL) != NULL);
    scache_close(NULL);

    scache_set_stock(cache);
    all(cache, 0);
    CHECK(scache_age_ms(NULL) == -1 && scache_taken(NULL) == -1 && scache_granted_ms(NULL) == -1);
    scache_close(cache);

    /* A socket in a directory that everybody may write to may be anybody's. */
    CHECK(mkdtemp(directory) != NULL && chmod(directory, 0777) == 0);
    snprintf(path, sizeof(path), "%s/scache.sock", directory);
    cache = scache_open(path);
    scache_set_trust(cache, SCACHE_TRUST_OWN_OR_ROOT);
    CHECK(scache_find_endpoint(cache, "e", &found) == SCACHE_UNTRUSTED);
    CHECK(strstr(scache_error(cache), directory) != NULL);
    scache_close(cache);
    CHECK(rmdir(directory) == 0);

    away = scache_open("/nonexistent/scache");
    CHECK(scache_find_endpoint(away, "e", &found) == SCACHE_ERROR);
    CHECK(strstr(scache_error(away), "/nonexistent/scache") != NULL);
    scache_close(away);
    return failures != 0;
}
