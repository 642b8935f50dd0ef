/* Store something, read it back, let it expire, and look at the figures.
 *
 *   cc -std=c99 hello.c $(pkg-config --cflags --libs hypercache) -o hello
 */
#define _POSIX_C_SOURCE 200809L
#include <hypercache.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Every call answers with a status: 0 is success, positive an ordinary outcome such as a miss,
 * negative a failure. Here only success will do. */
static void must(hc_status status, const char *what) {
    if (status != HC_OK) {
        fprintf(stderr, "%s: %s\n", what, hc_status_name(status));
        exit(1);
    }
}

int main(void) {
    hc_error err;
    HC_INIT(&err);

    /* A pool is a number of bytes that holds, whatever happens in it. */
    hc_pool_config pool_config;
    HC_INIT(&pool_config);
    pool_config.limit_bytes = UINT64_C(16) << 20;
    hc_pool *pool = NULL;
    if (hc_pool_create(&pool_config, &pool, &err) != HC_OK) {
        fprintf(stderr, "no pool: %s\n", err.message);
        return 1;
    }

    /* A store holds entries in a pool. Zero fields mean the default. */
    hc_store_config store_config;
    HC_INIT(&store_config);
    store_config.name = "greetings";
    hc_store *store = NULL;
    if (hc_store_open(pool, &store_config, &store, &err) != HC_OK) {
        fprintf(stderr, "no store: %s\n", err.message);
        return 1;
    }

    const char key[] = "en";
    const char hello[] = "Hello, cache!";
    must(hc_set(store, key, sizeof key - 1, hello, sizeof hello - 1, HC_TTL_DEFAULT), "set");

    char buf[64];
    size_t len = 0;
    must(hc_get(store, key, sizeof key - 1, buf, sizeof buf, &len), "get");
    printf("%.*s\n", (int)len, buf);

    /* Too small a buffer is told how much it takes, and is left alone. */
    char tiny[4];
    if (hc_get(store, key, sizeof key - 1, tiny, sizeof tiny, &len) == HC_SMALL_BUFFER) {
        printf("The greeting takes %zu bytes.\n", len);
    }

    /* Times to live are in milliseconds. */
    must(hc_set(store, "brief", 5, "now you see me", 14, 200), "set for 200 ms");
    must(hc_get(store, "brief", 5, buf, sizeof buf, &len), "get in time");
    printf("In time: %.*s\n", (int)len, buf);
    const struct timespec pause = {0, 300 * 1000 * 1000};
    nanosleep(&pause, NULL);
    hc_status late = hc_get(store, "brief", 5, buf, sizeof buf, &len);
    printf("300 ms later: %s\n", hc_status_name(late));

    /* Counters that need no lock and no second request to the server. */
    for (int i = 0; i < 10; i++) {
        int64_t visits = 0;
        must(hc_incr(store, "visits", 6, 1, 1, HC_TTL_DEFAULT, &visits), "incr");
        if (i == 9) printf("Visit number %" PRId64 "\n", visits);
    }

    hc_store_stats stats;
    HC_INIT(&stats);
    must(hc_store_stats_get(store, &stats), "stats");
    printf("%" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64 " entries\n", stats.hits, stats.misses,
           stats.entries);

    /* Whatever was handed out has one call that gives it back. */
    hc_store_release(store);
    hc_pool_release(pool);
    return late == HC_NOT_FOUND ? 0 : 1;
}
