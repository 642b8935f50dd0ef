/* Reading one entry. */
#include "check.h"

static hc_pool *pool;
static hc_store *store;

static void up(void) {
    pool = make_pool(8 * MIB);
    store = make_store(pool);
}

static void down(void) { give_back(pool, store); }

static void read_all(void) {
    up();
    char buf[16];
    size_t len = 77;
    IS(HC_NOT_FOUND, hc_get(store, S("k"), buf, sizeof buf, &len));
    CHECK(len == 77);
    IS(HC_OK, hc_set(store, S("k"), S("value"), HC_TTL_DEFAULT));
    memset(buf, '.', sizeof buf);
    IS(HC_OK, hc_get(store, S("k"), buf, sizeof buf, &len));
    CHECK(len == 5 && memcmp(buf, "value...", 8) == 0);
    memset(buf, '.', sizeof buf);
    IS(HC_SMALL_BUFFER, hc_get(store, S("k"), buf, 4, &len));
    CHECK(len == 5 && memcmp(buf, "....", 4) == 0);
    IS(HC_OK, hc_get(store, S("k"), buf, 5, &len));
    IS(HC_SMALL_BUFFER, hc_get(store, S("k"), NULL, 0, &len));
    CHECK(len == 5);
    /* No bytes are a value, and a key, too. */
    IS(HC_OK, hc_set(store, NULL, 0, NULL, 0, HC_TTL_DEFAULT));
    IS(HC_OK, hc_get(store, NULL, 0, NULL, 0, &len));
    CHECK(len == 0);
    IS(HC_OK, hc_get(store, "", 0, buf, sizeof buf, &len));
    /* Keys are bytes. */
    IS(HC_OK, hc_set(store, "a\0b", 3, S("nul"), HC_TTL_DEFAULT));
    IS(HC_NOT_FOUND, hc_get(store, "a", 1, buf, sizeof buf, &len));
    IS(HC_OK, hc_get(store, "a\0b", 3, buf, sizeof buf, &len));
    down();
}

static void bad_arguments(void) {
    up();
    char buf[16];
    size_t len;
    hc_info info;
    hc_view view;
    IS(HC_OK, hc_set(store, S("k"), S("value"), HC_TTL_DEFAULT));
    IS(HC_ERR_INVALID, hc_get(NULL, S("k"), buf, sizeof buf, &len));
    IS(HC_ERR_INVALID, hc_get(store, NULL, 1, buf, sizeof buf, &len));
    IS(HC_ERR_INVALID, hc_get(store, S("k"), NULL, 1, &len));
    IS(HC_ERR_INVALID, hc_get(store, S("k"), buf, sizeof buf, NULL));
    IS(HC_ERR_INVALID, hc_get(store, "k", SIZE_MAX, buf, sizeof buf, &len));
    IS(HC_OK, hc_get(store, S("k"), buf, SIZE_MAX, &len)); /* it fits whatever it is */
    IS(HC_ERR_INVALID, hc_get_info(NULL, S("k"), 0, buf, sizeof buf, &info));
    IS(HC_ERR_INVALID, hc_get_info(store, NULL, 1, 0, buf, sizeof buf, &info));
    IS(HC_ERR_INVALID, hc_get_info(store, S("k"), 0, NULL, 1, &info));
    IS(HC_ERR_INVALID, hc_get_info(store, S("k"), 0, buf, sizeof buf, NULL));
    IS(HC_ERR_UNSUPPORTED, hc_get_info(store, S("k"), 2, buf, sizeof buf, &info));
    IS(HC_ERR_INVALID, hc_take(NULL, S("k"), buf, sizeof buf, &info));
    IS(HC_ERR_INVALID, hc_take(store, S("k"), buf, sizeof buf, NULL));
    IS(HC_ERR_INVALID, hc_take(store, S("k"), NULL, 1, &info));
    IS(HC_ERR_INVALID, hc_pin(NULL, S("k"), 0, &view));
    IS(HC_ERR_INVALID, hc_pin(store, NULL, 1, 0, &view));
    IS(HC_ERR_INVALID, hc_pin(store, S("k"), 0, NULL));
    IS(HC_ERR_UNSUPPORTED, hc_pin(store, S("k"), 4, &view));
    IS(HC_ERR_INVALID, hc_contains(NULL, S("k")));
    IS(HC_ERR_INVALID, hc_contains(store, NULL, 1));
    IS(HC_ERR_INVALID, hc_may_exist(NULL, S("k")));
    IS(HC_ERR_INVALID, hc_touch(NULL, S("k"), 1));
    IS(HC_ERR_INVALID, hc_touch(store, NULL, 1, 1));
    holds(store, "k", "value");
    down();
}

static void key_lengths(void) {
    pool = make_pool(256 * MIB);
    store = make_store(pool);
    char *key = malloc(HC_KEY_LEN_MAX + 1), buf[8];
    size_t len;
    hc_view view;
    memset(key, 'k', HC_KEY_LEN_MAX + 1);
    IS(HC_OK, hc_set(store, key, HC_KEY_LEN_MAX, S("v"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_pool_validate(pool, NULL));
    IS(HC_OK, hc_get(store, key, HC_KEY_LEN_MAX, buf, sizeof buf, &len));
    IS(HC_OK, hc_contains(store, key, HC_KEY_LEN_MAX));
    IS(HC_ERR_INVALID, hc_set(store, key, HC_KEY_LEN_MAX + 1, S("v"), HC_TTL_DEFAULT));
    IS(HC_ERR_INVALID, hc_get(store, key, HC_KEY_LEN_MAX + 1, buf, sizeof buf, &len));
    IS(HC_ERR_INVALID, hc_pin(store, key, HC_KEY_LEN_MAX + 1, 0, &view));
    IS(HC_ERR_INVALID, hc_contains(store, key, HC_KEY_LEN_MAX + 1));
    IS(HC_ERR_INVALID, hc_delete(store, key, HC_KEY_LEN_MAX + 1));
    IS(HC_OK, hc_delete(store, key, HC_KEY_LEN_MAX));
    free(key);
    down();
}

/* A small pool has small segments, and a key must fit into one. */
static void long_keys_in_small_pools(void) {
    up();
    static char key[HC_KEY_LEN_MAX], buf[8];
    size_t len;
    hc_draft draft;
    memset(key, 'k', sizeof key);
    IS(HC_ERR_TOO_LARGE, hc_set(store, key, sizeof key, S("v"), HC_TTL_DEFAULT));
    IS(HC_ERR_TOO_LARGE, hc_reserve(store, key, sizeof key, 100, NULL, &draft));
    IS(HC_NOT_FOUND, hc_get(store, key, sizeof key, buf, sizeof buf, &len));
    IS(HC_OK, hc_set(store, key, 16000, S("v"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_get(store, key, 16000, buf, sizeof buf, &len));
    down();
}

static void metadata(void) {
    up();
    hc_put_options o;
    hc_info info;
    hc_view view;
    char buf[16];
    uint64_t version = 0;
    HC_INIT(&o);
    o.type = HC_TYPE_APP + 7;
    o.flags = 0xDEADBEEF;
    o.session = 99;
    o.ttl_ms = 60000;
    IS(HC_OK, hc_put(store, S("k"), S("value"), &o, &version));
    CHECK(version != 0);
    memset(&info, 0xFF, sizeof info);
    IS(HC_OK, hc_get_info(store, S("k"), 0, buf, sizeof buf, &info));
    CHECK(info.len == 5 && info.version == version && info.session == 99);
    CHECK(info.type == HC_TYPE_APP + 7 && info.flags == 0xDEADBEEF);
    CHECK(info.ttl_ms > 50000 && info.ttl_ms <= 60000);
    CHECK(info.reserved[0] == 0 && info.reserved[1] == 0);
    memset(&info, 0xFF, sizeof info);
    IS(HC_SMALL_BUFFER, hc_get_info(store, S("k"), 0, buf, 1, &info));
    CHECK(info.len == 5 && info.version == version);
    IS(HC_OK, hc_pin(store, S("k"), 0, &view));
    CHECK(view.len == 5 && view.version == version && view.session == 99);
    CHECK(view.type == HC_TYPE_APP + 7 && view.flags == 0xDEADBEEF);
    CHECK(view.ttl_ms > 50000 && view.ttl_ms <= 60000);
    hc_unpin(&view);
    IS(HC_OK, hc_set(store, S("plain"), S("v"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_get_info(store, S("plain"), 0, buf, sizeof buf, &info));
    CHECK(info.ttl_ms == HC_TTL_NEVER && info.session == 0 && info.type == HC_TYPE_BYTES);
    CHECK(info.flags == 0 && info.version != version);
    /* A write changes the version; nothing else does here. */
    uint64_t again = 0;
    IS(HC_OK, hc_put(store, S("k"), S("value"), &o, &again));
    CHECK(again != version);
    down();
}

static void peeks(void) {
    up();
    hc_info info;
    hc_view view;
    char buf[8];
    hc_store_stats before, after;
    IS(HC_OK, hc_set(store, S("k"), S("v"), HC_TTL_DEFAULT));
    HC_INIT(&before);
    HC_INIT(&after);
    IS(HC_OK, hc_store_stats_get(store, &before));
    IS(HC_OK, hc_get_info(store, S("k"), HC_PEEK, buf, sizeof buf, &info));
    IS(HC_NOT_FOUND, hc_get_info(store, S("absent"), HC_PEEK, buf, sizeof buf, &info));
    IS(HC_OK, hc_pin(store, S("k"), HC_PEEK, &view));
    hc_unpin(&view);
    IS(HC_OK, hc_contains(store, S("k")));
    IS(HC_NOT_FOUND, hc_contains(store, S("absent")));
    IS(HC_OK, hc_may_exist(store, S("absent")));
    IS(HC_OK, hc_store_stats_get(store, &after));
    CHECK(before.hits == after.hits && before.misses == after.misses);
    down();
}

static void pins(void) {
    up();
    static char big[100000];
    memset(big, 'B', sizeof big);
    hc_view small, large, absent;
    memset(&absent, 0x5A, sizeof absent);
    IS(HC_NOT_FOUND, hc_pin(store, S("absent"), 0, &absent));
    CHECK(absent.len == (size_t)UINT64_C(0x5A5A5A5A5A5A5A5A)); /* untouched */
    IS(HC_OK, hc_set(store, S("small"), S("value"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_set(store, S("large"), big, sizeof big, HC_TTL_DEFAULT));
    IS(HC_OK, hc_set(store, S("empty"), NULL, 0, HC_TTL_DEFAULT));
    IS(HC_OK, hc_pin(store, S("small"), 0, &small));
    IS(HC_OK, hc_pin(store, S("large"), 0, &large));
    hc_pool_stats stats;
    HC_INIT(&stats);
    IS(HC_OK, hc_pool_stats_get(pool, &stats));
    CHECK(stats.pinned_bytes >= sizeof big && stats.used_bytes <= stats.limit_bytes);
    /* Whatever happens to the keys. */
    IS(HC_OK, hc_set(store, S("small"), S("other"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_delete(store, S("large")));
    IS(HC_OK, hc_clear(store));
    for (uint32_t i = 0; i < 20000; i++) {
        hc_status s = hc_set(store, &i, sizeof i, big, 500, HC_TTL_DEFAULT);
        CHECK(s == HC_OK || s == HC_NOT_ADMITTED);
    }
    CHECK(small.len == 5 && memcmp(small.data, "value", 5) == 0);
    CHECK(large.len == sizeof big && memcmp(large.data, big, sizeof big) == 0);
    hc_unpin(&small);
    CHECK(small.data == NULL && small.pin == NULL && small.len == 0);
    hc_unpin(&small); /* cleared: nothing */
    hc_unpin(&large);
    hc_unpin(&large);
    hc_unpin(NULL);
    IS(HC_OK, hc_set(store, S("empty"), NULL, 0, HC_TTL_DEFAULT));
    hc_view empty;
    IS(HC_OK, hc_pin(store, S("empty"), 0, &empty));
    CHECK(empty.len == 0 && empty.data != NULL);
    hc_unpin(&empty);
    IS(HC_OK, hc_pool_stats_get(pool, &stats));
    CHECK(stats.pinned_bytes == 0);
    down();
}

/* Beyond the pin limit views are refused, and nothing else is. */
static void pin_limit(void) {
    up();
    enum { MANY = 64 };
    static char value[100000];
    static hc_view views[MANY];
    int pinned = 0;
    hc_status s = HC_OK;
    for (int i = 0; i < MANY && s == HC_OK; i++) {
        char key[16];
        int len = snprintf(key, sizeof key, "%d", i);
        IS(HC_OK, hc_set(store, key, (size_t)len, value, sizeof value, HC_TTL_DEFAULT));
        s = hc_pin(store, key, (size_t)len, 0, &views[i]);
        if (s == HC_OK) pinned++;
    }
    IS(HC_ERR_NO_SPACE, s);
    CHECK(pinned >= 15 && pinned <= 21); /* a quarter of 8 MiB */
    IS(HC_OK, hc_set(store, S("still"), S("works"), HC_TTL_DEFAULT));
    holds(store, "still", "works");
    hc_draft draft;
    IS(HC_ERR_NO_SPACE, hc_reserve(store, S("draft"), MIB, NULL, &draft));
    for (int i = 0; i < pinned; i++) hc_unpin(&views[i]);
    hc_view view;
    IS(HC_OK, hc_pin(store, S("still"), 0, &view));
    hc_unpin(&view);
    down();
}

static void takes(void) {
    up();
    char buf[8];
    hc_info info;
    IS(HC_NOT_FOUND, hc_take(store, S("k"), buf, sizeof buf, &info));
    IS(HC_OK, hc_set(store, S("k"), S("value"), HC_TTL_DEFAULT));
    IS(HC_SMALL_BUFFER, hc_take(store, S("k"), buf, 2, &info));
    CHECK(info.len == 5);
    holds(store, "k", "value"); /* it stayed */
    IS(HC_OK, hc_take(store, S("k"), buf, sizeof buf, &info));
    CHECK(info.len == 5 && memcmp(buf, "value", 5) == 0 && info.version != 0);
    misses(store, "k");
    down();
}

static void touches(void) {
    up();
    char buf[8];
    hc_info info;
    IS(HC_NOT_FOUND, hc_touch(store, S("k"), 1000));
    IS(HC_OK, hc_set(store, S("k"), S("v"), 500));
    IS(HC_OK, hc_touch(store, S("k"), 60000));
    IS(HC_OK, hc_get_info(store, S("k"), 0, buf, sizeof buf, &info));
    CHECK(info.ttl_ms > 1000);
    IS(HC_OK, hc_touch(store, S("k"), HC_TTL_KEEP));
    IS(HC_OK, hc_get_info(store, S("k"), 0, buf, sizeof buf, &info));
    CHECK(info.ttl_ms > 1000 && info.ttl_ms <= 60000);
    IS(HC_OK, hc_touch(store, S("k"), HC_TTL_NEVER));
    pause_ms(600);
    IS(HC_OK, hc_get_info(store, S("k"), 0, buf, sizeof buf, &info));
    CHECK(info.ttl_ms == HC_TTL_NEVER);
    IS(HC_OK, hc_touch(store, S("k"), 20));
    pause_ms(40);
    misses(store, "k");
    down();
}

const test reads[] = {
    {"get", read_all},         {"reads_bad_arguments", bad_arguments}, {"key_lengths", key_lengths},
    {"long_keys_in_small_pools", long_keys_in_small_pools},
    {"metadata", metadata}, {"peeks", peeks},                       {"pin", pins},
    {"pin_limit", pin_limit}, {"takes", takes},                     {"touches", touches},
    {NULL, NULL},
};
