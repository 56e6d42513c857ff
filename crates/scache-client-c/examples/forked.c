/*
 * forked - one handle in a parent and its children, while another thread uses a handle of its own
 *
 *     forked SOCKET
 *
 * Every connection carries a number of its own, so that one that reaches the wrong process is noticed. Says what is
 * wrong, if anything, and ends with 1 then.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scache.h"

#define CHILDREN 40
#define ROUNDS 10

static int complain(const char *side, const char *what, scache *cache)
{
    printf("%s: %s: %s\n", side, what, scache_error(cache));
    return 1;
}

/* Whether the number arrives at the other end of a pair of which this process keeps that end. */
static int carries(int connection, int far, const char *number)
{
    char heard[64] = "";
    size_t length = strlen(number) + 1;

    return write(connection, number, length) == (ssize_t)length && read(far, heard, sizeof(heard)) == (ssize_t)length &&
           strcmp(heard, number) == 0;
}

/* Saves connections and finds them again, under a name that no other process or thread uses. */
static int work(scache *cache, const char *side, int run)
{
    struct scache_found found;
    char number[64];
    int pair[2], round;

    for (round = 0; round < ROUNDS; round++) {
        snprintf(number, sizeof(number), "%s %d.%d", side, run, round);
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
            return complain(side, "socketpair", cache);
        if (scache_save_endpoint(cache, 60, side, number, pair[0]) != SCACHE_OK)
            return complain(side, "not saved", cache);
        close(pair[0]);
        if (scache_find_endpoint(cache, side, &found) != SCACHE_OK)
            return complain(side, "not found", cache);
        if (strcmp(found.property, number) != 0 || !carries(found.connection, pair[1], number))
            return complain(side, "another connection", cache);
        close(found.connection);
        close(pair[1]);
    }
    return 0;
}

static volatile int over;

static void *work_beside(void *path)
{
    scache *cache = scache_open(path);
    int run, failed = 0;

    for (run = 0; !over && !failed; run++)
        failed = work(cache, "thread", run);
    scache_close(cache);
    return failed ? path : NULL;
}

/* Parent and child use the handle at the same time, from the same moment on. */
static int divide(scache *cache, int run)
{
    int gate[2], status = 0, failed;
    char byte;
    pid_t child;

    if (pipe(gate) != 0 || (child = fork()) < 0)
        return complain("parent", "fork", cache);
    if (child == 0) {
        close(gate[1]);
        failed = read(gate[0], &byte, 1) != 0 || work(cache, "child", run);
        /* Some children end the handle, which must not end the parent's. */
        if (run % 2)
            scache_close(cache);
        fflush(stdout);
        _exit(failed);
    }
    close(gate[0]);
    close(gate[1]);
    failed = work(cache, "parent", run);
    if (waitpid(child, &status, 0) != child || status != 0)
        failed = 1;
    return failed;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    scache *cache;
    void *failed_beside = NULL;
    int run, failed;

    if (argc != 2) {
        fprintf(stderr, "usage: forked SOCKET\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IONBF, 0);
    cache = scache_open(argv[1]);
    scache_set_timeout(cache, 60000);
    if (pthread_create(&thread, NULL, work_beside, argv[1]) != 0)
        return 2;
    /* The connection of the handle is made before the first fork. */
    failed = work(cache, "parent", -1);
    for (run = 0; run < CHILDREN && !failed; run++)
        failed = divide(cache, run);
    over = 1;
    pthread_join(thread, &failed_beside);
    scache_close(cache);
    return failed || failed_beside != NULL;
}
