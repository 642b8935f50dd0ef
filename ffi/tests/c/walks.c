/* Calls that visit a whole store. */
#include "check.h"

enum { N = 1000 };

static hc_pool *pool;
static hc_store *store;

static void up(void) {
    pool = make_pool(8 * MIB);
    store = make_store(pool);
    hc_put_options o;
    HC_INIT(&o);
    for (int i = 0; i < N; i++) {
        char key[32];
        int len = snprintf(key, sizeof key, "%s:%d", i % 2 ? "user" : "page", i);
        o.session = (uint64_t)(i % 10);
        o.type = i % 4 ? HC_TYPE_BYTES : HC_TYPE_JSON;
        IS(HC_OK, hc_put(store, key, (size_t)len, &i, sizeof i, &o, NULL));
    }
}

static void down(void) { give_back(pool, store); }

static int count(const hc_match *match) {
    hc_scan *scan = NULL;
    hc_slice key;
    int n = 0;
    IS(HC_OK, hc_scan_open(store, match, &scan));
    hc_status s;
    while ((s = hc_scan_next(scan, &key, NULL)) == HC_OK) n++;
    IS(HC_DONE, s);
    IS(HC_DONE, hc_scan_next(scan, &key, NULL));
    hc_scan_close(scan);
    return n;
}

static void scans(void) {
    up();
    hc_scan *scan = NULL;
    hc_slice key;
    hc_view view;
    static char seen[N];
    memset(seen, 0, sizeof seen);
    IS(HC_OK, hc_scan_open(store, NULL, &scan));
    hc_status s;
    while ((s = hc_scan_next(scan, &key, &view)) == HC_OK) {
        int i = -1;
        char text[32];
        CHECK(view.len == sizeof i);
        memcpy(&i, view.data, sizeof i);
        CHECK(i >= 0 && i < N && !seen[i]);
        seen[i] = 1;
        int len = snprintf(text, sizeof text, "%s:%d", i % 2 ? "user" : "page", i);
        CHECK(key.len == (size_t)len && memcmp(key.data, text, key.len) == 0);
        CHECK(view.session == (uint64_t)(i % 10));
        hc_unpin(&view);
    }
    IS(HC_DONE, s);
    hc_scan_close(scan);
    for (int i = 0; i < N; i++) CHECK(seen[i]);
    hc_store_stats stats;
    HC_INIT(&stats);
    IS(HC_OK, hc_store_stats_get(store, &stats));
    CHECK(stats.hits == 0); /* a walk counts none */
    down();
}

static void matches(void) {
    up();
    hc_match m;
    HC_INIT(&m);
    CHECK(count(&m) == N);
    m.kind = HC_MATCH_PREFIX;
    m.pattern = slice("user:");
    CHECK(count(&m) == N / 2);
    m.pattern = slice("");
    CHECK(count(&m) == N);
    m.kind = HC_MATCH_GLOB;
    m.pattern = slice("*:?");
    CHECK(count(&m) == 10);
    m.pattern = slice("page:*9?");
    CHECK(count(&m) == 50);
    m.pattern = slice("\\*");
    CHECK(count(&m) == 0);
    m.kind = HC_MATCH_SESSION;
    m.session = 7;
    CHECK(count(&m) == N / 10);
    m.kind = HC_MATCH_TYPE;
    m.type = HC_TYPE_JSON;
    CHECK(count(&m) == N / 4);
    down();
}

static void invalidations(void) {
    up();
    hc_match m;
    uint64_t removed = 77;
    HC_INIT(&m);
    m.kind = HC_MATCH_PREFIX;
    m.pattern = slice("user:");
    IS(HC_OK, hc_invalidate(store, &m, &removed));
    CHECK(removed == N / 2);
    misses(store, "user:1");
    CHECK(count(NULL) == N / 2);
    IS(HC_OK, hc_invalidate(store, &m, &removed));
    CHECK(removed == 0);
    m.kind = HC_MATCH_SESSION;
    m.session = 2;
    IS(HC_OK, hc_invalidate(store, &m, NULL));
    CHECK(count(NULL) == N / 2 - N / 10);
    hc_store_stats stats;
    HC_INIT(&stats);
    IS(HC_OK, hc_store_stats_get(store, &stats));
    CHECK(stats.invalidated == N / 2 + N / 10);
    IS(HC_OK, hc_clear(store));
    CHECK(count(NULL) == 0);
    IS(HC_OK, hc_clear(store));
    IS(HC_OK, hc_set(store, S("again"), S("alive"), HC_TTL_DEFAULT));
    holds(store, "again", "alive");
    down();
}

/* A walk goes on while entries come and go. */
static void busy_scans(void) {
    up();
    hc_scan *scan = NULL;
    hc_slice key;
    int users = 0;
    IS(HC_OK, hc_scan_open(store, NULL, &scan));
    for (int i = 0; hc_scan_next(scan, &key, NULL) == HC_OK; i++) {
        users += key.len > 5 && memcmp(key.data, "user:", 5) == 0;
        char other[32];
        int len = snprintf(other, sizeof other, "page:%d", i * 2 % N);
        hc_status s = hc_delete(store, other, (size_t)len);
        CHECK(s == HC_OK || s == HC_NOT_FOUND);
        len = snprintf(other, sizeof other, "new:%d", i);
        IS(HC_OK, hc_set(store, other, (size_t)len, S("new"), HC_TTL_DEFAULT));
    }
    hc_scan_close(scan);
    CHECK(users == N / 2); /* present throughout: each seen once */
    down();
}

static void bad_arguments(void) {
    up();
    hc_match m;
    hc_scan *scan = NULL;
    hc_slice key;
    uint64_t removed = 77;
    HC_INIT(&m);
    m.kind = 99;
    IS(HC_ERR_UNSUPPORTED, hc_scan_open(store, &m, &scan));
    IS(HC_ERR_UNSUPPORTED, hc_invalidate(store, &m, &removed));
    m.kind = HC_MATCH_TYPE;
    m.type = 256;
    IS(HC_ERR_INVALID, hc_invalidate(store, &m, &removed));
    m.type = 0;
    m.kind = HC_MATCH_PREFIX;
    m.pattern.len = 1;
    IS(HC_ERR_INVALID, hc_invalidate(store, &m, &removed));
    IS(HC_ERR_INVALID, hc_scan_open(store, &m, &scan));
    IS(HC_ERR_INVALID, hc_invalidate(store, NULL, &removed)); /* never everything by mistake */
    IS(HC_ERR_INVALID, hc_invalidate(NULL, &m, &removed));
    IS(HC_ERR_INVALID, hc_clear(NULL));
    IS(HC_ERR_INVALID, hc_scan_open(NULL, NULL, &scan));
    IS(HC_ERR_INVALID, hc_scan_open(store, NULL, NULL));
    CHECK(scan == NULL && removed == 77);
    IS(HC_ERR_INVALID, hc_scan_next(NULL, &key, NULL));
    IS(HC_OK, hc_scan_open(store, NULL, &scan));
    IS(HC_ERR_INVALID, hc_scan_next(scan, NULL, NULL));
    hc_scan_close(scan);
    hc_scan_close(NULL);
    CHECK(count(NULL) == N);
    down();
}

const test walks[] = {
    {"scans", scans},           {"matches", matches},
    {"invalidations", invalidations}, {"busy_scans", busy_scans},
    {"walks_bad_arguments", bad_arguments}, {NULL, NULL},
};
