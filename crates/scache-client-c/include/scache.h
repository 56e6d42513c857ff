/*
 * scache.h - reuse connections across processes through a shared connection cache
 *
 * Link with -lscache. With the static library (libscache.a) add -lpthread -ldl -lm.
 *
 * An endpoint is where connections lead, a destination what a program wants to reach; both have names of the
 * program's choice. A property comes back with what it was saved with. Names and properties are strings of at most
 * 65536 bytes.
 *
 * A handle may be used by one thread at a time. It connects when it is first used, and again when the cache was
 * restarted or has closed an idle connection to it: a request is repeated as long as no connection was given away.
 *
 * After fork(2) a handle may be used by the parent, by the child, or by both: each process connects to the cache for
 * itself. No other thread may be in a call with that handle at the fork.
 *
 * SPDX-License-Identifier: IPL-1.0 OR EPL-2.0
 */
#ifndef SCACHE_H
#define SCACHE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a call returns. */
enum scache_result {
    /* Saved: close the connection, without shutdown(2). Found: it is this process's. */
    SCACHE_OK = 0,
    /* Nothing is cached. Connect. */
    SCACHE_NOT_FOUND = 1,
    /* The cache is away or refused. Nothing was saved: the connection is still this process's. */
    SCACHE_ERROR = -1,
    /*
     * The cache went away while the connection was on its way to it. It may be cached or not: close it, without
     * shutdown(2), and do not use it any more.
     */
    SCACHE_LOST = -2,
    /*
     * The socket may be another user's (scache_set_trust). Nothing was sent: the connection is still this process's.
     * scache_error says which directory or user is wrong. Remove what that user has put there, or, if that user's cache
     * is meant, use SCACHE_TRUST_NAMED.
     */
    SCACHE_UNTRUSTED = -3
};

/* Which sockets are trusted. */
enum scache_trust {
    /* Any: the user of the program has named the path. This is what holds if nothing else is said. */
    SCACHE_TRUST_NAMED = 0,
    /*
     * A socket of this user or of root: nobody else can put another one at the path, and the process that listens is one
     * of theirs. For a path that the program has chosen itself, as in /tmp.
     */
    SCACHE_TRUST_OWN_OR_ROOT = 1,
    /*
     * A socket of a service, in a directory that was made for it, such as /run/scache: that may belong to the service's
     * user, who may listen. Nobody else may write to it, and only root and this user to those that lead to it.
     */
    SCACHE_TRUST_SERVICE = 2
};

/* A client of a connection cache. */
typedef struct scache scache;

/* A connection that was taken out of the cache. */
struct scache_found {
    /*
     * The connection, to be closed by the caller, close-on-exec. O_NONBLOCK and socket options are as they were left
     * by the program that saved it. Its peer may have closed it a moment ago: if the first request over it fails,
     * connect anew.
     */
    int connection;
    /*
     * The endpoint that it was saved under, or NULL if the cache does not say: the stock program does not, of what is
     * found by the destination. This and the properties are valid until the next call with the handle.
     */
    const char *endpoint;
    /* What was saved for the destination, empty if it was not found by that. */
    const char *destination_property;
    /* What was saved with the connection. */
    const char *property;
};

/* A client of the cache that listens at the path. Nothing is connected yet. NULL if the path is NULL. */
scache *scache_open(const char *path);

/* Ends a client; what it has saved stays cached. NULL is allowed. */
void scache_close(scache *cache);

/*
 * How long a request may take in all, 10 s otherwise. 0 counts as a millisecond. A cache that is stopped or hangs costs a
 * program so much with each request: where connecting costs little, 500 ms are enough, and a program that got
 * SCACHE_ERROR leaves the cache alone for a while.
 */
void scache_set_timeout(scache *cache, unsigned int milliseconds);

/* Speaks the stock protocol only, from the next request on. */
void scache_set_stock(scache *cache);

/*
 * Which sockets are trusted, from the next connect on. The path is checked before each connect, and the process at the
 * other end after it, before anything is sent.
 */
void scache_set_trust(scache *cache, enum scache_trust trust);

/*
 * Leaves a connection in the cache under the name of an endpoint, for ttl_seconds at most; the cache has a limit of
 * its own for that.
 */
enum scache_result scache_save_endpoint(scache *cache, unsigned int ttl_seconds, const char *endpoint,
                                        const char *property, int connection);

/* Remembers that connections of the endpoint serve the destination. */
enum scache_result scache_save_destination(scache *cache, unsigned int ttl_seconds, const char *destination,
                                           const char *property, const char *endpoint);

/* Both in one. */
enum scache_result scache_save(scache *cache, unsigned int ttl_seconds, const char *destination,
                               const char *destination_property, const char *endpoint, const char *property,
                               int connection);

/* Takes the oldest connection of an endpoint out of the cache. *found is set on SCACHE_OK only. */
enum scache_result scache_find_endpoint(scache *cache, const char *endpoint, struct scache_found *found);

/*
 * Takes a connection out of the cache that serves the destination, or else one of the first of these endpoints that
 * has one. There may be none (count 0). *found is set on SCACHE_OK only.
 */
enum scache_result scache_find(scache *cache, const char *destination, const char *const *endpoints, size_t count,
                               struct scache_found *found);

/*
 * What the cache said besides, in the last call with the handle: a call that finds or saves. -1 if it did not say: the
 * stock program never does, ours does not know the past of every connection.
 *
 * Of the connection that was found: how many milliseconds ago it was first saved, and how often it was taken, this time
 * included. Receivers limit both. Of what was saved: how many milliseconds it is kept, which is less than was asked for if
 * the cache has a lower limit; 0 if it was not kept, but was closed with its goodbye, as by a cache that is drained.
 */
long long scache_age_ms(const scache *cache);
long long scache_taken(const scache *cache);
long long scache_granted_ms(const scache *cache);

/* Why the last call failed, for a log; empty if it did not. Valid until the next call with the handle. */
const char *scache_error(const scache *cache);

#ifdef __cplusplus
}
#endif

#endif
