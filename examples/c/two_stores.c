/* Two stores on one budget: they draw on the same bytes, and the one whose bytes earn less gives
 * way. A floor keeps the small one from being pushed out. */
#include <hypercache.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(hc_status status, const char *what) {
    if (status != HC_OK) {
        fprintf(stderr, "%s: %s\n", what, hc_status_name(status));
        exit(1);
    }
}

static hc_store *open_store(hc_pool *pool, const char *name, uint64_t floor) {
    hc_store_config config;
    HC_INIT(&config);
    config.name = name;
    config.floor_bytes = floor;
    hc_store *store = NULL;
    must(hc_store_open(pool, &config, &store, NULL), name);
    return store;
}

static void show(hc_store *store, const char *name) {
    hc_store_stats s;
    HC_INIT(&s);
    must(hc_store_stats_get(store, &s), "stats");
    printf("  %-9s %8" PRIu64 " entries  %6" PRIu64 " KiB  %8" PRIu64 " evicted\n", name,
           s.entries, s.used_bytes >> 10, s.evicted);
}

int main(void) {
    /* By name: any part of this process, in any language, that opens "web" gets this pool. */
    hc_pool_config config;
    HC_INIT(&config);
    config.limit_bytes = UINT64_C(8) << 20;
    hc_pool *pool = NULL, *same = NULL;
    must(hc_pool_open("web", &config, &pool, NULL), "open the pool");
    must(hc_pool_open("web", NULL, &same, NULL), "open it again");
    hc_pool_release(same);

    hc_store *sessions = open_store(pool, "sessions", UINT64_C(2) << 20);
    hc_store *pages = open_store(pool, "pages", 0);

    char key[32], page[2048];
    memset(page, '~', sizeof page);
    for (int i = 0; i < 5000; i++) {
        int len = snprintf(key, sizeof key, "session-%d", i);
        must(hc_set(sessions, key, (size_t)len, page, 100, HC_TTL_DEFAULT), "set");
    }
    printf("Sessions alone:\n");
    show(sessions, "sessions");

    /* A flood of pages, several times what the pool holds. */
    for (int i = 0; i < 20000; i++) {
        int len = snprintf(key, sizeof key, "/page/%d", i);
        hc_status status = hc_set(pages, key, (size_t)len, page, sizeof page, HC_TTL_DEFAULT);
        if (status != HC_NOT_ADMITTED) must(status, "set");
    }
    printf("After a flood of pages:\n");
    show(sessions, "sessions");
    show(pages, "pages");

    hc_pool_stats s;
    HC_INIT(&s);
    must(hc_pool_stats_get(pool, &s), "pool stats");
    printf("The pool uses %" PRIu64 " of %" PRIu64 " KiB, and never used more.\n",
           s.used_bytes >> 10, s.limit_bytes >> 10);

    /* A smaller limit at run time: entries go, memory returns to the system. */
    must(hc_pool_set_limit(pool, UINT64_C(4) << 20, NULL), "shrink");
    HC_INIT(&s);
    must(hc_pool_stats_get(pool, &s), "pool stats");
    printf("Shrunk: %" PRIu64 " of %" PRIu64 " KiB.\n", s.used_bytes >> 10, s.limit_bytes >> 10);

    hc_store_release(sessions);
    hc_store_release(pages);
    hc_pool_release(pool);
    return s.used_bytes <= s.limit_bytes && s.peak_bytes <= (UINT64_C(8) << 20) ? 0 : 1;
}
