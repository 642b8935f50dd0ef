/* What outlives what; forks; threads. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

/* Every call on a destroyed store says so. */
static void destroyed(void) {
    hc_pool *pool = make_pool(4 * MIB);
    hc_store *store = make_store(pool);
    char buf[8];
    size_t len = 0;
    int64_t n;
    uint64_t count;
    hc_info info;
    hc_view view, kept;
    hc_draft draft, open;
    hc_slice key = slice("k"), value;
    hc_status status;
    hc_entry entry;
    hc_match m;
    HC_INIT(&m);
    memset(&entry, 0, sizeof entry);
    entry.key = key;
    IS(HC_OK, hc_set(store, S("k"), S("kept"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_pin(store, S("k"), 0, &kept));
    IS(HC_OK, hc_reserve(store, S("open"), 4, NULL, &open));
    memcpy(open.data, "open", 4);
    hc_store_destroy(store);
    hc_store_destroy(store); /* idempotent */
    hc_store_destroy(NULL);
    IS(HC_ERR_CLOSED, hc_get(store, S("k"), buf, sizeof buf, &len));
    IS(HC_ERR_CLOSED, hc_get_info(store, S("k"), 0, buf, sizeof buf, &info));
    IS(HC_ERR_CLOSED, hc_take(store, S("k"), buf, sizeof buf, &info));
    IS(HC_ERR_CLOSED, hc_pin(store, S("k"), 0, &view));
    IS(HC_ERR_CLOSED, hc_contains(store, S("k")));
    IS(HC_ERR_CLOSED, hc_may_exist(store, S("k")));
    IS(HC_ERR_CLOSED, hc_store_set_known_keys(store, NULL));
    IS(HC_ERR_CLOSED, hc_touch(store, S("k"), 1));
    IS(HC_ERR_CLOSED, hc_set(store, S("k"), S("v"), HC_TTL_DEFAULT));
    IS(HC_ERR_CLOSED, hc_put(store, S("k"), S("v"), NULL, NULL));
    IS(HC_ERR_CLOSED, hc_incr(store, S("k"), 1, 1, HC_TTL_DEFAULT, &n));
    IS(HC_ERR_CLOSED, hc_delete(store, S("k")));
    IS(HC_ERR_CLOSED, hc_delete_if(store, S("k"), 1));
    IS(HC_ERR_CLOSED, hc_delete_many(store, &key, 1, &count));
    status = 77;
    hc_status whole = hc_get_many(store, &key, 1, 0, buf, sizeof buf, &value, NULL, &status);
    CHECK(whole == HC_ERR_CLOSED || whole == HC_PARTIAL);
    IS(HC_ERR_CLOSED, status);
    status = 77;
    whole = hc_pin_many(store, &key, 1, 0, &view, &status);
    CHECK(whole == HC_ERR_CLOSED || whole == HC_PARTIAL);
    IS(HC_ERR_CLOSED, status);
    hc_unpin_many(&view, 1);
    status = 77;
    whole = hc_put_many(store, &entry, 1, NULL, &status);
    CHECK(whole == HC_ERR_CLOSED || whole == HC_PARTIAL);
    IS(HC_ERR_CLOSED, status);
    IS(HC_ERR_CLOSED, hc_reserve(store, S("k"), 1, NULL, &draft));
    IS(HC_ERR_CLOSED, hc_invalidate(store, &m, &count));
    IS(HC_ERR_CLOSED, hc_clear(store));
    IS(HC_ERR_CLOSED, hc_commit(&open, NULL));
    CHECK(kept.len == 4 && memcmp(kept.data, "kept", 4) == 0);
    hc_unpin(&kept);
    IS(HC_OK, hc_pool_validate(pool, NULL));
    hc_store_release(store);
    hc_pool_release(pool);
}

static void destroyed_scans(void) {
    hc_pool *pool = make_pool(4 * MIB);
    hc_store *store = make_store(pool);
    hc_scan *scan = NULL, *none = NULL;
    hc_slice key;
    IS(HC_OK, hc_set(store, S("k"), S("v"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_scan_open(store, NULL, &scan));
    hc_store_destroy(store);
    IS(HC_ERR_CLOSED, hc_scan_next(scan, &key, NULL));
    IS(HC_ERR_CLOSED, hc_scan_open(store, NULL, &none));
    hc_scan_close(scan);
    hc_store_release(store);
    hc_pool_release(pool);
}

/* Handles may be given back in whatever order a garbage collector picks. */
static void orders(void) {
    for (int order = 0; order < 8; order++) {
        hc_pool *pool = make_pool(4 * MIB);
        hc_store *store = make_store(pool);
        hc_view small, large;
        hc_draft draft;
        static char big[50000];
        memset(big, 'b', sizeof big);
        IS(HC_OK, hc_set(store, S("small"), S("value"), HC_TTL_DEFAULT));
        IS(HC_OK, hc_set(store, S("large"), big, sizeof big, HC_TTL_DEFAULT));
        IS(HC_OK, hc_pin(store, S("small"), 0, &small));
        IS(HC_OK, hc_pin(store, S("large"), 0, &large));
        IS(HC_OK, hc_reserve(store, S("draft"), 10, NULL, &draft));
        if (order & 1) hc_pool_release(pool);
        if (order & 2) hc_store_release(store);
        CHECK(memcmp(small.data, "value", 5) == 0);
        CHECK(((const char *)large.data)[sizeof big - 1] == 'b');
        if (order & 4) {
            memset(draft.data, 'd', draft.len);
            /* The draft keeps the store alive, so this is as good as ever, or it is closed. */
            hc_status s = hc_commit(&draft, NULL);
            CHECK(s == HC_OK || ((order & 2) && s == HC_ERR_CLOSED));
        }
        if (!(order & 2)) hc_store_release(store);
        if (!(order & 1)) hc_pool_release(pool);
        hc_unpin(&large);
        hc_abandon(&draft);
        CHECK(memcmp(small.data, "value", 5) == 0);
        hc_unpin(&small);
    }
    hc_pool_release(NULL);
    hc_store_release(NULL);
    CHECK(hc_pool_retain(NULL) == NULL);
    CHECK(hc_store_retain(NULL) == NULL);
    hc_pool *pool = make_pool(4 * MIB);
    hc_store *store = make_store(pool);
    CHECK(hc_store_retain(store) == store);
    hc_store_release(store);
    IS(HC_OK, hc_set(store, S("k"), S("v"), HC_TTL_DEFAULT));
    hc_store_release(store);
    hc_pool_release(pool);
}

/* In a child the parent's handles are refused, and its own work. */
static void forks(void) {
    hc_pool *pool = NULL;
    hc_pool_config c;
    HC_INIT(&c);
    c.limit_bytes = 4 * MIB;
    IS(HC_OK, hc_pool_open("parent", &c, &pool, NULL));
    hc_store *store = make_store(pool);
    hc_view view;
    IS(HC_OK, hc_set(store, S("k"), S("v"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_pin(store, S("k"), 0, &view));
    hc_filter_config fc;
    hc_filter *filter = NULL;
    HC_INIT(&fc);
    fc.capacity = 100;
    fc.pool = pool;
    IS(HC_OK, hc_filter_create(&fc, &filter, NULL));
    IS(HC_OK, hc_filter_add(filter, S("k")));
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char buf[8];
        size_t len;
        hc_draft draft;
        hc_scan *scan;
        hc_store *found;
        hc_store_stats store_stats;
        hc_pool_stats pool_stats;
        hc_filter_stats filter_stats;
        hc_latency latency;
        hc_store_config store_config;
        hc_pool_config pool_config;
        HC_INIT(&store_stats);
        HC_INIT(&pool_stats);
        HC_INIT(&filter_stats);
        HC_INIT(&latency);
        HC_INIT(&store_config);
        HC_INIT(&pool_config);
        IS(HC_ERR_FORKED, hc_get(store, S("k"), buf, sizeof buf, &len));
        IS(HC_ERR_FORKED, hc_set(store, S("k"), S("w"), HC_TTL_DEFAULT));
        IS(HC_ERR_FORKED, hc_delete(store, S("k")));
        IS(HC_ERR_FORKED, hc_clear(store));
        IS(HC_ERR_FORKED, hc_reserve(store, S("k"), 1, NULL, &draft));
        IS(HC_ERR_FORKED, hc_scan_open(store, NULL, &scan));
        IS(HC_ERR_FORKED, hc_pool_set_limit(pool, 2 * MIB, NULL));
        IS(HC_ERR_FORKED, hc_store_find(pool, "none", &found));
        IS(HC_ERR_FORKED, hc_store_stats_get(store, &store_stats));
        IS(HC_ERR_FORKED, hc_pool_stats_get(pool, &pool_stats));
        IS(HC_ERR_FORKED, hc_filter_stats_get(filter, &filter_stats));
        IS(HC_ERR_FORKED, hc_store_latency_get(store, HC_OP_GET, &latency));
        IS(HC_ERR_FORKED, hc_store_config_get(store, &store_config));
        IS(HC_ERR_FORKED, hc_pool_config_get(pool, &pool_config));
        IS(HC_ERR_FORKED, hc_filter_contains(filter, S("k")));
        IS(HC_ERR_FORKED, hc_filter_add(filter, S("k")));
        IS(HC_ERR_FORKED, hc_filter_clear(filter));
        hc_filter_release(filter);
        CHECK(hc_pool_alloc(pool, 64, 0, 0) == NULL);
        hc_pool *mine = NULL;
        IS(HC_NOT_FOUND, hc_pool_open("parent", NULL, &mine, NULL));
        hc_unpin(&view);
        hc_store_destroy(store);
        hc_store_release(store);
        hc_pool_release(pool);
        mine = make_pool(4 * MIB);
        hc_store *own = make_store(mine);
        IS(HC_OK, hc_set(own, S("k"), S("child's"), HC_TTL_DEFAULT));
        holds(own, "k", "child's");
        hc_store_release(own);
        hc_pool_release(mine);
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    holds(store, "k", "v");
    CHECK(memcmp(view.data, "v", 1) == 0);
    hc_unpin(&view);
    IS(HC_OK, hc_filter_contains(filter, S("k")));
    hc_filter_release(filter);
    IS(HC_OK, hc_pool_validate(pool, NULL));
    hc_store_release(store);
    hc_pool_release(pool);
}

/* Values say whose they are, so that a torn or foreign one shows. */
static void *work(void *shared) {
    hc_store *store = shared;
    char value[600], buf[600];
    uint32_t seed = (uint32_t)(uintptr_t)&value;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t key = seed >> 20;
        size_t len = 0;
        hc_status s = hc_get(store, &key, sizeof key, buf, sizeof buf, &len);
        if (s == HC_OK) {
            CHECK(len >= 4);
            uint32_t owner;
            memcpy(&owner, buf, 4);
            CHECK(owner == key);
            for (size_t b = 5; b < len; b++) CHECK(buf[b] == buf[4]);
        } else {
            IS(HC_NOT_FOUND, s);
            memset(value, (int)(seed >> 12), sizeof value);
            memcpy(value, &key, 4);
            s = hc_set(store, &key, sizeof key, value, 4 + seed % 597, HC_TTL_DEFAULT);
            CHECK(s == HC_OK || s == HC_NOT_ADMITTED);
        }
        if (i % 64 == 0) {
            hc_view view;
            if (hc_pin(store, &key, sizeof key, 0, &view) == HC_OK) {
                CHECK(memcmp(view.data, &key, 4) == 0);
                hc_unpin(&view);
            }
            s = hc_delete(store, &key, sizeof key);
            CHECK(s == HC_OK || s == HC_NOT_FOUND);
        }
    }
    return NULL;
}

static void threads(void) {
    hc_pool *pool = make_pool(MIB);
    hc_store *store = make_store(pool);
    pthread_t all[4];
    for (size_t i = 0; i < COUNT(all); i++) {
        CHECK(pthread_create(&all[i], NULL, work, store) == 0);
    }
    for (size_t i = 0; i < COUNT(all); i++) CHECK(pthread_join(all[i], NULL) == 0);
    IS(HC_OK, hc_pool_validate(pool, NULL));
    hc_store_release(store);
    hc_pool_release(pool);
}

const test lifetimes[] = {
    {"destroyed", destroyed}, {"destroyed_scans", destroyed_scans}, {"orders", orders}, {"forks", forks}, {"threads", threads},
    {NULL, NULL},
};
