/* Writing and removing one entry. */
#include "check.h"

static hc_pool *pool;
static hc_store *store;

static void up(void) {
    pool = make_pool(8 * MIB);
    store = make_store(pool);
}

static void down(void) { give_back(pool, store); }

static void sets(void) {
    up();
    IS(HC_OK, hc_set(store, S("k"), S("one"), HC_TTL_DEFAULT));
    holds(store, "k", "one");
    IS(HC_OK, hc_set(store, S("k"), S("another"), HC_TTL_DEFAULT));
    holds(store, "k", "another");
    IS(HC_OK, hc_set(store, S("brief"), S("x"), 20));
    pause_ms(40);
    misses(store, "brief");
    IS(HC_ERR_INVALID, hc_set(NULL, S("k"), S("v"), HC_TTL_DEFAULT));
    IS(HC_ERR_INVALID, hc_set(store, NULL, 1, S("v"), HC_TTL_DEFAULT));
    IS(HC_ERR_INVALID, hc_set(store, S("k"), NULL, 1, HC_TTL_DEFAULT));
    IS(HC_ERR_INVALID, hc_set(store, S("k"), "v", SIZE_MAX, HC_TTL_DEFAULT));
    holds(store, "k", "another"); /* a call that breaks the contract changes nothing */
    down();
}

static void modes(void) {
    up();
    hc_put_options o;
    uint64_t v = 0, w = 0, none = 77;
    HC_INIT(&o);
    o.mode = HC_PUT_REPLACE;
    IS(HC_NOT_FOUND, hc_put(store, S("k"), S("r"), &o, &none));
    CHECK(none == 77);
    o.mode = HC_PUT_CAS;
    o.expected_version = 1;
    IS(HC_NOT_FOUND, hc_put(store, S("k"), S("c"), &o, NULL));
    o.mode = HC_PUT_ADD;
    IS(HC_OK, hc_put(store, S("k"), S("a"), &o, &v));
    IS(HC_EXISTS, hc_put(store, S("k"), S("b"), &o, &none));
    CHECK(none == 77);
    holds(store, "k", "a");
    o.mode = HC_PUT_REPLACE;
    IS(HC_OK, hc_put(store, S("k"), S("r"), &o, &w));
    CHECK(v != w);
    o.mode = HC_PUT_CAS;
    o.expected_version = v;
    IS(HC_CONFLICT, hc_put(store, S("k"), S("c"), &o, NULL));
    holds(store, "k", "r");
    o.expected_version = w;
    IS(HC_OK, hc_put(store, S("k"), S("c"), &o, &v));
    holds(store, "k", "c");
    IS(HC_OK, hc_put(store, S("k"), S("d"), NULL, NULL));
    holds(store, "k", "d");
    /* An expired entry is absent. */
    HC_INIT(&o);
    IS(HC_OK, hc_set(store, S("brief"), S("x"), 10));
    pause_ms(30);
    o.mode = HC_PUT_REPLACE;
    IS(HC_NOT_FOUND, hc_put(store, S("brief"), S("y"), &o, NULL));
    o.mode = HC_PUT_ADD;
    IS(HC_OK, hc_put(store, S("brief"), S("y"), &o, NULL));
    down();
}

static void bad_options(void) {
    up();
    hc_put_options o;
    hc_draft draft;
    IS(HC_OK, hc_set(store, S("k"), S("kept"), HC_TTL_DEFAULT));
#define REFUSED(expected, field, value)                                              \
    do {                                                                             \
        HC_INIT(&o);                                                                 \
        o.field = (value);                                                           \
        IS(expected, hc_put(store, S("k"), S("v"), &o, NULL));                       \
        IS(expected, hc_reserve(store, S("k"), 1, &o, &draft));                      \
    } while (0)
    REFUSED(HC_ERR_UNSUPPORTED, mode, 4);
    REFUSED(HC_ERR_UNSUPPORTED, mode, -1);
    REFUSED(HC_ERR_INVALID, type, 256);
    REFUSED(HC_ERR_UNSUPPORTED, reserved, 1);
    REFUSED(HC_ERR_INVALID, size, 8);
    REFUSED(HC_ERR_UNSUPPORTED, size, SIZE_MAX);
#undef REFUSED
    IS(HC_ERR_INVALID, hc_put(NULL, S("k"), S("v"), NULL, NULL));
    IS(HC_ERR_INVALID, hc_put(store, NULL, 1, S("v"), NULL, NULL));
    IS(HC_ERR_INVALID, hc_put(store, S("k"), NULL, 1, NULL, NULL));
    holds(store, "k", "kept");
    down();
}

/* A cache may forget; it must not serve what it was told is old. */
static void too_large(void) {
    up();
    hc_store_config c;
    hc_store *small = NULL;
    HC_INIT(&c);
    c.value_len_max = 100;
    IS(HC_OK, hc_store_open(pool, &c, &small, NULL));
    char value[101] = {0};
    hc_draft draft;
    IS(HC_OK, hc_set(small, S("k"), value, 100, HC_TTL_DEFAULT));
    IS(HC_ERR_TOO_LARGE, hc_set(small, S("k"), value, 101, HC_TTL_DEFAULT));
    misses(small, "k");
    IS(HC_OK, hc_set(small, S("k"), S("old"), HC_TTL_DEFAULT));
    IS(HC_ERR_TOO_LARGE, hc_reserve(small, S("k"), 101, NULL, &draft));
    misses(small, "k");
    IS(HC_ERR_TOO_LARGE, hc_reserve(small, S("k"), SIZE_MAX, NULL, &draft));
    /* Where the mode would not have replaced it, it stays. */
    hc_put_options o;
    HC_INIT(&o);
    o.mode = HC_PUT_ADD;
    IS(HC_OK, hc_set(small, S("k"), S("old"), HC_TTL_DEFAULT));
    hc_status s = hc_put(small, S("k"), value, 101, &o, NULL);
    CHECK(s == HC_EXISTS || s == HC_ERR_TOO_LARGE);
    hc_store_stats stats;
    HC_INIT(&stats);
    IS(HC_OK, hc_store_stats_get(small, &stats));
    CHECK(stats.rejected > 0);
    /* A quarter of the limit, by default. */
    static char quarter[3 << 20];
    IS(HC_ERR_TOO_LARGE, hc_set(store, S("q"), quarter, sizeof quarter, HC_TTL_DEFAULT));
    IS(HC_OK, hc_set(store, S("q"), quarter, sizeof quarter / 2, HC_TTL_DEFAULT));
    hc_store_release(small);
    down();
}

static void times_to_live(void) {
    up();
    hc_store_config c;
    hc_store *brief = NULL;
    HC_INIT(&c);
    c.default_ttl_ms = 30;
    IS(HC_OK, hc_store_open(pool, &c, &brief, NULL));
    IS(HC_OK, hc_set(brief, S("default"), S("x"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_set(brief, S("never"), S("x"), HC_TTL_NEVER));
    IS(HC_OK, hc_set(brief, S("long"), S("x"), 60000));
    IS(HC_OK, hc_set(brief, S("long"), S("y"), HC_TTL_KEEP));
    IS(HC_OK, hc_set(brief, S("fresh"), S("y"), HC_TTL_KEEP)); /* nothing to keep: the default */
    hc_info info;
    char buf[4];
    IS(HC_OK, hc_get_info(brief, S("long"), 0, buf, sizeof buf, &info));
    CHECK(info.ttl_ms > 30000 && info.ttl_ms <= 60000);
    pause_ms(60);
    misses(brief, "default");
    misses(brief, "fresh");
    holds(brief, "never", "x");
    holds(brief, "long", "y");
    IS(HC_OK, hc_set(brief, S("far"), S("x"), HC_TTL_KEEP - 1)); /* a very long time */
    holds(brief, "far", "x");
    hc_store_release(brief);
    down();
}

static void increments(void) {
    up();
    int64_t n = 77;
    hc_info info;
    unsigned char buf[16];
    IS(HC_OK, hc_incr(store, S("n"), 5, 10, HC_TTL_DEFAULT, &n));
    int64_t first = n;
    CHECK(first == 10); /* it starts at `initial` */
    IS(HC_OK, hc_incr(store, S("n"), -3, 0, HC_TTL_DEFAULT, &n));
    CHECK(n == 7);
    IS(HC_OK, hc_get_info(store, S("n"), 0, buf, sizeof buf, &info));
    CHECK(info.type == HC_TYPE_INT64 && info.len == 8 && buf[0] == 7 && buf[7] == 0);
    IS(HC_OK, hc_incr(store, S("max"), 0, INT64_MAX, HC_TTL_DEFAULT, &n));
    n = 77;
    IS(HC_OVERFLOW, hc_incr(store, S("max"), 1, 0, HC_TTL_DEFAULT, &n));
    CHECK(n == 77);
    IS(HC_OK, hc_incr(store, S("max"), -1, 0, HC_TTL_DEFAULT, &n));
    CHECK(n == INT64_MAX - 1);
    IS(HC_OK, hc_set(store, S("text"), S("seven"), HC_TTL_DEFAULT));
    n = 77;
    IS(HC_WRONG_TYPE, hc_incr(store, S("text"), 1, 0, HC_TTL_DEFAULT, &n));
    CHECK(n == 77);
    holds(store, "text", "seven");
    /* A present entry keeps its time to live, an absent one gets the call's. */
    IS(HC_OK, hc_incr(store, S("ttl"), 1, 1, 60000, &n));
    IS(HC_OK, hc_incr(store, S("ttl"), 1, 1, 5, &n));
    IS(HC_OK, hc_get_info(store, S("ttl"), 0, buf, sizeof buf, &info));
    CHECK(info.ttl_ms > 30000 && info.ttl_ms <= 60000);
    IS(HC_ERR_INVALID, hc_incr(NULL, S("n"), 1, 0, HC_TTL_DEFAULT, &n));
    IS(HC_ERR_INVALID, hc_incr(store, NULL, 1, 1, 0, HC_TTL_DEFAULT, &n));
    IS(HC_ERR_INVALID, hc_incr(store, S("n"), 1, 0, HC_TTL_DEFAULT, NULL));
    down();
}

static void deletes(void) {
    up();
    uint64_t v = 0, w = 0;
    IS(HC_NOT_FOUND, hc_delete(store, S("k")));
    IS(HC_NOT_FOUND, hc_delete_if(store, S("k"), 1));
    IS(HC_OK, hc_put(store, S("k"), S("a"), NULL, &v));
    IS(HC_OK, hc_put(store, S("k"), S("b"), NULL, &w));
    IS(HC_CONFLICT, hc_delete_if(store, S("k"), v));
    holds(store, "k", "b");
    IS(HC_OK, hc_delete_if(store, S("k"), w));
    misses(store, "k");
    IS(HC_OK, hc_set(store, S("k"), S("c"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_delete(store, S("k")));
    IS(HC_NOT_FOUND, hc_delete(store, S("k")));
    IS(HC_ERR_INVALID, hc_delete(NULL, S("k")));
    IS(HC_ERR_INVALID, hc_delete(store, NULL, 1));
    IS(HC_ERR_INVALID, hc_delete_if(NULL, S("k"), 1));
    IS(HC_ERR_INVALID, hc_delete_if(store, NULL, 1, 1));
    down();
}

static void drafts(void) {
    up();
    hc_draft d, e;
    hc_put_options o;
    uint64_t v = 0;
    IS(HC_OK, hc_set(store, S("k"), S("old"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_reserve(store, S("k"), 3, NULL, &d));
    CHECK(d.data != NULL && d.len == 3);
    memcpy(d.data, "new", 3);
    holds(store, "k", "old"); /* nobody sees it yet */
    IS(HC_OK, hc_commit(&d, &v));
    holds(store, "k", "new");
    CHECK(v != 0 && d.data == NULL && d.len == 0);
    IS(HC_ERR_INVALID, hc_commit(&d, &v)); /* it has ended */
    hc_abandon(&d);
    IS(HC_ERR_INVALID, hc_commit(NULL, NULL));
    hc_abandon(NULL);

    IS(HC_OK, hc_reserve(store, S("k"), 3, NULL, &d));
    hc_abandon(&d);
    hc_abandon(&d);
    holds(store, "k", "new");

    /* Small, with nothing in it, and large. */
    IS(HC_OK, hc_reserve(store, S("empty"), 0, NULL, &d));
    IS(HC_OK, hc_commit(&d, NULL));
    holds(store, "empty", "");
    IS(HC_OK, hc_reserve(store, S("large"), MIB, NULL, &d));
    memset(d.data, 'L', MIB);
    IS(HC_OK, hc_commit(&d, NULL));
    hc_view view;
    IS(HC_OK, hc_pin(store, S("large"), 0, &view));
    CHECK(view.len == MIB && ((const char *)view.data)[MIB - 1] == 'L');
    hc_unpin(&view);

    /* Mode and version are judged by hc_commit. */
    HC_INIT(&o);
    o.mode = HC_PUT_ADD;
    o.type = HC_TYPE_STRING;
    IS(HC_OK, hc_reserve(store, S("race"), 1, &o, &d));
    IS(HC_OK, hc_reserve(store, S("race"), 1, &o, &e));
    *(char *)d.data = 'd';
    *(char *)e.data = 'e';
    IS(HC_OK, hc_commit(&e, NULL));
    v = 77;
    IS(HC_EXISTS, hc_commit(&d, &v));
    CHECK(v == 77 && d.data == NULL);
    holds(store, "race", "e");
    IS(HC_ERR_INVALID, hc_reserve(NULL, S("k"), 1, NULL, &d));
    IS(HC_ERR_INVALID, hc_reserve(store, NULL, 1, 1, NULL, &d));
    IS(HC_ERR_INVALID, hc_reserve(store, S("k"), 1, NULL, NULL));

    hc_pool_stats stats;
    HC_INIT(&stats);
    IS(HC_OK, hc_pool_stats_get(pool, &stats));
    CHECK(stats.pinned_bytes == 0);
    down();
}

const test writes[] = {
    {"sets", sets},           {"modes", modes},           {"bad_options", bad_options},
    {"too_large", too_large}, {"times_to_live", times_to_live}, {"increments", increments},
    {"deletes", deletes},     {"drafts", drafts},         {NULL, NULL},
};
