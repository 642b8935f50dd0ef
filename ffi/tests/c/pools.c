/* Pools: configuration, names, limits, pressure. */
#include "check.h"

static void bad_configs(void) {
    hc_pool_config c;
    hc_error err;
    hc_pool *pool = (hc_pool *)&c;
    HC_INIT(&c);
    SAYS(HC_ERR_INVALID, "limit_bytes", err, hc_pool_create(&c, &pool, &err));
    CHECK(pool == (hc_pool *)&c); /* untouched */
    c.limit_bytes = HC_POOL_LIMIT_MIN - 1;
    SAYS(HC_ERR_INVALID, "1048575", err, hc_pool_create(&c, &pool, &err));
    c.limit_bytes = UINT64_MAX;
    SAYS(HC_ERR_INVALID, "limit_bytes", err, hc_pool_create(&c, &pool, &err));
    c.limit_bytes = 4 * MIB;
    c.limit_max_bytes = 2 * MIB;
    SAYS(HC_ERR_INVALID, "limit_max_bytes", err, hc_pool_create(&c, &pool, &err));
    c.limit_max_bytes = 0;
    c.elevated_pct = 95;
    c.high_pct = 90;
    SAYS(HC_ERR_INVALID, "thresholds", err, hc_pool_create(&c, &pool, &err));
    c.elevated_pct = c.high_pct = 0;
    c.critical_pct = 101;
    SAYS(HC_ERR_INVALID, "101", err, hc_pool_create(&c, &pool, &err));
    c.critical_pct = 0;
    c.flags = UINT32_C(1) << 31;
    SAYS(HC_ERR_UNSUPPORTED, "flags", err, hc_pool_create(&c, &pool, &err));
    c.flags = 0;
    c.name = "\xff\xfe";
    SAYS(HC_ERR_INVALID, "name", err, hc_pool_create(&c, &pool, &err));
    c.name = "";
    SAYS(HC_ERR_INVALID, "name", err, hc_pool_create(&c, &pool, &err));
    c.name = NULL;
    SAYS(HC_ERR_INVALID, "out", err, hc_pool_create(&c, NULL, &err));
    SAYS(HC_ERR_INVALID, "hc_pool_config", err, hc_pool_create(NULL, &pool, &err));
    IS(HC_ERR_INVALID, hc_pool_create(NULL, &pool, NULL));
    CHECK(pool == (hc_pool *)&c);
}

static void names(void) {
    hc_pool_config c;
    hc_error err;
    hc_pool *a = NULL, *b = NULL;
    IS(HC_NOT_FOUND, hc_pool_open("suite", NULL, &a, NULL));
    HC_INIT(&c);
    c.limit_bytes = 4 * MIB;
    c.high_pct = 91;
    IS(HC_OK, hc_pool_open("suite", &c, &a, NULL));
    IS(HC_OK, hc_pool_open("suite", &c, &b, NULL));
    CHECK(a == b);
    hc_pool_release(b);
    IS(HC_OK, hc_pool_open("suite", NULL, &b, NULL));
    CHECK(a == b);
    hc_pool_release(b);
    /* Judged by what it was created with, not by what was changed since. */
    IS(HC_OK, hc_pool_set_limit(a, 2 * MIB, NULL));
    IS(HC_OK, hc_pool_open("suite", &c, &b, NULL));
    hc_pool_release(b);
    c.limit_bytes = 8 * MIB;
    b = NULL;
    SAYS(HC_ERR_INVALID, "limit_bytes", err, hc_pool_open("suite", &c, &b, &err));
    CHECK(b == NULL);
    IS(HC_ERR_INVALID, hc_pool_open(NULL, &c, &b, NULL));
    IS(HC_ERR_INVALID, hc_pool_open("suite", &c, NULL, NULL));
    IS(HC_ERR_INVALID, hc_pool_open("", &c, &b, NULL));
    IS(HC_ERR_INVALID, hc_pool_open("\xc3(", &c, &b, NULL));
    char longest[300];
    memset(longest, 'n', sizeof longest);
    longest[299] = '\0';
    IS(HC_ERR_INVALID, hc_pool_open(longest, &c, &b, NULL));
    /* A label is not a name that can be found. */
    hc_pool_config labelled;
    HC_INIT(&labelled);
    labelled.limit_bytes = MIB;
    labelled.name = "only a label";
    IS(HC_OK, hc_pool_create(&labelled, &b, NULL));
    hc_pool *none = NULL;
    IS(HC_NOT_FOUND, hc_pool_open("only a label", NULL, &none, NULL));
    hc_pool_release(b);
    /* The last reference ends it. */
    CHECK(hc_pool_retain(a) == a);
    hc_pool_release(a);
    IS(HC_OK, hc_pool_open("suite", NULL, &b, NULL));
    hc_pool_release(b);
    hc_pool_release(a);
    IS(HC_NOT_FOUND, hc_pool_open("suite", NULL, &a, NULL));
}

static void configs(void) {
    hc_pool_config c, got;
    hc_pool *pool = NULL;
    HC_INIT(&c);
    c.limit_bytes = 4 * MIB;
    c.name = "configured";
    c.critical_pct = 99;
    c.flags = HC_POOL_NO_HUGE_PAGES | HC_POOL_ZERO_ON_FREE;
    IS(HC_OK, hc_pool_create(&c, &pool, NULL));
    HC_INIT(&got);
    IS(HC_OK, hc_pool_config_get(pool, &got));
    CHECK(got.size == sizeof got);
    CHECK(got.limit_bytes == 4 * MIB);
    CHECK(got.limit_max_bytes == 32 * MIB);
    CHECK(got.pin_limit_bytes == MIB);
    CHECK(got.elevated_pct == 85 && got.high_pct == 90 && got.critical_pct == 99);
    CHECK(got.flags == c.flags);
    CHECK(strcmp(got.name, "configured") == 0 && got.name != c.name);
    IS(HC_OK, hc_pool_set_thresholds(pool, 10, 20, 30));
    IS(HC_OK, hc_pool_config_get(pool, &got));
    CHECK(got.elevated_pct == 10 && got.high_pct == 20 && got.critical_pct == 30);
    IS(HC_ERR_INVALID, hc_pool_set_thresholds(pool, 0, 20, 30));
    IS(HC_ERR_INVALID, hc_pool_set_thresholds(pool, 30, 20, 10));
    IS(HC_ERR_INVALID, hc_pool_set_thresholds(pool, 10, 20, 101));
    IS(HC_ERR_INVALID, hc_pool_set_thresholds(NULL, 10, 20, 30));
    IS(HC_ERR_INVALID, hc_pool_config_get(pool, NULL));
    IS(HC_ERR_INVALID, hc_pool_config_get(NULL, &got));
    const char *name = got.name;
    hc_pool_release(pool);
    CHECK(strcmp(name, "configured") == 0);
}

static void limits(void) {
    hc_pool *pool = make_pool(4 * MIB);
    hc_store *store = make_store(pool);
    hc_error err;
    char value[1000];
    memset(value, 'v', sizeof value);
    for (uint32_t i = 0; i < 8000; i++) {
        hc_status s = hc_set(store, &i, sizeof i, value, sizeof value, HC_TTL_DEFAULT);
        CHECK(s == HC_OK || s == HC_NOT_ADMITTED);
    }
    hc_pool_stats stats;
    HC_INIT(&stats);
    IS(HC_OK, hc_pool_stats_get(pool, &stats));
    CHECK(stats.used_bytes <= 4 * MIB && stats.used_bytes > 3 * MIB);
    CHECK(stats.peak_bytes <= 4 * MIB && stats.peak_bytes >= stats.used_bytes);
    CHECK(stats.limit_bytes == 4 * MIB && stats.target_bytes == 4 * MIB && stats.stores == 1);
    IS(HC_OK, hc_pool_set_limit(pool, 2 * MIB, NULL));
    IS(HC_OK, hc_pool_stats_get(pool, &stats));
    CHECK(stats.used_bytes <= 2 * MIB && stats.limit_bytes == 2 * MIB);
    IS(HC_OK, hc_pool_set_limit(pool, 32 * MIB, NULL));
    SAYS(HC_ERR_INVALID, "limit_bytes", err, hc_pool_set_limit(pool, 33 * MIB, &err));
    SAYS(HC_ERR_INVALID, "limit_bytes", err, hc_pool_set_limit(pool, 1, &err));
    IS(HC_ERR_INVALID, hc_pool_set_limit(NULL, 4 * MIB, NULL));
    uint64_t freed = 0;
    IS(HC_OK, hc_pool_trim(pool, MIB, &freed));
    CHECK(freed > 0);
    IS(HC_OK, hc_pool_stats_get(pool, &stats));
    CHECK(stats.used_bytes <= MIB);
    IS(HC_OK, hc_pool_trim(pool, MIB, NULL));
    IS(HC_ERR_INVALID, hc_pool_trim(NULL, MIB, NULL));
    IS(HC_OK, hc_pool_validate(pool, NULL));
    IS(HC_ERR_INVALID, hc_pool_validate(NULL, NULL));
    hc_store_release(store);
    hc_pool_release(pool);
}

static void waits(void) {
    hc_pool *pool = make_pool(4 * MIB);
    uint64_t seq = 0;
    int32_t level = 77;
    CHECK(hc_pool_pressure(pool) == HC_PRESSURE_NONE);
    CHECK(hc_pool_pressure(NULL) == HC_PRESSURE_NONE);
    IS(HC_TIMEOUT, hc_pool_wait(pool, &seq, 1, &level));
    CHECK(seq == 0 && level == 77);
    void *block = hc_pool_alloc(pool, 3 * MIB + 900 * 1024, 0, 0);
    CHECK(block != NULL);
    CHECK(hc_pool_pressure(pool) == HC_PRESSURE_CRITICAL);
    IS(HC_OK, hc_pool_wait(pool, &seq, 1000, &level));
    CHECK(level == HC_PRESSURE_CRITICAL && seq != 0);
    IS(HC_TIMEOUT, hc_pool_wait(pool, &seq, 0, &level));
    IS(HC_OK, hc_pool_free(pool, block));
    IS(HC_OK, hc_pool_wait(pool, &seq, 1000, &level));
    CHECK(level == HC_PRESSURE_NONE);
    hc_pool_stats stats;
    HC_INIT(&stats);
    IS(HC_OK, hc_pool_stats_get(pool, &stats));
    CHECK(stats.level_changes >= 2 && stats.pressure == HC_PRESSURE_NONE);
    IS(HC_ERR_INVALID, hc_pool_wait(pool, NULL, 0, &level));
    IS(HC_ERR_INVALID, hc_pool_wait(pool, &seq, 0, NULL));
    IS(HC_ERR_INVALID, hc_pool_wait(NULL, &seq, 0, &level));
    hc_pool_release(pool);
}

/* Written on the notifier's thread, read here once a call that waits for it has returned. */
typedef struct seen {
    volatile int calls, drops;
    volatile int32_t level;
    hc_watch *volatile cancel_inside;
} seen;

static void on_level(void *ctx, int32_t level, uint64_t used, uint64_t limit) {
    seen *s = ctx;
    CHECK(used <= limit);
    s->level = level;
    s->calls++;
    if (s->cancel_inside) {
        hc_watch *watch = s->cancel_inside;
        s->cancel_inside = NULL;
        hc_watch_cancel(watch);
    }
}

static void on_drop(void *ctx) { ((seen *)ctx)->drops++; }

static void until(volatile int *count, int least) {
    for (int i = 0; i < 5000 && *count < least; i++) pause_ms(1);
    CHECK(*count >= least);
}

static void watches(void) {
    hc_pool *pool = make_pool(4 * MIB);
    hc_watch *watch = NULL;
    seen s = {0, 0, -1, NULL};
    IS(HC_OK, hc_pool_watch(pool, on_level, &s, on_drop, &watch));
    void *block = hc_pool_alloc(pool, 3 * MIB + 900 * 1024, 0, 0);
    CHECK(block != NULL);
    until(&s.calls, 1);
    CHECK(s.level == HC_PRESSURE_CRITICAL);
    IS(HC_OK, hc_pool_free(pool, block));
    until(&s.calls, 2);
    CHECK(s.drops == 0);
    hc_watch_cancel(watch);
    CHECK(s.drops == 1);
    int calls = s.calls;
    block = hc_pool_alloc(pool, 3 * MIB + 900 * 1024, 0, 0);
    pause_ms(20);
    CHECK(s.calls == calls);
    IS(HC_OK, hc_pool_free(pool, block));

    /* Cancelled from inside. */
    seen inside = {0, 0, -1, NULL};
    IS(HC_OK, hc_pool_watch(pool, on_level, &inside, on_drop, &watch));
    inside.cancel_inside = watch;
    block = hc_pool_alloc(pool, 3 * MIB + 900 * 1024, 0, 0);
    until(&inside.drops, 1);
    CHECK(inside.calls == 1);
    IS(HC_OK, hc_pool_free(pool, block));

    /* drop runs also where nothing was registered. */
    seen refused = {0, 0, -1, NULL};
    IS(HC_ERR_INVALID, hc_pool_watch(pool, NULL, &refused, on_drop, &watch));
    IS(HC_ERR_INVALID, hc_pool_watch(NULL, on_level, &refused, on_drop, &watch));
    IS(HC_ERR_INVALID, hc_pool_watch(pool, on_level, &refused, on_drop, NULL));
    CHECK(refused.drops == 3 && refused.calls == 0);
    hc_watch_cancel(NULL);
    hc_pool_release(pool);
}

const test pools[] = {
    {"bad_pool_configs", bad_configs}, {"pool_names", names}, {"pool_configs", configs},
    {"pool_limits", limits},           {"waits", waits},      {"watches", watches},
    {NULL, NULL},
};
