/* Many entries in one call. */
#include "check.h"

enum { N = 100 };

static hc_pool *pool;
static hc_store *store;
static char texts[N][16];
static hc_slice keys[N];

static void up(void) {
    pool = make_pool(8 * MIB);
    store = make_store(pool);
    for (int i = 0; i < N; i++) {
        snprintf(texts[i], sizeof texts[i], "key-%d", i);
        keys[i] = slice(texts[i]);
    }
}

static void down(void) { give_back(pool, store); }

/* Every third key is absent; a value is its key, several times over. */
static void fill(void) {
    for (int i = 0; i < N; i++) {
        if (i % 3 == 0) continue;
        char value[256];
        size_t len = 0;
        for (int r = 0; r <= i % 7; r++, len += keys[i].len) {
            memcpy(value + len, keys[i].data, keys[i].len);
        }
        hc_put_options o;
        HC_INIT(&o);
        o.type = (uint32_t)i;
        IS(HC_OK, hc_put(store, keys[i].data, keys[i].len, value, len, &o, NULL));
    }
}

static void read_all(void) {
    up();
    fill();
    static char buf[16384];
    hc_slice values[N];
    uint32_t types[N];
    hc_status statuses[N];
    IS(HC_PARTIAL, hc_get_many(store, keys, N, 0, buf, sizeof buf, values, types, statuses));
    for (int i = 0; i < N; i++) {
        if (i % 3 == 0) {
            IS(HC_NOT_FOUND, statuses[i]);
            CHECK(values[i].data == NULL && values[i].len == 0);
            continue;
        }
        IS(HC_OK, statuses[i]);
        CHECK(types[i] == (uint32_t)i);
        CHECK(values[i].len == keys[i].len * (size_t)(i % 7 + 1));
        CHECK(memcmp(values[i].data, keys[i].data, keys[i].len) == 0);
        CHECK((const char *)values[i].data >= buf);
        CHECK((const char *)values[i].data + values[i].len <= buf + sizeof buf);
    }
    /* All hits. */
    IS(HC_OK, hc_get_many(store, keys + 1, 2, HC_PEEK, buf, sizeof buf, values, NULL, statuses));
    /* Nothing asked. */
    IS(HC_OK, hc_get_many(store, NULL, 0, 0, NULL, 0, NULL, NULL, NULL));
    down();
}

static void tight_buffers(void) {
    up();
    char big[1000];
    memset(big, 'b', sizeof big);
    hc_slice k[4], values[4];
    hc_status statuses[4];
    k[0] = slice("a"), k[1] = slice("big"), k[2] = slice("c"), k[3] = slice("none");
    IS(HC_OK, hc_set(store, S("a"), S("first"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_set(store, S("big"), big, sizeof big, HC_TTL_DEFAULT));
    IS(HC_OK, hc_set(store, S("c"), S("last"), HC_TTL_DEFAULT));
    char buf[20];
    IS(HC_PARTIAL, hc_get_many(store, k, 4, 0, buf, sizeof buf, values, NULL, statuses));
    IS(HC_OK, statuses[0]);
    IS(HC_SMALL_BUFFER, statuses[1]);
    CHECK(values[1].data == NULL && values[1].len == sizeof big);
    IS(HC_OK, statuses[2]); /* a later, smaller one still fits */
    CHECK(values[2].len == 4 && memcmp(values[2].data, "last", 4) == 0);
    IS(HC_NOT_FOUND, statuses[3]);
    IS(HC_PARTIAL, hc_get_many(store, k, 4, 0, NULL, 0, values, NULL, statuses));
    IS(HC_SMALL_BUFFER, statuses[0]);
    CHECK(values[0].len == 5);
    /* Room for the first 40 of 100 values of 10 bytes: groups go on where the last one ended. */
    for (int i = 0; i < N; i++) {
        IS(HC_OK, hc_set(store, keys[i].data, keys[i].len, S("ten bytes!"), HC_TTL_DEFAULT));
    }
    char room[405];
    hc_slice many[N];
    hc_status each[N];
    IS(HC_PARTIAL, hc_get_many(store, keys, N, 0, room, sizeof room, many, NULL, each));
    for (int i = 0; i < N; i++) {
        IS(i < 40 ? HC_OK : HC_SMALL_BUFFER, each[i]);
        CHECK(many[i].len == 10 && (many[i].data != NULL) == (i < 40));
    }
    down();
}

static void pins(void) {
    up();
    fill();
    hc_view views[N];
    hc_status statuses[N];
    memset(views, 0x5A, sizeof views);
    IS(HC_PARTIAL, hc_pin_many(store, keys, N, 0, views, statuses));
    for (int i = 0; i < N; i++) {
        IS(i % 3 ? HC_OK : HC_NOT_FOUND, statuses[i]);
        if (i % 3) {
            CHECK(views[i].type == (uint32_t)i);
            CHECK(memcmp(views[i].data, keys[i].data, keys[i].len) == 0);
        } else {
            CHECK(views[i].data == NULL && views[i].pin == NULL);
        }
    }
    hc_unpin_many(views, N);
    hc_unpin_many(views, N); /* all cleared */
    hc_unpin_many(NULL, 0);
    hc_unpin_many(NULL, 5);
    IS(HC_OK, hc_pin_many(store, keys + 1, 2, HC_PEEK, views, statuses));
    hc_unpin_many(views, 2);
    hc_pool_stats stats;
    HC_INIT(&stats);
    IS(HC_OK, hc_pool_stats_get(pool, &stats));
    CHECK(stats.pinned_bytes == 0);
    down();
}

static void puts_many(void) {
    up();
    hc_entry entries[N];
    hc_status statuses[N];
    hc_put_options o;
    memset(entries, 0, sizeof entries);
    for (int i = 0; i < N; i++) {
        entries[i].key = keys[i];
        entries[i].value = keys[i];
        entries[i].type = HC_TYPE_STRING;
        entries[i].flags = (uint32_t)i;
        entries[i].ttl_ms = i % 2 ? 60000 : HC_TTL_DEFAULT;
    }
    HC_INIT(&o);
    o.ttl_ms = 120000;
    IS(HC_OK, hc_put_many(store, entries, N, &o, statuses));
    for (int i = 0; i < N; i++) {
        hc_info info;
        char buf[16];
        IS(HC_OK, statuses[i]);
        IS(HC_OK, hc_get_info(store, keys[i].data, keys[i].len, 0, buf, sizeof buf, &info));
        CHECK(info.type == HC_TYPE_STRING && info.flags == (uint32_t)i);
        CHECK(info.ttl_ms <= (i % 2 ? 60000u : 120000u) && info.ttl_ms > (i % 2 ? 0u : 60000u));
    }
    /* Each on its own: what breaks the contract, or exists, does not stop the others. */
    IS(HC_OK, hc_delete(store, S("key-1")));
    entries[50].type = 256;
    entries[60].key.data = NULL;
    entries[70].value.data = NULL;
    o.mode = HC_PUT_ADD;
    IS(HC_PARTIAL, hc_put_many(store, entries, N, &o, statuses));
    for (int i = 0; i < N; i++) {
        hc_status expected = i == 1 ? HC_OK
                             : i == 50 || i == 60 || i == 70 ? HC_ERR_INVALID
                                       : HC_EXISTS;
        IS(expected, statuses[i]);
    }
    IS(HC_PARTIAL, hc_put_many(store, entries, N, &o, NULL));
    IS(HC_OK, hc_put_many(store, NULL, 0, NULL, NULL));
    /* Versions are the entries' own. */
    hc_entry one = entries[2];
    hc_info info;
    IS(HC_SMALL_BUFFER, hc_get_info(store, S("key-2"), 0, NULL, 0, &info));
    o.mode = HC_PUT_CAS;
    one.expected_version = info.version + 1;
    IS(HC_PARTIAL, hc_put_many(store, &one, 1, &o, statuses));
    IS(HC_CONFLICT, statuses[0]);
    one.expected_version = info.version;
    IS(HC_OK, hc_put_many(store, &one, 1, &o, statuses));
    down();
}

static void deletes(void) {
    up();
    fill();
    uint64_t deleted = 77;
    IS(HC_OK, hc_delete_many(store, keys, N, &deleted));
    CHECK(deleted == 66);
    IS(HC_OK, hc_delete_many(store, keys, N, NULL));
    IS(HC_OK, hc_delete_many(store, NULL, 0, &deleted));
    CHECK(deleted == 0);
    /* One bad key: none is deleted. */
    fill();
    hc_slice bad[N];
    memcpy(bad, keys, sizeof bad);
    bad[N - 1].data = NULL;
    deleted = 77;
    IS(HC_ERR_INVALID, hc_delete_many(store, bad, N, &deleted));
    CHECK(deleted == 77);
    holds(store, "key-1", "key-1key-1");
    down();
}

static void bad_arguments(void) {
    up();
    fill();
    char buf[4096];
    hc_slice values[4], k[4];
    hc_status statuses[4];
    hc_view views[4];
    hc_entry entries[4];
    memset(entries, 0, sizeof entries);
    k[0] = slice("key-1");
    k[1].data = NULL, k[1].len = 3;
    k[2].data = "x", k[2].len = HC_KEY_LEN_MAX + 1;
    k[3] = slice("key-2");
    IS(HC_PARTIAL, hc_get_many(store, k, 4, 0, buf, sizeof buf, values, NULL, statuses));
    IS(HC_OK, statuses[0]);
    IS(HC_ERR_INVALID, statuses[1]);
    IS(HC_ERR_INVALID, statuses[2]);
    IS(HC_OK, statuses[3]);
    CHECK(values[1].data == NULL && values[1].len == 0);
    IS(HC_PARTIAL, hc_pin_many(store, k, 4, 0, views, statuses));
    IS(HC_OK, statuses[0]);
    IS(HC_ERR_INVALID, statuses[1]);
    IS(HC_OK, statuses[3]);
    hc_unpin_many(views, 4);
    IS(HC_ERR_INVALID, hc_get_many(NULL, k, 4, 0, buf, sizeof buf, values, NULL, statuses));
    IS(HC_ERR_INVALID, hc_get_many(store, NULL, 4, 0, buf, sizeof buf, values, NULL, statuses));
    IS(HC_ERR_INVALID, hc_get_many(store, k, 4, 0, NULL, 1, values, NULL, statuses));
    IS(HC_ERR_INVALID, hc_get_many(store, k, 4, 0, buf, sizeof buf, NULL, NULL, statuses));
    IS(HC_ERR_INVALID, hc_get_many(store, k, 4, 0, buf, sizeof buf, values, NULL, NULL));
    IS(HC_ERR_INVALID, hc_get_many(store, k, SIZE_MAX, 0, buf, 1, values, NULL, statuses));
    IS(HC_ERR_UNSUPPORTED, hc_get_many(store, k, 4, 8, buf, 1, values, NULL, statuses));
    IS(HC_ERR_INVALID, hc_pin_many(NULL, k, 4, 0, views, statuses));
    IS(HC_ERR_INVALID, hc_pin_many(store, NULL, 4, 0, views, statuses));
    IS(HC_ERR_INVALID, hc_pin_many(store, k, 4, 0, NULL, statuses));
    IS(HC_ERR_INVALID, hc_pin_many(store, k, 4, 0, views, NULL));
    IS(HC_ERR_UNSUPPORTED, hc_pin_many(store, k, 4, 8, views, statuses));
    IS(HC_ERR_INVALID, hc_put_many(NULL, entries, 4, NULL, statuses));
    IS(HC_ERR_INVALID, hc_put_many(store, NULL, 4, NULL, statuses));
    IS(HC_ERR_INVALID, hc_delete_many(NULL, k, 4, NULL));
    IS(HC_ERR_INVALID, hc_delete_many(store, NULL, 4, NULL));
    down();
}

const test batches[] = {
    {"get_many", read_all},         {"tight_buffers", tight_buffers},
    {"pin_many", pins},         {"put_many", puts_many},
    {"delete_many", deletes},   {"batches_bad_arguments", bad_arguments},
    {NULL, NULL},
};
