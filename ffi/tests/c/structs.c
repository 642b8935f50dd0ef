/* Structs of older and newer headers. */
#include "check.h"

/* Each extensible struct with a tail that this header does not know. */
#define FUTURE(type)                                                                 \
    typedef struct future_##type {                                                   \
        type known;                                                                  \
        uint64_t tail[4];                                                            \
    } future_##type
FUTURE(hc_error);
FUTURE(hc_pool_config);
FUTURE(hc_pool_stats);
FUTURE(hc_store_config);
FUTURE(hc_store_stats);
FUTURE(hc_put_options);
FUTURE(hc_match);
FUTURE(hc_latency);
FUTURE(hc_filter_config);
FUTURE(hc_filter_stats);

#define BEGIN(x) (memset(&(x), 0, sizeof(x)), (void)((x).known.size = sizeof(x)))

/* What a caller passes in: a zero tail is taken, another one refused by name. */
static void inputs(void) {
    hc_error err;
    hc_pool *pool = NULL;
    hc_store *store = NULL;
    future_hc_pool_config pc;
    BEGIN(pc);
    pc.known.limit_bytes = 4 * MIB;
    IS(HC_OK, hc_pool_create(&pc.known, &pool, NULL));
    hc_pool *other = NULL;
    pc.tail[3] = UINT64_C(1) << 63;
    SAYS(HC_ERR_UNSUPPORTED, "hc_pool_config", err, hc_pool_create(&pc.known, &other, &err));
    future_hc_store_config sc;
    BEGIN(sc);
    IS(HC_OK, hc_store_open(pool, &sc.known, &store, NULL));
    sc.tail[2] = 1;
    SAYS(HC_ERR_UNSUPPORTED, "hc_store_config", err, hc_store_open(pool, &sc.known, &store, &err));
    future_hc_put_options po;
    BEGIN(po);
    IS(HC_OK, hc_put(store, S("k"), S("v"), &po.known, NULL));
    po.tail[1] = 1;
    IS(HC_ERR_UNSUPPORTED, hc_put(store, S("k"), S("w"), &po.known, NULL));
    holds(store, "k", "v");
    future_hc_match m;
    BEGIN(m);
    m.known.kind = HC_MATCH_PREFIX;
    m.known.pattern = slice("none");
    IS(HC_OK, hc_invalidate(store, &m.known, NULL));
    m.tail[3] = 1;
    IS(HC_ERR_UNSUPPORTED, hc_invalidate(store, &m.known, NULL));
    hc_filter *filter = NULL;
    future_hc_filter_config fc;
    BEGIN(fc);
    fc.known.capacity = 10;
    IS(HC_OK, hc_filter_create(&fc.known, &filter, NULL));
    hc_filter_release(filter);
    fc.tail[2] = 1;
    SAYS(HC_ERR_UNSUPPORTED, "hc_filter_config", err, hc_filter_create(&fc.known, &filter, &err));
    /* A size that no release has: refused unread. */
    pc.known.size = SIZE_MAX;
    SAYS(HC_ERR_UNSUPPORTED, "size", err, hc_pool_create(&pc.known, &other, &err));
    /* HC_INIT forgotten. */
    pc.known.size = 0;
    SAYS(HC_ERR_INVALID, "HC_INIT", err, hc_pool_create(&pc.known, &other, &err));
    pc.known.size = sizeof pc.known - 1;
    SAYS(HC_ERR_INVALID, "size", err, hc_pool_create(&pc.known, &other, &err));
    hc_store_release(store);
    hc_pool_release(pool);
}

/* What the library fills: as much as both know, and how much that is. The rest stays. */
static void outputs(void) {
    hc_pool *pool = make_pool(4 * MIB);
    hc_store_config c;
    hc_store *store = NULL;
    HC_INIT(&c);
    c.flags = HC_STORE_LATENCY;
    IS(HC_OK, hc_store_open(pool, &c, &store, NULL));
#define FILLED(type, call)                                                           \
    do {                                                                             \
        future_##type x;                                                             \
        memset(&x, 0x5A, sizeof x);                                                  \
        x.known.size = sizeof x;                                                     \
        IS(HC_OK, call);                                                             \
        CHECK(x.known.size >= sizeof x.known && x.known.size <= sizeof x);           \
        CHECK(x.tail[3] == UINT64_C(0x5A5A5A5A5A5A5A5A));                            \
        x.known.size = sizeof x.known - 1;                                           \
        IS(HC_ERR_INVALID, call);                                                    \
        x.known.size = 0;                                                            \
        IS(HC_ERR_INVALID, call);                                                    \
    } while (0)
    FILLED(hc_pool_stats, hc_pool_stats_get(pool, &x.known));
    FILLED(hc_pool_config, hc_pool_config_get(pool, &x.known));
    FILLED(hc_store_stats, hc_store_stats_get(store, &x.known));
    FILLED(hc_store_config, hc_store_config_get(store, &x.known));
    FILLED(hc_latency, hc_store_latency_get(store, HC_OP_GET, &x.known));
    hc_filter_config fc;
    hc_filter *filter = NULL;
    HC_INIT(&fc);
    fc.capacity = 10;
    IS(HC_OK, hc_filter_create(&fc, &filter, NULL));
    FILLED(hc_filter_stats, hc_filter_stats_get(filter, &x.known));
    hc_filter_release(filter);
#undef FILLED
    /* This header's size, whatever the library's: what lies behind is not touched. */
    struct {
        hc_pool_stats stats;
        uint64_t behind;
    } guarded;
    memset(&guarded, 0x5A, sizeof guarded);
    guarded.stats.size = sizeof guarded.stats;
    IS(HC_OK, hc_pool_stats_get(pool, &guarded.stats));
    CHECK(guarded.behind == UINT64_C(0x5A5A5A5A5A5A5A5A));
    CHECK(guarded.stats.size == sizeof guarded.stats);
    hc_store_release(store);
    hc_pool_release(pool);
}

static void errors(void) {
    future_hc_error err;
    hc_pool *pool = NULL;
    memset(&err, 0x5A, sizeof err);
    err.known.size = sizeof err;
    IS(HC_ERR_INVALID, hc_pool_create(NULL, &pool, &err.known));
    CHECK(err.known.status == HC_ERR_INVALID && err.known.os_error == 0);
    CHECK(memchr(err.known.message, '\0', sizeof err.known.message) != NULL);
    CHECK(strlen(err.known.message) > 10);
    CHECK(err.tail[3] == UINT64_C(0x5A5A5A5A5A5A5A5A));
    /* One that was not initialised is an error of its own, and the call is not made. */
    hc_pool_config c;
    HC_INIT(&c);
    c.limit_bytes = 4 * MIB;
    err.known.size = 0;
    err.known.status = 77;
    IS(HC_ERR_INVALID, hc_pool_create(&c, &pool, &err.known));
    CHECK(pool == NULL && err.known.status == 77);
    /* Success writes nothing. */
    hc_error plain;
    HC_INIT(&plain);
    plain.status = 77;
    IS(HC_OK, hc_pool_create(&c, &pool, &plain));
    CHECK(plain.status == 77);
    hc_pool_release(pool);
    /* Too long a message is cut, whole characters only. */
    char options[1000] = "\xc3\xa4=1,";
    for (size_t i = 5; i + 2 < sizeof options; i += 2) memcpy(options + i, "\xc3\xa4", 2);
    options[997] = '\0';
    hc_store_config sc;
    hc_store *store = NULL;
    pool = make_pool(4 * MIB);
    HC_INIT(&sc);
    sc.policy_options = options;
    HC_INIT(&plain);
    hc_status s = hc_store_open(pool, &sc, &store, &plain);
    CHECK(s == HC_ERR_UNSUPPORTED || s == HC_ERR_INVALID);
    CHECK(memchr(plain.message, '\0', sizeof plain.message) != NULL);
    size_t len = strlen(plain.message);
    CHECK(len == 0 || (unsigned char)plain.message[len - 1] != 0xC3);
    hc_pool_release(pool);
}

const test structs[] = {
    {"struct_inputs", inputs}, {"struct_outputs", outputs}, {"errors", errors}, {NULL, NULL},
};
