/* Stores: configuration, names, statistics, the end. */
#include "check.h"

static void bad_configs(void) {
    hc_pool *pool = make_pool(4 * MIB);
    hc_store_config c;
    hc_error err;
    hc_store *store = NULL;
#define REFUSED(expected, word, field, value)                                        \
    do {                                                                             \
        HC_INIT(&c);                                                                 \
        c.field = (value);                                                           \
        SAYS(expected, word, err, hc_store_open(pool, &c, &store, &err));            \
        CHECK(store == NULL);                                                        \
    } while (0)
    REFUSED(HC_ERR_INVALID, "shards", shards, 3);
    REFUSED(HC_ERR_INVALID, "shards", shards, 1024);
    REFUSED(HC_ERR_INVALID, "limit_bytes", limit_bytes, 1);
    REFUSED(HC_ERR_INVALID, "limit_bytes", limit_bytes, UINT64_MAX);
    REFUSED(HC_ERR_INVALID, "value_len_max", value_len_max, HC_VALUE_LEN_MAX + 1);
    REFUSED(HC_ERR_INVALID, "jitter_pct", jitter_pct, 101);
    REFUSED(HC_ERR_INVALID, "floor", floor_bytes, 5 * MIB * MIB);
    REFUSED(HC_ERR_INVALID, "default_ttl_ms", default_ttl_ms, HC_TTL_KEEP);
    REFUSED(HC_ERR_INVALID, "name", name, "");
    REFUSED(HC_ERR_INVALID, "name", name, "\xff");
    REFUSED(HC_ERR_INVALID, "policy_options", policy_options, "\xff");
    REFUSED(HC_ERR_UNSUPPORTED, "bogus", policy_options, "bogus=1");
    REFUSED(HC_ERR_UNSUPPORTED, "flags", flags, UINT32_C(1) << 30);
    REFUSED(HC_ERR_UNSUPPORTED, "reserved", reserved, 1);
    REFUSED(HC_ERR_INVALID, "filter_fpr", filter_fpr, 0.5);
    REFUSED(HC_ERR_INVALID, "filter_fpr", filter_fpr, -1);
    REFUSED(HC_ERR_INVALID, "idle_ttl_ms", idle_ttl_ms, UINT64_C(1) << 32);
    REFUSED(HC_ERR_INVALID, "negative_pct", negative_pct, 101);
    REFUSED(HC_ERR_UNSUPPORTED, "99", policy, 99);
    REFUSED(HC_ERR_UNSUPPORTED, "-1", policy, -1);
#undef REFUSED
    SAYS(HC_ERR_INVALID, "hc_store_config", err, hc_store_open(pool, NULL, &store, &err));
    HC_INIT(&c);
    SAYS(HC_ERR_INVALID, "pool", err, hc_store_open(NULL, &c, &store, &err));
    SAYS(HC_ERR_INVALID, "out", err, hc_store_open(pool, &c, NULL, &err));
    hc_pool_stats stats;
    HC_INIT(&stats);
    IS(HC_OK, hc_pool_stats_get(pool, &stats));
    CHECK(stats.stores == 0);
    IS(HC_OK, hc_pool_validate(pool, NULL));
    hc_pool_release(pool);
}

static void policies(void) {
    static const int32_t kinds[] = {HC_POLICY_DEFAULT, HC_POLICY_S3FIFO, HC_POLICY_LRU,
                                    HC_POLICY_FIFO,    HC_POLICY_SIEVE,  HC_POLICY_RANDOM,
                                    HC_POLICY_LFU,     HC_POLICY_WTINYLFU, HC_POLICY_SESSION,
                                    HC_POLICY_ADAPTIVE};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        hc_pool *pool = make_pool(2 * MIB);
        hc_store_config c;
        hc_store *store = NULL;
        HC_INIT(&c);
        c.policy = kinds[i];
        IS(HC_OK, hc_store_open(pool, &c, &store, NULL));
        char value[300] = {0};
        for (uint32_t k = 0; k < 20000; k++) {
            hc_status s = hc_set(store, &k, sizeof k, value, sizeof value, HC_TTL_DEFAULT);
            CHECK(s == HC_OK || s == HC_NOT_ADMITTED);
        }
        hc_store_stats stats;
        HC_INIT(&stats);
        IS(HC_OK, hc_store_stats_get(store, &stats));
        CHECK(stats.evicted > 0 && stats.entries > 1000);
        CHECK(stats.used_bytes <= 2 * MIB);
        IS(HC_OK, hc_store_config_get(store, &c));
        CHECK(c.policy == (kinds[i] == HC_POLICY_DEFAULT ? HC_POLICY_ADAPTIVE : kinds[i]));
        IS(HC_OK, hc_pool_validate(pool, NULL));
        hc_store_release(store);
        hc_pool_release(pool);
    }
}

static void names(void) {
    hc_pool *pool = make_pool(4 * MIB);
    hc_store_config c;
    hc_error err;
    hc_store *a = NULL, *b = NULL;
    IS(HC_NOT_FOUND, hc_store_find(pool, "users", &a));
    HC_INIT(&c);
    c.name = "users";
    c.default_ttl_ms = 60000;
    IS(HC_OK, hc_store_open(pool, &c, &a, NULL));
    IS(HC_OK, hc_store_open(pool, &c, &b, NULL));
    CHECK(a == b);
    hc_store_release(b);
    IS(HC_OK, hc_store_find(pool, "users", &b));
    CHECK(a == b);
    hc_store_release(b);
    c.default_ttl_ms = 1;
    SAYS(HC_ERR_INVALID, "default_ttl_ms", err, hc_store_open(pool, &c, &b, &err));
    IS(HC_ERR_INVALID, hc_store_find(pool, NULL, &b));
    IS(HC_ERR_INVALID, hc_store_find(pool, "users", NULL));
    IS(HC_ERR_INVALID, hc_store_find(NULL, "users", &b));
    IS(HC_ERR_INVALID, hc_store_find(pool, "\xff", &b));
    /* The name is free again when the store has been destroyed. */
    hc_store_destroy(a);
    IS(HC_NOT_FOUND, hc_store_find(pool, "users", &b));
    IS(HC_OK, hc_store_open(pool, &c, &b, NULL));
    CHECK(a != b);
    hc_store_release(a);
    hc_store_release(b);
    IS(HC_NOT_FOUND, hc_store_find(pool, "users", &b));
    hc_pool_release(pool);
}

static void configs(void) {
    hc_pool *pool = make_pool(4 * MIB);
    hc_store_config c, got;
    hc_store *store = NULL;
    HC_INIT(&c);
    c.name = "configured";
    c.limit_bytes = 2 * MIB;
    c.default_ttl_ms = HC_TTL_NEVER;
    c.policy = HC_POLICY_S3FIFO;
    c.policy_options = "small=20";
    c.flags = HC_STORE_LATENCY;
    c.hash_seed = 42;
    IS(HC_OK, hc_store_open(pool, &c, &store, NULL));
    HC_INIT(&got);
    IS(HC_OK, hc_store_config_get(store, &got));
    CHECK(got.size == sizeof got);
    CHECK(strcmp(got.name, "configured") == 0);
    CHECK(got.limit_bytes == 2 * MIB);
    CHECK(got.default_ttl_ms == 0);
    CHECK(got.policy == HC_POLICY_S3FIFO);
    CHECK(strcmp(got.policy_options, "small=20") == 0);
    CHECK(got.flags == HC_STORE_LATENCY && got.hash_seed == 42);
    CHECK(got.value_len_max > 0 && got.shards > 0);
    IS(HC_OK, hc_store_set_limit(store, MIB));
    IS(HC_OK, hc_store_config_get(store, &got));
    CHECK(got.limit_bytes == MIB);
    IS(HC_ERR_INVALID, hc_store_set_limit(store, 1));
    IS(HC_ERR_INVALID, hc_store_set_limit(NULL, MIB));
    IS(HC_ERR_INVALID, hc_store_config_get(store, NULL));
    IS(HC_ERR_INVALID, hc_store_config_get(NULL, &got));
    hc_store_release(store);
    hc_pool_release(pool);
}

static void statistics(void) {
    hc_pool *pool = make_pool(4 * MIB);
    hc_store *store = make_store(pool);
    char buf[8];
    size_t len;
    IS(HC_OK, hc_set(store, S("a"), S("1"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_set(store, S("b"), S("22"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_set(store, S("a"), S("333"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_get(store, S("a"), buf, sizeof buf, &len));
    IS(HC_NOT_FOUND, hc_get(store, S("c"), buf, sizeof buf, &len));
    IS(HC_OK, hc_delete(store, S("b")));
    hc_store_stats s;
    HC_INIT(&s);
    IS(HC_OK, hc_store_stats_get(store, &s));
    CHECK(s.size == sizeof s);
    CHECK(s.entries == 1 && s.payload_bytes == 4);
    CHECK(s.hits == 1 && s.misses == 1);
    CHECK(s.inserts == 2 && s.updates == 1 && s.deletes == 1);
    CHECK(s.faults == 0 && s.poisoned_shards == 0);
    CHECK(s.leases == 0 && s.sessions == 0 && s.filter_skips == 0);
    IS(HC_ERR_INVALID, hc_store_stats_get(store, NULL));
    IS(HC_ERR_INVALID, hc_store_stats_get(NULL, &s));
    IS(HC_OK, hc_store_validate(store, NULL));
    IS(HC_ERR_INVALID, hc_store_validate(NULL, NULL));
    hc_store_release(store);
    hc_pool_release(pool);
}

static void latencies(void) {
    hc_pool *pool = make_pool(4 * MIB);
    hc_store *plain = make_store(pool), *measured = NULL;
    hc_store_config c;
    hc_latency l;
    HC_INIT(&c);
    c.flags = HC_STORE_LATENCY;
    IS(HC_OK, hc_store_open(pool, &c, &measured, NULL));
    char buf[8];
    size_t len;
    for (int i = 0; i < 100; i++) {
        IS(HC_OK, hc_set(measured, S("k"), S("v"), HC_TTL_DEFAULT));
        IS(HC_OK, hc_get(measured, S("k"), buf, sizeof buf, &len));
        IS(HC_OK, hc_delete(measured, S("k")));
    }
    for (int32_t op = HC_OP_GET; op <= HC_OP_DELETE; op++) {
        HC_INIT(&l);
        IS(HC_OK, hc_store_latency_get(measured, op, &l));
        CHECK(l.count == 100);
        CHECK(l.min_ns <= l.p50_ns && l.p50_ns <= l.p90_ns && l.p90_ns <= l.p99_ns);
        CHECK(l.p99_ns <= l.p999_ns && l.p999_ns <= l.max_ns && l.mean_ns <= l.max_ns);
        IS(HC_NOT_FOUND, hc_store_latency_get(plain, op, &l));
    }
    IS(HC_ERR_UNSUPPORTED, hc_store_latency_get(measured, 3, &l));
    IS(HC_ERR_INVALID, hc_store_latency_get(measured, HC_OP_GET, NULL));
    IS(HC_ERR_INVALID, hc_store_latency_get(NULL, HC_OP_GET, &l));
    hc_store_release(plain);
    hc_store_release(measured);
    hc_pool_release(pool);
}

const test stores[] = {
    {"bad_store_configs", bad_configs}, {"policies", policies},     {"store_names", names},
    {"store_configs", configs},         {"statistics", statistics}, {"latencies", latencies},
    {NULL, NULL},
};
